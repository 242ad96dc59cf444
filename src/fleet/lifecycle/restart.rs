//! Machines that begin anew: because their model server is stuck, or because an operator says so.
//!
//! A stock server waits for a socket whose other end is gone until TCP itself gives up, hours later, and takes no call until
//! then. That such a server has begun anew is proven by a call without a caller that reaches its handshake: what a provider
//! says of a restart may come before the old process is gone.

use std::time::{Duration, Instant};

use super::{Effect, Lifecycle, State, Trouble, WakeFailure, input::Asked};

/// Restarts in a row that are tried before they are given up.
const IN_A_ROW: u32 = 3;
/// A restart that is longer ago has nothing to do with the next one; and so long nothing is tried after the last one.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
/// The pause after the first restart in a row; each one doubles it.
const PAUSE: Duration = Duration::from_secs(60);

/// One machine's restarts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restarts {
    /// One is to begin as soon as nothing is asked and the pool lets go of the machine.
    pub(super) wanted: bool,
    /// That one was ordered by an operator.
    pub(super) ordered: bool,
    /// One has begun, and the machine takes no calls yet.
    pub(super) under_way: bool,
    /// How many there were in a row.
    in_a_row: u32,
    /// When the last one began.
    began: Option<Instant>,
}

impl Lifecycle {
    /// Whether it is on its way to begin anew, or about to be. One that takes much longer than it may does not count.
    pub fn is_restarting(&self, now: Instant) -> bool {
        let Restarts { wanted, under_way, began, .. } = self.restarts;
        wanted || (under_way && began.is_some_and(|at| now < at + self.policy.wake_deadline * 2))
    }

    /// Whether the pool's word that it is stuck would lead to a restart now, or to giving it up.
    pub fn may_restart(&self, now: Instant) -> bool {
        let Restarts { wanted, under_way, in_a_row, began, .. } = self.restarts;
        let pause = PAUSE * (1 << in_a_row.saturating_sub(1).min(IN_A_ROW));
        matches!(self.state, State::Ready { .. }) && !wanted && !under_way && began.is_none_or(|at| now >= at + pause)
    }

    pub(super) fn stuck(&mut self, now: Instant) {
        if !self.may_restart(now) {
            return;
        }
        if self.restarts.began.is_some_and(|at| now >= at + FORGOTTEN) {
            self.restarts.in_a_row = 0;
        }
        if self.used {
            // A test passed meanwhile, and a call followed.
            return;
        }
        if self.restarts.in_a_row < IN_A_ROW {
            (self.restarts.wanted, self.restarts.ordered) = (true, false);
            return;
        }
        self.effects.push_back(Effect::RestartFails(WakeFailure::Stuck, FORGOTTEN));
        self.ordered = false;
        (self.state, self.next) = (State::Failed { why: WakeFailure::Stuck, until: now + FORGOTTEN }, None);
        self.clear();
    }

    /// An operator counts anew, and knows what became of the last one.
    pub(super) fn order_restart(&mut self) {
        (self.restarts.in_a_row, self.restarts.wanted, self.restarts.ordered) = (0, true, true);
        if !self.may_vacate() {
            self.vacate();
        }
    }

    fn may_vacate(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Failed { .. })
    }

    /// Asks the pool to let go of it, where it makes sense to restart it.
    pub(super) fn vacate(&mut self) {
        if self.may_vacate() {
            self.ask(Asked::Vacate);
        } else {
            self.restarts.wanted = false;
            self.effects.push_back(Effect::Restarts(false));
        }
    }

    pub(super) fn vacated(&mut self, gone: bool, now: Instant) {
        if self.cleared(gone, now) {
            return;
        }
        self.restarts.wanted = false;
        self.effects.push_back(Effect::Restarts(gone));
        if !gone {
            self.next = self.next.or(Some(now));
            return;
        }
        self.state = State::Restarting { since: now };
        (self.restarts.under_way, self.restarts.began) = (true, Some(now));
        self.restarts.in_a_row += 1;
        (self.started, self.refused, self.setbacks, self.next) = (false, None, 0, Some(now));
        self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
    }

    pub(super) fn restarted(&mut self, answer: Result<(), Trouble>, now: Instant) {
        if !self.answers(Asked::Restart) || !matches!(self.state, State::Restarting { .. }) {
            return;
        }
        match answer {
            Ok(()) => (self.started, self.setbacks, self.next) = (true, 0, Some(now)),
            Err(Trouble::Unsupported) => {
                // Off and on again comes to the same.
                self.state = State::FallingAsleep;
                (self.setbacks, self.next) = (0, Some(now));
            }
            Err(trouble) => self.troubled(trouble, now),
        }
    }
}
