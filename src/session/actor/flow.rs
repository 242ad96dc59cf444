//! What is measured of the sound that passes through a call: how long it stays here, how regularly it comes, and what its
//! caller misses of it.

use std::time::{Duration, Instant};

use crate::{
    audio::{packet::OpusPacket, playout::Playout},
    metrics::FlowMetrics,
    session::{
        machine::{ClientInput, Direction, UpstreamInput},
        round_trip::RoundTrip,
    },
};

/// What is known of the sound of one call.
pub(super) struct Flow {
    metrics: FlowMetrics,
    /// The packet that is being dealt with: where it goes, and when it was read.
    passing: Option<(Direction, Instant)>,
    /// When sound came last, from the caller and from the model.
    came: [Option<Instant>; 2],
    playout: Playout,
    round_trip: RoundTrip,
}

impl Flow {
    pub(super) fn new(metrics: FlowMetrics) -> Self {
        let (playout, round_trip) = (Playout::default(), RoundTrip::default());
        Self { metrics, passing: None, came: [None; 2], playout, round_trip }
    }

    /// The caller's leg says something.
    pub(super) fn caller_says(&mut self, input: &ClientInput, now: Instant) {
        match input {
            ClientInput::Audio(packet) => self.comes(Direction::Up, packet),
            ClientInput::Confirmed(mark) => {
                if let Some(time) = self.round_trip.confirmed(*mark, now) {
                    self.metrics.round_trip(time);
                }
            }
            _ => {}
        }
    }

    /// The leg of the server on stage says something.
    pub(super) fn model_says(&mut self, input: &UpstreamInput) {
        if let UpstreamInput::Audio(packet) = input {
            self.comes(Direction::Down, packet);
        }
    }

    fn comes(&mut self, direction: Direction, packet: &OpusPacket) {
        let Some(at) = packet.was_read_at() else { return };
        self.passing = Some((direction, at));
        let before = self.came[usize::from(direction == Direction::Down)].replace(at);
        // Packets of one message were read at one time.
        if let Some(after) = before.and_then(|before| at.checked_duration_since(before)).filter(|time| !time.is_zero())
        {
            self.metrics.came(direction == Direction::Up, after);
        }
    }

    /// What was said has been dealt with: whatever leaves later was held on purpose.
    pub(super) fn dealt_with(&mut self) {
        self.passing = None;
    }

    /// A packet is handed to the other leg.
    pub(super) fn leaves(&mut self, direction: Direction, packet: &OpusPacket, now: Instant) {
        if let Some(at) = packet.was_read_at()
            && self.passing == Some((direction, at))
        {
            self.metrics.relayed(direction == Direction::Up, now.saturating_duration_since(at));
        }
        if direction == Direction::Down {
            let missed = self.playout.push(packet.duration(), now);
            if missed > Duration::ZERO {
                self.metrics.missed(missed);
            }
        }
    }

    /// A mark leaves for the caller.
    pub(super) fn marked(&mut self, mark: u32, now: Instant) {
        self.round_trip.marked(mark, now);
    }

    /// The caller is on another socket, or away: its player begins anew, and so do the marks.
    pub(super) fn caller_moves(&mut self) {
        (self.playout, self.round_trip) = (Playout::default(), RoundTrip::default());
        self.came = [None; 2];
    }
}
