//! What came of a call.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::protocol::ending::Ending;
use crate::protocol::native::{ExpiryReason, QueueReason, TranscriptDelta, TurnReport};

use super::error::CallerError;

/// What came of a call. It serialises to what `tandem call --json` prints; its `Debug` does not show the words.
#[derive(Clone, Default, PartialEq, Serialize)]
pub struct CallReport {
    /// The call's public id (our wire only).
    pub session_id: Option<String>,
    /// From dialling until the model listened, in milliseconds.
    pub setup_ms: Option<u64>,
    /// The part of it spent waiting for a slot, as the server says (our wire only), in milliseconds.
    pub queued_ms: Option<u64>,
    /// The first promise of the queue that was told: nine of ten such waits are shorter, in milliseconds.
    pub promised_ms: Option<u64>,
    /// From when the model listened to its first audio, in milliseconds.
    pub first_audio_ms: Option<u64>,
    /// Audio sent, in seconds, silence included.
    pub sent_seconds: f64,
    /// Audio received, in seconds.
    pub received_seconds: f64,
    /// How often the caller came back to its call after its connection broke.
    pub resumes: u32,
    /// Gaps in the page numbers of what was received; 0 where the wire numbers nothing.
    pub lost_packets: u64,
    /// What the assistant said.
    pub transcript: String,
    /// Who spoke when, as the server measured it (our wire only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<TurnReport>,
    /// Why the call ended, when the server said so or the close code says it.
    pub ending: Option<Ending>,
    /// The server's close code.
    pub close_code: Option<u16>,
    /// What went wrong; absent when the call ended as the caller wished.
    pub error: Option<CallError>,
    /// When the caller had nothing to play, if it plays at once what comes: times from 40 ms on, in order, at most 1,024.
    #[serde(skip)]
    pub gaps: Vec<Gap>,
    /// What the assistant said, as 24 kHz mono samples.
    #[serde(skip)]
    pub audio: Vec<f32>,
}

impl CallReport {
    /// Whether the call was set up and ended because the caller hung up.
    pub fn went_well(&self) -> bool {
        self.error.is_none() && self.setup_ms.is_some()
    }
}

impl fmt::Debug for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallReport")
            .field("session_id", &self.session_id)
            .field("setup_ms", &self.setup_ms)
            .field("queued_ms", &self.queued_ms)
            .field("promised_ms", &self.promised_ms)
            .field("first_audio_ms", &self.first_audio_ms)
            .field("sent_seconds", &self.sent_seconds)
            .field("received_seconds", &self.received_seconds)
            .field("resumes", &self.resumes)
            .field("lost_packets", &self.lost_packets)
            .field("gaps", &self.gaps)
            .field("transcript_bytes", &self.transcript.len())
            .field("turns", &self.turns)
            .field("ending", &self.ending)
            .field("close_code", &self.close_code)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// A time in which the caller had nothing to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From dialling to its beginning.
    pub from: Duration,
    /// How long it was.
    pub lasts: Duration,
}

/// What went wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallError {
    /// A stable code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The HTTP status, when the upgrade was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When another try makes sense, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl From<CallerError> for CallError {
    fn from(error: CallerError) -> CallError {
        let (status, retry_after_seconds) = match &error {
            CallerError::RefusedCall { status, retry_after_seconds, .. } => (Some(*status), *retry_after_seconds),
            _ => (None, None),
        };
        CallError { code: error.code().to_owned(), message: error.to_string(), status, retry_after_seconds }
    }
}

/// What happens during a call, told live.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// The server took the call and sets it up.
    Created {
        /// The call's public id.
        session_id: String,
    },
    /// No model server is free yet.
    Queued {
        /// The place in the queue, from 1.
        position: u64,
        /// Half of such waits are shorter, in milliseconds.
        eta_ms: Option<u64>,
        /// Nine of ten are shorter.
        eta_p90_ms: Option<u64>,
        /// What is waited for.
        reason: QueueReason,
    },
    /// A model server is reading its prompts.
    Connecting {
        /// 1 for the first server that is tried.
        attempt: u32,
    },
    /// The model listens.
    Ready,
    /// The caller is back in its call after its connection broke.
    Resumed {
        /// Audio of the assistant that was dropped meanwhile, in milliseconds.
        missed_audio_ms: u64,
    },
    /// The first audio of the assistant came.
    FirstAudio,
    /// A piece of what the assistant says; pieces join without a separator.
    Transcript(TranscriptDelta),
    /// The assistant took over after the caller.
    Answered {
        /// From the caller's last sound to the assistant's first, in milliseconds.
        latency_ms: u64,
    },
    /// The caller began to speak while the assistant spoke.
    Interrupted {
        /// How long the assistant went on, in milliseconds, if it was stopped.
        stopped_after_ms: Option<u64>,
    },
    /// The call will end soon unless the reason goes away.
    Expiring {
        /// Which limit is near.
        reason: ExpiryReason,
        /// Milliseconds until the call ends.
        in_ms: u64,
    },
    /// The model server is lost or silent; the call goes on elsewhere.
    Recovering,
    /// The assistant is heard again.
    Recovered {
        /// Sound that was missing, in milliseconds.
        gap_ms: u64,
    },
    /// The model begins anew, and is silent meanwhile.
    Rotating {
        /// How long that will take, in milliseconds.
        eta_ms: u64,
    },
    /// The model's memory is fresh again.
    Rotated {
        /// Sound that was missing, in milliseconds.
        gap_ms: u64,
    },
    /// The model is slower than real time; the call goes on.
    Degraded {
        /// Seconds of audio for each second of time.
        realtime_factor: f64,
    },
    /// The model keeps up with real time again.
    Restored,
    /// The server complains about something; the call goes on.
    Warning {
        /// The complaint's code.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// The caller hung up and waits for the goodbye.
    HungUp,
    /// The server said why the call ended.
    Ended {
        /// Why.
        ending: Ending,
    },
}
