//! What is counted of calls, and the handles that each of them holds.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::{Buckets, DetachedMetrics, Kind, Metrics, Series, TurnMetrics, Unit, Value, series, upstreams};
use crate::protocol::ending::Ending;

const SETUP: Buckets = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
const FIRST_AUDIO: Buckets = &[0.08, 0.16, 0.24, 0.32, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0];
const LAG: Buckets = &[0.08, 0.16, 0.24, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6];
// Edges on the model's window of 240 s and on the 360 s of its relatives.
const DURATION: Buckets =
    &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1800.0, 3600.0];

pub(super) const SESSIONS_ACTIVE: Series = series(
    "tandem_sessions_active",
    Kind::Gauge,
    Unit::Count,
    &["protocol"],
    "Calls in progress, from the upgrade to the end.",
);
pub(super) const SESSIONS_STARTED: Series = series(
    "tandem_sessions_started_total",
    Kind::Counter,
    Unit::Count,
    &["protocol"],
    "Calls that were admitted and upgraded.",
);
pub(super) const SESSIONS_ENDED: Series = series(
    "tandem_sessions_ended_total",
    Kind::Counter,
    Unit::Count,
    &["protocol", "reason"],
    "Calls that ended, by their ending.",
);
pub(super) const SESSION_DURATION: Series = series(
    "tandem_session_duration_seconds",
    Kind::Histogram(DURATION),
    Unit::Seconds,
    &["protocol"],
    "From the upgrade to the end of a call.",
);
pub(super) const SESSION_SETUP: Series = series(
    "tandem_session_setup_seconds",
    Kind::Histogram(SETUP),
    Unit::Seconds,
    &["protocol"],
    "From the upgrade until the model listens, of calls that came so far.",
);
pub(super) const FIRST_SOUND: Series = series(
    "tandem_time_to_first_audio_seconds",
    Kind::Histogram(FIRST_AUDIO),
    Unit::Seconds,
    &["protocol"],
    "From the upgrade to the assistant's first sound.",
);
pub(super) const FRAMES: Series = series(
    "tandem_frames_total",
    Kind::Counter,
    Unit::Count,
    &["direction"],
    "Opus packets passed on, up to models or down.",
);
pub(super) const FRAMES_SYNTHETIC: Series = series(
    "tandem_frames_synthetic_total",
    Kind::Counter,
    Unit::Count,
    &[],
    "Opus packets of silence that went to models in place of caller audio that did not come.",
);
pub(super) const FRAMES_DROPPED: Series = series(
    "tandem_frames_dropped_total",
    Kind::Counter,
    Unit::Count,
    &["direction", "reason"],
    "Opus packets dropped, and why.",
);
pub(super) const AUDIO_LAG: Series = series(
    "tandem_audio_lag_seconds",
    Kind::Histogram(LAG),
    Unit::Seconds,
    &[],
    "How far models are behind their callers: audio that is not answered, looked at once a second in every call.",
);

/// The client wires.
const PROTOCOLS: [&str; 2] = ["native", "moshi"];

impl Metrics {
    pub(super) fn begin_calls(&self) {
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
