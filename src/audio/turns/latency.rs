//! The times of one kind, of one call.

use std::collections::VecDeque;
use std::time::Duration;

/// Times of which the median is taken; a call of half an hour has some two hundred.
const KEPT: usize = 512;

/// How many there were, and how long they were. The median is that of the last 512.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    count: u64,
    total: Duration,
    longest: Duration,
    kept: VecDeque<Duration>,
}

impl Latencies {
    /// One more.
    pub fn add(&mut self, latency: Duration) {
        self.count += 1;
        self.total += latency;
        self.longest = self.longest.max(latency);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(latency);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean, if there are any.
    pub fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.total.div_f64(self.count as f64))
    }

    /// The one in the middle, the longer of two, if there are any.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.kept.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// The shortest that so many of 100 do not exceed, if there are any; of the last 512.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.kept.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
    }

    /// The longest, if there are any.
    pub fn longest(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.longest)
    }
}
