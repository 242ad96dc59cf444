//! What is counted of the records of calls, and of what is known of callers.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, series};

/// A call waits for a context for 2 s at most.
const LOAD: Buckets = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0];

pub(super) const RECORDS: Series = series(
    "tandem_records_total",
    Kind::Counter,
    &["result"],
    "Records of beginnings and ends of calls: kept in the spool, late (the call did not wait for it), not kept; brought to \
     the store, or set aside because the store refuses it. And calls that were found lost.",
);
pub(super) const WAITING: Series =
    series("tandem_records_waiting", Kind::Gauge, &[], "Records in the spool, which the store has not taken yet.");
pub(super) const CONTEXTS: Series = series(
    "tandem_context_loads_total",
    Kind::Counter,
    &["result"],
    "Callers of personas that are told of them: something is known, nothing, or the store gave no answer in time.",
);
pub(super) const CONTEXT_LOAD: Series = series(
    "tandem_context_load_seconds",
    Kind::Histogram(LOAD),
    &[],
    "From asking for a caller's context until the prompt was made, or given up.",
);

/// What became of a record.
const RESULTS: [&str; 6] = ["kept", "late", "not_kept", "brought", "set_aside", "lost"];

impl Metrics {
    pub(super) fn begin_records(&self) {
        for result in RESULTS {
            self.counter(&RECORDS, &[result.into()]).increment(0);
        }
        for result in ["told", "none", "unavailable"] {
            self.counter(&CONTEXTS, &[result.into()]).increment(0);
        }
        self.gauge(&WAITING, &[]).set(0.0);
    }

    /// So many records had this result.
    pub fn records(&self, result: &'static str, count: u64) {
        self.counter(&RECORDS, &[result.into()]).increment(count);
    }

    /// So many records wait.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    pub fn records_waiting(&self, count: u64) {
        self.gauge(&WAITING, &[]).set(count as f64);
    }

    /// A caller's context is there, or is not.
    pub fn context_loaded(&self, result: &'static str, after: Duration) {
        self.counter(&CONTEXTS, &[result.into()]).increment(1);
        self.histogram(&CONTEXT_LOAD, &[]).record(after.as_secs_f64());
    }
}
