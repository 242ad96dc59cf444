//! What a listener misses of sound that comes late (pure).
//!
//! The listener's player is taken for one that begins when the first packet comes, a little later than that packet, and
//! plays on: sound that is not there when it is due is missing, and what comes afterwards is played at once.

use std::time::{Duration, Instant};

/// What a player keeps before it begins: two frames of the model.
const LEAD: Duration = Duration::from_millis(160);

/// One player.
#[derive(Clone, Copy, Debug, Default)]
pub struct Playout {
    /// Until when it has sound; none before the first packet.
    until: Option<Instant>,
}

impl Playout {
    /// A packet of this duration goes to the player; gives for how long the player had nothing before it.
    pub fn push(&mut self, duration: Duration, now: Instant) -> Duration {
        let Some(until) = self.until else {
            self.until = Some(now + LEAD + duration);
            return Duration::ZERO;
        };
        let missed = now.saturating_duration_since(until);
        self.until = Some(until.max(now) + duration);
        missed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Duration = Duration::from_millis(80);

    #[expect(clippy::disallowed_methods, reason = "where the test's own time begins")]
    fn begin() -> Instant {
        Instant::now()
    }

    #[test]
    fn sound_that_is_late_by_less_than_the_lead_is_not_missed_and_by_more_it_is() {
        let (begin, ms) = (begin(), Duration::from_millis);
        let mut playout = Playout::default();
        for (at_ms, missed_ms) in [(0, 0), (80, 0), (240, 0), (400, 0), (730, 250), (731, 0), (970, 80), (971, 0)] {
            assert_eq!(playout.push(FRAME, begin + ms(at_ms)), ms(missed_ms), "at {at_ms} ms");
        }
    }

    proptest! {
        /// What is played, missed and still there is the time that has passed, and the lead.
        #[test]
        fn nothing_is_missed_twice(gaps_ms in prop::collection::vec(0_u64..2_000, 1..60)) {
            let begin = begin();
            let (mut playout, mut now, mut missed) = (Playout::default(), begin, Duration::ZERO);
            playout.push(FRAME, now);
            for gap in &gaps_ms {
                now += Duration::from_millis(*gap);
                missed += playout.push(FRAME, now);
            }
            let sound = FRAME * (gaps_ms.len() as u32 + 1);
            prop_assert_eq!(playout.until, Some(begin + LEAD + sound + missed));
            prop_assert!(missed <= now - begin);
        }
    }
}
