//! What is counted of the pool's desk: who waits, for how long, and whether the estimates were kept.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, Unit, series};

const WAIT: Buckets = &[0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 600.0];
const ERROR: Buckets = &[0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

pub(super) const DEPTH: Series = series(
    "tandem_queue_depth",
    Kind::Gauge,
    Unit::Count,
    &["class"],
    "Calls that wait for a slot, by what they want it for.",
);
pub(super) const LIMIT: Series = series(
    "tandem_queue_limit",
    Kind::Gauge,
    Unit::Count,
    &[],
    "New calls that may wait at the same time; one more is refused.",
);
pub(super) const WAITS: Series = series(
    "tandem_queue_wait_seconds",
    Kind::Histogram(WAIT),
    Unit::Seconds,
    &["class", "outcome"],
    "How long calls waited for a slot, by how it came out; nothing for those that were answered at once.",
);
pub(super) const ETA_ERROR: Series = series(
    "tandem_queue_eta_error_seconds",
    Kind::Histogram(ERROR),
    Unit::Seconds,
    &["side"],
    "How far the first estimate of a wait (its median) was off, of waits that got a slot: early or late.",
);
pub(super) const ETA_KEPT: Series = series(
    "tandem_queue_eta_kept_total",
    Kind::Counter,
    Unit::Count,
    &["kept"],
    "Waits that ended before the 90th percentile that was told first (yes) or not (no); nine of ten should.",
);
pub(super) const RETRIES: Series = series(
    "tandem_retries_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Calls that asked for another server after a failure: allowed by the budget, or refused.",
);
pub(super) const LEASE_CONFLICTS: Series = series(
    "tandem_lease_conflicts_total",
    Kind::Counter,
    Unit::Count,
    &["reason"],
    "Slots that were not given out: another process holds them, or the record of leases could not be written.",
);

/// Whether an estimate was kept, as labels.
const KEPT: [&str; 2] = ["yes", "no"];
/// Before or after the estimate.
const SIDES: [&str; 2] = ["early", "late"];
/// What the budget said.
const RESULTS: [&str; 2] = ["allowed", "refused"];

/// One wait, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueWait {
    /// What for.
    pub class: &'static str,
    /// How it came out.
    pub outcome: &'static str,
    /// How long it was.
    pub time: Duration,
    /// The median that was told first, if the wait got a slot and an estimate was told.
    pub expected: Option<Duration>,
    /// Whether the 90th percentile that was told first was kept, if that is known.
    pub kept: Option<bool>,
}

impl Metrics {
    pub(super) fn begin_queue(&self) {
        for kept in KEPT {
            self.counter(&ETA_KEPT, &[kept.into()]).increment(0);
        }
        for result in RESULTS {
            self.counter(&RETRIES, &[result.into()]).increment(0);
        }
    }

    /// So many new calls may wait.
    pub fn queue_limit(&self, limit: usize) {
        self.gauge(&LIMIT, &[]).set(limit as f64);
    }

    /// So many calls of this class wait.
    pub fn queue_depth(&self, class: &'static str, count: usize) {
        self.gauge(&DEPTH, &[class.into()]).set(count as f64);
    }

    /// A wait ended.
    pub fn queue_wait(&self, wait: QueueWait) {
        self.histogram(&WAITS, &[wait.class.into(), wait.outcome.into()]).record(wait.time);
        if let Some(expected) = wait.expected {
            let side = SIDES[usize::from(wait.time > expected)];
            self.histogram(&ETA_ERROR, &[side.into()]).record(wait.time.abs_diff(expected));
        }
        if let Some(kept) = wait.kept {
            self.counter(&ETA_KEPT, &[KEPT[usize::from(!kept)].into()]).increment(1);
        }
    }

    /// Another try was asked for.
    pub fn retry(&self, allowed: bool) {
        self.counter(&RETRIES, &[RESULTS[usize::from(!allowed)].into()]).increment(1);
    }

    /// A slot was not given out after all; counted from the start for every reason with `times` 0.
    pub fn lease_conflicts(&self, reason: &'static str, times: u64) {
        self.counter(&LEASE_CONFLICTS, &[reason.into()]).increment(times);
    }
}
