//! One call's decisions: a pure struct, driven by [`super`]'s actor through one door.
//!
//! ```text
//!  Preparing, if the persona knows its caller
//!     | context, or none
//!     v      leased                 ready (00)
//!  Leasing ----------> Handshaking ------------> Streaming ----+
//!     ^                     |                                   | any ending
//!     +-- one retry elsewhere                                   v
//!                                     told, or 2 s    Closing ------> Closed
//! ```
//!
//! A call that streams has one server *on stage*; an *understudy* may get ready beside it (failover, rotation).
//! A caller whose socket breaks while the call streams may be *detached* for a while, if its wire lets it come back.
//!
//! **Invariant (one door):** every input is followed by a complete drain of [`Machine::poll_effect`] before the next.
//! **Invariant (one ending):** the first reason to end is the call's ending; the caller is told it exactly once.
//! **Invariant (own leg):** what an upstream leg of an earlier attempt says is ignored.

mod detached;
mod ears;
mod effect;
mod failover;
mod flight;
mod lag;
mod outbox;
mod phases;
mod preparing;
mod rotation;
mod server;
mod smoother;
mod stage;
mod state;
mod understudy;
mod upstream;
mod upstream_end;
mod waiting;
mod watch;

pub use effect::{Effect, Judgement, Note, Prompt};
pub use outbox::{Dropped, Full, LEG_CREDIT, Outbox};
pub use preparing::ContextNeed;
pub use rotation::{Rotation, WithoutSlot};
pub use state::{Machine, Summary, millis};
pub use upstream_end::UpstreamEnd;

use std::time::{Duration, Instant};

use crate::{
    audio::packet::OpusPacket,
    pool::{
        quota::Allowance,
        retry::RetrySettings,
        roster::{NoSlot, Offer, Place},
    },
    protocol::{
        ending::Ending,
        moshi::TextPiece,
        native::{AudioTerms, ClientEvent, ResumeTerms, ServerEvent},
    },
};

/// The limits of a call. All durations are wall-clock time.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The longest call, from the upgrade on.
    pub max_duration: Duration,
    /// The longest time without speech of the caller.
    pub idle_timeout: Duration,
    /// How long before a limit the caller is warned of it.
    pub warning: Duration,
    /// Between two pings to the caller.
    pub ping_interval: Duration,
    /// Silence of the caller's socket, pongs included, after which the caller counts as lost.
    pub lost_after: Duration,
    /// A leg that writes nothing for so long while messages wait for it is given up.
    pub too_slow_after: Duration,
    /// A model server that owes sound and gives none for so long is given up.
    pub stall_after: Duration,
    /// A model server that owes sound and gives none for so long is silent: another one is got ready.
    pub silent_after: Duration,
    /// The longest that a call without a model server waits for another; zero: not at all.
    pub recovery: Duration,
    /// How the model's window is dealt with.
    pub rotation: Rotation,
    /// The longest wait for what is known of the caller.
    pub context_timeout: Duration,
    /// Audio that may wait for the caller.
    pub client_queue: Duration,
    /// Audio that may wait for the model server.
    pub upstream_queue: Duration,
    /// How long a call waits for a caller whose connection broke.
    pub resume_grace: Duration,
    /// The time to tell the caller how the call ended.
    pub closing: Duration,
    /// The longest wait for a slot while others are in the way.
    pub queue_timeout: Duration,
    /// The pauses before other model servers are tried.
    pub retry: RetrySettings,
    /// Model servers that are tried before the first audio.
    pub attempts: u32,
    /// Messages of the caller that are not understood before the call ends.
    pub complaints: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_duration: Duration::from_secs(30 * 60),
            idle_timeout: Duration::from_secs(120),
            warning: Duration::from_secs(30),
            ping_interval: Duration::from_secs(5),
            lost_after: Duration::from_secs(15),
            too_slow_after: Duration::from_secs(10),
            stall_after: Duration::from_secs(10),
            silent_after: Duration::from_secs(2),
            recovery: Duration::from_secs(60),
            rotation: Rotation::default(),
            context_timeout: preparing::CONTEXT_TIMEOUT,
            client_queue: Duration::from_millis(1500),
            upstream_queue: Duration::from_millis(400),
            resume_grace: Duration::from_secs(20),
            closing: Duration::from_secs(2),
            queue_timeout: Duration::from_secs(300),
            retry: RetrySettings::default(),
            attempts: 2,
            complaints: 10,
        }
    }
}

/// What this call was promised.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The call's public id.
    pub session_id: String,
    /// The audio format of both directions.
    pub audio: AudioTerms,
    /// How long a model server may take from the connect to its handshake.
    pub handshake: HandshakeTerms,
    /// Whether the prompts wait for what is known of the caller.
    pub context: ContextNeed,
    /// From 0 to 1: where in the pause before another try this call lies, so that not all try at once.
    pub jitter: f64,
    /// How far ahead of time the caller's player may be given audio; without it, as it comes.
    pub player_lead: Option<Duration>,
    /// How the caller may come back when its connection breaks; without it, not at all.
    pub resume: Option<ResumeTerms>,
    /// For how long the call may talk, where a quota limits that.
    pub allowance: Option<Allowance>,
    /// Whether it is measured who speaks when: both sides are decoded all the time then.
    pub sampled: bool,
}

/// How long a model server may take to read its prompts: so long, and so much more for each step (personaplex.md 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeTerms {
    /// What is granted whatever the prompt.
    pub base: Duration,
    /// What is granted for each step on a server that nothing is known of.
    pub step: Duration,
    /// Steps of this call's prompts.
    pub steps: u32,
    /// Steps of the prompts with which another server goes on while the caller waits; at most so many.
    pub continuation_steps: u32,
    /// Steps of the prompts with which another server takes over while the call goes on; at most so many.
    pub memory_steps: u32,
}

/// Everything that can happen to a call.
#[derive(Debug)]
pub enum Input {
    /// The call's prompts have the caller's context in them, and take so long to be read.
    Prepared(HandshakeTerms),
    /// Nothing can be known of the caller.
    Unprepared,
    /// A slot was granted, or a kept one is back; its leg is opened under the next attempt's number.
    Leased(Offer),
    /// There is no slot yet, and this is where the call stands.
    Queued(Place),
    /// There is no slot, and none will come.
    NoSlot(NoSlot),
    /// The pool does not answer.
    NoAnswer,
    /// The call may talk for so much longer.
    Booked(Duration),
    /// From the caller's leg.
    Client(ClientInput),
    /// The caller is back on a new socket: from now on its leg is that one. The next way to come back is told.
    Attached(ResumeTerms),
    /// From the upstream leg of this attempt.
    Upstream(u32, UpstreamInput),
    /// The deadline came.
    Tick,
    /// Tandem shuts down: the call may go on until then.
    Drain(Instant),
    /// Somebody else ends the call.
    End(Ending),
}

/// What the caller's leg reports.
#[derive(Debug)]
pub enum ClientInput {
    /// One checked packet.
    Audio(OpusPacket),
    /// A control message.
    Event(ClientEvent),
    /// A sign of life: a pong, or a ping of the caller's own.
    Alive,
    /// Everything up to this mark has arrived.
    Confirmed(u32),
    /// One message was written.
    Writable,
    /// Something was not understood; the call goes on for a while.
    Complaint(Complaint),
    /// Something that the audio format forbids; the call cannot go on.
    Bad(Complaint),
    /// The socket ended: after a close frame or without one.
    Closed {
        /// Whether the caller said goodbye.
        clean: bool,
    },
}

/// What was wrong with a caller's message, in words that one can act on and that repeat nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// A stable code for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What an upstream leg reports.
#[derive(Debug)]
pub enum UpstreamInput {
    /// The socket is open: the server has the prompts, or waits for its lock.
    Opened,
    /// The server has read its prompts and listens.
    Ready,
    /// One checked packet of the assistant.
    Audio(OpusPacket),
    /// A piece of the assistant's words.
    Text(TextPiece),
    /// One packet was written.
    Writable,
    /// The leg is over.
    Ended(UpstreamEnd),
}

/// What is sent to the caller.
#[derive(Clone, Debug)]
pub enum ClientOutput {
    /// One event; each dialect says it in its own way, or not at all.
    Event(ServerEvent),
    /// One packet of the assistant.
    Audio(OpusPacket),
    /// Asks for a sign of life.
    Ping,
}

/// Which way audio travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Caller to model.
    Up,
    /// Model to caller.
    Down,
}

impl Direction {
    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why audio was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// It came before the model listened.
    PreHandshake,
    /// It waited too long, or came too late to be said.
    Backlog,
}

impl DropReason {
    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PreHandshake => "pre_handshake",
            Self::Backlog => "backlog",
        }
    }
}
