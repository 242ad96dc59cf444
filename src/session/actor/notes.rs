//! What a call's notes become: counts, log lines, and what the pool is told of its servers.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    audio::turns::{Happening, Speaker},
    pool::{lease::Remark, pace::Measured},
    session::machine::{Direction, Note, UpstreamEnd, millis},
};

use super::SessionActor;

impl SessionActor {
    pub(super) fn note(&mut self, note: Note) {
        self.entry.chronicle.note(&note, Instant::now().into_std());
        match note {
            Note::Detached => {
                self.call.detached.set(true);
                tracing::info!("caller lost, the call waits for it");
            }
            Note::Attached { taken_over } => {
                self.call.detached.set(false);
                self.metrics.resume(if taken_over { "taken_over" } else { "resumed" });
                tracing::info!(taken_over, "caller is on a new socket");
            }
            Note::Ready { setup, handshake } => {
                self.call.ready(setup, handshake);
                self.count_attempt("ready");
                let (setup_ms, handshake_ms) = (millis(setup), millis(handshake));
                tracing::info!(upstream = self.upstreams.name(), setup_ms, handshake_ms, "session ready");
            }
            Note::Prepared { handshake } => {
                self.call.prepared(handshake);
                self.count_attempt("ready");
                tracing::info!(upstream = self.upstreams.name(), handshake_ms = millis(handshake), "next server ready");
            }
            Note::Recovering(reason) => {
                tracing::warn!(upstream = self.talking_to(), reason = reason.code(), "model server failed in the call");
            }
            Note::Recovered { reason, same, gap } => {
                self.metrics.recovered(reason.code(), same, gap);
                tracing::info!(upstream = self.talking_to(), same, gap_ms = millis(gap), "assistant heard again");
            }
            Note::Rotated { in_place, gap } => {
                self.metrics.rotated(in_place, gap);
                tracing::info!(upstream = self.talking_to(), in_place, gap_ms = millis(gap), "window rotated");
            }
            Note::RotationFailed => {
                self.metrics.rotation_failed();
                tracing::warn!("no other model server got ready for the call's next window");
            }
            Note::PhaseOver(phase, time) => self.metrics.phase_over(phase, time),
            Note::Opened(took) => self.metrics.upstream_opened(took),
            Note::AttemptFailed(end) => {
                let result = end.map_or("handshake_timeout", UpstreamEnd::code);
                self.count_attempt(result);
                tracing::warn!(upstream = self.upstreams.name(), result, "attempt on upstream failed");
            }
            Note::FirstAudio(since_start) => self.call.first_audio(since_start),
            Note::Filled(_) => self.call.frame_filled(),
            Note::Passed(Direction::Up) => self.call.frame_up(),
            Note::Passed(Direction::Down) => self.call.frame_down(),
            Note::Turn(happening) => self.turn(happening),
            Note::Dropped(direction, reason, packets) => {
                self.metrics.dropped(direction.code(), reason.code(), packets);
            }
            Note::Second { lag, realtime_factor } => self.note_second(lag, realtime_factor),
            Note::Pace { slow, realtime_factor, changed } => self.note_pace(slow, realtime_factor, changed),
        }
    }

    fn note_second(&self, lag: Duration, realtime_factor: Option<f64>) {
        self.call.lag(lag);
        self.entry.glance.lags(lag);
        if let Some(factor) = realtime_factor {
            self.metrics.realtime_factor(self.talking_to().to_owned(), factor);
        }
    }

    fn note_pace(&self, slow: bool, realtime_factor: f64, changed: bool) {
        if let Some(witness) = self.upstreams.witness(self.machine.on_stage()) {
            witness.remark(Remark::Measured(Measured { slow, realtime_factor }));
        }
        let upstream = self.talking_to();
        match (changed, slow) {
            (true, true) => {
                self.metrics.found_slow(upstream.to_owned());
                tracing::warn!(upstream, realtime_factor, "model server is slower than real time");
            }
            (true, false) => tracing::debug!(upstream, realtime_factor, "model server keeps up with real time"),
            (false, _) => {}
        }
    }

    fn turn(&self, happening: Happening) {
        let turns = self.call.turns();
        match happening {
            Happening::Started { .. } => {}
            Happening::Ended { speaker, .. } => turns.spoken(speaker == Speaker::Caller),
            Happening::Answered { latency, .. } => turns.answered(latency),
            Happening::Missed { .. } => turns.missed(),
            Happening::Interrupted { stopped_after, .. } => turns.interrupted(stopped_after),
            Happening::Backchannel { .. } => turns.backchannel(),
        }
    }

    pub(super) fn count_attempt(&self, result: &'static str) {
        self.metrics.attempt(self.upstreams.name().to_owned(), result);
    }

    /// The name of the server that the caller hears.
    fn talking_to(&self) -> &str {
        self.upstreams.name_of(self.machine.on_stage())
    }
}
