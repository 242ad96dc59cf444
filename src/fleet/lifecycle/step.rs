//! What follows from what happened to a machine.

use std::time::{Duration, Instant};

use super::{Effect, Lifecycle, State, Trouble, WakeFailure, input::Asked};
use crate::fleet::provider::PowerState;

impl Lifecycle {
    /// Everything that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.wake_until().is_some_and(|until| now >= until) {
            self.fail(self.refused.unwrap_or(WakeFailure::Deadline), now);
        }
        match self.state {
            State::Asleep if self.is_wanted(now) || self.restarts.under_way => self.wake(now),
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
        if self.restarts.wanted && self.asked.is_none() {
            self.vacate();
        }
        if self.asked.is_none() && self.next.is_some_and(|at| now >= at) {
            self.next = None;
            self.ask_next(now);
        }
    }

    /// What is asked when nothing else is.
    fn ask_next(&mut self, now: Instant) {
        match self.state {
            State::Waking { .. } if !self.started => self.ask(Asked::Start),
            State::FallingAsleep if !self.started => self.ask(Asked::Stop),
            State::Restarting { .. } if !self.started => self.ask(Asked::Restart),
            // It may have ended, or be reached elsewhere.
            State::Warming { .. } if now >= self.looked + self.policy.look => self.ask(Asked::Look),
            State::Warming { .. } => self.ask(Asked::Probe),
            // The provider is not heard: its server may be there all the same.
            State::Unknown if self.setbacks % 2 == 1 => self.ask(Asked::Probe),
            State::Retiring { .. } => {}
            _ => self.ask(Asked::Look),
        }
    }

    pub(super) fn ask(&mut self, what: Asked) {
        self.asked = Some(what);
        self.effects.push_back(match what {
            Asked::Start => Effect::Start,
            Asked::Stop => Effect::Stop,
            Asked::Look => Effect::Look,
            Asked::Restart => Effect::Restart,
            Asked::Probe => Effect::Probe,
            Asked::Retire => Effect::Retire,
            Asked::Vacate => Effect::Vacate { stuck: !self.restarts.ordered },
            Asked::Rehearse => Effect::Rehearse,
        });
    }

    /// An answer to what was asked, and not to anything else.
    pub(super) fn answers(&mut self, what: Asked) -> bool {
        self.asked.take_if(|asked| *asked == what).is_some()
    }

    fn wake(&mut self, now: Instant) {
        self.state = State::Waking { since: now };
        (self.started, self.delayed, self.refused, self.setbacks, self.next) = (false, false, None, 0, Some(now));
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
            self.restarts.under_way = false;
            (self.started, self.setbacks, self.next) = (false, 0, Some(now));
        } else {
            self.rest(now);
        }
    }

    /// Whether a start was accepted, or is not answered yet and may have been heard.
    fn may_have_started(&self) -> bool {
        self.started || matches!(self.asked, Some(Asked::Start | Asked::Restart))
    }

    fn rest(&mut self, now: Instant) {
        self.state = State::Asleep;
        (self.setbacks, self.next) = (0, Some(now + self.policy.reconcile));
        self.effects.push_back(Effect::Off);
    }

    /// It runs: whether its server answers is to be seen.
    pub(super) fn warm(&mut self, since: Instant, now: Instant) {
        if !matches!(self.state, State::Waking { .. } | State::Restarting { .. }) {
            self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
        }
        self.state = State::Warming { since };
        (self.setbacks, self.looked, self.next) = (0, now, Some(now));
    }

    fn fail(&mut self, why: WakeFailure, now: Instant) {
        let pause = match why {
            // A person has to see to it.
            WakeFailure::Auth | WakeFailure::NotFound | WakeFailure::Refused | WakeFailure::Stuck => {
                self.policy.longest_pause
            }
            WakeFailure::Deadline | WakeFailure::Capacity => self.pause(),
        };
        let restart = std::mem::take(&mut self.restarts.under_way);
        self.effects.push_back(if restart { Effect::RestartFails(why, pause) } else { Effect::Fails(why, pause) });
        self.ordered = false;
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
                if std::mem::take(&mut self.delayed) {
                    self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
                }
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
    pub(super) fn troubled(&mut self, trouble: Trouble, now: Instant) {
        let waking = matches!(self.state, State::Waking { .. } | State::Restarting { .. });
        let pause = self.pause();
        let (refused, pause) = match trouble {
            Trouble::Capacity(after) => (Some(WakeFailure::Capacity), after.unwrap_or(pause)),
            Trouble::RateLimited(after) => (self.refused, after.unwrap_or(pause)),
            Trouble::Passing => (self.refused, pause),
            Trouble::Auth if waking => return self.fail(WakeFailure::Auth, now),
            Trouble::NotFound if waking => return self.fail(WakeFailure::NotFound, now),
            Trouble::Refused | Trouble::Unsupported if waking => return self.fail(WakeFailure::Refused, now),
            Trouble::Auth | Trouble::NotFound | Trouble::Refused | Trouble::Unsupported => {
                (self.refused, self.policy.longest_pause)
            }
        };
        self.refused = refused;
        self.next = Some(now + pause.min(self.policy.longest_pause));
        if matches!(self.state, State::Waking { .. }) && !self.started && !self.delayed {
            self.delayed = true;
            self.effects.push_back(Effect::Delayed);
        }
    }

    pub(super) fn seen(&mut self, answer: Result<PowerState, Trouble>, now: Instant) {
        if !self.answers(Asked::Look) {
            return;
        }
        self.looked = now;
        match (answer, self.state) {
            // It is looked at again when its time has come.
            (_, State::Failed { .. }) => {}
            (Ok(powered), _) => self.powered(powered, now),
            // What it does is not known: its server can be asked all the same.
            (Err(_), State::Unknown) => {
                let pause = self.pause();
                self.next = Some(now + pause);
            }
            (Err(_), State::Warming { .. }) => self.next = Some(now),
            (Err(trouble), _) => self.troubled(trouble, now),
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
            (State::Waking { .. } | State::Restarting { .. } | State::FallingAsleep, _)
                if powered != PowerState::Stopped =>
            {
                self.next = Some(now + self.policy.look);
            }
            (State::FallingAsleep, _) => self.rest(now),
            (State::Unknown | State::Asleep, PowerState::Running) => self.warm(now, now),
            (State::Unknown | State::Asleep, PowerState::Starting) => {
                self.wake(now);
                self.started = true;
                self.next = Some(now + self.policy.look);
            }
            (State::Unknown, PowerState::Stopped) => self.rest(now),
            (State::Unknown, PowerState::Stopping) => {
                // Whoever told it to: it is waited for.
                self.state = State::FallingAsleep;
                (self.started, self.setbacks, self.next) = (true, 0, Some(now + self.policy.look));
                self.effects.push_back(Effect::Away);
            }
            // Somebody else stopped it.
            (State::Ready { .. }, PowerState::Stopped | PowerState::Stopping)
            | (State::Warming { .. }, PowerState::Stopped) => self.rest(now),
            (State::Unknown | State::Warming { .. }, _) => self.next = Some(now + self.policy.look),
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
            self.next = Some(now + self.policy.probe);
        } else if self.restarts.under_way || (self.policy.warm_up && self.started) {
            self.ask(Asked::Rehearse);
        } else {
            self.ready(since, now);
        }
    }

    /// The call without a caller is over. Where it failed, all is asked again, until it is too late for the wake.
    pub(super) fn rehearsed(&mut self, passed: bool, now: Instant) {
        if !self.answers(Asked::Rehearse) {
            return;
        }
        let State::Warming { since } = self.state else { return };
        if passed {
            self.ready(since, now);
        } else {
            self.next = Some(now + self.policy.look);
        }
    }

    /// It takes calls.
    fn ready(&mut self, since: Instant, now: Instant) {
        let took = now.saturating_duration_since(since);
        let restarted = std::mem::take(&mut self.restarts.under_way);
        if restarted {
            self.effects.push_back(Effect::Restarted(took));
        } else if self.started {
            self.wakes.took(took);
            self.effects.push_back(Effect::Woke(took));
        }
        (self.started, self.ordered) = (false, false);
        self.state = State::Ready { since: now };
        (self.idle_since, self.next) = (now, Some(now + self.policy.reconcile));
        self.effects.push_back(if restarted { Effect::ServesAnew } else { Effect::Serves });
    }

    pub(super) fn retired(&mut self, gone: bool, now: Instant) {
        if self.answers(Asked::Vacate) {
            return self.vacated(gone, now);
        }
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
            self.ordered = false;
            (self.idle_since, self.next) = (now, Some(now + self.policy.reconcile));
        }
    }
}
