//! Why an assistant does not know its caller.

use serde::{Deserialize, Serialize};

/// Why a persona knows nothing of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// What is known could not be read in time.
    Unavailable,
    /// No model server may be told of callers.
    NotAllowed,
}

impl Withheld {
    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::NotAllowed => "not_allowed",
        }
    }
}
