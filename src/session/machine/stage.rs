//! The stage: the one model server that the caller hears, and how it changes.

use std::time::{Duration, Instant};

use super::{
    Effect, Judgement, Machine, Note,
    lag::LagGuard,
    rotation::Window,
    server::{FRAME, Server},
    state::millis,
    understudy::Purpose,
};
use crate::{
    audio::packet::OpusPacket,
    protocol::native::{RecoveryReason, ServerEvent},
    session::transcript::Transcript,
};

impl Machine {
    /// The attempt whose server the caller hears, if there is one.
    pub fn on_stage(&self) -> Option<u32> {
        self.server.as_ref().map(Server::attempt)
    }

    /// Nobody is on stage from now on. What the caller was told of its pace holds until another one says otherwise.
    pub(super) fn clear_stage(&mut self, now: Instant) -> Option<Server> {
        let server = self.server.take()?;
        self.relay.degraded = server.lag.told();
        self.relay.cleared_at = Some(now);
        if server.is_proven(now) {
            self.relay.quick_losses = 0;
        }
        Some(server)
    }

    /// The server backstage takes the stage.
    pub(super) fn switch(&mut self, now: Instant) {
        if let Some((server, purpose)) = self.relay.take_backstage() {
            self.take_over(server, purpose, now);
        }
    }

    /// Another server is heard from now on.
    pub(super) fn take_over(&mut self, mut server: Server, purpose: Purpose, now: Instant) {
        if let Some(old) = self.clear_stage(now) {
            if purpose == Purpose::Failover {
                self.effects.push_back(Effect::Judge(old.attempt(), Judgement::Failed));
                self.count_loss(&old, now);
            }
            self.effects.push_back(Effect::CloseUpstream(old.attempt()));
        }
        if let Some(since) = self.relay.cleared_at.take() {
            self.watch.stage_was_empty(now.saturating_duration_since(since));
        }
        // What it did backstage is no measure of what is heard.
        server.lag = LagGuard::after(self.relay.degraded.take(), now);
        self.server = Some(server);
        // A character that the last one began is not ended by the next.
        self.transcript = Transcript::default();
        let relay = &mut self.relay;
        (relay.window, relay.hushes, relay.empty_since) = (Window::default(), None, None);
        (relay.continued, relay.spoke, relay.stalled_at) = (true, false, None);
        relay.change = Some(purpose);
    }

    /// Sound of the server on stage: how long the caller heard nothing is known now.
    pub(super) fn heard_on_stage(&mut self, packet: &OpusPacket, now: Instant) {
        if let Some(hushes) = &mut self.relay.hushes {
            hushes.stage.hear(packet);
        }
        let before = self.relay.sounded_at.replace(now);
        let gap = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before)).saturating_sub(FRAME);
        match self.relay.change.take() {
            Some(Purpose::Failover) if self.relay.recovering.is_some() => self.recovered(gap, false, now),
            // It had been silent again and again, and gave sound when the other one was ready.
            Some(Purpose::Failover) => {
                self.effects.push_back(Effect::Note(Note::Recovered {
                    reason: RecoveryReason::Silent,
                    same: false,
                    gap,
                }));
            }
            Some(purpose) => {
                // It was slow to begin, and another one was looked for.
                self.recovered(gap, true, now);
                self.upstream.tries_other_prompts();
                let in_place = purpose == Purpose::Restart;
                self.effects.push_back(Effect::Note(Note::Rotated { in_place, gap }));
                self.say(ServerEvent::Rotated { gap_ms: millis(gap) }, now);
            }
            None => self.recovered(gap, true, now),
        }
    }

    /// The clock stood still for so long: no sound was due meanwhile.
    pub(super) fn no_sound_was_due(&mut self, time: Duration) {
        self.relay.sounded_at = self.relay.sounded_at.map(|at| at + time);
    }
}
