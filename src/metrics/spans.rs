//! What is counted of spans on their way to a collector.

use super::{Kind, Metrics, Series, Unit, series::series};

pub(super) const SPANS: Series = series(
    "tandem_spans_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Spans that ended: exported, dropped because too many waited, or lost because the collector did not take them.",
);

impl Metrics {
    /// So many spans came to this.
    pub fn spans(&self, result: &'static str, count: usize) {
        self.counter(&SPANS, &[result.into()]).increment(count as u64);
    }
}
