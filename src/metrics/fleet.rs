//! What is counted of the machines that sleep.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, series};

const WAKE: Buckets = &[1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 480.0, 900.0];

pub(super) const STATE: Series = series(
    "tandem_machine_state",
    Kind::Gauge,
    &["upstream", "state"],
    "1 for the state that the machine of a model server is in, 0 for the others.",
);
pub(super) const WAKE_SECONDS: Series = series(
    "tandem_machine_wake_seconds",
    Kind::Histogram(WAKE),
    &[],
    "From the request for a machine until its model server answers.",
);
pub(super) const WAKES: Series = series(
    "tandem_machine_wakes_total",
    Kind::Counter,
    &["upstream", "result"],
    "Wakes by what came of them: ready, or why not.",
);
pub(super) const RESTARTS: Series = series(
    "tandem_machine_restarts_total",
    Kind::Counter,
    &["upstream", "result"],
    "Restarts of machines whose model server was stuck or that an operator restarted, by what came of them: ready, or why not.",
);
pub(super) const REQUESTS: Series = series(
    "tandem_provider_requests_total",
    Kind::Counter,
    &["provider", "request", "result"],
    "What providers were asked for machines, and what came of it.",
);

/// The states that a machine may be in.
pub const STATES: [&str; 8] =
    ["unknown", "asleep", "waking", "warming", "ready", "restarting", "falling_asleep", "failed"];

impl Metrics {
    /// The machine of `upstream` is in this state.
    pub fn machine_state(&self, upstream: &str, state: &'static str) {
        for other in STATES {
            let is = f64::from(u8::from(other == state));
            self.gauge(&STATE, &[upstream.to_owned().into(), other.into()]).set(is);
        }
    }

    /// A wake took so long.
    pub fn machine_woke(&self, upstream: &str, took: Duration) {
        self.counter(&WAKES, &[upstream.to_owned().into(), "ready".into()]).increment(1);
        self.histogram(&WAKE_SECONDS, &[]).record(took.as_secs_f64());
    }

    /// A wake failed.
    pub fn machine_wake_failed(&self, upstream: &str, why: &'static str) {
        self.counter(&WAKES, &[upstream.to_owned().into(), why.into()]).increment(1);
    }

    /// A restart is over.
    pub fn machine_restarted(&self, upstream: &str, result: &'static str) {
        self.counter(&RESTARTS, &[upstream.to_owned().into(), result.into()]).increment(1);
    }

    /// A provider was asked.
    pub fn provider_asked(&self, provider: &'static str, request: &'static str, result: &'static str) {
        self.counter(&REQUESTS, &[provider.into(), request.into(), result.into()]).increment(1);
    }
}
