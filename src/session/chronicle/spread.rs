//! Times of one kind as three numbers.

use std::time::Duration;

use super::millis;
use crate::{audio::turns::Latencies, store::details::Spread};

/// Times that are kept; a call of two hours has as many seconds.
const KEPT: usize = 7_200;

/// One time a second. Later ones than are kept still count for the longest.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept_ms: Vec<u32>,
    longest: Duration,
}

impl Samples {
    pub(super) fn add(&mut self, time: Duration) {
        self.longest = self.longest.max(time);
        if self.kept_ms.len() < KEPT {
            self.kept_ms.push(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        }
    }

    /// None without a time.
    pub(super) fn spread(&self) -> Option<Spread> {
        let mut sorted = self.kept_ms.clone();
        sorted.sort_unstable();
        // The smallest that so many of 100 do not exceed.
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Spread { p50_ms: rank(50)?.into(), p95_ms: rank(95)?.into(), max_ms: millis(self.longest) })
    }
}

/// The same of a call's turns; none if there were none.
pub(super) fn of(latencies: &Latencies) -> Option<Spread> {
    let at = |percent| latencies.percentile(percent).map(millis);
    Some(Spread { p50_ms: at(50)?, p95_ms: at(95)?, max_ms: millis(latencies.longest()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_three_numbers_and_what_is_not_kept_can_be_the_longest() {
        let mut samples = Samples::default();
        assert_eq!(samples.spread(), None);
        for ms in (1..=100).rev() {
            samples.add(Duration::from_millis(ms));
        }
        assert_eq!(samples.spread(), Some(Spread { p50_ms: 50, p95_ms: 95, max_ms: 100 }));
        for _ in 0..KEPT {
            samples.add(Duration::from_millis(7));
        }
        samples.add(Duration::from_millis(900));
        assert_eq!(samples.spread(), Some(Spread { p50_ms: 7, p95_ms: 7, max_ms: 900 }));
        assert_eq!(samples.kept_ms.len(), KEPT);
    }
}
