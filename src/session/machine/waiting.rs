//! Waiting for a slot: the queue's news for the caller, its patience, and the pause before another try.

use std::time::{Duration, Instant};

use super::{
    Effect, Machine,
    state::{Phase, millis},
};
use crate::{
    pool::roster::{Class, NoSlot, Place, WaitReason},
    protocol::{
        ending::Ending,
        native::{QueueReason, ServerEvent},
    },
};

/// How long a call has waited for a slot, as far as that counts against its patience.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Time in which others were in the way.
    busy: Duration,
    /// Since when that is so again. While a server wakes only the wake's own deadline counts.
    busy_since: Option<Instant>,
}

impl Waiting {
    fn pause(&mut self, now: Instant) {
        if let Some(since) = self.busy_since.take() {
            self.busy += now.saturating_duration_since(since);
        }
    }

    /// When the patience is at its end, unless something changes.
    fn until(&self, patience: Duration) -> Option<Instant> {
        Some(self.busy_since? + patience.saturating_sub(self.busy))
    }
}

impl Machine {
    /// Where the call stands in the queue now.
    pub(super) fn queued(&mut self, place: Place, now: Instant) {
        match (self.phase, place.reason) {
            (Phase::Leasing, WaitReason::Busy) => {
                self.waiting.busy_since.get_or_insert(now);
            }
            (Phase::Leasing, WaitReason::Waking) => self.waiting.pause(now),
            // Nothing is heard until that slot comes.
            (Phase::Streaming, _) if self.server.is_none() && self.relay.is_asking() => {}
            _ => return,
        }
        let event = ServerEvent::Queued {
            position: place.position as u64,
            ahead: place.position.saturating_sub(1) as u64,
            eta_ms: place.eta.map(|eta| millis(eta.median)),
            eta_p90_ms: place.eta.map(|eta| millis(eta.p90)),
            reason: match place.reason {
                WaitReason::Busy => QueueReason::Busy,
                WaitReason::Waking => QueueReason::Waking,
            },
        };
        self.say(event, now);
    }

    /// There is no slot for this call, and there will be none.
    pub(super) fn no_slot(&mut self, why: NoSlot, now: Instant) {
        if self.phase != Phase::Leasing {
            return self.understudy_refused(why, now);
        }
        let ending = match why {
            NoSlot::WakeFailed => self.upstream.failure().unwrap_or(Ending::WakeFailed),
            // Somewhere else would have been better, but what failed here is the reason.
            NoSlot::Busy
            | NoSlot::NoFit
            | NoSlot::NotTold
            | NoSlot::RetriesSpent
            | NoSlot::QueueFull
            | NoSlot::NoLedger => self.upstream.failure().unwrap_or(Ending::NoCapacity),
        };
        self.end(ending, now);
    }

    /// The pool does not answer: a call that has a server can do without an answer for a while.
    pub(super) fn no_answer(&mut self, now: Instant) {
        if self.phase == Phase::Leasing {
            self.end(Ending::Internal, now);
        } else {
            self.understudy_unanswered(now);
        }
    }

    /// A slot was granted: the wait is over.
    pub(super) fn waited(&mut self, now: Instant) {
        self.waiting.pause(now);
    }

    /// Asks for a slot elsewhere after a pause, so that many calls that fail together do not come back together.
    pub(super) fn try_elsewhere(&mut self, now: Instant) {
        let pause = self.limits.retry.pause_before(self.upstream.attempt(), self.terms.jitter);
        self.phase = Phase::Pausing { until: now + pause };
        self.pause_over(now);
    }

    /// Asks, if the pause is over.
    pub(super) fn pause_over(&mut self, now: Instant) {
        if let Phase::Pausing { until } = self.phase
            && now >= until
        {
            self.phase = Phase::Leasing;
            self.upstream.asks(now);
            self.effects.push_back(Effect::Acquire { class: Class::New, elsewhere: true, retry: true });
        }
    }

    /// When the pause before another try is over, if there is one.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Pausing { until } => Some(until),
            _ => None,
        }
    }

    /// When waiting ends by itself, and how.
    pub(super) fn patience(&self) -> Option<(Instant, Ending)> {
        let until = self.waiting.until(self.limits.queue_timeout).filter(|_| self.phase == Phase::Leasing)?;
        Some((until, Ending::QueueTimeout))
    }

    /// The longest that this attempt's handshake may take: by the prompt's steps, and by the time that a step took on
    /// this server lately, if that is known. Three times that time is slow, and not yet hopeless.
    pub(super) fn handshake_limit(&self, steps: u32, step: Option<Duration>) -> Duration {
        let each = step.map_or(self.terms.handshake.step, |step| step * 3);
        self.terms.handshake.base + each * steps
    }
}
