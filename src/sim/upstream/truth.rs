//! When what was heard came in and what was said went out, so that it is known how long an answer really took (pure).

use std::collections::VecDeque;
use std::time::Duration;

/// Packets whose arrival is remembered: ten seconds of the shortest.
const MAX_ARRIVALS: usize = 512;

/// Samples of the model's 24 kHz, as time.
fn time_of(samples: u64) -> Duration {
    Duration::from_nanos(samples * 1_000_000 / 24)
}

/// The arrivals of one call. Times count from its handshake, positions are samples since then.
#[derive(Debug, Default)]
pub struct Truth {
    /// The end of each packet in the input, and when it came.
    arrivals: VecDeque<(u64, Duration)>,
    position: u64,
    /// When everything that was said will have been heard by whoever plays it without a pause.
    played: Duration,
}

impl Truth {
    /// A packet of so many samples came at `now`.
    pub fn arrived(&mut self, samples: u64, now: Duration) {
        self.position += samples;
        if self.arrivals.len() == MAX_ARRIVALS {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back((self.position, now));
    }

    /// When this position of the input was said by the caller: what comes together comes when its last sample was said.
    fn heard_at(&self, position: u64) -> Option<Duration> {
        let (_, came) = self.arrivals.iter().find(|(end, _)| *end >= position)?;
        let (end, _) = self.arrivals.iter().rev().find(|(_, other)| other == came)?;
        Some(came.saturating_sub(time_of(end - position)))
    }

    /// A page of so many samples leaves at `now`: gives the time at which a listener hears its first.
    pub fn leaves(&mut self, samples: u64, now: Duration) -> Duration {
        let begins = self.played.max(now);
        self.played = begins + time_of(samples);
        begins
    }

    /// From a position of the input to a position of the output, whose frame begins at `frame` and is heard at `begins`.
    pub fn between(&self, heard: u64, said: u64, frame: u64, begins: Duration) -> Option<Duration> {
        Some((begins + time_of(said.saturating_sub(frame))).saturating_sub(self.heard_at(heard)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_samples_not_of_their_packets() {
        let ms = Duration::from_millis;
        let mut truth = Truth::default();
        truth.arrived(1_920, ms(80));
        truth.arrived(960, ms(170));
        truth.arrived(960, ms(170));
        assert_eq!(
            (truth.leaves(1_920, ms(210)), truth.leaves(1_920, ms(280)), truth.leaves(0, ms(500))),
            (ms(210), ms(290), ms(500))
        );
        // Heard up to 60 ms before the second page's end, said 10 ms into a frame that begins at 300 ms.
        assert_eq!(truth.between(2_400, 4_080, 3_840, ms(300)), Some(ms(310 - 110)));
        assert_eq!(truth.between(4_000, 4_080, 3_840, ms(300)), None);
    }
}
