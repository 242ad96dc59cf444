//! When audio may leave for a caller whose player keeps little: bursts are spread, nothing is dropped.

use std::time::{Duration, Instant};

/// What a caller's player has been given, by the clock.
///
/// It starts anew whenever the player must have run dry, so that no time is owed and none is made up for.
#[derive(Debug)]
pub struct Smoother {
    lead: Option<Duration>,
    /// When everything that was given will have been played.
    played_at: Instant,
}

impl Smoother {
    /// For a player that may be given so much ahead of time; `None` takes everything at once.
    pub fn new(lead: Option<Duration>, now: Instant) -> Self {
        Self { lead, played_at: now }
    }

    /// How much audio may leave now.
    pub fn room(&self, now: Instant) -> Duration {
        let lead = self.lead.unwrap_or(Duration::MAX);
        lead.saturating_sub(self.played_at.saturating_duration_since(now))
    }

    /// So much audio leaves now.
    pub fn left(&mut self, duration: Duration, now: Instant) {
        self.played_at = self.played_at.max(now) + duration;
    }

    /// When there is room for so much audio, if there is none now.
    pub fn leaves_at(&self, duration: Duration, now: Instant) -> Option<Instant> {
        let missing = duration.checked_sub(self.room(now)).filter(|missing| !missing.is_zero())?;
        Some(now + missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(80);

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_burst_leaves_at_the_speed_at_which_it_is_played() {
        let now = origin();
        let mut smoother = Smoother::new(Some(FRAME * 2), now);
        for _ in 0..2 {
            assert_eq!(smoother.leaves_at(FRAME, now), None);
            smoother.left(FRAME, now);
        }
        assert_eq!((smoother.room(now), smoother.leaves_at(FRAME, now)), (Duration::ZERO, Some(now + FRAME)));
        assert_eq!(smoother.leaves_at(FRAME, now + FRAME), None);
    }

    #[test]
    fn a_player_that_ran_dry_owes_nothing() {
        let now = origin();
        let mut smoother = Smoother::new(Some(FRAME * 2), now);
        smoother.left(FRAME, now);
        let later = now + FRAME * 100;
        smoother.left(FRAME, later);
        assert_eq!(smoother.room(later), FRAME, "a long pause makes no room for a burst");
    }

    #[test]
    fn without_a_lead_everything_leaves_at_once() {
        let now = origin();
        let mut smoother = Smoother::new(None, now);
        smoother.left(FRAME * 1000, now);
        assert_eq!(smoother.leaves_at(FRAME, now), None);
    }
}
