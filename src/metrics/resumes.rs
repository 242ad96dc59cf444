//! What is counted of callers whose connection broke.

use metrics::Gauge;

use super::{Kind, Metrics, Series, Unit, series};

pub(super) const RESUMES: Series = series(
    "tandem_resume_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Callers who came back to a call, tried to, or whose call waited in vain (abandoned).",
);
pub(super) const DETACHED: Series = series(
    "tandem_detached_sessions",
    Kind::Gauge,
    Unit::Count,
    &[],
    "Calls in progress that wait for a caller whose connection broke.",
);

/// What came of it.
const RESULTS: [&str; 6] = ["resumed", "taken_over", "unknown", "wrong_format", "refused", "abandoned"];

impl Metrics {
    pub(super) fn begin_resumes(&self) {
        for result in RESULTS {
            self.counter(&RESUMES, &[result.into()]).increment(0);
        }
        self.gauge(&DETACHED, &[]).set(0.0);
    }

    /// Somebody came back to a call, or not: `result` says which.
    pub fn resume(&self, result: &'static str) {
        self.counter(&RESUMES, &[result.into()]).increment(1);
    }

    pub(super) fn detached_calls(&self) -> DetachedMetrics {
        DetachedMetrics { all: self.gauge(&DETACHED, &[]), is_so: false }
    }
}

/// One call's part in the count of those that wait; its drop takes it out.
pub struct DetachedMetrics {
    all: Gauge,
    is_so: bool,
}

impl DetachedMetrics {
    /// Whether it waits now.
    pub fn set(&mut self, is_so: bool) {
        match (std::mem::replace(&mut self.is_so, is_so), is_so) {
            (false, true) => self.all.increment(1.0),
            (true, false) => self.all.decrement(1.0),
            _ => {}
        }
    }
}

impl Drop for DetachedMetrics {
    fn drop(&mut self) {
        self.set(false);
    }
}
