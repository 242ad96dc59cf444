//! Failover: a model server dies or falls silent in mid-call, and another one goes on.
//!
//! A server that is only silent keeps the stage for a while: whoever gives sound first, it or the understudy, has it.

use std::time::{Duration, Instant};

use super::{
    Effect, Judgement, Machine, Note,
    server::Server,
    state::{Phase, millis},
};
use crate::protocol::{
    ending::Ending,
    native::{RecoveryReason, ServerEvent},
};

/// So many servers that are lost before they are proven, one after the other, are as many as one call may cost.
const QUICK_LOSSES: u32 = 3;

/// The caller hears nothing and was told so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovering {
    reason: RecoveryReason,
}

impl Machine {
    /// Whether a call goes on elsewhere when its server fails.
    fn can_recover(&self) -> bool {
        !self.limits.recovery.is_zero()
    }

    /// The server on stage is gone, and its leg with it.
    pub(super) fn server_lost(&mut self, lost: Option<&Server>, now: Instant) {
        if !self.can_recover() {
            return self.end(Ending::UpstreamLost, now);
        }
        let proven = lost.is_some_and(|server| server.is_proven(now));
        if !self.relay.continued || self.relay.spoke || proven {
            // The next prompts tell more than these did.
            self.upstream.tries_other_prompts();
        } else {
            self.upstream.failed();
        }
        if let Some(lost) = lost {
            self.count_loss(lost, now);
        }
        if self.upstream.failures() >= self.limits.attempts || self.has_cost_enough() {
            return self.end(Ending::UpstreamLost, now);
        }
        self.relay.empty_since.get_or_insert(now);
        self.recover(RecoveryReason::Lost, now);
    }

    /// A server is lost: whatever does this may do it to the next one too.
    pub(super) fn count_loss(&mut self, lost: &Server, now: Instant) {
        self.relay.quick_losses = if lost.is_proven(now) { 0 } else { self.relay.quick_losses + 1 };
    }

    /// Whether the call has cost as many servers as it may.
    pub(super) fn has_cost_enough(&self) -> bool {
        self.relay.quick_losses >= QUICK_LOSSES
    }

    /// Whether the server that is lost now, or counted already, is not the first one in a row.
    pub(super) fn loses_again(&self, now: Instant) -> bool {
        match &self.server {
            Some(server) => self.relay.quick_losses > 0 && !server.is_proven(now),
            None => self.relay.quick_losses > 1,
        }
    }

    /// The slot that was to begin anew did not: another one is looked for, as when a server is lost. Says whether.
    pub(super) fn restart_failed(&mut self, now: Instant) -> bool {
        if !self.can_recover() {
            self.end(Ending::UpstreamLost, now);
            return false;
        }
        self.relay.empty_since.get_or_insert(now);
        self.tell_recovering(RecoveryReason::Lost, now);
        true
    }

    /// The server on stage has given nothing for so long that it is not waited for any more.
    pub(super) fn give_server_up(&mut self, now: Instant) {
        if !self.can_recover() {
            return self.end(Ending::UpstreamLost, now);
        }
        let Some(server) = self.clear_stage(now) else { return self.end(Ending::UpstreamLost, now) };
        self.effects.push_back(Effect::Judge(server.attempt(), Judgement::Failed));
        self.effects.push_back(Effect::CloseUpstream(server.attempt()));
        self.server_lost(Some(&server), now);
    }

    fn recover(&mut self, reason: RecoveryReason, now: Instant) {
        self.tell_recovering(reason, now);
        self.hurry_understudy(now);
    }

    fn tell_recovering(&mut self, reason: RecoveryReason, now: Instant) {
        if self.relay.recovering.is_none() {
            self.relay.recovering = Some(Recovering { reason });
            self.effects.push_back(Effect::Note(Note::Recovering(reason)));
            self.say(ServerEvent::Recovering { reason }, now);
        }
    }

    /// When a silent server is not trusted to go on any more, though it may.
    pub(super) fn silence_until(&self) -> Option<Instant> {
        let listens = self.can_recover() && self.relay.recovering.is_none() && !self.is_clock_stopped();
        let stuck = self.server.as_ref().filter(|_| listens)?.stuck_since()?;
        Some(stuck + self.limits.silent_after)
    }

    /// Looks for another server as soon as the one on stage is silent for too long.
    pub(super) fn watch_stage(&mut self, now: Instant) {
        if self.phase == Phase::Streaming && self.silence_until().is_some_and(|at| now >= at) {
            // Its loss would be the last one: nobody could take its place.
            let last = self.relay.quick_losses + 1 >= QUICK_LOSSES && self.loses_again(now);
            if last {
                self.tell_recovering(RecoveryReason::Silent, now)
            } else {
                self.recover(RecoveryReason::Silent, now)
            }
        }
        if self.forgives_at().is_some_and(|at| now >= at) {
            self.dismiss_understudy();
            self.upstream.tries_other_prompts();
        }
    }

    /// When a server that was silent again and again, and has given sound since, may keep the stage after all.
    pub(super) fn forgives_at(&self) -> Option<Instant> {
        let kept = self.relay.is_failing_over() && self.relay.recovering.is_none() && self.server.is_some();
        Some(self.relay.stalled_at.filter(|_| kept)? + super::server::PROVEN_AFTER)
    }

    /// How long the stage may stay empty.
    pub(super) fn empty_until(&self) -> Option<Instant> {
        Some(self.relay.empty_since? + self.limits.recovery)
    }

    /// Whether the stage is empty, and a call that may go on waits for whoever takes it.
    pub(super) fn is_stage_waiting(&self) -> bool {
        self.phase == Phase::Streaming && self.server.is_none()
    }

    /// Whether the server on stage was silent lately, and went on by itself.
    pub(super) fn has_stalled(&self, now: Instant) -> bool {
        self.relay.stalled_at.is_some_and(|at| now < at + super::server::PROVEN_AFTER)
    }

    /// There is sound again, after so long a gap, of the same server or of another.
    pub(super) fn recovered(&mut self, gap: Duration, same: bool, now: Instant) {
        let Some(Recovering { reason }) = self.relay.recovering.take() else { return };
        if let Some(server) = &mut self.server {
            server.lag.restart(now);
        }
        if same {
            let again = self.has_stalled(now);
            self.relay.stalled_at = Some(now);
            // One that is silent again and again is to leave the stage, though it gives sound just now.
            if !(again && self.relay.is_failing_over()) {
                if self.relay.is_failing_over() {
                    self.dismiss_understudy();
                }
                self.upstream.tries_other_prompts();
            }
        }
        self.effects.push_back(Effect::Note(Note::Recovered { reason, same, gap }));
        self.say(ServerEvent::Recovered { gap_ms: millis(gap) }, now);
    }
}
