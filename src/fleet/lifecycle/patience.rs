//! Machines that somebody waits for in vain, and machines that run in vain.

use std::time::Instant;

use super::{Effect, Lifecycle, State, WakeFailure, input::Asked};

impl Lifecycle {
    /// Somebody may wait for it while nobody can say when it will be there: others are woken meanwhile.
    pub(super) fn cannot_yet(&mut self, now: Instant) {
        let stands = matches!(self.state, State::Unknown | State::FallingAsleep);
        if !stands || !(self.ordered || self.used) {
            self.awaited_since = None;
            return;
        }
        if self.awaited_since.is_none() {
            self.awaited_since = Some(now);
            self.effects.push_back(Effect::Delayed);
        }
        if self.state == State::Unknown {
            // Whoever waits need not wait for the next look, but no crowd makes a flood.
            let soon = now.max(self.looked + self.policy.pause);
            self.next = self.next.map(|next| next.min(soon));
        }
    }

    /// Whoever waits is told the truth by the time that a wake may take.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        if self.awaited_since.is_some_and(|since| now >= since + self.policy.wake_deadline) {
            (self.awaited_since, self.ordered) = (None, false);
            let why = self.refused.unwrap_or(WakeFailure::Deadline);
            self.effects.push_back(Effect::Fails(why, self.policy.longest_pause));
        }
    }

    /// Lets a machine be stopped that runs and is of no use, as soon as no call can be there any more.
    pub(super) fn clear(&mut self) {
        self.clearing = matches!(self.state, State::Failed { .. });
        if self.clearing && self.asked.is_none() {
            self.ask(Asked::Vacate);
        }
    }

    /// Whether the pool let go of it. Says whether that was asked for to clear it.
    pub(super) fn cleared(&mut self, gone: bool, now: Instant) -> bool {
        let clearing = std::mem::take(&mut self.clearing);
        if let (true, true, State::Failed { why, until }) = (clearing, gone, self.state) {
            self.failed = Some((why, until));
            self.fall_asleep(now);
        }
        clearing
    }
}
