//! What is counted of recaps that a model writes.

use super::{Kind, Metrics, Series, Unit, series::series};

pub(super) const RECAPS: Series = series(
    "tandem_recaps_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Transcripts for which a model was to write a recap: improved, or why the extracted one stays.",
);

/// What came of it.
const RESULTS: [&str; 6] = ["improved", "unreachable", "refused", "unusable", "not_stored", "overflow"];

impl Metrics {
    pub(super) fn begin_recaps(&self) {
        for result in RESULTS {
            self.counter(&RECAPS, &[result.into()]).increment(0);
        }
    }

    /// A recap became better, or not: `result` says which.
    pub fn recap(&self, result: &'static str) {
        self.counter(&RECAPS, &[result.into()]).increment(1);
    }
}
