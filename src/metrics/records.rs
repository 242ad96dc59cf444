//! What is counted of the records of calls, and of what is known of callers.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, Unit, series::series};

/// A call waits for a context for 2 s at most.
const LOAD: Buckets = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0];

pub(super) const RECORDS: Series = series(
    "tandem_records_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Records of beginnings and ends of calls: kept in the spool, late (the call did not wait for it), not kept; brought to \
     the store, or set aside because the store refuses it; dropped, because there is no room for all that is set aside; \
     erased, because its user or its call was. And calls that were found lost.",
);
pub(super) const WAITING: Series = series(
    "tandem_records_waiting",
    Kind::Gauge,
    Unit::Count,
    &[],
    "Records in the spool, which the store has not taken yet.",
);
pub(super) const CONTEXTS: Series = series(
    "tandem_context_loads_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Callers of personas that are told of them: something is known, nothing, the store gave no answer in time, or no model \
     server may be told.",
);
pub(super) const CONTEXT_LOAD: Series = series(
    "tandem_context_load_seconds",
    Kind::Histogram(LOAD),
    Unit::Seconds,
    &[],
    "From asking for a caller's context until the prompt was made, or given up.",
);

pub(super) const RECAPS_WITHHELD: Series = series(
    "tandem_recaps_withheld_total",
    Kind::Counter,
    Unit::Count,
    &[],
    "Model servers that went on with a call and may not be told of callers, so that they know nothing of its past.",
);

/// What became of a record.
const RESULTS: [&str; 8] = ["kept", "late", "not_kept", "brought", "set_aside", "dropped", "erased", "lost"];

impl Metrics {
    pub(super) fn begin_records(&self) {
        for result in RESULTS {
            self.counter(&RECORDS, &[result.into()]).increment(0);
        }
        for result in ["told", "none", "unavailable", "not_allowed"] {
            self.counter(&CONTEXTS, &[result.into()]).increment(0);
        }
        self.counter(&RECAPS_WITHHELD, &[]).increment(0);
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

    /// One more record waits.
    pub fn record_waits(&self) {
        self.gauge(&WAITING, &[]).increment(1.0);
    }

    /// A caller's context stays where it is: no model server may be told.
    pub fn context_not_allowed(&self) {
        self.counter(&CONTEXTS, &["not_allowed".into()]).increment(1);
    }

    /// A server is not told what was said before.
    pub fn recap_withheld(&self) {
        self.counter(&RECAPS_WITHHELD, &[]).increment(1);
    }

    /// A caller's context is there, or is not.
    pub fn context_loaded(&self, result: &'static str, after: Duration) {
        self.counter(&CONTEXTS, &[result.into()]).increment(1);
        self.histogram(&CONTEXT_LOAD, &[]).record(after.as_secs_f64());
    }
}
