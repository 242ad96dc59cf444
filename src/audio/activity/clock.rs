//! When a side's sound was said or is heard, by the wall clock of the gateway (pure).
//!
//! Times are since the model began to listen.

use std::time::Duration;

/// How long the earliest packet is looked for before the others are held against it.
const LOOK: Duration = Duration::from_millis(500);
/// What comes later than this does not belong to the time before it.
const TOO_LATE: Duration = Duration::from_millis(300);

/// When a caller said what arrives: a packet that arrives at `t` was said before `t`, and one that comes later than its
/// place in the stream asks for was held up on its way, so that jitter and bursts do not move the ends of words.
///
/// The packets that came fastest are the measure; the rest count as late. That follows a caller's clock that runs
/// slow, and a stream from which packets are missing, within half a second.
#[derive(Debug, Default)]
pub struct CaptureClock {
    end: Option<Duration>,
    looked: Duration,
    least_late: Option<Duration>,
}

impl CaptureClock {
    /// Packets of these durations arrive together, or one alone: gives for each the time at which its last sample was
    /// said, never before that of the one before it.
    pub fn place(&mut self, together: &[Duration], now: Duration) -> Vec<Duration> {
        let before = self.end.unwrap_or_default();
        let duration = together.iter().sum();
        let by_position = self.end.map(|end| end + duration);
        let end = match by_position {
            Some(end) if end <= now && now - end < TOO_LATE => self.follow(end, duration, now - end),
            _ => {
                (self.looked, self.least_late) = (Duration::ZERO, None);
                now.max(before)
            }
        };
        self.end = Some(end);
        let mut follow = duration;
        let place = |packet: &Duration| {
            follow = follow.saturating_sub(*packet);
            end.saturating_sub(follow).max(before)
        };
        together.iter().map(place).collect()
    }

    fn follow(&mut self, end: Duration, duration: Duration, late: Duration) -> Duration {
        let least = self.least_late.map_or(late, |least| least.min(late));
        self.least_late = Some(least);
        self.looked += duration;
        if self.looked < LOOK {
            return end;
        }
        (self.looked, self.least_late) = (Duration::ZERO, None);
        end + least
    }
}

/// When a listener hears what leaves for it: at once, or after what left before and still plays.
///
/// This is what the simplest player does (and every browser's, `max(now, next)`): a packet that comes late lets it run
/// dry and delays all that follow without a pause.
#[derive(Debug, Default)]
pub struct PlayoutClock {
    end: Duration,
}

impl PlayoutClock {
    /// A packet of `duration` leaves: gives the time at which its last sample is heard.
    pub fn place(&mut self, duration: Duration, now: Duration) -> Duration {
        self.end = self.end.max(now) + duration;
        self.end
    }

    /// When everything that left will have been heard.
    pub fn end(&self) -> Duration {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn placed(arrivals_ms: &[u64]) -> Vec<u64> {
        let mut clock = CaptureClock::default();
        let mut place = |together: &[u64]| clock.place(&vec![ms(20); together.len()], ms(together[0]));
        let ends = arrivals_ms.chunk_by(|a, b| a == b).flat_map(&mut place);
        ends.map(|end| end.as_millis() as u64).collect()
    }

    #[test]
    fn a_packet_that_is_held_up_keeps_its_place() {
        assert_eq!(placed(&[100, 120, 180, 180, 180, 200]), [100, 120, 140, 160, 180, 200]);
    }

    #[test]
    fn a_packet_that_comes_early_shows_that_those_before_were_late() {
        assert_eq!(placed(&[100, 110, 130]), [100, 110, 130]);
    }

    #[test]
    fn packets_that_come_together_were_said_one_after_the_other() {
        assert_eq!(placed(&[1_000; 4]), [940, 960, 980, 1_000]);
        let pages = [100, 1_000, 1_000, 1_000, 1_000, 1_080, 1_080, 1_080, 1_080];
        assert_eq!(placed(&pages), [100, 940, 960, 980, 1_000, 1_020, 1_040, 1_060, 1_080]);
        // More than there was time for: what was said first has no place.
        assert_eq!(placed(&[100, 140, 140, 140, 140]), [100, 100, 100, 120, 140]);
    }

    proptest! {
        #[test]
        fn no_packet_was_said_before_the_one_before_it_nor_after_it_came(
            bursts in prop::collection::vec((0..700_u64, prop::collection::vec(0..120_u64, 1..8)), 1..60),
        ) {
            let (mut clock, mut now, mut last) = (CaptureClock::default(), Duration::ZERO, Duration::ZERO);
            for (wait, together) in bursts {
                now += ms(wait);
                let together: Vec<_> = together.into_iter().map(ms).collect();
                for end in clock.place(&together, now) {
                    prop_assert!(end >= last && end <= now, "{:?} after {:?} at {:?}", end, last, now);
                    last = end;
                }
            }
        }
    }

    #[test]
    fn after_a_gap_the_stream_begins_anew_and_a_slow_clock_is_followed() {
        assert_eq!(placed(&[100, 120, 1_000, 1_020]), [100, 120, 1_000, 1_020]);
        let slow: Vec<u64> = (0..1_000).map(|n| n * 21).collect();
        let late = slow.iter().zip(placed(&slow)).map(|(at, placed)| at - placed).max();
        assert!(late <= Some(50), "{late:?}");
    }

    #[test]
    fn a_listener_hears_no_sound_before_it_left_nor_before_what_left_earlier() {
        let mut clock = PlayoutClock::default();
        assert_eq!(clock.place(ms(80), ms(100)), ms(180));
        assert_eq!((clock.place(ms(80), ms(110)), clock.place(ms(80), ms(110))), (ms(260), ms(340)));
        assert_eq!(clock.place(ms(80), ms(500)), ms(580));
    }
}
