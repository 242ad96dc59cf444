//! What is counted of the way to a model, and of the sound that passes through.

use std::time::Duration;

use metrics::Histogram;

use super::{Buckets, Kind, Metrics, Series, Time, Unit, series};

const PHASE: Buckets = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
const CONNECT: Buckets = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const PROMPT_BYTES: Buckets = &[64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];
const PROMPT_TOKENS: Buckets = &[16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];
const RELAY: Buckets = &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];
const INTERVAL: Buckets = &[0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.24, 0.4, 0.8, 1.6];
const ROUND_TRIP: Buckets = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6];

pub(super) const SESSION_PHASE: Series = series(
    "tandem_session_phase_duration_seconds",
    Kind::Histogram(PHASE),
    Unit::Seconds,
    &["phase"],
    "How long calls were in the phases before their model listens: preparing, leasing, pausing, handshaking.",
);
pub(super) const CONNECTED: Series = series(
    "tandem_upstream_connect_seconds",
    Kind::Histogram(CONNECT),
    Unit::Seconds,
    &[],
    "From the connect to a model server until it has answered the upgrade: TCP, TLS and HTTP.",
);
pub(super) const PROMPT_SIZE: Series = series(
    "tandem_upstream_prompt_bytes",
    Kind::Histogram(PROMPT_BYTES),
    Unit::Bytes,
    &["prompt"],
    "Request targets of model servers, of at most 8190: of calls that begin (persona) or go on (memory, continuation).",
);
pub(super) const PROMPT_LENGTH: Series = series(
    "tandem_upstream_prompt_tokens",
    Kind::Histogram(PROMPT_TOKENS),
    Unit::Count,
    &["prompt"],
    "Text tokens that model servers were given to read, guessed rather too high.",
);
pub(super) const RELAY_LATENCY: Series = series(
    "tandem_relay_latency_seconds",
    Kind::Histogram(RELAY),
    Unit::Seconds,
    &["direction"],
    "From the read of an Opus packet until the other socket's task has it, of packets that are not held to keep time.",
);
pub(super) const FRAME_INTERVAL: Series = series(
    "tandem_frame_interval_seconds",
    Kind::Histogram(INTERVAL),
    Unit::Seconds,
    &["direction"],
    "Between two messages with sound, from callers (up) or from models (down), as they were read.",
);
pub(super) const UNDERRUN: Series = series(
    "tandem_audio_underrun_seconds_total",
    Kind::Time,
    Unit::Seconds,
    &[],
    "Time in which a caller's player that keeps 160 ms had no sound of the assistant.",
);
pub(super) const CLIENT_ROUND_TRIP: Series = series(
    "tandem_client_rtt_seconds",
    Kind::Histogram(ROUND_TRIP),
    Unit::Seconds,
    &[],
    "From a ping in the caller's stream to its pong, what waits in sockets included.",
);

/// Handles that one call holds.
pub struct FlowMetrics {
    latency: [Histogram; 2],
    interval: [Histogram; 2],
    underrun: Time,
    round_trip: Histogram,
}

/// The directions, in the order of the handles.
const DIRECTIONS: [&str; 2] = ["up", "down"];

impl Metrics {
    /// The handles of one call.
    pub fn flow(&self) -> FlowMetrics {
        FlowMetrics {
            latency: DIRECTIONS.map(|direction| self.histogram(&RELAY_LATENCY, &[direction.into()])),
            interval: DIRECTIONS.map(|direction| self.histogram(&FRAME_INTERVAL, &[direction.into()])),
            underrun: self.time(&UNDERRUN, &[]),
            round_trip: self.histogram(&CLIENT_ROUND_TRIP, &[]),
        }
    }

    /// A call was in this phase for so long.
    pub fn phase_over(&self, phase: &'static str, time: Duration) {
        self.histogram(&SESSION_PHASE, &[phase.into()]).record(time);
    }

    /// A model server has answered the upgrade.
    pub fn upstream_opened(&self, took: Duration) {
        self.histogram(&CONNECTED, &[]).record(took);
    }

    /// A model server was given a request of so many bytes, with so many tokens to read.
    pub fn prompted(&self, prompt: &'static str, bytes: usize, tokens: u32) {
        self.histogram(&PROMPT_SIZE, &[prompt.into()]).record(bytes as f64);
        self.histogram(&PROMPT_LENGTH, &[prompt.into()]).record(f64::from(tokens));
    }
}

impl FlowMetrics {
    /// A packet went through in so long.
    pub fn relayed(&self, up: bool, took: Duration) {
        self.latency[usize::from(!up)].record(took);
    }

    /// A message with sound came so long after the one before.
    pub fn came(&self, up: bool, after: Duration) {
        self.interval[usize::from(!up)].record(after);
    }

    /// The caller's player had nothing to play for so long.
    pub fn missed(&self, time: Duration) {
        self.underrun.add(time);
    }

    /// The caller answered a ping after so long.
    pub fn round_trip(&self, time: Duration) {
        self.round_trip.record(time);
    }
}
