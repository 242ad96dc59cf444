//! How long wakes have taken, and how long the next one will (pure).

use std::{collections::VecDeque, time::Duration};

/// Past wakes that are kept.
const MEMORY: usize = 50;
/// So many wakes of a machine weigh as much as what is assumed before there is one.
const ASSUMED: usize = 5;

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
        self.took.push_back(time);
    }

    /// How much longer a wake lasts that has lasted for so long.
    pub fn eta(&self, elapsed: Duration) -> WakeEta {
        let longer: Vec<Duration> = self.sorted().into_iter().filter(|time| *time > elapsed).collect();
        let at = |percent: usize| longer.get((longer.len() * percent / 100).min(longer.len().saturating_sub(1)));
        // Longer than any known one: as long again as it has lasted is as good a guess as another.
        let rest = |time: Option<&Duration>| time.map_or(elapsed, |time| time.saturating_sub(elapsed));
        WakeEta { median: rest(at(50)), p90: rest(at(90)) }
    }

    /// Every length to draw from, shortest first: what is known, and what is assumed where little is.
    fn sorted(&self) -> Vec<Duration> {
        let Prior { median, p90 } = self.prior;
        let missing = ASSUMED.saturating_sub(self.took.len());
        // Evenly below the median, and beyond it so that nine of ten are below the 90th percentile.
        let step = p90.saturating_sub(median) / 4;
        let below = [median / 2, median.mul_f64(0.7), median.mul_f64(0.8), median.mul_f64(0.9), median];
        let above = [median + step, median + step * 2, median + step * 3, p90, p90 + step];
        let assumed = below.into_iter().chain(above);
        let assumed = assumed.flat_map(|time| std::iter::repeat_n(time, missing));
        // Each known wake counts as ten assumed ones, so that five outweigh what was assumed.
        let known = self.took.iter().flat_map(|time| std::iter::repeat_n(*time, 10));
        let mut times: Vec<Duration> = known.chain(assumed).collect();
        times.sort_unstable();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PRIOR: Prior = Prior { median: Duration::from_secs(60), p90: Duration::from_secs(180) };

    #[test]
    fn what_is_assumed_gives_way_to_what_is_known() {
        let mut wakes = Wakes::new(PRIOR);
        assert_eq!(wakes.eta(Duration::ZERO), WakeEta { median: SECOND * 90, p90: SECOND * 210 });
        for _ in 0..5 {
            wakes.took(SECOND * 20);
        }
        assert_eq!(wakes.eta(Duration::ZERO), WakeEta { median: SECOND * 20, p90: SECOND * 20 });
        for _ in 0..200 {
            wakes.took(SECOND * 30);
        }
        assert_eq!((wakes.took.len(), wakes.eta(SECOND * 10).p90), (MEMORY, SECOND * 20));
    }

    #[test]
    fn a_wake_that_lasts_is_judged_by_those_that_lasted_longer() {
        let mut wakes = Wakes::new(PRIOR);
        for seconds in 1..=10 {
            wakes.took(SECOND * seconds * 10);
        }
        let eta = wakes.eta(SECOND * 80);
        assert_eq!(eta, WakeEta { median: SECOND * 20, p90: SECOND * 20 });
        assert_eq!(wakes.eta(SECOND * 300).median, SECOND * 300, "beyond all that is known");
    }
}
