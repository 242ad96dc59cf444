//! What is counted of personas that are told of their callers.

use super::{Kind, Metrics, Series, series};

pub(super) const CONTEXTS: Series = series(
    "tandem_contexts_total",
    Kind::Counter,
    &["result"],
    "Calls whose persona was told of its caller, or why not, and recaps that a server was not told (recap_withheld).",
);

/// What came of it.
const RESULTS: [&str; 4] = ["told", "unavailable", "not_allowed", "recap_withheld"];

impl Metrics {
    pub(super) fn begin_contexts(&self) {
        for result in RESULTS {
            self.counter(&CONTEXTS, &[result.into()]).increment(0);
        }
    }

    /// What a model server was told of a caller, or why not: `result` says which.
    pub fn context(&self, result: &'static str) {
        self.counter(&CONTEXTS, &[result.into()]).increment(1);
    }
}
