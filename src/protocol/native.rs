//! Our own client wire, `tandem.v1`: JSON control in text frames, audio in binary frames.
//!
//! docs/protocol/client.md describes every message for the people who write clients.

mod reason;
mod turn;

pub use reason::{ExpiryReason, QueueReason, RecoveryReason, WarningCode};
pub use turn::{LatencyReport, TurnReport};

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ending::Ending;
use crate::audio::turns::Speaker;

/// The WebSocket subprotocol that names this wire.
pub const SUBPROTOCOL: &str = "tandem.v1";

/// A browser cannot set headers: it offers its token as a further subprotocol with this prefix. It is never answered.
pub const BEARER_PREFIX: &str = "tandem.bearer.";

/// What follows this prefix in a further subprotocol is the token of a call that a browser comes back to.
pub const RESUME_PREFIX: &str = "tandem.resume.";

/// The header in which other clients send the same token.
pub const RESUME_HEADER: &str = "Tandem-Resume";

/// The longest control message that is read, in bytes.
pub const MAX_CONTROL_BYTES: usize = 4096;

/// The longest `ping` id that is echoed, in bytes.
pub const MAX_PING_ID_BYTES: usize = 64;

/// What a caller says in a text frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum ClientEvent {
    /// Hang up: the call is ended and its report comes back as `session.ended`.
    #[serde(rename = "session.end")]
    End {},
    /// Asks for a `pong` with the same id.
    #[serde(rename = "ping")]
    Ping {
        /// Any text of at most [`MAX_PING_ID_BYTES`] bytes.
        #[serde(default)]
        id: String,
    },
}

/// What Tandem says in a text frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ServerEvent {
    /// The first message: the call exists and these are its terms.
    #[serde(rename = "session.created")]
    Created {
        /// The call's public id.
        session_id: String,
        /// The audio format of both directions.
        audio: AudioTerms,
        /// The call's limits.
        limits: LimitTerms,
        /// How to come back when the connection breaks; absent where one cannot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<ResumeTerms>,
    },
    /// The caller came back to its call; what follows is what was said meanwhile, then live audio.
    #[serde(rename = "session.resumed")]
    Resumed {
        /// The call's public id.
        session_id: String,
        /// Audio of the assistant that was dropped meanwhile, in milliseconds.
        missed_audio_ms: u64,
        /// From this position on the transcript is said again, because it may not have arrived: what the client has of it
        /// (pieces with this `audio_ms` or a later one) is to be forgotten.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repeats_from_ms: Option<u64>,
        /// How to come back the next time.
        resume: ResumeTerms,
    },
    /// No model server is free yet: where the call stands. Comes on every change, and at least every 2 s.
    #[serde(rename = "session.queued")]
    Queued {
        /// The place in the queue, from 1.
        position: u64,
        /// How many are served before.
        ahead: u64,
        /// Half of such waits are shorter, in milliseconds; absent where nothing can be said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta_ms: Option<u64>,
        /// Nine of ten such waits are shorter, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta_p90_ms: Option<u64>,
        /// What is waited for.
        reason: QueueReason,
    },
    /// A model server is reading its prompts.
    #[serde(rename = "session.connecting")]
    Connecting {
        /// 1 for the first server that is tried.
        attempt: u32,
        /// The longest that this attempt may take, in milliseconds.
        deadline_ms: u64,
    },
    /// The model listens from now on; earlier audio was dropped.
    #[serde(rename = "session.ready")]
    Ready {
        /// From the upgrade to now, in milliseconds.
        setup_ms: u64,
        /// The part of it that was spent waiting for a slot, in milliseconds.
        queued_ms: u64,
    },
    /// A piece of what the assistant says; pieces join without a separator.
    #[serde(rename = "transcript.delta")]
    Transcript(TranscriptDelta),
    /// The call will end soon unless the reason goes away.
    #[serde(rename = "session.expiring")]
    Expiring {
        /// Which limit is near.
        reason: ExpiryReason,
        /// Milliseconds until the call ends.
        in_ms: u64,
    },
    /// The model server is lost or silent: another one is got ready, and the call goes on.
    #[serde(rename = "session.recovering")]
    Recovering {
        /// What happened.
        reason: RecoveryReason,
    },
    /// The assistant is heard again after `session.recovering`.
    #[serde(rename = "session.recovered")]
    Recovered {
        /// For how long there was no sound that was due, in milliseconds.
        gap_ms: u64,
    },
    /// The model's memory is nearly full and no other server is free: it begins anew, and is silent meanwhile.
    #[serde(rename = "session.rotating")]
    Rotating {
        /// How long that will take, in milliseconds.
        eta_ms: u64,
    },
    /// The model's memory is fresh again: what was said before is known to it in short.
    #[serde(rename = "session.rotated")]
    Rotated {
        /// For how long there was no sound that was due, in milliseconds.
        gap_ms: u64,
    },
    /// The model is slower than real time: the call goes on, and what the model cannot take is dropped.
    #[serde(rename = "session.degraded")]
    Degraded {
        /// Seconds of the assistant's audio for each second of time; 1 is real time.
        realtime_factor: f64,
    },
    /// The model keeps up with real time again: takes `session.degraded` back.
    #[serde(rename = "session.restored")]
    Restored {},
    /// Something is not as it should be, and the call goes on.
    #[serde(rename = "session.warning")]
    Warning {
        /// What, for programs.
        code: WarningCode,
        /// The same for people: one sentence.
        message: String,
    },
    /// Somebody begins to speak.
    #[serde(rename = "turn.started")]
    TurnStarted {
        /// Who.
        speaker: Speaker,
        /// When, in milliseconds since `session.ready`.
        at_ms: u64,
    },
    /// Somebody has spoken.
    #[serde(rename = "turn.ended")]
    TurnEnded {
        /// Who.
        speaker: Speaker,
        /// When, in milliseconds since `session.ready`.
        at_ms: u64,
        /// For how long, in milliseconds.
        duration_ms: u64,
    },
    /// The assistant took over after the caller.
    #[serde(rename = "turn.response")]
    TurnResponse {
        /// When it began to speak, in milliseconds since `session.ready`.
        at_ms: u64,
        /// From the caller's last sound to the assistant's first, in milliseconds; 0 if it began before.
        latency_ms: u64,
    },
    /// The caller got no answer.
    #[serde(rename = "turn.missed")]
    TurnMissed {
        /// When the caller had stopped, in milliseconds since `session.ready`.
        at_ms: u64,
    },
    /// The caller began to speak while the assistant spoke.
    #[serde(rename = "turn.interrupted")]
    TurnInterrupted {
        /// When, in milliseconds since `session.ready`.
        at_ms: u64,
        /// How long the assistant went on, in milliseconds; absent if it was not stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped_after_ms: Option<u64>,
    },
    /// The assistant said something short while the caller spoke or was about to go on.
    #[serde(rename = "turn.backchannel")]
    TurnBackchannel {
        /// When it began, in milliseconds since `session.ready`.
        at_ms: u64,
        /// How long it was, in milliseconds.
        duration_ms: u64,
    },
    /// The last message: why the call ended and what it was.
    #[serde(rename = "session.ended")]
    Ended(EndReport),
    /// Something was wrong; the call goes on unless `session.ended` follows.
    #[serde(rename = "error")]
    Error(ErrorEvent),
    /// The answer to `ping`.
    #[serde(rename = "pong")]
    Pong {
        /// The id of the `ping`.
        id: String,
    },
}

/// A piece of the assistant's words. Its `Debug` does not show them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptDelta {
    /// The words, as the model produced them.
    pub text: String,
    /// The position in the assistant's audio, in milliseconds since `session.ready`.
    pub audio_ms: u64,
}

impl fmt::Debug for TranscriptDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscriptDelta").field("bytes", &self.text.len()).field("audio_ms", &self.audio_ms).finish()
    }
}

/// The audio format of a call, as `session.created` states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTerms {
    /// `pcm16`, `opus` or `ogg-opus`.
    pub format: String,
    /// Samples a second (of the PCM, or of the Opus clock).
    pub sample_rate: u32,
    /// Channels of the PCM, both ways. 1 for Opus, which is what Tandem sends; packets say themselves what they hold.
    pub channels: u8,
}

/// A call's limits, as `session.created` states them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitTerms {
    /// The longest duration of the call, in milliseconds.
    pub max_duration_ms: u64,
    /// The longest time without speech of the caller, in milliseconds.
    pub idle_timeout_ms: u64,
}

/// How to come back to a call. Its `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeTerms {
    /// A secret: 43 characters of base64url. It is good until the socket that it opened has shown life.
    pub token: String,
    /// How long a call waits for a caller whose connection broke, in milliseconds.
    pub grace_ms: u64,
}

impl fmt::Debug for ResumeTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeTerms").field("grace_ms", &self.grace_ms).finish_non_exhaustive()
    }
}

/// The last word on a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndReport {
    /// Why the call ended.
    pub ending: Ending,
    /// The close code that follows.
    pub close_code: u16,
    /// One sentence for people.
    pub message: String,
    /// From the upgrade to the end, in milliseconds.
    pub duration_ms: u64,
    /// Caller audio taken in, in milliseconds.
    pub audio_in_ms: u64,
    /// Assistant audio sent out, in milliseconds.
    pub audio_out_ms: u64,
    /// Audio of both directions that was dropped, in milliseconds: before `session.ready`, too late, too early or at full
    /// queues.
    pub dropped_ms: u64,
    /// Who spoke when, if this call was among those that are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<Box<TurnReport>>,
}

/// What was wrong, in words that one can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEvent {
    /// A stable code for programs.
    pub code: String,
    /// A sentence for people; it never repeats what the caller sent.
    pub message: String,
    /// The HTTP status that the same refusal has before an upgrade, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When another try makes sense, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// Why a caller's control message was not understood. None of these ends the call by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NativeError {
    /// The message is too long to be one of ours.
    #[error("control messages have at most {MAX_CONTROL_BYTES} bytes")]
    TooLong,
    /// Neither JSON, nor one of the known types with its fields.
    #[error("control messages are JSON objects of type \"session.end\" or \"ping\"; see docs/protocol/client.md")]
    NotUnderstood,
    /// The id of a `ping` is too long to be echoed.
    #[error("the id of a ping has at most {MAX_PING_ID_BYTES} bytes")]
    PingIdTooLong,
}

/// Reads one control message of a caller.
pub fn decode_client(text: &str) -> Result<ClientEvent, NativeError> {
    if text.len() > MAX_CONTROL_BYTES {
        return Err(NativeError::TooLong);
    }
    let event: ClientEvent = serde_json::from_str(text).map_err(|_| NativeError::NotUnderstood)?;
    match &event {
        ClientEvent::Ping { id } if id.len() > MAX_PING_ID_BYTES => Err(NativeError::PingIdTooLong),
        _ => Ok(event),
    }
}

/// Writes one event as the text of its frame.
pub fn encode_server(event: &ServerEvent) -> String {
    // Every field is a string, a number or an enum of unit variants: serialisation cannot fail.
    serde_json::to_string(event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_messages_are_read_and_bad_ones_say_what_is_expected() {
        assert_eq!(decode_client(r#"{"type":"session.end"}"#), Ok(ClientEvent::End {}));
        assert_eq!(decode_client(r#"{"type":"ping","id":"7"}"#), Ok(ClientEvent::Ping { id: "7".into() }));
        for bad in ["", "[]", "{}", r#"{"type":"no"}"#, r#"{"type":"session.end","x":1}"#, "\u{0}"] {
            assert_eq!(decode_client(bad), Err(NativeError::NotUnderstood), "{bad:?}");
        }
        assert_eq!(decode_client(&" ".repeat(5000)), Err(NativeError::TooLong));
        let long = format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(65));
        assert_eq!(decode_client(&long), Err(NativeError::PingIdTooLong));
    }

    #[test]
    fn tokens_do_not_print() {
        let resume = ResumeTerms { token: "secret".into(), grace_ms: 5 };
        let event = ServerEvent::Resumed { session_id: "s".into(), missed_audio_ms: 0, repeats_from_ms: None, resume };
        assert!(!format!("{event:?}").contains("secret"));
        assert!(encode_server(&event).contains("secret"));
    }

    #[test]
    fn words_do_not_print() {
        let delta = TranscriptDelta { text: "secret".into(), audio_ms: 5 };
        let event = ServerEvent::Transcript(delta);
        assert!(!format!("{event:?}").contains("secret"));
        assert_eq!(encode_server(&event), r#"{"type":"transcript.delta","text":"secret","audio_ms":5}"#);
    }
}
