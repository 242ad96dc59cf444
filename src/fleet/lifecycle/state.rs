//! Where a machine can be in its life.

use std::time::Instant;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not known yet: the provider was not heard.
    Unknown,
    /// Stopped.
    Asleep,
    /// To be started, or starting.
    Waking {
        /// Since when.
        since: Instant,
    },
    /// It runs, and its model server does not answer yet.
    Warming {
        /// Since when it wakes.
        since: Instant,
    },
    /// Calls go there.
    Ready {
        /// Since when.
        since: Instant,
    },
    /// It was taken from the pool in order to begin anew, or the provider was asked for that.
    Restarting {
        /// Since when.
        since: Instant,
    },
    /// The pool was asked to let go of it.
    Retiring {
        /// Since when it has been awake.
        since: Instant,
    },
    /// To be stopped, or stopping.
    FallingAsleep,
    /// It could not be woken.
    Failed {
        /// Why.
        why: WakeFailure,
        /// When another try makes sense.
        until: Instant,
    },
}

impl State {
    /// The state in one word, for metrics, logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Asleep => "asleep",
            Self::Waking { .. } => "waking",
            Self::Warming { .. } => "warming",
            Self::Ready { .. } | Self::Retiring { .. } => "ready",
            Self::Restarting { .. } => "restarting",
            Self::FallingAsleep => "falling_asleep",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Why a machine could not be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakeFailure {
    /// Not in time.
    Deadline,
    /// The provider has no room for it: no GPU is free.
    Capacity,
    /// The provider refuses the credential.
    Auth,
    /// The provider does not know it.
    NotFound,
    /// The provider refuses for another reason.
    Refused,
    /// Its model server was stuck again however often it was restarted.
    Stuck,
}

impl WakeFailure {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 6] = [Self::Deadline, Self::Capacity, Self::Auth, Self::NotFound, Self::Refused, Self::Stuck];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Capacity => "capacity",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Stuck => "stuck",
        }
    }
}
