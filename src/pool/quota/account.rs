//! What one payer has used lately, and the book of all of them.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Steps in which the window moves.
const STEPS: u32 = 24;
/// Of the idle accounts that are too many, so many parts of all are forgotten at once: the search looks at each.
const FORGOTTEN_PART: usize = 8;

/// Counts the steps of the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    step: Duration,
}

impl Clock {
    pub(super) fn new(window: Duration, origin: Instant) -> Self {
        Self { origin, step: (window / STEPS).max(Duration::from_millis(1)) }
    }

    /// The number of the step that this moment is in.
    fn step(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_nanos() / self.step.as_nanos().max(1);
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Whether what was used in this step counts no more.
    fn is_over(&self, step: u64, now: Instant) -> bool {
        step.saturating_add(u64::from(STEPS)) < self.step(now)
    }

    /// In how long what was used in this step counts no more.
    fn over_in(&self, step: u64, now: Instant) -> Duration {
        let steps = u32::try_from(step.saturating_add(u64::from(STEPS) + 1)).unwrap_or(u32::MAX);
        (self.step.saturating_mul(steps)).saturating_sub(now.saturating_duration_since(self.origin))
    }
}

#[derive(Debug, Default)]
struct Account {
    calls: usize,
    booked: Duration,
    /// Time by the step in which its call ended, oldest first.
    used: VecDeque<(u64, Duration)>,
}

impl Account {
    fn forget_old(&mut self, clock: &Clock, now: Instant) {
        while self.used.front().is_some_and(|(step, _)| clock.is_over(*step, now)) {
            self.used.pop_front();
        }
    }

    fn spent(&self) -> Duration {
        self.used.iter().map(|(_, time)| *time).sum()
    }
}

/// Accounts by the hash of who has them.
#[derive(Debug)]
pub(super) struct Accounts {
    accounts: HashMap<[u8; 32], Account>,
    /// Accounts with a call.
    busy: usize,
    max_idle: usize,
}

impl Accounts {
    pub(super) fn new(max_idle: usize) -> Self {
        Self { accounts: HashMap::new(), busy: 0, max_idle }
    }

    /// Calls that are going on.
    pub(super) fn calls(&self, key: &[u8; 32]) -> usize {
        self.accounts.get(key).map_or(0, |account| account.calls)
    }

    /// What they have booked.
    pub(super) fn booked(&self, key: &[u8; 32]) -> Duration {
        self.accounts.get(key).map_or(Duration::ZERO, |account| account.booked)
    }

    /// What is neither used nor booked.
    pub(super) fn left(&mut self, key: &[u8; 32], total: Duration, clock: &Clock, now: Instant) -> Duration {
        let Some(account) = self.accounts.get_mut(key) else { return total };
        account.forget_old(clock, now);
        total.saturating_sub(account.spent()).saturating_sub(account.booked)
    }

    /// In how long `least` is left, if that comes by the passing of time alone.
    pub(super) fn frees_at(
        &self,
        key: &[u8; 32],
        total: Duration,
        least: Duration,
        clock: &Clock,
        now: Instant,
    ) -> Option<Duration> {
        let account = self.accounts.get(key)?;
        let mut held = account.spent() + account.booked;
        account.used.iter().find_map(|(step, time)| {
            held = held.saturating_sub(*time);
            (held + least <= total).then(|| clock.over_in(*step, now))
        })
    }

    pub(super) fn book(&mut self, key: [u8; 32], time: Duration) {
        let account = self.accounts.entry(key).or_default();
        self.busy += usize::from(account.calls == 0);
        account.calls += 1;
        account.booked += time;
    }

    /// A call that has booked something books more.
    pub(super) fn book_more(&mut self, key: &[u8; 32], time: Duration) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.booked += time;
        }
    }

    /// A call is over: its booking is given back, and what it used counts. Says how many accounts were forgotten.
    pub(super) fn settle(
        &mut self,
        key: [u8; 32],
        booked: Duration,
        used: Duration,
        clock: &Clock,
        now: Instant,
    ) -> usize {
        let Some(account) = self.accounts.get_mut(&key) else { return 0 };
        account.booked = account.booked.saturating_sub(booked);
        account.calls = account.calls.saturating_sub(1);
        account.forget_old(clock, now);
        let step = clock.step(now);
        match account.used.back_mut() {
            _ if used.is_zero() => {}
            Some((last, time)) if *last >= step => *time += used,
            _ => account.used.push_back((step, used)),
        }
        if account.calls == 0 {
            self.busy -= 1;
            if account.used.is_empty() {
                self.accounts.remove(&key);
            } else {
                return self.bound_idle(clock, now);
            }
        }
        0
    }

    /// Forgets the idle accounts that are too many, and says how many those are.
    fn bound_idle(&mut self, clock: &Clock, now: Instant) -> usize {
        if self.accounts.len() - self.busy <= self.max_idle {
            return 0;
        }
        self.accounts.retain(|_, account| {
            account.forget_old(clock, now);
            account.calls > 0 || !account.used.is_empty()
        });
        let too_many = (self.accounts.len() - self.busy).saturating_sub(self.max_idle);
        if too_many == 0 {
            return 0;
        }
        let before = self.accounts.len();
        let idle = self.accounts.iter().filter(|(_, account)| account.calls == 0);
        let mut oldest: Vec<_> = idle
            .map(|(key, account)| (account.used.back().map_or(0, |(step, _)| *step), account.spent(), *key))
            .collect();
        oldest.sort_unstable();
        for (.., key) in oldest.into_iter().take(too_many.max(self.max_idle / FORGOTTEN_PART)) {
            self.accounts.remove(&key);
        }
        before - self.accounts.len()
    }

    #[cfg(test)]
    pub(super) fn spent(&mut self, key: &[u8; 32], clock: &Clock, now: Instant) -> Duration {
        let Some(account) = self.accounts.get_mut(key) else { return Duration::ZERO };
        account.forget_old(clock, now);
        account.spent()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }
}
