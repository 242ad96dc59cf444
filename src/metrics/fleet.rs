//! What is counted of the machines that sleep.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, Unit, series};

const WAKE: Buckets = &[1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 480.0, 900.0];

pub(super) const STATE: Series = series(
    "tandem_machine_state",
    Kind::Gauge,
    Unit::State,
    &["upstream", "state"],
    "1 for the state that the machine of a model server is in, 0 for the others.",
);
pub(super) const WAKE_SECONDS: Series = series(
    "tandem_machine_wake_seconds",
    Kind::Histogram(WAKE),
    Unit::Seconds,
    &[],
    "From the request for a machine until its model server answers.",
);
pub(super) const WAKES: Series = series(
    "tandem_machine_wakes_total",
    Kind::Counter,
    Unit::Count,
    &["upstream", "result"],
    "Wakes by what came of them: ready, or why not.",
);
pub(super) const RESTARTS: Series = series(
    "tandem_machine_restarts_total",
    Kind::Counter,
    Unit::Count,
    &["upstream", "result"],
    "Restarts of machines whose model server was stuck or that an operator restarted, by what came of them: ready, or why not.",
);
pub(super) const ETA_KEPT: Series = series(
    "tandem_machine_wake_eta_kept_total",
    Kind::Counter,
    Unit::Count,
    &["kept"],
    "Wakes that ended before the 90th percentile that was told as they began (yes) or not (no); nine of ten should.",
);
pub(super) const SECONDS: Series = series(
    "tandem_machine_seconds_total",
    Kind::Counter,
    Unit::Seconds,
    &["upstream", "use"],
    "Seconds of the machine of a model server: leased to calls, idle (awake without a call) and asleep.",
);
pub(super) const PRICE: Series = series(
    "tandem_machine_price_per_hour",
    Kind::Gauge,
    Unit::Currency,
    &["upstream"],
    "What an hour awake of the machine of a model server costs, where a price is set.",
);
pub(super) const COST: Series = series(
    "tandem_machine_cost",
    Kind::Gauge,
    Unit::Currency,
    &["upstream"],
    "What the time awake of a machine has cost since the process began, where a price is set; only ever grows.",
);
pub(super) const SAVING: Series = series(
    "tandem_machine_saving",
    Kind::Gauge,
    Unit::Currency,
    &["upstream"],
    "What the time asleep of a machine would have cost since the process began, where a price is set; only ever grows.",
);
pub(super) const DESIRED: Series = series(
    "tandem_machines_desired",
    Kind::Gauge,
    Unit::Count,
    &[],
    "Machines that should run, as GET /v1/autoscale says: those that calls use or wait for, or that are held awake.",
);
pub(super) const REQUESTS: Series = series(
    "tandem_provider_requests_total",
    Kind::Counter,
    Unit::Count,
    &["provider", "request", "result"],
    "What providers were asked for machines, and what came of it.",
);

/// Whether the row counts for the machine of a model server, which may leave before it does.
pub(super) fn is_of_machine(row: &Series) -> bool {
    [STATE, WAKES, RESTARTS, SECONDS, PRICE, COST, SAVING].iter().any(|own| own.name == row.name)
}

/// The states that a machine may be in.
pub const STATES: [&str; 8] =
    ["unknown", "asleep", "waking", "warming", "ready", "restarting", "falling_asleep", "failed"];

/// Whether an estimate was kept, as labels.
const KEPT: [&str; 2] = ["yes", "no"];

impl Metrics {
    pub(super) fn begin_fleet(&self) {
        for kept in KEPT {
            self.counter(&ETA_KEPT, &[kept.into()]).increment(0);
        }
        self.machines_desired(0);
    }

    /// A wake ended before the 90th percentile that was told as it began, or did not.
    pub fn machine_promised(&self, kept: bool) {
        self.counter(&ETA_KEPT, &[KEPT[usize::from(!kept)].into()]).increment(1);
    }

    /// The machine of `upstream` was leased, idle or asleep for so many seconds more.
    pub fn machine_spent(&self, upstream: &str, what: &'static str, seconds: u64) {
        self.counter(&SECONDS, &[upstream.to_owned().into(), what.into()]).increment(seconds);
    }

    /// What an hour of the machine of `upstream` costs, what it has cost, and what was saved, in units of the currency.
    pub fn machine_bill(&self, upstream: &str, per_hour: f64, cost: f64, saving: f64) {
        for (row, units) in [(&PRICE, per_hour), (&COST, cost), (&SAVING, saving)] {
            self.gauge(row, &[upstream.to_owned().into()]).set(units);
        }
    }

    /// The machine of `upstream` is gone, and all that was counted of it. A server of the same name may be there already.
    pub fn machine_left(&self, upstream: &str) {
        self.registry.machine_leaves(upstream);
    }

    /// The machine of `upstream` is in this state.
    pub fn machine_state(&self, upstream: &str, state: &'static str) {
        for other in STATES {
            let is = f64::from(u8::from(other == state));
            self.gauge(&STATE, &[upstream.to_owned().into(), other.into()]).set(is);
        }
        // From here on the first one is seen as growth.
        for row in [&WAKES, &RESTARTS] {
            self.counter(row, &[upstream.to_owned().into(), "ready".into()]).increment(0);
        }
    }

    /// So many machines should run.
    pub fn machines_desired(&self, count: usize) {
        self.gauge(&DESIRED, &[]).set(count as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_money_and_promises_are_counted_by_machine_and_one_that_left_takes_them_along() {
        let metrics = Metrics::new();
        metrics.upstream("a");
        assert!(metrics.render().contains("tandem_machine_wake_eta_kept_total{kept=\"no\"} 0"));
        metrics.machine_state("a", "ready");
        metrics.machine_promised(true);
        for seconds in [0, 5, 7] {
            metrics.machine_spent("a", "leased", seconds);
        }
        metrics.machine_bill("a", 0.79, 0.5, 12.25);
        let text = metrics.render();
        for line in [
            "tandem_machine_wake_eta_kept_total{kept=\"yes\"} 1",
            "tandem_machine_seconds_total{upstream=\"a\",use=\"leased\"} 12",
            "# TYPE tandem_machine_seconds_total counter",
            "tandem_machine_price_per_hour{upstream=\"a\"} 0.79",
            "tandem_machine_cost{upstream=\"a\"} 0.5",
            "tandem_machine_saving{upstream=\"a\"} 12.25",
            "tandem_machine_state{upstream=\"a\",state=\"ready\"} 1",
            "tandem_machine_state{upstream=\"a\",state=\"asleep\"} 0",
            "tandem_machine_wakes_total{upstream=\"a\",result=\"ready\"} 0",
            "tandem_machine_restarts_total{upstream=\"a\",result=\"ready\"} 0",
            "tandem_upstream_circuit_changes_total{upstream=\"a\",to=\"half_open\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.machine_left("a");
        let text = metrics.render();
        assert!(!text.contains("tandem_machine_state{") && !text.contains("tandem_machine_cost{"), "{text}");
        assert!(text.contains("tandem_slow_found_total{upstream=\"a\"} 0"), "its server is still there: {text}");
    }
}
