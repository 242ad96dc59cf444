//! What of a roster can be set while it runs.

use std::time::Duration;

use super::{Roster, RosterSettings};
use crate::pool::{breaker::BreakerSettings, pace::Realtime, retry::RetrySettings};

/// The settings that a reload may change. Leases, places in the queue and what is known of servers stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// What becomes of an upstream that is slower than real time.
    pub realtime: Realtime,
    /// New calls that may wait; those that wait already may, whatever it is.
    pub queue_limit: usize,
    /// The longest that a slot is held.
    pub longest: Duration,
    /// Each upstream's breaker; a pause that has begun is as long as it was.
    pub breaker: BreakerSettings,
    /// The budget of retries.
    pub retry: RetrySettings,
    /// After how long without a slot that can be used a machine is restarted; zero: never.
    pub restart_stuck: Duration,
}

impl From<&RosterSettings> for Tuning {
    fn from(settings: &RosterSettings) -> Self {
        let RosterSettings { policy, queue_limit, longest, breaker, retry, restart_stuck, .. } = *settings;
        Self { realtime: policy.realtime, queue_limit, longest, breaker, retry, restart_stuck }
    }
}

impl Roster {
    pub(super) fn tune(&mut self, tuning: Tuning) {
        let Tuning { realtime, queue_limit, longest, breaker, retry, restart_stuck } = tuning;
        let settings = &mut self.settings;
        settings.policy.realtime = realtime;
        (settings.queue_limit, settings.longest, settings.restart_stuck) = (queue_limit, longest, restart_stuck);
        (settings.breaker, settings.retry) = (breaker, retry);
        self.history.bound(longest);
        self.retries.tune(retry);
        self.members.values_mut().for_each(|member| member.breaker.tune(breaker));
    }
}
