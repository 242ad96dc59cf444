//! What follows from what happened to a machine.

use std::time::{Duration, Instant};

use super::{Effect, Lifecycle, State, Trouble, WakeFailure, input::Asked};

/// The part of a pause that chance may take away.
const JITTER: f64 = 0.25;
const GOLDEN_RATIO: f64 = 0.618_034;

impl Lifecycle {
    /// Everything that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.wake_until().is_some_and(|until| now >= until) {
            self.fail(self.refused.unwrap_or(WakeFailure::Deadline), now);
        }
        self.give_up_waiting(now);
        match self.state {
            State::Asleep if self.is_wanted(now) || self.restarts.under_way => self.wake(now),
            State::Failed { until, .. } if now >= until && self.asked != Some(Asked::Vacate) => {
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
        if self.clearing && self.asked.is_none() {
            self.clear();
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
            // The provider is not heard, or does not know: its server may be there all the same.
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
            Asked::Vacate => Effect::Vacate { stuck: !self.restarts.ordered && !self.clearing },
            Asked::Rehearse => Effect::Rehearse,
        });
    }

    /// An answer to what was asked, and not to anything else.
    pub(super) fn answers(&mut self, what: Asked) -> bool {
        self.asked.take_if(|asked| *asked == what).is_some()
    }

    pub(super) fn wake(&mut self, now: Instant) {
        self.state = State::Waking { since: now };
        (self.started, self.delayed, self.refused, self.setbacks) = (false, false, None, 0);
        self.next = Some(self.not_before.map_or(now, |at| at.max(now)));
        (self.awaited_since, self.odd_looks) = (None, 0);
        self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
        if self.next > Some(now) {
            self.delay();
        }
    }

    /// A wake that nobody wants any more is broken off. What was asked goes on until it is answered: a stop that overtook
    /// a start would leave it running.
    pub(super) fn abandon(&mut self, now: Instant) {
        if self.is_wanted(now) || !matches!(self.state, State::Waking { .. } | State::Warming { .. }) {
            return;
        }
        if self.may_have_started() || matches!(self.state, State::Warming { .. }) {
            self.effects.push_back(Effect::Away);
            self.restarts.under_way = false;
            self.fall_asleep(now);
        } else {
            self.rest(now);
        }
    }

    /// Whether a start was accepted, or is not answered yet and may have been heard.
    fn may_have_started(&self) -> bool {
        self.started || matches!(self.asked, Some(Asked::Start | Asked::Restart))
    }

    /// To be stopped.
    pub(super) fn fall_asleep(&mut self, now: Instant) {
        self.state = State::FallingAsleep;
        (self.started, self.setbacks, self.odd_looks, self.next) = (false, 0, 0, Some(now));
    }

    /// It is off, and nobody has a socket there.
    pub(super) fn rest(&mut self, now: Instant) {
        self.effects.push_back(Effect::Off);
        self.lie_down(now);
    }

    /// It is off as far as anybody can say.
    pub(super) fn lie_down(&mut self, now: Instant) {
        (self.started, self.setbacks, self.odd_looks, self.is_off) = (false, 0, 0, true);
        (self.state, self.next) = match self.failed.take().filter(|(_, until)| now < *until) {
            Some((why, until)) => (State::Failed { why, until }, None),
            None => (State::Asleep, Some(now + self.policy.reconcile)),
        };
    }

    /// It runs: whether its server answers is to be seen.
    pub(super) fn warm(&mut self, since: Instant, now: Instant) {
        if !matches!(self.state, State::Waking { .. } | State::Restarting { .. }) {
            self.effects.push_back(Effect::Wakes(self.wakes.eta(Duration::ZERO)));
        }
        self.state = State::Warming { since };
        (self.awaited_since, self.odd_looks, self.is_off) = (None, 0, false);
        (self.setbacks, self.looked, self.next) = (0, now, Some(now));
    }

    fn fail(&mut self, why: WakeFailure, now: Instant) {
        let pause = self.pause_after(why, now);
        let restart = std::mem::take(&mut self.restarts.under_way);
        self.effects.push_back(if restart { Effect::RestartFails(why, pause) } else { Effect::Fails(why, pause) });
        self.ordered = false;
        if self.may_have_started() {
            // What was started and does not get ready is paid for.
            self.failed = Some((why, now + pause));
            return self.fall_asleep(now);
        }
        let found_running = matches!(self.state, State::Warming { .. });
        self.state = State::Failed { why, until: now + pause };
        self.next = None;
        if found_running {
            self.clear();
        }
    }

    /// How long a machine that failed is left alone: longer each time where it was paid for in vain.
    fn pause_after(&mut self, why: WakeFailure, now: Instant) -> Duration {
        let paid = self.may_have_started() || matches!(self.state, State::Warming { .. });
        let pause = match why {
            WakeFailure::Deadline | WakeFailure::Capacity if !paid => self.pause(),
            // A person has to see to it, or it is broken.
            _ => self.policy.longest_pause.saturating_mul(1 << self.failures.min(3)),
        };
        self.failures = self.failures.saturating_add(1);
        let asked_for = self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        pause.max(asked_for)
    }

    /// The pause before the provider is asked again: longer each time.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.policy.pause.saturating_mul(1 << self.setbacks.min(16));
        self.setbacks = self.setbacks.saturating_add(1);
        let pause = pause.min(self.policy.longest_pause);
        // Steps of the golden ratio are spread evenly wherever they begin.
        self.jitter = (self.jitter + GOLDEN_RATIO) % 1.0;
        pause.mul_f64(1.0 - JITTER * self.jitter)
    }

    pub(super) fn started(&mut self, answer: Result<(), Trouble>, now: Instant) {
        if !self.answers(Asked::Start) || !matches!(self.state, State::Waking { .. }) {
            return;
        }
        match answer {
            Ok(()) => {
                (self.started, self.is_off, self.setbacks) = (true, false, 0);
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
            // It will not stop, so it may as well be of use.
            Err(Trouble::Refused | Trouble::Auth) if self.is_wanted(now) => self.warm(now, now),
            Err(trouble) => self.troubled(trouble, now),
        }
    }

    /// The provider did not do as it was asked.
    pub(super) fn troubled(&mut self, trouble: Trouble, now: Instant) {
        let waking = matches!(self.state, State::Waking { .. } | State::Restarting { .. });
        let pause = self.pause();
        if let Trouble::Capacity(Some(after)) | Trouble::RateLimited(Some(after)) = trouble {
            self.not_before = Some(now + after);
        }
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
        self.next = Some(now + pause);
        self.cannot_yet(now);
        if matches!(self.state, State::Waking { .. }) && !self.started {
            self.delay();
        }
    }

    fn delay(&mut self) {
        if !std::mem::replace(&mut self.delayed, true) {
            self.effects.push_back(Effect::Delayed);
        }
    }

    pub(super) fn probed(&mut self, answers: bool, now: Instant) {
        if !self.answers(Asked::Probe) {
            return;
        }
        let since = match self.state {
            State::Warming { since } => since,
            State::Unknown if answers => now,
            // Neither its provider nor its server says anything: a start does no harm.
            State::Unknown if self.says_nothing && self.setbacks >= 2 && self.is_wanted(now) => return self.wake(now),
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
        (self.started, self.ordered, self.is_off) = (false, false, false);
        (self.failures, self.not_before, self.awaited_since, self.odd_looks) = (0, None, None, 0);
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
            self.fall_asleep(now);
        } else {
            // Somebody was quicker, or waits and cannot be served there.
            self.state = State::Ready { since };
            self.retire_after = Some(now + self.policy.look);
            self.ordered = false;
            (self.idle_since, self.next) = (now, Some(now + self.policy.reconcile));
        }
    }
}
