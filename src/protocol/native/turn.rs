//! What the wire says of turns: who speaks when, and how fast the assistant answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audio::turns::{Latencies, Tally};

/// The turns of a call, as `session.ended` sums them up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnReport {
    /// Stretches of the caller's speech.
    pub caller_turns: u64,
    /// Stretches of the assistant's speech.
    pub assistant_turns: u64,
    /// The time in which the caller spoke, in milliseconds.
    pub caller_speech_ms: u64,
    /// The time in which the assistant spoke, in milliseconds.
    pub assistant_speech_ms: u64,
    /// The time in which both were there, in milliseconds.
    pub present_ms: u64,
    /// The part of it in which both spoke, in milliseconds.
    pub overlap_ms: u64,
    /// The part of it in which nobody spoke, in milliseconds.
    pub silence_ms: u64,
    /// How often the assistant took over after the caller.
    pub taken_over: u64,
    /// How often the caller got no answer.
    pub missed: u64,
    /// From the caller's last sound to the assistant's first, if it ever took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_latency: Option<LatencyReport>,
    /// How often the caller began while the assistant spoke.
    pub interruptions: u64,
    /// How many of them stopped the assistant.
    pub interruptions_stopped: u64,
    /// From the caller's first sound to the assistant's last, if it was ever stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_latency: Option<LatencyReport>,
    /// Short things that the assistant said while the caller spoke or was about to go on.
    pub backchannels: u64,
}

/// Times of one kind, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Their mean.
    pub mean_ms: u64,
    /// The one in the middle.
    pub median_ms: u64,
    /// The longest.
    pub longest_ms: u64,
}

impl LatencyReport {
    fn of(latencies: &Latencies) -> Option<Self> {
        Some(Self {
            mean_ms: millis(latencies.mean()?),
            median_ms: millis(latencies.median()?),
            longest_ms: millis(latencies.longest()?),
        })
    }
}

impl From<&Tally> for TurnReport {
    fn from(tally: &Tally) -> Self {
        Self {
            caller_turns: tally.caller_turns,
            assistant_turns: tally.assistant_turns,
            caller_speech_ms: millis(tally.caller_speech),
            assistant_speech_ms: millis(tally.assistant_speech),
            present_ms: millis(tally.present),
            overlap_ms: millis(tally.overlap),
            silence_ms: millis(tally.silence),
            taken_over: tally.responses.count(),
            missed: tally.missed,
            response_latency: LatencyReport::of(&tally.responses),
            interruptions: tally.stops.count() + tally.ignored,
            interruptions_stopped: tally.stops.count(),
            stop_latency: LatencyReport::of(&tally.stops),
            backchannels: tally.backchannels,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
