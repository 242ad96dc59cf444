//! What is counted of the model servers and their slots.

use super::{ATTEMPTS, Kind, Metrics, QUARANTINED, REALTIME_FACTOR, SLOTS, SLOW_FOUND, Series, UPSTREAM_SLOW, series};

pub(super) const BREAKER: Series = series(
    "tandem_upstream_breaker",
    Kind::Gauge,
    &["upstream"],
    "Whether calls are sent to a model server: 0 yes, 1 one at a time to try it, 2 no, because it failed.",
);

impl Metrics {
    /// How many slots are in one state.
    pub fn slots(&self, state: &'static str, count: usize) {
        self.gauge(&SLOTS, &[state.into()]).set(count as f64);
    }

    /// A slot was quarantined.
    pub fn quarantined(&self, reason: &'static str) {
        self.counter(&QUARANTINED, &[reason.into()]).increment(1);
    }

    /// An attempt on `upstream` came to `result`.
    pub fn attempt(&self, upstream: String, result: &'static str) {
        self.counter(&ATTEMPTS, &[upstream.into(), result.into()]).increment(1);
    }

    /// A model server of this name exists; nothing is known of its pace.
    pub fn upstream(&self, name: &str) {
        self.upstream_slow(name.to_owned(), false);
        self.counter(&SLOW_FOUND, &[name.to_owned().into()]).increment(0);
    }

    /// Whether calls are sent to `upstream`: 0 yes, 1 one at a time, 2 no.
    pub fn upstream_trust(&self, upstream: String, level: u8) {
        self.gauge(&BREAKER, &[upstream.into()]).set(f64::from(level));
    }

    /// Seconds of audio that `upstream` gives for each second of time.
    pub fn realtime_factor(&self, upstream: String, factor: f64) {
        self.gauge(&REALTIME_FACTOR, &[upstream.into()]).set(factor);
    }

    /// A call found `upstream` slower than real time.
    pub fn found_slow(&self, upstream: String) {
        self.counter(&SLOW_FOUND, &[upstream.into()]).increment(1);
    }

    /// Whether `upstream` counts as slower than real time.
    pub fn upstream_slow(&self, upstream: String, slow: bool) {
        self.gauge(&UPSTREAM_SLOW, &[upstream.into()]).set(f64::from(u8::from(slow)));
    }
}
