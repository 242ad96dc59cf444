//! What is counted of the model servers and their slots.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, Unit, series};

const QUARANTINE_TIME: Buckets = &[0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0];
const HANDSHAKE: Buckets = &[0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0];

pub(super) const SLOTS: Series = series(
    "tandem_upstream_slots",
    Kind::Gauge,
    Unit::Count,
    &["state"],
    "Slots of all model servers by state; sums to capacity.",
);
pub(super) const ATTEMPTS: Series = series(
    "tandem_upstream_attempts_total",
    Kind::Counter,
    Unit::Count,
    &["upstream", "result"],
    "Attempts to get a model server ready, and what came of them.",
);
pub(super) const UPSTREAM_HANDSHAKE: Series = series(
    "tandem_upstream_handshake_seconds",
    Kind::Histogram(HANDSHAKE),
    Unit::Seconds,
    &[],
    "From the connect to a model server until it has read its prompts.",
);
pub(super) const QUARANTINED: Series = series(
    "tandem_lease_quarantined_total",
    Kind::Counter,
    Unit::Count,
    &["reason"],
    "Slots taken out of use because their server did not acknowledge an end.",
);
pub(super) const QUARANTINE: Series = series(
    "tandem_lease_quarantine_seconds",
    Kind::Histogram(QUARANTINE_TIME),
    Unit::Seconds,
    &[],
    "How long slots were out of use that are usable again: acknowledged late, tested, or their machine was off.",
);
pub(super) const REALTIME_FACTOR: Series = series(
    "tandem_realtime_factor",
    Kind::Gauge,
    Unit::Factor,
    &["upstream"],
    "Seconds of audio for each second of time, over the last seconds of the last call; 1 is real time.",
);
pub(super) const UPSTREAM_SLOW: Series = series(
    "tandem_upstream_slow",
    Kind::Gauge,
    Unit::State,
    &["upstream"],
    "1 while a model server counts as slower than real time, until a call finds that it keeps up.",
);
pub(super) const SLOW_FOUND: Series = series(
    "tandem_slow_found_total",
    Kind::Counter,
    Unit::Count,
    &["upstream"],
    "How often a call found its model server slower than real time.",
);
pub(super) const UPSTREAMS: Series = series(
    "tandem_upstreams",
    Kind::Gauge,
    Unit::Count,
    &[],
    "Model servers that are members of the pool, those that leave included.",
);
pub(super) const UPSTREAM_CHANGES: Series = series(
    "tandem_upstream_changes_total",
    Kind::Counter,
    Unit::Count,
    &["change"],
    "Model servers that joined the pool, that left it, and that were to leave and stayed.",
);
pub(super) const CIRCUIT_STATE: Series = series(
    "tandem_upstream_circuit_state",
    Kind::Gauge,
    Unit::State,
    &["upstream"],
    "Whether calls are sent to a model server: 0 yes, 1 one at a time as a trial, 2 no, it failed lately.",
);
pub(super) const CIRCUIT_CHANGES: Series = series(
    "tandem_upstream_circuit_changes_total",
    Kind::Counter,
    Unit::Count,
    &["upstream", "to"],
    "How often that changed, by what it became: closed, half_open or open.",
);
pub(super) const REHEARSALS: Series = series(
    "tandem_rehearsals_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Tests of quarantined slots that passed, which frees the slot, or failed.",
);

/// What becomes of servers.
const CHANGES: [&str; 3] = ["joined", "left", "stayed"];
/// What a server's circuit may become.
const TRUST: [&str; 3] = ["closed", "half_open", "open"];
/// What comes of tests.
const RESULTS: [&str; 2] = ["passed", "failed"];

impl Metrics {
    /// How many slots are in one state.
    pub fn slots(&self, state: &'static str, count: usize) {
        self.gauge(&SLOTS, &[state.into()]).set(count as f64);
    }

    pub(super) fn begin_upstreams(&self) {
        for change in CHANGES {
            self.counter(&UPSTREAM_CHANGES, &[change.into()]).increment(0);
        }
        for result in RESULTS {
            self.counter(&REHEARSALS, &[result.into()]).increment(0);
        }
    }

    /// Slots were quarantined; counted from the start for every reason with `slots` 0.
    pub fn quarantined(&self, reason: &'static str, slots: u64) {
        self.counter(&QUARANTINED, &[reason.into()]).increment(slots);
    }

    /// A slot was in quarantine for so long, and is not any more.
    pub fn cleared(&self, after: Duration) {
        self.histogram(&QUARANTINE, &[]).record(after);
    }

    /// A quarantined slot was tested.
    pub fn rehearsed(&self, passed: bool) {
        self.counter(&REHEARSALS, &[RESULTS[usize::from(!passed)].into()]).increment(1);
    }

    /// So many servers are members.
    pub fn upstreams(&self, count: usize) {
        self.gauge(&UPSTREAMS, &[]).set(count as f64);
    }

    /// A server came, or stays after all.
    pub fn upstream_joined(&self, stays: bool) {
        self.counter(&UPSTREAM_CHANGES, &[if stays { "stayed" } else { "joined" }.into()]).increment(1);
    }

    /// A server is gone, and all that was counted of it alone.
    pub fn upstream_left(&self, name: &str) {
        self.counter(&UPSTREAM_CHANGES, &["left".into()]).increment(1);
        self.registry.leaves(name);
    }

    /// Whether calls are sent to `upstream`: 0, 1 or 2.
    pub fn circuit_state(&self, upstream: String, level: u8) {
        self.gauge(&CIRCUIT_STATE, &[upstream.into()]).set(f64::from(level));
    }

    /// That changed.
    pub fn circuit_changed(&self, upstream: String, to: &'static str) {
        self.counter(&CIRCUIT_CHANGES, &[upstream.into(), to.into()]).increment(1);
    }

    /// An attempt on `upstream` came to `result`.
    pub fn attempt(&self, upstream: String, result: &'static str) {
        self.attempts(&upstream, result, 1);
    }

    /// So many did; counted from the start for every result with `count` 0.
    pub fn attempts(&self, upstream: &str, result: &'static str, count: u64) {
        self.counter(&ATTEMPTS, &[upstream.to_owned().into(), result.into()]).increment(count);
    }

    /// A model server of this name is a member of the pool: from now on it may be counted. Nothing is known of its pace.
    pub fn upstream(&self, name: &str) {
        self.registry.joins(name);
        self.upstream_slow(name.to_owned(), false);
        self.counter(&SLOW_FOUND, &[name.to_owned().into()]).increment(0);
        for trust in TRUST {
            self.counter(&CIRCUIT_CHANGES, &[name.to_owned().into(), trust.into()]).increment(0);
        }
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
