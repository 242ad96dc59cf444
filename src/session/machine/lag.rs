//! The lag guard: whether the model server keeps up with real time (pure).
//!
//! A server that is fed at real time (`crate::audio::pacer`) gives one second of sound a second, or less if it is slower;
//! it is never given the chance to be faster. What counts is how much further it falls behind in each second: behind what
//! it was fed, or would have been if it had not held everything up. Of the packets of a second the one that was least
//! late counts, so neither the length of a packet nor jitter matters. The worst three seconds in a row are left out, so
//! one stall does not matter, and what is lost by it is not expected back.
//!
//! What the caller sends or does not send moves what the server is fed, and with it the measure: no caller can make a
//! server look slow.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Effect, Machine, Note, state::Phase};
use crate::protocol::native::ServerEvent;

const SECOND: Duration = Duration::from_secs(1);
/// Over so many seconds a server is judged first. With the second from which it counts that makes eight.
const SOON: usize = 7;
/// Over so many seconds more than one stall is noticed, and a server that was slow has to keep up.
const STEADY: usize = 16;
/// One stall: a stall of two seconds has its effects in three of the clock's.
const STALL: usize = 3;
/// Below this a server is slow.
const SLOW: f64 = 0.95;
/// From here on a server keeps up: so much of sixteen seconds is what a burst of the caller leaves unanswered for a while.
const KEEPS_UP: f64 = 0.975;
/// Between two reports that say the same.
const REPORT_SECONDS: u32 = 10;
/// The caller is told of another factor if it differs by so much.
const NOTABLE: f64 = 0.1;

/// Measures one model server from the moment at which it listens.
#[derive(Debug)]
pub(super) struct LagGuard {
    received: Duration,
    /// The end of the second that runs.
    ends: Instant,
    /// The least that the server was behind in this second, in seconds, if anything came.
    least: Option<f64>,
    /// The same of the seconds before, the newest last.
    seconds: VecDeque<f64>,
    slow: Option<bool>,
    reported_ago: u32,
    told: Option<f64>,
}

/// What is known after one more second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Second {
    /// Over the last seven seconds; none before that.
    pub(super) realtime_factor: Option<f64>,
    /// The verdict, if it is new or was not said for a while.
    pub(super) report: Option<Report>,
}

/// The verdict on a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) slow: bool,
    /// Rounded to hundredths.
    pub(super) realtime_factor: f64,
    pub(super) changed: bool,
    /// What the caller is to be told, if anything.
    pub(super) tell: Option<Tell>,
}

/// What a caller is told of its server's pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tell {
    Degraded,
    Restored,
}

impl LagGuard {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            received: Duration::ZERO,
            ends: now + SECOND,
            least: None,
            seconds: VecDeque::with_capacity(STEADY + 2),
            slow: None,
            reported_ago: 0,
            told: None,
        }
    }

    /// The same where the caller was told of another server's pace, and waits to hear that this one is better.
    pub(super) fn after(told: Option<f64>, now: Instant) -> Self {
        Self { told, ..Self::new(now) }
    }

    /// The factor of which the caller was told last, unless it was told that the server keeps up.
    pub(super) fn told(&self) -> Option<f64> {
        self.told
    }

    /// So much sound came, of what is [owed](crate::audio::pacer::Pacer::owed) now.
    pub(super) fn received(&mut self, duration: Duration, owed: Duration) {
        self.received += duration;
        let behind = self.behind(owed);
        self.least = Some(self.least.map_or(behind, |least| least.min(behind)));
    }

    /// The model's clock stood still: what is known of the seconds before does not count beside those to come. The
    /// verdict stands, and is said again once there is something new to say it of.
    pub(super) fn restart(&mut self, now: Instant) {
        self.ends = now + SECOND;
        self.least = None;
        self.seconds.clear();
        self.reported_ago = 0;
    }

    /// When the running second ends.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// Ends the running second, if it has passed, with what was owed at its end; to be asked until there is none.
    pub(super) fn turn(&mut self, now: Instant, owed: Duration) -> Option<Second> {
        if now < self.ends {
            return None;
        }
        let least = self.least.take().unwrap_or_else(|| self.behind(owed));
        self.ends += SECOND;
        self.seconds.push_back(least);
        if self.seconds.len() > STEADY + 1 {
            self.seconds.pop_front();
        }
        Some(Second { realtime_factor: self.factor(SOON).map(rounded), report: self.report() })
    }

    fn report(&mut self) -> Option<Report> {
        let slow = self.judge()?;
        let soon = self.factor(SOON)?;
        let changed = self.slow.replace(slow) != Some(slow);
        self.reported_ago += 1;
        if !changed && self.reported_ago < REPORT_SECONDS {
            return None;
        }
        self.reported_ago = 0;
        let steady = self.factor(STEADY).filter(|_| slow);
        let realtime_factor = rounded(steady.map_or(soon, |steady| soon.min(steady)));
        let tell = match self.told {
            Some(_) if !slow => Some(Tell::Restored),
            Some(told) if changed || (told - realtime_factor).abs() >= NOTABLE => Some(Tell::Degraded),
            None if slow => Some(Tell::Degraded),
            _ => None,
        };
        if tell.is_some() {
            self.told = slow.then_some(realtime_factor);
        }
        Some(Report { slow, realtime_factor, changed, tell })
    }

    /// Whether the server is slow, once that can be said. Between the two limits the last verdict stands.
    fn judge(&self) -> Option<bool> {
        let is_slow = |seconds| self.factor_but_one_stall(seconds).is_some_and(|factor| factor < SLOW);
        if self.factor(STEADY).is_some_and(|factor| factor >= KEEPS_UP) {
            Some(false)
        } else if is_slow(SOON) || is_slow(STEADY) {
            Some(true)
        } else {
            self.slow
        }
    }

    /// Seconds of sound for each of the last `seconds`.
    fn factor(&self, seconds: usize) -> Option<f64> {
        let first = self.seconds.len().checked_sub(seconds + 1)?;
        let lost = self.seconds.back()? - self.seconds.get(first)?;
        Some((1.0 - lost / seconds as f64).max(0.0))
    }

    /// The same without the seconds of the worst stall in them, which never makes it less.
    fn factor_but_one_stall(&self, seconds: usize) -> Option<f64> {
        let first = self.seconds.len().checked_sub(seconds + 1)?;
        let lost = self.seconds.back()? - self.seconds.get(first)?;
        let of_stall = |at: usize| Some(self.seconds.get(at + STALL)? - self.seconds.get(at)?);
        let stall = (first..).map_while(of_stall).fold(f64::NEG_INFINITY, f64::max);
        Some((1.0 - (lost - stall) / (seconds - STALL) as f64).max(self.factor(seconds)?))
    }

    /// By how many seconds the sound is behind what is owed; less than zero for a server that gives more than it is fed.
    fn behind(&self, owed: Duration) -> f64 {
        owed.as_secs_f64() - self.received.as_secs_f64()
    }
}

/// To hundredths: what is told need not be more exact than it is.
fn rounded(factor: f64) -> f64 {
    (factor * 100.0).round() / 100.0
}

impl Machine {
    /// Whether seconds count: not those of a server that gives nothing. It is not slow, and its caller knows.
    fn takes_stock(&self) -> bool {
        self.phase == Phase::Streaming && !self.is_clock_stopped() && self.relay.recovering.is_none()
    }

    /// When the guard wants to be asked again.
    pub(super) fn next_second(&self) -> Option<Instant> {
        self.server.as_ref().filter(|_| self.takes_stock()).map(|server| server.lag.ends())
    }

    /// Takes stock of the seconds that have passed.
    pub(super) fn watch_pace(&mut self, now: Instant) {
        while self.takes_stock()
            && let Some(server) = &mut self.server
            && let pacer = &server.pacer
            && let owed = pacer.owed(server.lag.ends())
            && let Some(Second { realtime_factor, report }) = server.lag.turn(now, owed)
        {
            self.effects.push_back(Effect::Note(Note::Second { lag: pacer.lag(), realtime_factor }));
            let Some(Report { slow, realtime_factor, changed, tell }) = report else { continue };
            self.effects.push_back(Effect::Note(Note::Pace { slow, realtime_factor, changed }));
            match tell {
                Some(Tell::Degraded) => self.say(ServerEvent::Degraded { realtime_factor }, now),
                Some(Tell::Restored) => self.say(ServerEvent::Restored {}, now),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const FRAME: Duration = Duration::from_millis(80);

    /// A server in the closed loop: fed 80 ms every 80 ms while less than five frames are unanswered, and never given back
    /// what it could not take. All times count from when it listens.
    struct Server {
        step: fn(Duration, &Server) -> Duration,
        slow_from: Duration,
        slow_step: Duration,
        fast_step: Duration,
        stalls: Vec<Range<Duration>>,
        /// How late each packet is on its way, in turn.
        jitter: Vec<Duration>,
    }

    impl Server {
        fn with_step(step: Duration) -> Server {
            Server {
                step: |at, server| if at < server.slow_from { server.fast_step } else { server.slow_step },
                slow_from: Duration::MAX,
                slow_step: step,
                fast_step: step,
                stalls: Vec::new(),
                jitter: vec![Duration::ZERO],
            }
        }

        /// When each frame arrives, for so long.
        fn arrivals(&self, until: Duration) -> Vec<Duration> {
            let (mut fed, mut done, mut arrivals) = (FRAME, Duration::ZERO, Vec::<Duration>::new());
            while fed < until {
                let mut begins = fed.max(done);
                for stall in &self.stalls {
                    begins = if stall.contains(&begins) { stall.end } else { begins };
                }
                done = begins + (self.step)(begins, self);
                let late = done + self.jitter[arrivals.len() % self.jitter.len()];
                arrivals.push(arrivals.last().map_or(late, |last| late.max(*last)));
                let answered = arrivals.len().checked_sub(4).map_or(Duration::ZERO, |oldest| arrivals[oldest]);
                fed = (fed + FRAME).max(answered);
            }
            arrivals
        }

        /// The reports on it, and when each came.
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
        fn reports(&self, until: Duration) -> Vec<(Duration, Report)> {
            let start = Instant::now();
            let (mut guard, mut reports) = (LagGuard::new(start), Vec::new());
            for at in self.arrivals(until) {
                while let Some(second) = guard.turn(start + at, guard.ends() - start) {
                    reports.extend(second.report.map(|report| (guard.ends() - SECOND - start, report)));
                }
                guard.received(FRAME, at);
            }
            reports
        }

        fn found_slow(&self, until: Duration) -> Option<Duration> {
            self.reports(until).iter().find(|(_, report)| report.slow).map(|(at, _)| *at)
        }
    }

    #[test]
    fn a_slow_server_is_found_after_eight_seconds_and_its_factor_is_told() {
        for (step_ms, factor) in [(89, 0.9), (100, 0.8), (133, 0.6), (400, 0.2), (1_600, 0.05)] {
            let reports = Server::with_step(step_ms * MS).reports(40 * SECOND);
            let (at, first) = reports[0];
            assert_eq!((at, first.slow, first.tell), (8 * SECOND, true, Some(Tell::Degraded)), "{step_ms} ms");
            assert!((first.realtime_factor - factor).abs() <= 0.06, "{step_ms} ms: {first:?}");
            let again: Vec<_> = reports.iter().map(|(at, report)| (at.as_secs(), report.tell.is_some())).collect();
            assert_eq!(again, [(8, true), (18, false), (28, false), (38, false)], "{step_ms} ms");
        }
    }

    #[test]
    fn a_server_in_time_is_said_to_keep_up_and_its_caller_is_told_nothing() {
        let reports = Server::with_step(40 * MS).reports(38 * SECOND);
        let said: Vec<_> = reports.iter().map(|(at, report)| (at.as_secs(), report.slow, report.tell)).collect();
        assert_eq!(said, [(17, false, None), (27, false, None), (37, false, None)]);
    }

    #[test]
    fn one_stall_is_forgiven_and_a_second_one_soon_after_is_not() {
        for begin_ms in (1_000..13_000).step_by(130) {
            let stall = |from: Duration| from..from + 2 * SECOND;
            let mut server = Server { stalls: vec![stall(begin_ms * MS)], ..Server::with_step(40 * MS) };
            assert_eq!(server.found_slow(60 * SECOND), None, "{begin_ms} ms");
            server.stalls.push(stall(begin_ms * MS + 8 * SECOND));
            let found = server.found_slow(60 * SECOND).expect("two stalls");
            assert!(found <= begin_ms * MS + 20 * SECOND, "{begin_ms} ms: {found:?}");
        }
    }

    #[test]
    fn a_server_that_keeps_up_over_sixteen_seconds_is_restored() {
        let mut server = Server::with_step(100 * MS);
        (server.slow_from, server.fast_step, server.slow_step) = (30 * SECOND, 100 * MS, 40 * MS);
        let reports = server.reports(60 * SECOND);
        let restored = reports.iter().find(|(_, report)| !report.slow).unwrap();
        assert_eq!(restored.1.tell, Some(Tell::Restored));
        // Two slow seconds in sixteen are within the limit.
        assert!(restored.0 >= 43 * SECOND && restored.0 <= 47 * SECOND, "{:?}", restored.0);
    }

    #[test]
    fn a_server_that_gets_slower_still_is_told_again_after_ten_seconds() {
        let mut server = Server::with_step(100 * MS);
        (server.slow_from, server.slow_step) = (12 * SECOND, 200 * MS);
        let told = server.reports(40 * SECOND).into_iter().filter(|(_, report)| report.tell.is_some());
        let told: Vec<_> = told.map(|(at, report)| (at.as_secs(), report.realtime_factor)).collect();
        assert_eq!(told.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [8, 18, 28], "{told:?}");
        assert!((told[2].1 - 0.4).abs() < 0.05, "{told:?}");
    }

    #[test]
    fn a_server_that_catches_up_is_not_slow() {
        let mut server = Server::with_step(40 * MS);
        (server.slow_from, server.fast_step, server.slow_step) = (4 * SECOND, 110 * MS, 40 * MS);
        assert_eq!(server.found_slow(60 * SECOND), None);
    }

    #[test]
    fn a_clock_that_nobody_asked_for_long_says_so_once_a_second_passed() {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
        let start = Instant::now();
        let mut guard = LagGuard::new(start);
        assert_eq!(guard.turn(start + SECOND - MS, SECOND), None);
        let seconds = std::iter::from_fn(|| guard.turn(start + 12 * SECOND, 12 * SECOND)).count();
        assert_eq!((seconds, guard.ends()), (12, start + 13 * SECOND));
    }

    fn jitter() -> impl Strategy<Value = Vec<Duration>> {
        proptest::collection::vec((0..120_u32).prop_map(|ms| ms * MS), 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// 81,600 us for 80 ms are 0.98 of real time.
        #[test]
        fn who_keeps_up_is_never_found(
            step_us in 0..81_600_u64,
            stall_ms in (0..60_000_u32, 0..2_000_u32),
            jitter in jitter(),
        ) {
            let stall = stall_ms.0 * MS..(stall_ms.0 + stall_ms.1) * MS;
            let server = Server { stalls: vec![stall], jitter, ..Server::with_step(Duration::from_micros(step_us)) };
            prop_assert_eq!(server.found_slow(90 * SECOND), None);
        }

        /// 88,889 us for 80 ms are 0.9 of real time, 400,000 are 0.2.
        #[test]
        fn who_becomes_slow_is_found_within_ten_seconds(
            fast_us in 0..81_600_u64,
            slow_us in 88_889..400_000_u64,
            slow_from_ms in 0..60_000_u32,
            jitter in jitter(),
        ) {
            let mut server = Server { jitter, ..Server::with_step(Duration::from_micros(fast_us)) };
            (server.slow_from, server.slow_step) = (slow_from_ms * MS, Duration::from_micros(slow_us));
            let found = server.found_slow(server.slow_from + 30 * SECOND).expect("never found");
            prop_assert!(found >= server.slow_from && found <= server.slow_from + 10 * SECOND, "{:?}", found);
        }
    }
}
