//! Every series that Tandem exports: one table, and handles to what it names.
//!
//! The recorders belong to one gateway and are not global, so that several can live in one process.

mod admin;
mod calls;
mod canary;
mod catalogue;
mod doors;
mod exposition;
mod fleet;
mod flow;
mod process;
mod queue;
mod recaps;
mod records;
mod registry;
mod relay;
mod resumes;
mod series;
mod settings;
mod spans;
mod turns;
mod upstreams;

pub use admin::{AdminAction, Admittance};
pub use calls::CallMetrics;
pub use canary::Thread;
pub use catalogue::catalogue;
pub use exposition::Format;
pub use flow::FlowMetrics;
pub use queue::QueueWait;
pub use registry::Value;
pub use resumes::DetachedMetrics;
pub use series::{Buckets, Kind, Series, Unit};
pub use settings::Reload;
pub use turns::{Talk, TurnMetrics};

use std::{fmt, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use self::{registry::Registry, series::series};

const DRAINING: Series =
    series("tandem_draining", Kind::Gauge, Unit::State, &[], "1 while the process refuses new calls to end.");
const BUILD_INFO: Series =
    series("tandem_build_info", Kind::Info, Unit::State, &["version"], "Always 1; its label says what runs.");

/// The table.
pub const TABLE: &[Series] = &[
    calls::SESSIONS_ACTIVE,
    settings::SESSIONS_LIMIT,
    calls::SESSIONS_STARTED,
    calls::SESSIONS_ENDED,
    calls::SESSION_DURATION,
    calls::SESSION_SETUP,
    flow::SESSION_PHASE,
    calls::FIRST_SOUND,
    doors::ADMISSION,
    doors::AUTH,
    admin::ORDERS,
    admin::REQUESTS,
    upstreams::SLOTS,
    upstreams::ATTEMPTS,
    flow::CONNECTED,
    upstreams::UPSTREAM_HANDSHAKE,
    flow::PROMPT_SIZE,
    flow::PROMPT_LENGTH,
    upstreams::QUARANTINED,
    upstreams::QUARANTINE,
    calls::FRAMES,
    calls::FRAMES_SYNTHETIC,
    calls::FRAMES_DROPPED,
    flow::RELAY_LATENCY,
    flow::FRAME_INTERVAL,
    flow::UNDERRUN,
    flow::CLIENT_ROUND_TRIP,
    relay::RECOVERIES,
    relay::RECOVERY_GAP,
    relay::ROTATIONS,
    relay::ROTATION_GAP,
    queue::DEPTH,
    queue::LIMIT,
    queue::WAITS,
    queue::ETA_ERROR,
    queue::ETA_KEPT,
    queue::RETRIES,
    queue::LEASE_CONFLICTS,
    fleet::STATE,
    fleet::WAKE_SECONDS,
    fleet::WAKES,
    fleet::RESTARTS,
    fleet::ETA_KEPT,
    fleet::DESIRED,
    fleet::REQUESTS,
    fleet::SECONDS,
    fleet::PRICE,
    fleet::COST,
    fleet::SAVING,
    upstreams::UPSTREAMS,
    upstreams::UPSTREAM_CHANGES,
    upstreams::CIRCUIT_STATE,
    upstreams::CIRCUIT_CHANGES,
    upstreams::REHEARSALS,
    recaps::RECAPS,
    resumes::RESUMES,
    resumes::DETACHED,
    spans::SPANS,
    calls::AUDIO_LAG,
    upstreams::REALTIME_FACTOR,
    upstreams::UPSTREAM_SLOW,
    upstreams::SLOW_FOUND,
    turns::RESPONSE_LATENCY,
    turns::TURNS,
    turns::TAKE_OVERS,
    turns::INTERRUPTIONS,
    turns::INTERRUPTION_STOP,
    turns::BACKCHANNELS,
    turns::TALK,
    records::RECORDS,
    records::WAITING,
    records::CONTEXTS,
    records::CONTEXT_LOAD,
    records::RECAPS_WITHHELD,
    DRAINING,
    settings::RELOADS,
    settings::LAST_RELOAD,
    canary::EVENT_LOOP_DELAY,
    BUILD_INFO,
    process::CPU,
    process::RESIDENT,
    process::VIRTUAL,
    process::OPEN_FILES,
    process::MAX_FILES,
    process::THREADS,
    process::STARTED,
];

/// Registers and renders. One for each gateway.
pub struct Metrics {
    registry: Registry,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        let metrics = Self { registry: Registry::new(TABLE) };
        metrics.gauge(&BUILD_INFO, &[env!("CARGO_PKG_VERSION").into()]).set(1.0);
        metrics.gauge(&DRAINING, &[]).set(0.0);
        metrics.begin_at_zero();
        metrics
    }

    /// Exports closed sets of labels from the start: a rate needs the zero before the first event.
    fn begin_at_zero(&self) {
        self.begin_calls();
        TurnMetrics::new(self).begin_at_zero();
        self.begin_doors();
        self.begin_admin();
        self.begin_relay();
        self.begin_recaps();
        self.begin_resumes();
        self.begin_queue();
        self.begin_records();
        self.begin_fleet();
        self.begin_upstreams();
    }

    /// Everything that was counted, in the text format 0.0.4.
    pub fn render(&self) -> String {
        self.render_as(Format::Text)
    }

    /// The same in the format that is asked for.
    pub fn render_as(&self, format: Format) -> String {
        exposition::render(&self.registry, format)
    }

    /// The process begins to shut down.
    pub fn draining(&self) {
        self.gauge(&DRAINING, &[]).set(1.0);
    }

    /// Folds samples of histograms; to be called every few seconds, or they pile up unread.
    pub fn upkeep(&self) {
        self.registry.upkeep();
    }

    fn counter(&self, row: &Series, values: &[Value]) -> Counter {
        self.registry.counter(row, values)
    }

    fn time(&self, row: &Series, values: &[Value]) -> Time {
        Time(self.registry.gauge(row, values))
    }

    fn gauge(&self, row: &Series, values: &[Value]) -> Gauge {
        self.registry.gauge(row, values)
    }

    fn histogram(&self, row: &Series, values: &[Value]) -> Histogram {
        self.registry.histogram(row, values)
    }
}

/// Time that only ever grows.
struct Time(Gauge);

impl Time {
    fn add(&self, time: Duration) {
        self.0.increment(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len(), "a name is there twice");
        for Series { name, kind, unit, labels, help } in TABLE {
            assert!(name.starts_with("tandem_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), matches!(kind, Kind::Counter | Kind::Time), "{name}");
            assert_eq!(name.ends_with("_info"), *kind == Kind::Info, "{name}");
            let base = name.strip_suffix("_total").unwrap_or(name);
            let said = Unit::ALL.into_iter().filter_map(Unit::suffix).find(|word| base.ends_with(&format!("_{word}")));
            assert_eq!(said, unit.suffix(), "{name} is in {unit:?}");
            assert!(*kind != Kind::Time || *unit == Unit::Seconds, "{name}");
            if let Kind::Histogram(bounds) = kind {
                assert!(bounds.is_sorted_by(|a, b| a < b) && bounds[0] > 0.0, "{name}: {bounds:?}");
            }
            assert!(!labels.contains(&"le") && help.ends_with('.') && !help.contains(['\n', '|']), "{name}");
        }
    }

    #[test]
    fn a_call_leaves_its_traces() {
        let metrics = Metrics::new();
        assert!(metrics.render().contains("tandem_sessions_ended_total{protocol=\"moshi\",reason=\"client_lost\"} 0"));
        let call = metrics.call("native");
        call.frame_up();
        call.ready(Duration::from_millis(700), Duration::from_millis(600));
        assert!(metrics.render().contains("tandem_sessions_active{protocol=\"native\"} 1"));
        metrics.ended("native", "client_left");
        drop(call);
        let text = metrics.render();
        for line in [
            "tandem_sessions_active{protocol=\"native\"} 0",
            "tandem_sessions_ended_total{protocol=\"native\",reason=\"client_left\"} 1",
            "tandem_frames_total{direction=\"up\"} 1",
            "tandem_session_setup_seconds_bucket{protocol=\"native\",le=\"1\"} 1",
            "# TYPE tandem_session_setup_seconds histogram",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    /// Says of a server everything that can be said.
    fn say_all(metrics: &Metrics, name: &str) {
        let own = || name.to_owned();
        for result in ["ready", "connect_failed", "connect_timeout", "tls_failed", "upgrade_timeout", "hung_up"] {
            metrics.attempt(own(), result);
            metrics.machine_wake_failed(name, result);
            metrics.machine_restarted(name, result);
        }
        for to in ["closed", "half_open", "open"] {
            metrics.circuit_changed(own(), to);
        }
        for used in ["leased", "idle", "asleep"] {
            metrics.machine_spent(name, used, 1);
        }
        metrics.circuit_state(own(), 0);
        metrics.realtime_factor(own(), 1.0);
        metrics.found_slow(own());
        metrics.upstream_slow(own(), false);
        metrics.machine_state(name, "ready");
        metrics.machine_bill(name, 1.0, 1.0, 1.0);
    }

    fn lines(metrics: &Metrics) -> usize {
        metrics.render().lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn however_many_servers_come_and_go_the_series_are_those_of_the_members() {
        let metrics = Metrics::new();
        let at_first = lines(&metrics);
        assert!(at_first < 400, "{at_first}");
        for round in 0..2_000 {
            let name = format!("1.{round}");
            say_all(&metrics, &name);
            metrics.upstream(&name);
            say_all(&metrics, &name);
            metrics.upstream_left(&name);
            say_all(&metrics, &name);
        }
        assert_eq!(lines(&metrics), at_first);
        for name in 0..100 {
            metrics.upstream(&format!("{name}"));
            say_all(&metrics, &format!("{name}"));
        }
        let each = (lines(&metrics) - at_first) / 100;
        assert!((30..60).contains(&each), "{each} series for each server");
    }
}
