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
//! A server that gets ready and then loses its calls would close its breaker with every handshake; so calls that were
//! lost are counted apart, and only one that was served to its end forgets them.

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

/// One trial of a breaker, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialId(u64);

/// One server's breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Pauses since it was last closed.
    pauses: u32,
    /// The call that is under way and not judged yet, while it is not closed.
    trial: Option<TrialId>,
    /// Trials so far.
    trials: u64,
    /// Calls in a row that were lost after the server got ready.
    losses: u32,
    failed_at: Option<Instant>,
}

impl Breaker {
    /// A breaker that trusts its server.
    pub fn new(settings: BreakerSettings) -> Self {
        let state = State::Closed { failures: 0 };
        Self { settings, state, pauses: 0, trial: None, trials: 0, losses: 0, failed_at: None }
    }

    /// The same with other settings; a pause that has begun is as long as it was.
    pub fn tune(&mut self, settings: BreakerSettings) {
        self.settings = settings;
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
            Trust::HalfOpen => self.trial.is_none(),
            Trust::Open => false,
        }
    }

    /// Whether one call may go there although the pause is not over, because nobody else can be trusted either.
    pub fn admits_in_panic(&self, now: Instant, gap: Duration) -> bool {
        self.trial.is_none() && self.failed_at.is_none_or(|at| now >= at + gap)
    }

    /// A call goes there: the trial, where one is needed.
    pub fn admitted(&mut self, now: Instant) -> Option<TrialId> {
        if self.trust(now) == Trust::Closed {
            return None;
        }
        self.state = State::HalfOpen;
        self.trials += 1;
        self.trial = Some(TrialId(self.trials));
        self.trial
    }

    /// The server got ready.
    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
        self.trial = None;
        if self.losses == 0 {
            self.pauses = 0;
        }
    }

    /// A call that the server got ready for was not lost.
    pub fn served(&mut self) {
        self.losses = 0;
        if matches!(self.state, State::Closed { .. }) {
            self.pauses = 0;
        }
    }

    /// The server did not get ready; `jitter` of 0 to 1 makes a pause up to a fifth longer, so that not all end at once.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        match self.state {
            State::Closed { failures } if failures + 1 < self.settings.failures => {
                self.failed_at = Some(now);
                self.state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } | State::Open { .. } | State::HalfOpen => self.open(now, jitter),
        }
    }

    /// The server got ready and lost its call; `jitter` as for [`Breaker::failed`].
    pub fn lost(&mut self, now: Instant, jitter: f64) {
        self.losses = self.losses.saturating_add(1);
        if self.losses >= self.settings.failures {
            self.open(now, jitter);
        }
    }

    fn open(&mut self, now: Instant, jitter: f64) {
        self.failed_at = Some(now);
        self.trial = None;
        // The pause that is running was earned by the same trouble.
        if self.trust(now) == Trust::Open {
            return;
        }
        let pause = self.settings.pause.saturating_mul(1 << self.pauses.min(16)).min(self.settings.longest_pause);
        self.pauses += 1;
        self.state = State::Open { until: now + pause.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0) };
    }

    /// The call of this trial ended without a verdict: the next one is the trial.
    pub fn unjudged(&mut self, trial: TrialId) {
        if self.trial == Some(trial) {
            self.trial = None;
        }
    }

    /// When it admits a call without further news, if it does not now.
    pub fn reopens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::HalfOpen => None,
        }
    }

    /// Whether the last call there that was judged went well, as far as anybody knows.
    pub fn is_proven(&self) -> bool {
        self.state == State::Closed { failures: 0 } && self.losses == 0
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
            assert!(!breaker.is_proven(), "it may be tried, but not counted on");
            breaker.succeeded();
            assert!(breaker.is_proven());
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
        let first = breaker.admitted(later).unwrap();
        assert!(!breaker.admits(later + SECOND * 100), "one at a time, however long it takes");
        breaker.unjudged(first);
        assert!(breaker.admits(later));
        breaker.admitted(later);
        breaker.unjudged(first);
        assert!(!breaker.admits(later), "the end of an earlier trial is not the end of this one");
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
    fn a_server_that_gets_ready_and_loses_its_calls_is_found_out() {
        let (mut breaker, mut now) = (Breaker::new(BreakerSettings::default()), origin());
        let lose = |breaker: &mut Breaker, now| {
            breaker.succeeded();
            breaker.lost(now, 0.0);
        };
        for _ in 0..2 {
            lose(&mut breaker, now);
            lose(&mut breaker, now);
            breaker.succeeded();
            breaker.served();
        }
        assert_eq!(breaker.trust(now), Trust::Closed, "one call that was served forgets what was lost");
        for _ in 0..3 {
            lose(&mut breaker, now);
        }
        assert_eq!(breaker.reopens_at(), Some(now + SECOND * 5));
        for expected in [10, 20] {
            now += SECOND * 100;
            breaker.admitted(now);
            lose(&mut breaker, now);
            assert_eq!(breaker.reopens_at(), Some(now + SECOND * expected), "a handshake alone is no recovery");
        }
        now += SECOND * 100;
        breaker.admitted(now);
        breaker.succeeded();
        breaker.served();
        lose(&mut breaker, now);
        assert_eq!(breaker.trust(now), Trust::Closed);
    }

    #[test]
    fn in_panic_one_may_try_after_a_breath() {
        let (mut breaker, now) = opened();
        assert!(!breaker.admits_in_panic(now, SECOND) && breaker.admits_in_panic(now + SECOND, SECOND));
        breaker.admitted(now + SECOND);
        assert!(!breaker.admits_in_panic(now + SECOND * 3, SECOND));
    }
}
