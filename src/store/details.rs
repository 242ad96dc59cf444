//! What a record says of a call besides who, when and why: plain numbers and names, nothing that was said.
//!
//! Stores keep it as one piece. A field that an older version did not know reads as its default.

use serde::{Deserialize, Serialize};

/// The most model servers, and the most failovers, of one call that are named; later ones are only counted.
pub const MAX_NAMED: usize = 32;

/// How a call went. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// The caller's wire: `native` or `moshi`.
    pub protocol: String,
    /// The model of the server that was heard last; empty if it has no name, or none was heard.
    pub model: String,
    /// The servers that the caller heard, by their names, in that order.
    pub upstreams: Vec<String>,
    /// How long the call was in each phase.
    pub phases: Phases,
    /// Model servers that were opened.
    pub attempts: u32,
    /// How often the model's window was begun anew.
    pub rotations: u32,
    /// How often it was to be, and no server could be had for it.
    pub rotations_failed: u32,
    /// How often the server on stage was lost or silent.
    pub failovers: u32,
    /// The first of these.
    pub failover_list: Vec<Failover>,
    /// How often the caller's connection broke.
    pub detachments: u32,
    /// How often it came back on a new socket.
    pub resumes: u32,
    /// From the upgrade until the model listened; none if it never did.
    pub setup_ms: Option<u64>,
    /// From the upgrade to the assistant's first sound; none if there was none.
    pub first_audio_ms: Option<u64>,
    /// Sound that passed.
    pub audio: Audio,
    /// How far the model was behind the caller, second by second; none without a second of conversation.
    pub lag: Option<Spread>,
    /// Who spoke when; none if that was not measured.
    pub turns: Option<Turns>,
    /// Whether the prompt told of the caller.
    pub context: ContextUse,
    /// What the servers cost while the call had their slots, in millionths of whatever currency all prices are in; none if
    /// one of them has no price.
    pub cost_millionths: Option<u64>,
}

/// How long a call was in each phase, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Until what is known of the caller was there.
    pub preparing_ms: u64,
    /// Until there was a slot, and between two attempts.
    pub waiting_ms: u64,
    /// While servers read their prompts.
    pub handshaking_ms: u64,
    /// While sound flowed, or was to flow.
    pub talking_ms: u64,
    /// The part of it in which the caller was away.
    pub detached_ms: u64,
    /// While the caller was told how the call ended.
    pub closing_ms: u64,
}

/// One loss of a server in mid-call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failover {
    /// What happened: `lost` or `silent`.
    pub reason: String,
    /// When, from the call's beginning on.
    pub at_ms: u64,
    /// For how long the caller heard nothing that was due; none if it heard nothing any more.
    pub gap_ms: Option<u64>,
    /// Whether the same server went on.
    pub same: bool,
}

/// Sound that passed, in milliseconds, and packets that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audio {
    /// From the caller.
    pub up_ms: u64,
    /// From models, for the caller.
    pub down_ms: u64,
    /// Silence that a model was fed in place of what the caller did not send.
    pub filled_ms: u64,
    /// Packets of the caller that were dropped.
    pub dropped_up: u64,
    /// Packets of the assistant that were dropped.
    pub dropped_down: u64,
}

/// Times of one kind, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// The one in the middle.
    pub p50_ms: u64,
    /// Longer than 95 of 100.
    pub p95_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

/// Who spoke when, in sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Turns {
    /// Stretches of the caller's speech.
    pub caller: u64,
    /// Stretches of the assistant's speech.
    pub assistant: u64,
    /// The time in which the caller spoke.
    pub caller_speech_ms: u64,
    /// The time in which the assistant spoke.
    pub assistant_speech_ms: u64,
    /// The time in which both spoke.
    pub overlap_ms: u64,
    /// How often the assistant took over after the caller.
    pub answered: u64,
    /// From the caller's last sound to the assistant's first; none if it never took over.
    pub latency: Option<Spread>,
    /// How often the caller got no answer.
    pub missed: u64,
    /// How often the caller began while the assistant spoke.
    pub interruptions: u64,
    /// How many of these stopped the assistant.
    pub interruptions_stopped: u64,
    /// Short things that the assistant said while the caller spoke.
    pub backchannels: u64,
}

/// Whether a call's prompt told of its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextUse {
    /// The persona is not told of its callers.
    #[default]
    NotWanted,
    /// It was told what is known.
    Told,
    /// Nothing is known.
    None,
    /// The store gave no answer in time, or an error.
    Unavailable,
}

impl ContextUse {
    /// The record's value and the metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotWanted => "not_wanted",
            Self::Told => "told",
            Self::None => "none",
            Self::Unavailable => "unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_did_not_write_reads_as_the_default_and_what_a_later_one_wrote_is_left_out() {
        assert_eq!(serde_json::from_str::<Details>("{}").unwrap(), Details::default());
        let later = r#"{"protocol":"moshi","phases":{"talking_ms":5,"new":1},"lag":{"p50_ms":3},"invented":[1]}"#;
        let read: Details = serde_json::from_str(later).unwrap();
        assert_eq!((read.protocol.as_str(), read.phases.talking_ms), ("moshi", 5));
        assert_eq!(read.lag, Some(Spread { p50_ms: 3, ..Spread::default() }));
    }

    #[test]
    fn the_code_is_the_serialised_name() {
        for usage in [ContextUse::NotWanted, ContextUse::Told, ContextUse::None, ContextUse::Unavailable] {
            assert_eq!(serde_json::to_value(usage).unwrap(), usage.code());
        }
    }
}
