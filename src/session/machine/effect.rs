//! What the machine decides: effects for the actor, and notes for metrics and logs.

use std::time::Duration;

use super::{ClientOutput, Direction, DropReason, Summary, UpstreamEnd};
use crate::{
    audio::{packet::OpusPacket, turns::Happening},
    pool::roster::Class,
    protocol::{
        ending::Ending,
        native::{RecoveryReason, TranscriptDelta},
    },
};

/// The prompts that a model server is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// The call's own.
    Persona,
    /// The call's own, and what was said.
    Memory,
    /// A short one that costs little time: who the assistant is, and what was said.
    Continuation,
}

impl Prompt {
    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Persona => "persona",
            Self::Memory => "memory",
            Self::Continuation => "continuation",
        }
    }
}

/// What the actor has to do.
#[derive(Debug)]
pub enum Effect {
    /// Load what is known of the caller; [`Input::Prepared`](super::Input::Prepared) answers.
    LoadContext,
    /// Ask the pool for a slot; `elsewhere` means: not the one just held.
    Acquire {
        /// What for.
        class: Class,
        /// Whether the last upstream is to be avoided.
        elsewhere: bool,
        /// Whether the budget for retries must allow it.
        retry: bool,
    },
    /// Do not ask for a slot any more.
    Withdraw,
    /// Book more of the caller's quota; [`Input::Booked`](super::Input::Booked) answers.
    BookMore,
    /// Open the upstream leg of this attempt under the lease just granted, with these prompts.
    OpenUpstream(u32, Prompt),
    /// Close the upstream leg of this attempt; it gives its slot back by itself.
    CloseUpstream(u32),
    /// Close the upstream leg of this attempt and keep its slot: it counts as granted once the server has let go.
    KeepLease(u32),
    /// Say of the server of this attempt who is to praise or to blame.
    Judge(u32, Judgement),
    /// Write one packet to the model server of this attempt.
    SendUpstream(u32, OpusPacket),
    /// Write one message to the caller.
    SendClient(ClientOutput),
    /// Ask the caller to confirm everything up to here; takes no credit.
    MarkClient(u32),
    /// Close the caller's socket with this ending's code and sentence.
    CloseClient(Ending),
    /// Drop the caller's leg: whatever it says from now on is no input.
    LetClientGo,
    /// Words of the assistant, as they are to be remembered.
    Remember(TranscriptDelta),
    /// Something worth counting or logging.
    Note(Note),
    /// The call is over and both legs are let go.
    Done(Summary),
}

/// Who is to praise or to blame, where the leg itself cannot judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It got ready, and each step of its prompts took so long.
    Ready {
        /// Handshake time over prompt steps.
        step: Duration,
    },
    /// It is lost in mid-call, or fell silent.
    Failed,
    /// It did not get ready in time.
    Late,
    /// It hung up over its prompts: it, or the prompts, are to blame.
    Suspect,
    /// Another server took the same prompts: the suspect is to blame.
    Guilty,
}

/// What happened, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Note {
    /// The model listens: time since the upgrade, and since the socket was asked for.
    Ready {
        /// Since the upgrade.
        setup: Duration,
        /// Since this attempt's leg was opened.
        handshake: Duration,
    },
    /// Another server has read its prompts and listens.
    Prepared {
        /// Since its leg was opened.
        handshake: Duration,
    },
    /// The server on stage is lost or silent.
    Recovering(RecoveryReason),
    /// There is sound again.
    Recovered {
        /// What had happened.
        reason: RecoveryReason,
        /// Whether it is the same server.
        same: bool,
        /// For how long the caller got no sound that was due.
        gap: Duration,
    },
    /// Another window has begun.
    Rotated {
        /// Whether on the same slot.
        in_place: bool,
        /// For how long the caller got no sound that was due.
        gap: Duration,
    },
    /// No other server could be got ready for another window.
    RotationFailed,
    /// A phase is over in which the model did not listen yet: its name, and how long it was.
    PhaseOver(&'static str, Duration),
    /// A model server has answered the upgrade, so long after its leg was opened.
    Opened(Duration),
    /// An attempt failed before the model listened; `None` is a handshake that took too long.
    AttemptFailed(Option<UpstreamEnd>),
    /// The first sound of the assistant, since the upgrade.
    FirstAudio(Duration),
    /// One packet passed.
    Passed(Direction),
    /// So much that the caller did not send went to the model, to fill a gap: one packet.
    Filled(Duration),
    /// The caller's connection broke; the call waits for it.
    Detached,
    /// The caller is on a new socket.
    Attached {
        /// Whether the old one was thought to be good until then.
        taken_over: bool,
    },
    /// Packets were dropped.
    Dropped(Direction, DropReason, u64),
    /// A second of conversation has passed.
    Second {
        /// How far the model is behind the caller.
        lag: Duration,
        /// Seconds of the assistant's audio for each second of the last ones; none in the first seconds of a call.
        realtime_factor: Option<f64>,
    },
    /// The model server was found slower than real time, or to keep up; said again while that lasts.
    Pace {
        /// Whether it is slower than real time.
        slow: bool,
        /// Seconds of the assistant's audio for each second of the last ones.
        realtime_factor: f64,
        /// Whether this is news.
        changed: bool,
    },
    /// Somebody spoke, and what it was.
    Turn(Happening),
}
