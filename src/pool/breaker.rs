//! One model server's trust: closed, open, half-open (pure).
//!
//! ```text
//!            failures in a row               the pause is over
//!   Closed --------------------> Open(until) -----------------> HalfOpen (one trial at a time)
//!     ^                            ^                                |            |
//!     |                            +-------- the trial failed ------+            |
//!     +--------------------------------- the trial went well -------------------+
//! ```
//!
//! Only what the server did counts: a caller's bad prompt, a caller who left and our own shutdown are no verdict.

use std::time::{Duration, Instant};

/// How a [`Breaker`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause; each failed trial doubles it.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 3, pause: Duration::from_secs(5), longest_pause: Duration::from_secs(120) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// What a breaker says of its server, for metrics and snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Calls go there.
    Closed,
    /// One call at a time may try.
    HalfOpen,
    /// None may, until the pause is over.
    Open,
}

impl Trust {
    /// The metric's value: 0 closed, 1 half-open, 2 open.
    pub const fn level(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// One server's breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Pauses since it was last closed.
    pauses: u32,
    /// Calls that are under way and not judged yet, while it is not closed.
    trials: u32,
    failed_at: Option<Instant>,
}

impl Breaker {
    /// A breaker that trusts its server.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, pauses: 0, trials: 0, failed_at: None }
    }

    /// What it says now.
    pub fn trust(&self, now: Instant) -> Trust {
        match self.state {
            State::Closed { .. } => Trust::Closed,
            State::Open { until } if now < until => Trust::Open,
            State::Open { .. } | State::HalfOpen => Trust::HalfOpen,
        }
    }

    /// Whether one more call may go there.
    pub fn admits(&self, now: Instant) -> bool {
        match self.trust(now) {
            Trust::Closed => true,
            Trust::HalfOpen => self.trials == 0,
            Trust::Open => false,
        }
    }

    /// Whether one call may go there although the pause is not over, because nobody else can be trusted either.
    pub fn admits_in_panic(&self, now: Instant, gap: Duration) -> bool {
        self.trials == 0 && self.failed_at.is_none_or(|at| now >= at + gap)
    }

    /// A call goes there: the trial, where one is needed.
    pub fn admitted(&mut self, now: Instant) {
        match self.trust(now) {
            Trust::Closed => {}
            Trust::HalfOpen | Trust::Open => {
                self.state = State::HalfOpen;
                self.trials += 1;
            }
        }
    }

    /// The server did what it should.
    pub fn succeeded(&mut self) {
        *self = Self { failed_at: self.failed_at, ..Self::new(self.settings) };
    }

    /// The server failed; `jitter` of 0 to 1 makes a pause up to a fifth longer, so that not all end at once.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        self.failed_at = Some(now);
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.settings.failures => {
                State::Closed { failures: failures + 1 }
            }
            // The pause that is running was earned by the same trouble.
            State::Open { until } if now < until => State::Open { until },
            State::Closed { .. } | State::Open { .. } | State::HalfOpen => {
                let pause = self.settings.pause.saturating_mul(1 << self.pauses.min(16));
                self.pauses += 1;
                let pause = pause.min(self.settings.longest_pause);
                State::Open { until: now + pause.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0) }
            }
        };
        self.trials = 0;
    }

    /// A call there ended without a verdict: the next one is the trial.
    pub fn unjudged(&mut self) {
        self.trials = self.trials.saturating_sub(1);
    }

    /// When it admits a call without further news, if it does not now.
    pub fn reopens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::HalfOpen => None,
        }
    }

    /// When it last heard of a failure.
    pub fn failed_at(&self) -> Option<Instant> {
        self.failed_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), origin());
        for _ in 0..3 {
            assert!(breaker.admits(now));
            breaker.failed(now, 0.0);
        }
        (breaker, now)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_between_does_not() {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), origin());
        for _ in 0..2 {
            breaker.failed(now, 0.0);
            breaker.failed(now, 0.0);
            breaker.succeeded();
        }
        assert_eq!(breaker.trust(now), Trust::Closed);
        let (breaker, now) = opened();
        assert_eq!((breaker.trust(now), breaker.admits(now)), (Trust::Open, false));
    }

    #[test]
    fn half_open_admits_exactly_one_and_its_verdict_counts() {
        let (mut breaker, now) = opened();
        let later = now + SECOND * 5;
        assert!(!breaker.admits(later - Duration::from_millis(1)) && breaker.admits(later));
        breaker.admitted(later);
        assert!(!breaker.admits(later + SECOND * 100), "one at a time, however long it takes");
        breaker.unjudged();
        assert!(breaker.admits(later));
        breaker.admitted(later);
        breaker.failed(later, 0.0);
        assert!(!breaker.admits(later + SECOND * 9) && breaker.admits(later + SECOND * 10), "twice the pause");
        breaker.admitted(later + SECOND * 10);
        breaker.succeeded();
        assert_eq!(breaker.trust(later), Trust::Closed);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_jitter_only_lengthens_them() {
        let (mut breaker, mut now) = opened();
        for expected in [10, 20, 40, 80, 120, 120] {
            now += SECOND * 200;
            breaker.admitted(now);
            breaker.failed(now, 0.0);
            assert_eq!(breaker.reopens_at(), Some(now + SECOND * expected));
        }
        now += SECOND * 200;
        breaker.admitted(now);
        breaker.failed(now, 1.0);
        assert_eq!(breaker.reopens_at(), Some(now + SECOND * 144));
    }

    #[test]
    fn late_failures_of_calls_from_before_do_not_lengthen_the_pause() {
        let (mut breaker, now) = opened();
        breaker.failed(now + SECOND, 0.0);
        assert_eq!(breaker.reopens_at(), Some(now + SECOND * 5));
    }

    #[test]
    fn in_panic_one_may_try_after_a_breath() {
        let (mut breaker, now) = opened();
        assert!(!breaker.admits_in_panic(now, SECOND) && breaker.admits_in_panic(now + SECOND, SECOND));
        breaker.admitted(now + SECOND);
        assert!(!breaker.admits_in_panic(now + SECOND * 3, SECOND));
    }
}
