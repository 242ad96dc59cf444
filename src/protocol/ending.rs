//! Why a call ended: one closed enum, and the one table that says it to everybody.

use serde::{Deserialize, Serialize};

/// Why a call ended. The table in [`Ending::row`] is the only place that knows how each one is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The caller hung up.
    ClientLeft,
    /// The caller's connection broke or fell silent.
    ClientLost,
    /// The model server's connection broke.
    UpstreamLost,
    /// The model server answers slower than real time.
    UpstreamTooSlow,
    /// No slot was free.
    NoCapacity,
    /// The wait for a slot was too long.
    QueueTimeout,
    /// The model service did not wake.
    WakeFailed,
    /// The model server did not finish reading its prompts in time.
    HandshakeTimeout,
    /// Two model servers hung up on the same prompts.
    PromptRejected,
    /// The caller's context could not be read and the persona needs it.
    ContextUnavailable,
    /// The caller said nothing for too long.
    IdleTimeout,
    /// The call reached its longest permitted duration.
    MaxDuration,
    /// The time that the caller may talk, within a day for instance, is used up.
    QuotaSpent,
    /// The model's window is over and it could not be rotated.
    WindowEnded,
    /// The caller sent what the protocol does not allow.
    BadInput,
    /// The caller did not read what it was sent.
    TooSlow,
    /// The caller's permission ran out.
    AuthExpired,
    /// Tandem is shutting down.
    Drained,
    /// Another connection took the call over.
    Replaced,
    /// An operator ended the call.
    Admin,
    /// The gateway process died under the call.
    GatewayLost,
    /// A fault of Tandem's own.
    Internal,
    /// One that a later version knows: it is only read from what that wrote down, no call ends with it, and it is not in
    /// [`Ending::ALL`].
    Unknown,
}

/// How an [`Ending`] is told: label, close code and public sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndingRow {
    /// The API code, which is also the metric label, the record's value and the log field.
    pub code: &'static str,
    /// The WebSocket close code.
    pub close_code: u16,
    /// What the caller is told: one sentence that says what to do.
    pub sentence: &'static str,
}

const fn row(code: &'static str, close_code: u16, sentence: &'static str) -> EndingRow {
    EndingRow { code, close_code, sentence }
}

impl Ending {
    /// Every ending of a call, in the order of the table.
    pub const ALL: [Ending; 22] = [
        Ending::ClientLeft,
        Ending::ClientLost,
        Ending::UpstreamLost,
        Ending::UpstreamTooSlow,
        Ending::NoCapacity,
        Ending::QueueTimeout,
        Ending::WakeFailed,
        Ending::HandshakeTimeout,
        Ending::PromptRejected,
        Ending::ContextUnavailable,
        Ending::IdleTimeout,
        Ending::MaxDuration,
        Ending::QuotaSpent,
        Ending::WindowEnded,
        Ending::BadInput,
        Ending::TooSlow,
        Ending::AuthExpired,
        Ending::Drained,
        Ending::Replaced,
        Ending::Admin,
        Ending::GatewayLost,
        Ending::Internal,
    ];

    /// The table: how this ending is told.
    pub const fn row(self) -> EndingRow {
        match self {
            Ending::ClientLeft => row("client_left", 1000, "The call is over: the caller hung up."),
            Ending::ClientLost => row("client_lost", 4460, "The connection to the caller was lost; call again."),
            Ending::UpstreamLost => row("upstream_lost", 4461, "The voice model's connection was lost; call again."),
            Ending::UpstreamTooSlow => {
                row("upstream_too_slow", 4462, "The voice model could not keep up with the conversation; call again.")
            }
            Ending::NoCapacity => row("no_capacity", 4450, "All voice models are busy; call again in a little while."),
            Ending::QueueTimeout => row("queue_timeout", 4451, "No voice model became free in time; call again later."),
            Ending::WakeFailed => row("wake_failed", 4452, "The voice model could not be started; call again later."),
            Ending::HandshakeTimeout => {
                row("handshake_timeout", 4463, "The voice model did not get ready in time; call again.")
            }
            Ending::PromptRejected => {
                row("prompt_rejected", 4464, "The voice model does not accept this voice or prompt; choose others.")
            }
            Ending::ContextUnavailable => {
                row("context_unavailable", 4465, "Your data could not be read just now; call again later.")
            }
            Ending::IdleTimeout => row("idle_timeout", 4466, "Nothing was heard from you for too long; call again."),
            Ending::MaxDuration => row("max_duration", 4467, "The call reached its longest duration; call again."),
            Ending::QuotaSpent => row("quota_spent", 4473, "The time that you may talk is used up; call again later."),
            Ending::WindowEnded => row("window_ended", 4468, "The voice model's memory is full; call again."),
            Ending::BadInput => row("bad_input", 4400, "The call was ended because of input that is not allowed."),
            Ending::TooSlow => row("too_slow", 4469, "Your connection is too slow for the call; try a better network."),
            Ending::AuthExpired => row("auth_expired", 4401, "Your permission ran out; sign in and call again."),
            Ending::Drained => row("drained", 4453, "The service is restarting; call again in a moment."),
            Ending::Replaced => row("replaced", 4470, "The call goes on in another connection of yours."),
            Ending::Admin => row("admin", 4471, "The call was ended by an operator."),
            Ending::GatewayLost => row("gateway_lost", 4472, "The service failed during the call; call again."),
            Ending::Internal => row("internal", 1011, "Something failed on our side; call again."),
            Ending::Unknown => row("unknown", 1011, "The call is over."),
        }
    }

    /// The ending that was written down with this code.
    pub fn of(code: &str) -> Self {
        Self::ALL.into_iter().find(|ending| ending.code() == code).unwrap_or(Ending::Unknown)
    }

    /// Whether somebody should look at a call that ended so. Limits, operators and callers end calls too.
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::UpstreamLost
                | Self::UpstreamTooSlow
                | Self::NoCapacity
                | Self::QueueTimeout
                | Self::WakeFailed
                | Self::HandshakeTimeout
                | Self::PromptRejected
                | Self::ContextUnavailable
                | Self::WindowEnded
                | Self::BadInput
                | Self::GatewayLost
                | Self::Internal
        )
    }

    /// The API code: also the metric label, the record's value and the log field.
    pub const fn code(self) -> &'static str {
        self.row().code
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_ending_has_its_own_code_and_close_code() {
        let codes: HashSet<_> = Ending::ALL.iter().map(|e| e.row().code).collect();
        let close: HashSet<_> = Ending::ALL.iter().map(|e| e.row().close_code).collect();
        assert_eq!(codes.len(), Ending::ALL.len());
        assert_eq!(close.len(), Ending::ALL.len());
    }

    #[test]
    fn the_code_is_the_serialised_name() {
        for ending in Ending::ALL {
            assert_eq!(serde_json::to_value(ending).unwrap(), ending.code());
        }
    }
}
