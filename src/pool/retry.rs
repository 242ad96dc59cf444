//! How much may be tried again: a budget over all calls, and the pause before each try (pure).
//!
//! Retries help one call and hurt all when everything fails; so their number is bounded by a share of the calls in
//! progress, with a floor that lets a quiet gateway try at all. One user's calls never take all of it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::roster::UserHash;

/// How a [`RetryBudget`] behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// Retries within the window, as a share of the calls in progress.
    pub share: f64,
    /// Retries within the window that are always allowed.
    pub floor: u32,
    /// How long a retry counts.
    pub window: Duration,
    /// The longest pause before the first retry; each further one doubles it.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { share: 0.2, floor: 3, window: ms(10_000), pause: ms(250), longest_pause: ms(4_000) }
    }
}

impl RetrySettings {
    /// The pause before retry number `retry` (from 1): full jitter between nothing and its limit, `jitter` 0 to 1.
    pub fn pause_before(&self, retry: u32, jitter: f64) -> Duration {
        let limit = self.pause.saturating_mul(1 << retry.saturating_sub(1).min(16)).min(self.longest_pause);
        limit.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// What has been tried again lately.
#[derive(Debug)]
pub struct RetryBudget {
    settings: RetrySettings,
    spent: VecDeque<(Instant, UserHash)>,
}

impl RetryBudget {
    /// A budget of which nothing is spent.
    pub fn new(settings: RetrySettings) -> Self {
        Self { settings, spent: VecDeque::new() }
    }

    /// The same with other settings; what is spent stays so.
    pub fn tune(&mut self, settings: RetrySettings) {
        self.settings = settings;
    }

    /// Takes one retry of `user` out of the budget; `false` means that it is spent, or that the last of it is for others.
    /// `active` counts the calls in progress.
    pub fn spend(&mut self, user: &UserHash, active: usize, now: Instant) -> bool {
        while self.spent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.settings.window) {
            self.spent.pop_front();
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let allowed = self.settings.floor as usize + (active as f64 * self.settings.share) as usize;
        let of_user = self.spent.iter().filter(|(_, who)| who == user).count();
        let free = self.spent.len() < allowed && (of_user == 0 || of_user + 1 < allowed);
        if free {
            self.spent.push_back((now, *user));
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_quiet_gateway_may_retry_a_little_and_a_busy_one_in_proportion() {
        for (active, allowed) in [(0, 3), (4, 3), (5, 4), (100, 23)] {
            let (mut budget, now) = (RetryBudget::new(RetrySettings::default()), origin());
            let granted = (0..200).filter(|user| budget.spend(&[*user; 32], active, now)).count();
            assert_eq!(granted, allowed, "{active} calls");
            assert!(!budget.spend(&[0; 32], active, now + Duration::from_secs(9)));
            assert!(budget.spend(&[0; 32], active, now + Duration::from_secs(10)), "what was spent comes back");
        }
    }

    #[test]
    fn the_last_of_it_is_for_somebody_else() {
        for (active, granted) in [(0, 2), (100, 22)] {
            let (mut budget, now) = (RetryBudget::new(RetrySettings::default()), origin());
            assert_eq!((0..200).filter(|_| budget.spend(&[1; 32], active, now)).count(), granted);
            assert!(budget.spend(&[2; 32], active, now));
        }
        let settings = RetrySettings { floor: 1, ..RetrySettings::default() };
        assert!(RetryBudget::new(settings).spend(&[1; 32], 0, origin()), "a budget of one is for whoever comes first");
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let settings = RetrySettings::default();
        let longest: Vec<u128> = (1..=6).map(|retry| settings.pause_before(retry, 1.0).as_millis()).collect();
        assert_eq!(longest, [250, 500, 1000, 2000, 4000, 4000]);
        assert_eq!(settings.pause_before(3, 0.0), Duration::ZERO);
        assert_eq!(settings.pause_before(3, 0.5).as_millis(), 500);
    }
}
