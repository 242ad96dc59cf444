//! How long wakes have taken, and how long the next one will (pure).

#[cfg(test)]
mod promises;

use std::{collections::VecDeque, time::Duration};

/// Past wakes that are kept.
const MEMORY: usize = 50;
/// What a wake counts for when another one has come after it.
const FADE: f64 = 0.95;
/// So many wakes are enough to judge by them alone: of fewer no more than nine of ten can be below the longest.
const ENOUGH: f64 = 9.0;
/// How many wakes the prior is taken for: in how long they are, and in how far they are apart.
const PLACE_WEIGHT: f64 = 0.5;
const SPREAD_WEIGHT: f64 = 2.0;
/// No wake is taken to be longer.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// The 55th, 60th, ... 95th percentile of the standard normal distribution.
const HALF: [f64; 9] = [0.1257, 0.2533, 0.3853, 0.5244, 0.6745, 0.8416, 1.0364, 1.2816, 1.6449];

/// What is assumed of a wake before a machine has shown how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prior {
    /// Half of the wakes are shorter.
    pub median: Duration,
    /// Nine of ten wakes are shorter.
    pub p90: Duration,
}

/// When a machine that wakes will be there, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeEta {
    /// In half of such wakes it is shorter.
    pub median: Duration,
    /// In nine of ten.
    pub p90: Duration,
}

/// One machine's wakes.
#[derive(Debug)]
pub struct Wakes {
    prior: Prior,
    took: VecDeque<Duration>,
}

impl Wakes {
    /// No wake is known yet.
    pub fn new(prior: Prior) -> Self {
        Self { prior, took: VecDeque::new() }
    }

    /// A wake took so long, from the request until calls were taken.
    pub fn took(&mut self, time: Duration) {
        if self.took.len() == MEMORY {
            self.took.pop_front();
        }
        self.took.push_back(time.min(LONGEST));
    }

    /// How much longer a wake lasts that has lasted for so long.
    pub fn eta(&self, elapsed: Duration) -> WakeEta {
        let mut longer = self.lengths();
        longer.retain(|(time, _)| *time > elapsed);
        // Longer than any known one: as long again as it has lasted is as good a guess as another.
        let rest = |share| quantile(&longer, share).map_or(elapsed, |time| time.saturating_sub(elapsed));
        WakeEta { median: rest(0.5), p90: rest(0.9) }
    }

    /// The lengths to judge by and the weight of each, shortest first.
    fn lengths(&self) -> Vec<(Duration, f64)> {
        let weights = (0..self.took.len()).rev().map(|younger| FADE.powf(younger as f64));
        let mut known: Vec<_> = self.took.iter().copied().zip(weights).collect();
        if known.iter().map(|(_, weight)| weight).sum::<f64>() < ENOUGH {
            return self.assumed().map(|time| (time, 1.0)).to_vec();
        }
        known.sort_unstable_by_key(|(time, _)| *time);
        known
    }

    /// What is assumed where little is known: a lognormal, of which the prior is taken for as much as a fraction of a wake
    /// that was seen. Its 5th, 10th, ... 95th percentile.
    fn assumed(&self) -> [Duration; 2 * HALF.len() + 1] {
        let Prior { median, p90 } = self.prior;
        let log = |time: Duration| time.as_secs_f64().max(0.001).ln();
        let logs: Vec<f64> = self.took.iter().map(|time| log(*time)).collect();
        let (count, prior) = (logs.len() as f64, log(median));
        let mean = logs.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        // The normal-inverse-gamma prior of Bayes' rule, such that without a known wake its percentiles are those wanted.
        let spread = (log(p90) - prior).max(0.0) / student(HALF[7], SPREAD_WEIGHT) / (1.0 + 1.0 / PLACE_WEIGHT).sqrt();
        let (place_weight, freedom) = (PLACE_WEIGHT + count, SPREAD_WEIGHT + count);
        let place = (PLACE_WEIGHT * prior + count * mean) / place_weight;
        let apart = PLACE_WEIGHT * count / place_weight * (mean - prior).powi(2);
        let spread = ((SPREAD_WEIGHT * spread.powi(2) + squares + apart) / freedom * (1.0 + 1.0 / place_weight)).sqrt();
        std::array::from_fn(|at| {
            let (below, above) = (HALF.len().checked_sub(at + 1), at.checked_sub(HALF.len() + 1));
            let z = below.map_or(0.0, |at| -HALF[at]) + above.map_or(0.0, |at| HALF[at]);
            let seconds = (place + spread * student(z, freedom)).exp().min(LONGEST.as_secs_f64());
            Duration::from_millis((seconds * 1_000.0).round() as u64)
        })
    }
}

/// Where this share of all weights is not above, between one length and the next in proportion. The wake that is to come
/// weighs as much as the youngest that is known, and may be longer than all of them.
fn quantile(lengths: &[(Duration, f64)], share: f64) -> Option<Duration> {
    let (shortest, longest) = (lengths.first()?.0, lengths.last()?.0);
    let mut missing = share * (lengths.iter().map(|(_, weight)| weight).sum::<f64>() + 1.0);
    let mut below = shortest;
    for (time, weight) in lengths {
        if *weight >= missing {
            return Some(below + (*time - below).mul_f64(missing / weight));
        }
        (missing, below) = (missing - weight, *time);
    }
    Some(longest)
}

/// Student's distribution with so many degrees of freedom, where the standard normal one is at `z` (Cornish and Fisher).
fn student(z: f64, freedom: f64) -> f64 {
    z + (z.powi(3) + z) / (4.0 * freedom) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PRIOR: Prior = Prior { median: Duration::from_secs(60), p90: Duration::from_secs(180) };

    fn after(seconds: &[u64]) -> Wakes {
        let mut wakes = Wakes::new(PRIOR);
        seconds.iter().for_each(|seconds| wakes.took(Duration::from_secs(*seconds)));
        wakes
    }

    #[test]
    fn what_is_assumed_gives_way_to_what_is_known() {
        let eta = |seconds: &[u64]| after(seconds).eta(Duration::ZERO);
        assert_eq!(eta(&[]), WakeEta { median: SECOND * 60, p90: SECOND * 180 });
        let (one, five) = (eta(&[20]), eta(&[20; 5]));
        assert!((SECOND * 25..SECOND * 35).contains(&one.median) && one.p90 > SECOND * 60, "{one:?}");
        assert!((SECOND * 20..SECOND * 25).contains(&five.median) && five.p90 < SECOND * 40, "{five:?}");
        assert_eq!(eta(&[20; 12]), WakeEta { median: SECOND * 20, p90: SECOND * 20 }, "twelve are enough");
        let mut wakes = after(&[20; 50]);
        for _ in 0..20 {
            wakes.took(SECOND * 30);
        }
        assert_eq!(
            (wakes.took.len(), wakes.eta(Duration::ZERO).median),
            (MEMORY, SECOND * 30),
            "the younger count more"
        );
        assert_eq!(wakes.eta(SECOND * 10).p90, SECOND * 20);
    }

    #[test]
    fn nine_of_ten_is_an_order_statistic_of_what_is_known_and_the_next() {
        let even: Vec<_> = (1..=9).map(|seconds| (SECOND * seconds, 1.0)).collect();
        assert_eq!(quantile(&even, 0.9), Some(SECOND * 9), "the ninth of ten");
        assert_eq!(quantile(&even, 0.5), Some(SECOND * 5));
        assert_eq!(quantile(&even[..5], 0.9), Some(SECOND * 5), "as far as is known");
        assert_eq!(quantile(&even[..4], 0.5), Some(SECOND * 5 / 2), "between the second and the third");
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_wake_that_lasts_is_judged_by_those_that_lasted_longer() {
        let seconds: Vec<u64> = (1..=20).map(|n| n * 10).collect();
        let wakes = after(&seconds);
        let eta = wakes.eta(SECOND * 180);
        assert!(eta.median > SECOND * 10 && eta.p90 == SECOND * 20, "190 or 200 s in all: {eta:?}");
        assert_eq!(wakes.eta(SECOND * 300).median, SECOND * 300, "beyond all that is known");
    }

    proptest! {
        #[test]
        fn estimates_are_in_order_and_within_what_is_known(
            took in prop::collection::vec(prop_oneof![0_u64..300_000, any::<u64>()], 0..60),
            elapsed in prop_oneof![Just(0_u64), 0_u64..600_000, any::<u64>()],
        ) {
            let mut wakes = Wakes::new(PRIOR);
            took.iter().for_each(|ms| wakes.took(Duration::from_millis(*ms)));
            let elapsed = Duration::from_millis(elapsed);
            let eta = wakes.eta(elapsed);
            prop_assert!(eta.median <= eta.p90 && eta.p90 <= LONGEST.max(elapsed), "{:?}", eta);
            if took.len() >= 12 {
                let longest = took.iter().rev().take(MEMORY).max().map(|ms| Duration::from_millis(*ms)).unwrap();
                prop_assert!(elapsed + eta.p90 <= longest.min(LONGEST).max(elapsed * 2), "{:?}", eta);
            }
        }
    }
}
