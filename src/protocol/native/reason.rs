//! The closed sets of words in what Tandem says: why a call waits, is about to end, recovers, or is not as it should be.

use serde::{Deserialize, Serialize};

/// What a call in the queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueReason {
    /// Other calls are in the way.
    Busy,
    /// A model server is being woken.
    Waking,
}

/// Which limit a `session.expiring` warns of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryReason {
    /// No speech came from the caller; speech takes the warning back.
    Idle,
    /// The call reaches its longest duration.
    MaxDuration,
    /// Tandem is shutting down.
    Drain,
    /// The time that the caller may talk is used up.
    Quota,
    /// The model forgets its persona; the call itself goes on, and `session.rotated` takes it back.
    Persona,
}

/// What is not as it should be in a call that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// What is known of the caller could not be read: the assistant knows nothing of it in this call.
    ContextUnavailable,
}

impl WarningCode {
    /// The value on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ContextUnavailable => "context_unavailable",
        }
    }

    /// What callers are told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ContextUnavailable => {
                "Your data could not be read just now; the assistant does not know it in this call."
            }
        }
    }
}

/// What happened to the model server of a call that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryReason {
    /// Its connection ended.
    Lost,
    /// It gives no sound.
    Silent,
}

impl RecoveryReason {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 2] = [Self::Lost, Self::Silent];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Silent => "silent",
        }
    }
}
