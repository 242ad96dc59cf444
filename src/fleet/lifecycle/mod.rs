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
//! **Invariants:** the provider is asked one thing at a time; nothing is stopped that the pool has not let go of, in the
//! same step in which it found it unused; a wake that was asked for ends in `Ready` or `Failed` by its deadline.
//! What the provider says is read back at the start and every now and then: machines are started and stopped by others.

mod step;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    provider::PowerState,
    wakes::{Prior, WakeEta, Wakes},
};

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
            prior: Prior { median: MINUTE, p90: MINUTE * 3 },
        }
    }
}

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not known yet: the provider was not heard.
    Unknown,
    /// Stopped.
    Asleep,
    /// To be started, or starting.
    Waking {
        /// Since when.
        since: Instant,
    },
    /// It runs, and its model server does not answer yet.
    Warming {
        /// Since when it wakes.
        since: Instant,
    },
    /// Calls go there.
    Ready {
        /// Since when.
        since: Instant,
    },
    /// The pool was asked to let go of it.
    Retiring {
        /// Since when it has been awake.
        since: Instant,
    },
    /// To be stopped, or stopping.
    FallingAsleep,
    /// It could not be woken.
    Failed {
        /// Why.
        why: WakeFailure,
        /// When another try makes sense.
        until: Instant,
    },
}

impl State {
    /// The state in one word, for metrics, logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Asleep => "asleep",
            Self::Waking { .. } => "waking",
            Self::Warming { .. } => "warming",
            Self::Ready { .. } | Self::Retiring { .. } => "ready",
            Self::FallingAsleep => "falling_asleep",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Why a machine could not be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakeFailure {
    /// Not in time.
    Deadline,
    /// The provider has no room for it: no GPU is free.
    Capacity,
    /// The provider refuses the credential.
    Auth,
    /// The provider does not know it.
    NotFound,
    /// The provider refuses for another reason.
    Refused,
}

impl WakeFailure {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 5] = [Self::Deadline, Self::Capacity, Self::Auth, Self::NotFound, Self::Refused];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Capacity => "capacity",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
        }
    }
}

/// Why a provider did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has no room for the machine now.
    Capacity(Option<Duration>),
    /// It was asked too often.
    RateLimited(Option<Duration>),
    /// It refuses the credential.
    Auth,
    /// It does not know the machine.
    NotFound,
    /// No answer, or one that another try may better.
    Passing,
    /// It will never do so.
    Refused,
}

/// Who wants a machine to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakeReason {
    /// A call waits.
    Call,
    /// Somebody who will call soon: a ticket was made.
    Hint,
    /// An operator, an autoscaler, a schedule of others.
    Request,
    /// The hours in which it is to be awake.
    Schedule,
}

/// Everything that can happen to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody wants it awake, and for so long from now on.
    Wake(WakeReason, Duration),
    /// An operator wants it to sleep as soon as nobody uses it.
    Sleep,
    /// Whether calls use it or wait for it.
    Used(bool),
    /// Whether the hours are on in which it is to be awake.
    KeepWarm(bool),
    /// The provider's answer to a start.
    Started(Result<(), Trouble>),
    /// The provider's answer to a stop.
    Stopped(Result<(), Trouble>),
    /// The provider's answer to a look.
    Seen(Result<PowerState, Trouble>),
    /// Whether the model server answered.
    Probed(bool),
    /// Whether the pool let go of it: then no call gets there any more.
    Retired(bool),
    /// Time passed.
    Tick,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the provider to start it.
    Start,
    /// Ask the provider to stop it.
    Stop,
    /// Ask the provider what it does.
    Look,
    /// Ask its model server whether it answers.
    Probe,
    /// Ask the pool to let go of it, if nobody uses it.
    Retire,
    /// Tell the pool that it is waking, and will be there after so long.
    Wakes(WakeEta),
    /// Tell the pool that it takes calls.
    Serves,
    /// Tell the pool that it is off: nobody has a socket there.
    Off,
    /// Tell the pool that it takes no calls for now.
    Away,
    /// Tell the pool that it could not be woken, and for how long it is not tried again.
    Fails(WakeFailure, Duration),
    /// Count a wake that took so long.
    Woke(Duration),
}

/// What the provider, the server or the pool is asked, and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Start,
    Stop,
    Look,
    Probe,
    Retire,
}

/// One machine.
#[derive(Debug)]
pub struct Lifecycle {
    policy: Policy,
    state: State,
    asked: Option<Asked>,
    /// When the next thing is asked.
    next: Option<Instant>,
    /// What went wrong in a row.
    setbacks: u32,
    /// Why it could not be started so far.
    refused: Option<WakeFailure>,
    /// Whether a start was accepted in this wake.
    started: bool,
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
            setbacks: 0,
            refused: None,
            started: false,
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
            State::Waking { since } | State::Warming { since } => {
                Some(self.wakes.eta(now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }

    /// The one door: takes what happened. Drain [`Lifecycle::poll_effect`] before the next call.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Wake(_, hold) => {
                let until = now + hold;
                self.dismissed = false;
                self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
            }
            Input::Sleep => {
                (self.held_until, self.dismissed) = (None, true);
                self.abandon(now);
            }
            Input::Used(used) => {
                if self.used && !used {
                    self.idle_since = now;
                }
                self.dismissed &= !used;
                self.used = used;
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
            Input::Retired(gone) => self.retired(gone, now),
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// When [`Lifecycle::handle`] wants to be called again, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let next = self.next.filter(|_| self.asked.is_none());
        let tries = if let State::Failed { until, .. } = self.state { Some(until) } else { None };
        [next, self.wake_until(), self.sleeps_at(), tries].into_iter().flatten().min()
    }

    /// Whether somebody wants it awake now.
    fn is_wanted(&self, now: Instant) -> bool {
        if self.dismissed {
            return self.used;
        }
        self.used || self.keep_warm || self.policy.idle.is_zero() || self.held_until.is_some_and(|until| now < until)
    }

    /// When the wake that is under way has failed.
    fn wake_until(&self) -> Option<Instant> {
        match self.state {
            State::Waking { since } | State::Warming { since } => Some(since + self.policy.wake_deadline),
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
        if self.dismissed {
            return Some(self.idle_since);
        }
        let idle = self.idle_since + self.policy.idle;
        Some(idle.max(since + self.policy.min_awake).max(self.held_until.unwrap_or(idle)))
    }
}
