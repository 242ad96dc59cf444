//! What follows from what happened to a machine.

use std::time::{Duration, Instant};

use super::{Asked, Effect, Lifecycle, State, Trouble, WakeFailure};
use crate::fleet::provider::PowerState;

impl Lifecycle {
    /// Everything that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.wake_until().is_some_and(|until| now >= until) {
            self.fail(self.refused.unwrap_or(WakeFailure::Deadline), now);
        }
        match self.state {
            State::Asleep if self.is_wanted(now) => self.wake(now),
            State::Failed { until, .. } if now >= until => {
                // Off as far as is known, which is to be seen.
                self.state = State::Unknown;
                (self.setbacks, self.next) = (0, Some(now));
            }
            State::Ready { since } if self.sleeps_at().is_some_and(|at| now >= at) && self.asked.is_none() => {
                self.state = State::Retiring { since };
                self.ask(Asked::Retire);
            }
            _ => {}
        }
        if self.asked.is_none() && self.next.is_some_and(|at| now >= at) {
            self.next = None;
            self.ask_next();
        }
    }

    /// What is asked when nothing else is.
    fn ask_next(&mut self) {
        match self.state {
            State::Waking { .. } if !self.started => self.ask(Asked::Start),
            State::FallingAsleep if !self.started => self.ask(Asked::Stop),
            State::Warming { .. } => self.ask(Asked::Probe),
            // The provider is not heard: its server may be there all the same.
            State::Unknown if self.setbacks % 2 == 1 => self.ask(Asked::Probe),
            State::Retiring { .. } => {}
            _ => self.ask(Asked::Look),
        }
    }

    fn ask(&mut self, what: Asked) {
        self.asked = Some(what);
        self.effects.push_back(match what {
            Asked::Start => Effect::Start,
            Asked::Stop => Effect::Stop,
            Asked::Look => Effect::Look,
            Asked::Probe => Effect::Probe,
            Asked::Retire => Effect::Retire,
        });
    }

    /// An answer to what was asked, and not to anything else.
    fn answers(&mut self, what: Asked) -> bool {
        self.asked.take_if(|asked| *asked == what).is_some()
    }

    fn wake(&mut self, now: Instant) {
        self.state = State::Waking { since: now };
        (self.started, self.refused, self.setbacks, self.next) = (false, None, 0, Some(now));
        self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
    }

    /// A wake that nobody wants any more is broken off. What was asked goes on until it is answered: a stop that overtook
    /// a start would leave it running.
    pub(super) fn abandon(&mut self, now: Instant) {
        if self.is_wanted(now) || !matches!(self.state, State::Waking { .. } | State::Warming { .. }) {
            return;
        }
        if self.may_have_started() || matches!(self.state, State::Warming { .. }) {
            self.effects.push_back(Effect::Away);
            self.state = State::FallingAsleep;
            (self.started, self.setbacks, self.next) = (false, 0, Some(now));
        } else {
            self.rest(now);
        }
    }

    /// Whether a start was accepted, or is not answered yet and may have been heard.
    fn may_have_started(&self) -> bool {
        self.started || self.asked == Some(Asked::Start)
    }

    fn rest(&mut self, now: Instant) {
        self.state = State::Asleep;
        (self.setbacks, self.next) = (0, Some(now + self.policy.reconcile));
        self.effects.push_back(Effect::Off);
    }

    /// It runs: whether its server answers is to be seen.
    fn warm(&mut self, since: Instant, now: Instant) {
        if !matches!(self.state, State::Waking { .. }) {
            self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
        }
        self.state = State::Warming { since };
        (self.setbacks, self.next) = (0, Some(now));
    }

    fn fail(&mut self, why: WakeFailure, now: Instant) {
        let pause = match why {
            // A person has to see to it.
            WakeFailure::Auth | WakeFailure::NotFound | WakeFailure::Refused => self.policy.longest_pause,
            WakeFailure::Deadline | WakeFailure::Capacity => self.pause(),
        };
        self.effects.push_back(Effect::Fails(why, pause));
        if self.may_have_started() {
            // What was started and does not get ready is paid for.
            self.state = State::FallingAsleep;
            (self.started, self.next) = (false, Some(now));
            return;
        }
        self.state = State::Failed { why, until: now + pause };
        self.next = None;
    }

    /// The pause before the provider is asked again: longer each time.
    fn pause(&mut self) -> Duration {
        let pause = self.policy.pause.saturating_mul(1 << self.setbacks.min(16));
        self.setbacks = self.setbacks.saturating_add(1);
        pause.min(self.policy.longest_pause)
    }

    pub(super) fn started(&mut self, answer: Result<(), Trouble>, now: Instant) {
        if !self.answers(Asked::Start) || !matches!(self.state, State::Waking { .. }) {
            return;
        }
        match answer {
            Ok(()) => {
                (self.started, self.setbacks) = (true, 0);
                self.next = Some(now);
            }
            Err(trouble) => self.troubled(trouble, now),
        }
    }

    pub(super) fn stopped(&mut self, answer: Result<(), Trouble>, now: Instant) {
        if !self.answers(Asked::Stop) || self.state != State::FallingAsleep {
            return;
        }
        match answer {
            Ok(()) => {
                (self.started, self.setbacks) = (true, 0);
                self.next = Some(now);
            }
            Err(Trouble::NotFound) => self.rest(now),
            Err(trouble) => self.troubled(trouble, now),
        }
    }

    /// The provider did not do as it was asked.
    fn troubled(&mut self, trouble: Trouble, now: Instant) {
        let waking = matches!(self.state, State::Waking { .. });
        let pause = self.pause();
        let (refused, pause) = match trouble {
            Trouble::Capacity(after) => (Some(WakeFailure::Capacity), after.unwrap_or(pause)),
            Trouble::RateLimited(after) => (self.refused, after.unwrap_or(pause)),
            Trouble::Passing => (self.refused, pause),
            Trouble::Auth if waking => return self.fail(WakeFailure::Auth, now),
            Trouble::NotFound if waking => return self.fail(WakeFailure::NotFound, now),
            Trouble::Refused if waking => return self.fail(WakeFailure::Refused, now),
            Trouble::Auth | Trouble::NotFound | Trouble::Refused => (self.refused, self.policy.longest_pause),
        };
        self.refused = refused;
        self.next = Some(now + pause.min(self.policy.longest_pause));
    }

    pub(super) fn seen(&mut self, answer: Result<PowerState, Trouble>, now: Instant) {
        if !self.answers(Asked::Look) {
            return;
        }
        let powered = match answer {
            Ok(powered) => powered,
            // What it does is not known: its server can be asked all the same.
            Err(_) if self.state == State::Unknown => {
                let pause = self.pause();
                self.next = Some(now + pause);
                return;
            }
            Err(trouble) => return self.troubled(trouble, now),
        };
        match (self.state, powered) {
            (State::Waking { since }, PowerState::Running) => self.warm(since, now),
            (State::Waking { .. }, PowerState::Stopped) if self.setbacks >= 3 => {
                // It was started and is off again.
                self.started = false;
                let pause = self.pause();
                self.next = Some(now + pause);
            }
            (State::Waking { .. }, PowerState::Stopped) => {
                self.setbacks += 1;
                self.next = Some(now + self.policy.look);
            }
            (State::Waking { .. } | State::FallingAsleep, _) if powered != PowerState::Stopped => {
                self.next = Some(now + self.policy.look);
            }
            (State::FallingAsleep, _) => self.rest(now),
            (State::Unknown | State::Asleep | State::Failed { .. }, PowerState::Running) => self.warm(now, now),
            (State::Unknown | State::Asleep | State::Failed { .. }, PowerState::Starting) => {
                self.wake(now);
                self.started = true;
                self.next = Some(now + self.policy.look);
            }
            (State::Unknown, PowerState::Stopped) => self.rest(now),
            (State::Unknown, _) => self.next = Some(now + self.policy.look),
            (State::Ready { .. }, PowerState::Stopped | PowerState::Stopping) => {
                // Somebody else stopped it.
                self.rest(now);
            }
            _ => self.next = Some(now + self.policy.reconcile),
        }
    }

    pub(super) fn probed(&mut self, answers: bool, now: Instant) {
        if !self.answers(Asked::Probe) {
            return;
        }
        let since = match self.state {
            State::Warming { since } => since,
            State::Unknown if answers => now,
            State::Unknown => {
                let pause = self.pause();
                self.next = Some(now + pause);
                return;
            }
            _ => return,
        };
        if !answers {
            self.next = Some(now + self.policy.look);
            return;
        }
        if self.started {
            let took = now.saturating_duration_since(since);
            self.wakes.took(took);
            self.effects.push_back(Effect::Woke(took));
        }
        self.started = false;
        self.state = State::Ready { since: now };
        (self.idle_since, self.next) = (now, Some(now + self.policy.reconcile));
        self.effects.push_back(Effect::Serves);
    }

    pub(super) fn retired(&mut self, gone: bool, now: Instant) {
        if !self.answers(Asked::Retire) {
            return;
        }
        let State::Retiring { since } = self.state else { return };
        if gone {
            self.state = State::FallingAsleep;
            (self.started, self.setbacks, self.next) = (false, 0, Some(now));
        } else {
            // Somebody was quicker.
            self.state = State::Ready { since };
            (self.idle_since, self.next) = (now, Some(now + self.policy.reconcile));
        }
    }
}
