//! How long it takes to the caller and back (pure): from a mark in the stream to what confirms it.

use std::time::{Duration, Instant};

/// A mark that is not confirmed for so long is not waited for: it may never have left.
const PATIENCE: Duration = Duration::from_secs(10);

/// One mark at a time is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    mark: Option<(u32, Instant)>,
}

impl RoundTrip {
    /// A mark leaves.
    pub fn marked(&mut self, mark: u32, now: Instant) {
        if self.mark.is_none_or(|(_, at)| now.saturating_duration_since(at) >= PATIENCE) {
            self.mark = Some((mark, now));
        }
    }

    /// The caller confirms a mark; gives the time since it left, if it is the one that is waited for.
    pub fn confirmed(&mut self, mark: u32, now: Instant) -> Option<Duration> {
        let (_, at) = self.mark.take_if(|(waited_for, _)| *waited_for == mark)?;
        Some(now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_at_a_time_is_timed_and_one_that_is_lost_is_given_up() {
        #[expect(clippy::disallowed_methods, reason = "where the test's own time begins")]
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut trip = RoundTrip::default();
        assert_eq!(trip.confirmed(0, at(0)), None, "nothing was asked");
        trip.marked(1, at(0));
        trip.marked(2, at(240));
        assert_eq!(trip.confirmed(2, at(300)), None, "the first is waited for");
        assert_eq!(trip.confirmed(1, at(310)), Some(Duration::from_millis(310)));
        assert_eq!(trip.confirmed(1, at(320)), None, "once");
        trip.marked(3, at(480));
        trip.marked(4, at(10_479));
        assert_eq!(trip.confirmed(4, at(10_480)), None);
        trip.marked(5, at(10_480));
        assert_eq!(trip.confirmed(5, at(10_500)), Some(Duration::from_millis(20)));
    }
}
