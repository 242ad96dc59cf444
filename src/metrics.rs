//! Every series that Tandem exports: one table, and handles to what it names.
//!
//! The recorder belongs to one gateway and is not installed globally, so that several can live in one process.

mod doors;
mod fleet;
mod queue;
mod recaps;
mod records;
mod relay;
mod resumes;
mod spans;
mod turns;
mod upstreams;

pub use queue::QueueWait;
pub use resumes::DetachedMetrics;
pub use turns::{Talk, TurnMetrics};

use std::{borrow::Cow, fmt, time::Duration};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::protocol::ending::Ending;

/// What a series counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds, in these buckets.
    Histogram(Buckets),
}

/// Upper bounds of a histogram's buckets, in seconds.
pub type Buckets = &'static [f64];

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// The exported name.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// The names of its labels; every value comes from a closed set.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
}

const SETUP: Buckets = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
const FIRST_AUDIO: Buckets = &[0.08, 0.16, 0.24, 0.32, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0];
const LAG: Buckets = &[0.08, 0.16, 0.24, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6];
// Edges on the model's window of 240 s and on the 360 s of its relatives.
const DURATION: Buckets =
    &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1800.0, 3600.0];
const fn series(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Series {
    Series { name, kind, labels, help }
}

const SESSIONS_ACTIVE: Series =
    series("tandem_sessions_active", Kind::Gauge, &["protocol"], "Calls in progress, from the upgrade to the end.");
const SESSIONS_STARTED: Series =
    series("tandem_sessions_started_total", Kind::Counter, &["protocol"], "Calls that were admitted and upgraded.");
const SESSIONS_ENDED: Series =
    series("tandem_sessions_ended_total", Kind::Counter, &["protocol", "reason"], "Calls that ended, by their ending.");
const SESSION_DURATION: Series = series(
    "tandem_session_duration_seconds",
    Kind::Histogram(DURATION),
    &["protocol"],
    "From the upgrade to the end of a call.",
);
const SESSION_SETUP: Series = series(
    "tandem_session_setup_seconds",
    Kind::Histogram(SETUP),
    &["protocol"],
    "From the upgrade until the model listens, of calls that came so far.",
);
const FIRST_SOUND: Series = series(
    "tandem_time_to_first_audio_seconds",
    Kind::Histogram(FIRST_AUDIO),
    &["protocol"],
    "From the upgrade to the assistant's first sound.",
);
const FRAMES: Series =
    series("tandem_frames_total", Kind::Counter, &["direction"], "Opus packets passed on, up to models or down.");
const FRAMES_SYNTHETIC: Series = series(
    "tandem_frames_synthetic_total",
    Kind::Counter,
    &[],
    "Opus packets of silence that went to models in place of caller audio that did not come.",
);
const FRAMES_DROPPED: Series =
    series("tandem_frames_dropped_total", Kind::Counter, &["direction", "reason"], "Opus packets dropped, and why.");
const AUDIO_LAG: Series = series(
    "tandem_audio_lag_seconds",
    Kind::Histogram(LAG),
    &[],
    "How far models are behind their callers: audio that is not answered, looked at once a second in every call.",
);
const DRAINING: Series = series("tandem_draining", Kind::Gauge, &[], "1 while the process refuses new calls to end.");
const BUILD_INFO: Series =
    series("tandem_build_info", Kind::Gauge, &["version"], "Always 1; its label says what runs.");

/// The table.
pub const TABLE: &[Series] = &[
    SESSIONS_ACTIVE,
    SESSIONS_STARTED,
    SESSIONS_ENDED,
    SESSION_DURATION,
    SESSION_SETUP,
    FIRST_SOUND,
    doors::ADMISSION,
    doors::AUTH,
    upstreams::SLOTS,
    upstreams::ATTEMPTS,
    upstreams::UPSTREAM_HANDSHAKE,
    upstreams::QUARANTINED,
    FRAMES,
    FRAMES_SYNTHETIC,
    FRAMES_DROPPED,
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
    AUDIO_LAG,
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
    BUILD_INFO,
];

/// The client wires.
const PROTOCOLS: [&str; 2] = ["native", "moshi"];

static METADATA: Metadata<'static> = Metadata::new("tandem", Level::INFO, None);

/// A label's value, from a closed set.
pub type Value = Cow<'static, str>;

/// Registers and renders. One for each gateway.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// An empty recorder that knows the table.
    pub fn new() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for row in TABLE {
            if let Kind::Histogram(buckets) = row.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(row.name.to_owned()), buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        for row in TABLE {
            let (name, help) = (KeyName::from_const_str(row.name), row.help.into());
            match row.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, Some(Unit::Seconds), help),
            }
        }
        let metrics = Self { handle: recorder.handle(), recorder };
        metrics.gauge(&BUILD_INFO, &[env!("CARGO_PKG_VERSION").into()]).set(1.0);
        metrics.gauge(&DRAINING, &[]).set(0.0);
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Exports closed sets of labels from the start: a rate needs the zero before the first event.
    fn begin_at_zero(&self) {
        for protocol in PROTOCOLS {
            let protocol = || Value::from(protocol);
            self.gauge(&SESSIONS_ACTIVE, &[protocol()]).set(0.0);
            self.counter(&SESSIONS_STARTED, &[protocol()]).increment(0);
            for ending in Ending::ALL {
                self.counter(&SESSIONS_ENDED, &[protocol(), ending.code().into()]).increment(0);
            }
        }
        for direction in ["up", "down"] {
            self.counter(&FRAMES, &[direction.into()]).increment(0);
            for reason in ["pre_handshake", "backlog"] {
                self.counter(&FRAMES_DROPPED, &[direction.into(), reason.into()]).increment(0);
            }
        }
        TurnMetrics::new(self).begin_at_zero();
        self.begin_doors();
        self.begin_relay();
        self.begin_recaps();
        self.begin_resumes();
        self.begin_queue();
        self.begin_records();
        self.begin_fleet();
        self.begin_upstreams();
    }

    /// The exposition text, format 0.0.4.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds histogram samples; to be called every few seconds, or they pile up unread.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The process begins to shut down.
    pub fn draining(&self) {
        self.gauge(&DRAINING, &[]).set(1.0);
    }

    /// Handles for one call, and the count of it as begun.
    pub fn call(&self, protocol: &'static str) -> CallMetrics {
        self.counter(&SESSIONS_STARTED, &[protocol.into()]).increment(1);
        let active = self.gauge(&SESSIONS_ACTIVE, &[protocol.into()]);
        active.increment(1.0);
        let frames = |direction: &'static str| self.counter(&FRAMES, &[direction.into()]);
        let protocol = [Value::from(protocol)];
        CallMetrics {
            active,
            detached: self.detached_calls(),
            frames_up: frames("up"),
            frames_down: frames("down"),
            frames_synthetic: self.counter(&FRAMES_SYNTHETIC, &[]),
            duration: self.histogram(&SESSION_DURATION, &protocol),
            setup: self.histogram(&SESSION_SETUP, &protocol),
            first_audio: self.histogram(&FIRST_SOUND, &protocol),
            handshake: self.histogram(&upstreams::UPSTREAM_HANDSHAKE, &[]),
            lag: self.histogram(&AUDIO_LAG, &[]),
            turns: TurnMetrics::new(self),
        }
    }

    /// A call ended.
    pub fn ended(&self, protocol: &'static str, reason: &'static str) {
        self.counter(&SESSIONS_ENDED, &[protocol.into(), reason.into()]).increment(1);
    }

    /// Packets were dropped.
    pub fn dropped(&self, direction: &'static str, reason: &'static str, packets: u64) {
        self.counter(&FRAMES_DROPPED, &[direction.into(), reason.into()]).increment(packets);
    }

    fn counter(&self, row: &Series, values: &[Value]) -> Counter {
        self.recorder.register_counter(&key(row, values), &METADATA)
    }

    fn gauge(&self, row: &Series, values: &[Value]) -> Gauge {
        self.recorder.register_gauge(&key(row, values), &METADATA)
    }

    fn histogram(&self, row: &Series, values: &[Value]) -> Histogram {
        self.recorder.register_histogram(&key(row, values), &METADATA)
    }
}

fn key(row: &Series, values: &[Value]) -> Key {
    debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
    let labels = row.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value.clone()));
    Key::from_parts(row.name, labels.collect::<Vec<_>>())
}

/// Handles that one call holds, so that a packet costs no look-up. Its drop ends the call in the count of active ones.
pub struct CallMetrics {
    active: Gauge,
    /// Whether the call waits for its caller.
    pub detached: DetachedMetrics,
    frames_up: Counter,
    frames_down: Counter,
    frames_synthetic: Counter,
    duration: Histogram,
    setup: Histogram,
    first_audio: Histogram,
    handshake: Histogram,
    lag: Histogram,
    turns: TurnMetrics,
}

impl CallMetrics {
    /// One packet went to the model.
    pub fn frame_up(&self) {
        self.frames_up.increment(1);
    }

    /// One packet went to the caller.
    pub fn frame_down(&self) {
        self.frames_down.increment(1);
    }

    /// One packet of silence went to the model.
    pub fn frame_filled(&self) {
        self.frames_synthetic.increment(1);
    }

    /// The model listens.
    pub fn ready(&self, setup: Duration, handshake: Duration) {
        self.setup.record(setup);
        self.handshake.record(handshake);
    }

    /// Another server of the call listens.
    pub fn prepared(&self, handshake: Duration) {
        self.handshake.record(handshake);
    }

    /// The first sound of the assistant.
    pub fn first_audio(&self, since_start: Duration) {
        self.first_audio.record(since_start);
    }

    /// How far the model is behind the caller, once a second.
    pub fn lag(&self, lag: Duration) {
        self.lag.record(lag);
    }

    /// What is counted of turns.
    pub fn turns(&self) -> &TurnMetrics {
        &self.turns
    }

    /// The call is over.
    pub fn duration(&self, duration: Duration) {
        self.duration.record(duration);
    }
}

impl Drop for CallMetrics {
    fn drop(&mut self) {
        self.active.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for row in TABLE {
            assert!(row.name.starts_with("tandem_"), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
            assert_eq!(row.name.ends_with("_seconds"), matches!(row.kind, Kind::Histogram(_)), "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn a_call_leaves_its_traces() {
        let metrics = Metrics::new().unwrap();
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
}
