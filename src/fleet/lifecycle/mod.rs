//! One machine's life, decided in one place (pure).
//!
//! ```text
//!             a call waits, somebody asks            the provider says: it runs      its server answers
//!   Asleep ---------------------------> Waking ------------------------> Warming ---------------> Ready
//!     ^                                   | too late, or refused            | too late              |
//!     |                                   v                                 v                       | idle, and the pool
//!     |                                 Failed <----------------------------+                       | lets go of it
//!     +---------- it is stopped --------------------- FallingAsleep <-------------------------------+
//! ```
//!
//! From `Warming` a wake of ours goes through a call without a caller, which the pool makes. A `Ready` machine whose model
//! server is stuck goes through `Restarting`, once the pool let go of it, to `Warming`.
//!
//! **Invariants:** the provider is asked one thing at a time; nothing is stopped that the pool has not let go of, in the
//! same step in which it found it unused; a wake that was asked for ends in `Ready` or `Failed` by its deadline.
//! What the provider says is read back at the start and every now and then: machines are started and stopped by others.

mod input;
mod looks;
mod patience;
mod restart;
mod running;
mod state;
mod step;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{
    input::{Effect, Input, Trouble},
    state::{State, WakeFailure},
};

use self::{input::Asked, restart::Restarts};
use super::wakes::{Prior, WakeEta, Wakes};

/// How a machine is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long it stays awake while nobody uses it; zero: for ever.
    pub idle: Duration,
    /// How long it stays awake at least.
    pub min_awake: Duration,
    /// How long a wake may take, from the request until calls are taken.
    pub wake_deadline: Duration,
    /// The first pause before a provider is asked again; each one doubles it.
    pub pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
    /// Between two looks at what the provider says, while nothing happens.
    pub reconcile: Duration,
    /// Between two looks while it wakes or falls asleep.
    pub look: Duration,
    /// Whether a call without a caller is part of a wake.
    pub warm_up: bool,
    /// Between two questions to its model server while it gets ready.
    pub probe: Duration,
    /// What is assumed of its wakes.
    pub prior: Prior,
}

impl Default for Policy {
    /// What the settings say where nobody does. How long wakes take is a guess, which every machine corrects.
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            idle: MINUTE * 10,
            min_awake: MINUTE * 5,
            wake_deadline: MINUTE * 8,
            pause: Duration::from_secs(2),
            longest_pause: MINUTE,
            reconcile: MINUTE,
            look: Duration::from_secs(5),
            warm_up: true,
            probe: Duration::from_secs(1),
            prior: Prior { median: MINUTE, p90: MINUTE * 3 },
        }
    }
}

/// One machine.
#[derive(Debug)]
pub struct Lifecycle {
    policy: Policy,
    state: State,
    asked: Option<Asked>,
    /// When the next thing is asked.
    next: Option<Instant>,
    /// Shortens pauses, 0 to 1: many machines that fail together are not to come back together.
    jitter: f64,
    /// What went wrong in a row.
    setbacks: u32,
    /// Wakes that failed in a row.
    failures: u32,
    /// What it is once it is off: it could not be woken, for why and until when.
    failed: Option<(WakeFailure, Instant)>,
    /// Looks in a row that did not find what was to be.
    odd_looks: u32,
    /// When the provider wants to be asked again at the earliest.
    not_before: Option<Instant>,
    /// When the pool is asked to let go of it again at the earliest.
    retire_after: Option<Instant>,
    /// Since when somebody waits for it while it can be neither used nor woken.
    awaited_since: Option<Instant>,
    /// The pool is asked to let go of it so that it can be stopped, whoever waits.
    clearing: bool,
    /// Whether it is known to be off.
    is_off: bool,
    /// Whether the provider's last answer did not say what it does.
    says_nothing: bool,
    /// Why it could not be started so far.
    refused: Option<WakeFailure>,
    /// Whether a start was accepted in this wake.
    started: bool,
    /// The provider did not start it so far in this wake.
    delayed: bool,
    /// It is to wake, and neither did nor failed so far.
    ordered: bool,
    /// When the provider said last what it does.
    looked: Instant,
    restarts: Restarts,
    /// It is to sleep as soon as nobody uses it.
    dismissed: bool,
    /// Wanted awake until then, whoever uses it.
    held_until: Option<Instant>,
    keep_warm: bool,
    used: bool,
    /// Since when nobody uses it.
    idle_since: Instant,
    wakes: Wakes,
    effects: VecDeque<Effect>,
}

impl Lifecycle {
    /// A machine of which nothing is known. The provider is asked at once.
    pub fn new(policy: Policy, now: Instant) -> Self {
        let mut life = Self {
            policy,
            state: State::Unknown,
            asked: None,
            next: Some(now),
            jitter: 0.0,
            setbacks: 0,
            failures: 0,
            failed: None,
            odd_looks: 0,
            not_before: None,
            retire_after: None,
            awaited_since: None,
            clearing: false,
            is_off: false,
            says_nothing: false,
            refused: None,
            started: false,
            delayed: false,
            ordered: false,
            looked: now,
            restarts: Restarts::default(),
            dismissed: false,
            held_until: None,
            keep_warm: false,
            used: false,
            idle_since: now,
            wakes: Wakes::new(policy.prior),
            effects: VecDeque::new(),
        };
        life.advance(now);
        life
    }

    /// The same with pauses of its own; a number of 0 to 1, best a random one.
    pub fn jittered(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Until when it is held awake.
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// The next thing to do, until there is nothing.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When the machine that wakes will be there.
    pub fn eta(&self, now: Instant) -> Option<WakeEta> {
        match self.state {
            State::Waking { since } | State::Warming { since } | State::Restarting { since } => {
                Some(self.wakes.eta(now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }

    /// The one door: takes what happened. Drain [`Lifecycle::poll_effect`] before the next call.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Wake(hold) => {
                let until = now + hold;
                self.ordered = !matches!(self.state, State::Ready { .. });
                self.dismissed = false;
                self.cannot_yet(now);
                self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
            }
            Input::Sleep => {
                (self.held_until, self.ordered, self.dismissed) = (None, false, true);
                self.abandon(now);
                if matches!(self.state, State::Failed { .. }) && !self.is_off {
                    self.clear();
                }
            }
            Input::Used(used) => {
                if self.used && !used {
                    self.idle_since = now;
                }
                self.dismissed &= !used;
                self.used = used;
                self.cannot_yet(now);
            }
            Input::KeepWarm(keep_warm) => {
                // The hours begin: what was said before them is over.
                self.dismissed &= self.keep_warm || !keep_warm;
                self.keep_warm = keep_warm;
            }
            Input::Started(answer) => self.started(answer, now),
            Input::Stopped(answer) => self.stopped(answer, now),
            Input::Seen(answer) => self.seen(answer, now),
            Input::Probed(answers) => self.probed(answers, now),
            Input::Restarted(answer) => self.restarted(answer, now),
            Input::Retired(gone) => self.retired(gone, now),
            Input::Rehearsed(passed) => self.rehearsed(passed, now),
            Input::Moved => {
                // Somebody restarted it.
                if matches!(self.state, State::Ready { .. }) {
                    self.warm(now, now);
                }
            }
            Input::Stuck => self.stuck(now),
            Input::Restart => self.order_restart(),
            Input::Tune(policy) => self.policy = policy,
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// When [`Lifecycle::handle`] wants to be called again, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let next = self.next.filter(|_| self.asked.is_none());
        let tries = match self.state {
            State::Failed { until, .. } if self.asked != Some(Asked::Vacate) => Some(until),
            _ => None,
        };
        let hopeless = self.awaited_since.map(|since| since + self.policy.wake_deadline);
        [next, self.wake_until(), self.sleeps_at(), tries, hopeless].into_iter().flatten().min()
    }

    /// Why it could not be woken, or is refused by its provider for now, and when that is tried again.
    pub fn refusal(&self) -> Option<(WakeFailure, Instant)> {
        match self.state {
            State::Failed { why, until } => Some((why, until)),
            State::FallingAsleep => self.failed,
            State::Waking { .. } if self.delayed => self.refused.zip(self.next),
            _ => None,
        }
    }

    /// Whether somebody wants it awake now.
    pub fn is_wanted(&self, now: Instant) -> bool {
        if self.dismissed {
            return self.used;
        }
        self.used
            || self.ordered
            || self.keep_warm
            || self.policy.idle.is_zero()
            || self.held_until.is_some_and(|until| now < until)
    }

    /// When the wake that is under way has failed.
    fn wake_until(&self) -> Option<Instant> {
        match self.state {
            State::Waking { since } | State::Warming { since } | State::Restarting { since } => {
                Some(since + self.policy.wake_deadline)
            }
            _ => None,
        }
    }

    /// When it falls asleep, if nothing happens until then; what is asked comes to its end first.
    fn sleeps_at(&self) -> Option<Instant> {
        let State::Ready { since } = self.state else { return None };
        let stays = !self.dismissed && (self.keep_warm || self.policy.idle.is_zero());
        if self.used || stays || self.asked.is_some() {
            return None;
        }
        let after = self.retire_after.unwrap_or(self.idle_since);
        if self.dismissed {
            return Some(self.idle_since.max(after));
        }
        let idle = (self.idle_since + self.policy.idle).max(after);
        Some(idle.max(since + self.policy.min_awake).max(self.held_until.unwrap_or(idle)))
    }
}
