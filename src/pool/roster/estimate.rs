//! How long a wait will be: the queue is played forward many times with call lengths from the past.
//!
//! A slot that has been held for `t` will be held as long as some past call that was longer than `t`; none is held
//! beyond the longest call allowed. Each play-through draws one such length for every slot, and gives the slots to the
//! waiters in order; the n-th waiter's estimate is the median, or the 90th percentile, of its waits. What a handful of
//! calls says of all others is uncertain too: each play-through takes all of them for longer or shorter, by the standard
//! error of their mean. Until there is a history, lengths are spread evenly over orders of magnitude between half a minute
//! and the longest call. That waiters may leave is not looked at: it only shortens waits.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::Grant;

/// Past lengths that are kept.
const MEMORY: usize = 500;
/// Lengths assumed before there are that many real ones.
const ASSUMED: usize = 20;
/// The shortest assumed length.
const SHORTEST: Duration = Duration::from_secs(30);
/// The least that calls are taken for, as a factor.
const SHORTEST_STRETCH: f64 = 0.2;
/// Nine of ten numbers of the standard normal distribution are smaller.
const NORMAL_P90: f64 = 1.2816;
/// Waiters beyond this number are estimated as the last of them.
pub(super) const FARTHEST: usize = 128;

/// A wait that is to be expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eta {
    /// Half of the waits are shorter.
    pub median: Duration,
    /// Nine of ten waits are shorter.
    pub p90: Duration,
}

/// How long calls have held slots.
#[derive(Debug)]
pub struct History {
    /// The grants under which they ended, and their lengths.
    lengths: VecDeque<(Grant, Duration)>,
    longest: Duration,
    rounds: usize,
    rng: SmallRng,
}

impl History {
    /// A history without a past; no slot is held for longer than `longest`, and an estimate takes so many rounds: the
    /// 90th percentile of 100 rests on 10 of them.
    pub fn new(longest: Duration, rounds: usize, seed: u64) -> Self {
        Self { lengths: VecDeque::new(), longest, rounds: rounds.max(1), rng: SmallRng::seed_from_u64(seed) }
    }

    /// No slot is held for longer than this from now on.
    pub fn bound(&mut self, longest: Duration) {
        self.longest = longest;
        self.lengths.iter_mut().for_each(|(_, length)| *length = (*length).min(longest));
    }

    /// A call ended under this grant, and has held slots for so long.
    pub fn ended(&mut self, grant: Grant, length: Duration) {
        if self.lengths.len() == MEMORY {
            self.lengths.pop_front();
        }
        self.lengths.push_back((grant, length.min(self.longest)));
    }

    /// The call of this grant did not end after all: it asks for another slot.
    pub fn goes_on(&mut self, grant: Grant) {
        self.lengths.retain(|(ended, _)| *ended != grant);
    }

    /// The waits of the first `waiters`, in order, when slots have been held for `held` and `free` more come at these
    /// delays (a server that wakes, a pause that ends).
    pub fn waits(&mut self, held: &[Duration], coming: &[Eta], waiters: usize) -> Vec<Eta> {
        let waiters = waiters.min(FARTHEST);
        if waiters == 0 || held.is_empty() && coming.is_empty() {
            return Vec::new();
        }
        let lengths = self.sorted();
        let doubt = relative_error_of_mean(&lengths);
        let mut waits = vec![Vec::with_capacity(self.rounds); waiters];
        for _ in 0..self.rounds {
            let stretch = (1.0 + doubt * self.normal()).max(SHORTEST_STRETCH);
            let mut ends: BinaryHeap<Reverse<Duration>> = coming.iter().map(|at| Reverse(self.comes(*at))).collect();
            ends.extend(held.iter().map(|held| Reverse(self.remaining(&lengths, *held, stretch))));
            for wait in &mut waits {
                let Some(Reverse(free_at)) = ends.pop() else { break };
                wait.push(free_at);
                ends.push(Reverse(free_at + self.remaining(&lengths, Duration::ZERO, stretch)));
            }
        }
        waits.into_iter().map(|mut wait| percentiles(&mut wait)).collect()
    }

    /// A slot's remaining time when it has been held for `held`, and all calls are longer by this factor.
    fn remaining(&mut self, lengths: &[Duration], held: Duration, stretch: f64) -> Duration {
        let longer = &lengths[lengths.partition_point(|length| *length <= held)..];
        if longer.is_empty() {
            // Longer than anything known: any time until the limit is as likely as another.
            return self.longest.saturating_sub(held).mul_f64(self.rng.random());
        }
        let remaining = longer[self.rng.random_range(0..longer.len())] - held;
        remaining.mul_f64(stretch).min(self.longest.saturating_sub(held))
    }

    /// When a slot comes of which the median and the 90th percentile are known: as if these were of a lognormal.
    fn comes(&mut self, eta: Eta) -> Duration {
        let (median, p90) = (eta.median.as_secs_f64().max(0.001), eta.p90.as_secs_f64().max(0.001));
        if p90 <= median {
            return eta.median;
        }
        let longest = self.longest.max(eta.p90) * 4;
        Duration::from_secs_f64((median * (p90 / median).powf(self.normal() / NORMAL_P90)).min(longest.as_secs_f64()))
    }

    /// A number of the standard normal distribution (Box and Muller's way).
    fn normal(&mut self) -> f64 {
        let (distance, angle): (f64, f64) = (1.0 - self.rng.random::<f64>(), self.rng.random());
        (-2.0 * distance.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// The lengths that are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<Duration> {
        self.lengths.iter().map(|(_, length)| *length).collect()
    }

    /// Every length to draw from, shortest first.
    fn sorted(&self) -> Vec<Duration> {
        let missing = ASSUMED.saturating_sub(self.lengths.len());
        let (short, long) = (SHORTEST.min(self.longest).as_secs_f64().max(0.001), self.longest.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let assumed = (0..missing).map(|n| {
            let share = (n as f64 + 0.5) / missing as f64;
            Duration::from_secs_f64(short * (long / short).max(1.0).powf(share))
        });
        let mut lengths: Vec<Duration> = self.lengths.iter().map(|(_, length)| *length).chain(assumed).collect();
        lengths.sort_unstable();
        lengths
    }
}

/// The standard error of the mean, as a part of the mean.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn relative_error_of_mean(lengths: &[Duration]) -> f64 {
    let count = lengths.len().max(2) as f64;
    let mean = lengths.iter().map(Duration::as_secs_f64).sum::<f64>() / count;
    let squares: f64 = lengths.iter().map(|length| (length.as_secs_f64() - mean).powi(2)).sum();
    if mean > 0.0 { (squares / (count - 1.0) / count).sqrt() / mean } else { 0.0 }
}

fn percentiles(waits: &mut [Duration]) -> Eta {
    waits.sort_unstable();
    let at = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
    Eta { median: at(50).copied().unwrap_or_default(), p90: at(90).copied().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::UpstreamId;

    const MINUTE: Duration = Duration::from_secs(60);
    const GRANT: Grant = Grant { upstream: UpstreamId(1), slot: 0, generation: 1 };

    /// A history of calls of 1 to 10 minutes, evenly.
    fn history() -> History {
        let mut history = History::new(MINUTE * 30, 100, 7);
        for n in 0..100 {
            history.ended(GRANT, MINUTE + MINUTE * 9 * n / 100);
        }
        history
    }

    #[test]
    fn one_slot_is_waited_for_as_long_as_such_calls_last() {
        let waits = history().waits(&[Duration::ZERO], &[], 2);
        let median = waits[0].median.as_secs_f64() / 60.0;
        let p90 = waits[0].p90.as_secs_f64() / 60.0;
        assert!((4.0..7.0).contains(&median) && (8.0..10.0).contains(&p90), "{waits:?}");
        assert!(waits[1].median > waits[0].median + MINUTE * 3, "the second waits for two calls: {waits:?}");
    }

    #[test]
    fn a_call_that_has_lasted_is_judged_by_those_that_lasted_longer() {
        let old = history().waits(&[MINUTE * 9], &[], 1)[0];
        assert!(old.p90 <= MINUTE, "{old:?}");
        let ancient = history().waits(&[MINUTE * 29], &[], 1)[0];
        assert!(ancient.p90 <= MINUTE, "no call goes beyond the limit: {ancient:?}");
    }

    #[test]
    fn many_slots_shorten_the_wait_and_one_that_comes_ends_it() {
        let one = history().waits(&[Duration::ZERO], &[], 1)[0];
        let eight = history().waits(&[Duration::ZERO; 8], &[], 1)[0];
        assert!(eight.p90 < one.median, "{eight:?} {one:?}");
        let soon = history().waits(
            &[Duration::ZERO],
            &[Eta { median: Duration::from_secs(5), p90: Duration::from_secs(5) }],
            1,
        )[0];
        assert_eq!((soon.median, soon.p90), (Duration::from_secs(5), Duration::from_secs(5)));
    }

    #[test]
    fn without_a_past_the_limit_bounds_the_guess() {
        let mut history = History::new(MINUTE * 30, 100, 7);
        let wait = history.waits(&[Duration::ZERO], &[], 1)[0];
        assert!(wait.median > Duration::from_secs(30) && wait.p90 <= MINUTE * 30, "{wait:?}");
        assert_eq!(history.waits(&[], &[], 3), [], "nothing comes: nothing can be said");
    }

    #[test]
    fn nine_of_ten_waits_end_before_the_p90() {
        // A world of its own: exponential call lengths, three slots, and estimates made at random moments.
        let mut rng = SmallRng::seed_from_u64(1);
        let mut exponential = move || Duration::from_secs_f64(-120.0 * (1.0 - rng.random::<f64>()).ln());
        let mut history = History::new(MINUTE * 30, 100, 2);
        for _ in 0..300 {
            history.ended(GRANT, exponential().min(MINUTE * 30));
        }
        let (mut kept, trials) = (0, 400);
        for _ in 0..trials {
            // Memoryless: what remains is distributed as the whole, however long a slot has been held.
            let held = [exponential(), exponential(), exponential()];
            let mut ends = [exponential(), exponential(), exponential()];
            ends.sort_unstable();
            let eta = history.waits(&held, &[], 2);
            kept += u32::from(ends[0] <= eta[0].p90);
        }
        let share = f64::from(kept) / f64::from(trials);
        assert!((0.85..=0.95).contains(&share), "{share}");
    }
}
