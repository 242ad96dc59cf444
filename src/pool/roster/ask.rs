//! What is asked of the roster, and what it answers.

use std::time::{Duration, Instant};

use super::{Grant, UpstreamId, estimate::Eta};
use crate::pool::endpoint::{Needs, Price};

/// Who calls, as far as fairness must know: the SHA-256 of the id.
pub type UserHash = [u8; 32];

/// One who asked, for as long as the answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(pub u64);

/// What a slot is wanted for; earlier ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A live call lost its server.
    Failover,
    /// A live call's window ends soon, and it holds a second slot for a while.
    Rotation,
    /// A new call.
    New,
}

impl Class {
    /// Every class, for tables and metrics.
    pub const ALL: [Self; 3] = [Self::Failover, Self::Rotation, Self::New];

    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Rotation => "rotation",
            Self::New => "new",
        }
    }
}

/// What a call that is under way has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ongoing {
    /// Since when it holds slots, one after the other.
    pub since: Instant,
    /// What it holds, or held last.
    pub holds: Grant,
}

/// One request for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose call it is.
    pub user: UserHash,
    /// What for.
    pub class: Class,
    /// What the server must have.
    pub needs: Needs,
    /// Servers that this call has failed on.
    pub avoid: Vec<UpstreamId>,
    /// Whether it may wait.
    pub waits: bool,
    /// Whether it is another try after a failure, which the budget must allow.
    pub retry: bool,
    /// What the call has already; none if it is a new one.
    pub ongoing: Option<Ongoing>,
}

impl Ask {
    /// A new call of this user, which may wait and needs nothing special.
    pub fn new(user: UserHash) -> Self {
        let (needs, avoid) = (Needs::default(), Vec::new());
        Self { user, class: Class::New, needs, avoid, waits: true, retry: false, ongoing: None }
    }
}

/// Why one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// Every fitting server is in use, or out of use for a while.
    Busy,
    /// A fitting server is being woken.
    Waking,
}

impl WaitReason {
    /// The word in events and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Waking => "waking",
        }
    }
}

/// Where a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub position: usize,
    /// How long it will take, if that can be said.
    pub eta: Option<Eta>,
    /// What it waits for.
    pub reason: WaitReason,
}

/// How a wait went, for the metric that keeps estimates honest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// How long.
    pub time: Duration,
    /// What was told first, if anything was.
    pub promised: Option<Eta>,
}

impl Waited {
    /// Whether the first p90 that was told was kept; `None` if nothing was told, or if nobody can know: who left earlier
    /// than that might have been served in time.
    pub fn kept(&self, end: WaitEnd) -> Option<bool> {
        let in_time = self.time <= self.promised?.p90;
        (end == WaitEnd::Granted || !in_time).then_some(in_time)
    }
}

/// How a wait for a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitEnd {
    /// With a slot.
    Granted,
    /// With a refusal.
    Refused(NoSlot),
    /// Who waited hung up.
    Left,
    /// Who waited had waited for as long as it may.
    TimedOut,
}

impl WaitEnd {
    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused(why) => why.code(),
            Self::Left => "left",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What is known of the server of a slot that is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The time that a step of a prompt took there lately.
    pub step: Option<Duration>,
    /// The window of its model, in steps of 80 ms, if that was said of it; 0: it forgets nothing.
    pub window_steps: Option<u32>,
    /// The model that it runs, if that was said.
    pub model: Option<String>,
    /// What an hour of it costs, if that was said.
    pub price: Option<Price>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoSlot {
    /// Nothing is free and the caller cannot wait.
    Busy,
    /// As many wait as may.
    QueueFull,
    /// No upstream could ever take this call.
    NoFit,
    /// So much has been tried again lately that this call may not.
    RetriesSpent,
    /// The machines that could take this call cannot be woken.
    WakeFailed,
    /// The record of leases cannot be written: nobody could know what this process holds.
    NoLedger,
}

impl NoSlot {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 6] =
        [Self::Busy, Self::QueueFull, Self::NoFit, Self::RetriesSpent, Self::WakeFailed, Self::NoLedger];

    /// The log field and metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::QueueFull => "queue_full",
            Self::NoFit => "no_fit",
            Self::RetriesSpent => "retries_spent",
            Self::WakeFailed => "wake_failed",
            Self::NoLedger => "no_ledger",
        }
    }
}

/// What became of a grant's use, as far as the server is to praise or to blame for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It got ready; `step` is the time that one step of its prompts took.
    Ready {
        /// Handshake time over prompt steps.
        step: Duration,
    },
    /// No connection to it could be made.
    Unreachable,
    /// It did not get ready, by nobody's fault but its own.
    Failed,
    /// It did not get ready in time. What this caller asked of it may be the cause, so that it counts once for a user.
    Late,
    /// It got ready and failed in mid-call. Counts once for a user, too.
    Lost,
}
