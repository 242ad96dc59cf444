//! What follows from what the provider says of a machine.

use std::time::Instant;

use super::{Effect, Lifecycle, State, Trouble, input::Asked};
use crate::fleet::provider::PowerState;

/// Looks after which a machine that was stopped and runs all the same is stopped again, or used if it is wanted.
const STUBBORN_LOOKS: u32 = 12;
/// Looks that say nothing after which a machine whose stop was accepted is taken to be off.
const SILENT_LOOKS: u32 = 3;

impl Lifecycle {
    pub(super) fn seen(&mut self, answer: Result<PowerState, Trouble>, now: Instant) {
        if !self.answers(Asked::Look) {
            return;
        }
        (self.looked, self.says_nothing) = (now, answer == Ok(PowerState::Unknown));
        match (answer, self.state) {
            // It is looked at again when its time has come.
            (_, State::Failed { .. }) => {}
            (Ok(PowerState::Unknown), _) => self.seen_nothing(now),
            (Ok(powered), _) => self.powered(powered, now),
            // What it does is not known: its server can be asked all the same.
            (Err(_), State::Unknown) => {
                let pause = self.pause();
                self.next = Some(now + pause);
                self.cannot_yet(now);
            }
            (Err(trouble), State::Warming { .. }) => {
                if let Trouble::RateLimited(Some(after)) = trouble {
                    self.looked = now + after;
                }
                self.next = Some(now);
            }
            // Twice is no slip: it was taken away. A call that goes on there knows better.
            (Err(Trouble::NotFound), State::Ready { .. }) if self.odd_looks > 0 && !self.used => self.rest(now),
            (Err(Trouble::NotFound), State::Ready { .. }) => {
                (self.odd_looks, self.next) = (1, Some(now + self.policy.look));
            }
            (Err(trouble), _) => self.troubled(trouble, now),
        }
    }

    /// The provider does not say what it does, now or ever.
    fn seen_nothing(&mut self, now: Instant) {
        match self.state {
            State::Waking { since } | State::Restarting { since } => self.warm(since, now),
            State::Warming { .. } => self.next = Some(now),
            State::FallingAsleep => {
                self.odd_looks += 1;
                self.next = Some(now + self.policy.look);
                if self.odd_looks >= SILENT_LOOKS {
                    // That is no proof of anything.
                    self.effects.push_back(Effect::Away);
                    self.lie_down(now);
                }
            }
            State::Unknown => {
                let pause = self.pause();
                self.next = Some(now + pause);
                self.cannot_yet(now);
            }
            _ => self.next = Some(now + self.policy.reconcile),
        }
    }

    /// The provider says what it does.
    fn powered(&mut self, powered: PowerState, now: Instant) {
        // One that ended by itself does not run either, and may be started.
        let powered = if powered == PowerState::Failed { PowerState::Stopped } else { powered };
        match (self.state, powered) {
            (State::Waking { since } | State::Restarting { since }, PowerState::Running) => self.warm(since, now),
            (State::Warming { .. }, PowerState::Running) => self.next = Some(now),
            (State::Waking { since } | State::Restarting { since }, PowerState::Stopped) if self.setbacks >= 3 => {
                // It was started and is off again.
                (self.state, self.started) = (State::Waking { since }, false);
                let pause = self.pause();
                self.next = Some(now + pause);
            }
            (State::Waking { .. } | State::Restarting { .. }, PowerState::Stopped) => {
                self.setbacks += 1;
                self.next = Some(now + self.policy.look);
            }
            // It is off again before its server answered: the wake goes on, if it is ours.
            (State::Warming { since }, PowerState::Stopped) if self.started => {
                (self.state, self.next) = (State::Waking { since }, Some(now + self.policy.look));
            }
            (State::FallingAsleep, PowerState::Running) => self.stays_on(now),
            (State::Waking { .. } | State::Restarting { .. } | State::FallingAsleep, _)
                if powered != PowerState::Stopped =>
            {
                self.next = Some(now + self.policy.look);
            }
            (State::FallingAsleep, _) => self.rest(now),
            (State::Unknown | State::Asleep, PowerState::Running) => self.warm(now, now),
            (State::Unknown | State::Asleep, PowerState::Starting) => {
                self.wake(now);
                (self.started, self.is_off, self.next) = (true, false, Some(now + self.policy.look));
            }
            (State::Unknown, PowerState::Stopped) => self.rest(now),
            (State::Unknown, PowerState::Stopping) => {
                // Whoever told it to: it is waited for.
                self.fall_asleep(now);
                (self.started, self.is_off, self.next) = (true, false, Some(now + self.policy.look));
                self.effects.push_back(Effect::Away);
            }
            // Somebody else stopped it.
            (State::Ready { .. }, PowerState::Stopped | PowerState::Stopping)
            | (State::Warming { .. }, PowerState::Stopped) => self.rest(now),
            (State::Unknown | State::Warming { .. }, _) => self.next = Some(now + self.policy.look),
            _ => {
                self.odd_looks = 0;
                self.next = Some(now + self.policy.reconcile);
            }
        }
    }

    /// Its stop was accepted, and it runs: it is lost, or somebody started it.
    fn stays_on(&mut self, now: Instant) {
        self.odd_looks += 1;
        self.next = Some(now + self.policy.look);
        if self.odd_looks < STUBBORN_LOOKS {
            return;
        }
        self.odd_looks = 0;
        if self.is_wanted(now) {
            (self.started, self.failed) = (false, None);
            self.warm(now, now);
        } else {
            (self.started, self.next) = (false, Some(now));
        }
    }
}
