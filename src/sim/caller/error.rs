//! What can go wrong with a call on the caller's side, said so that one knows what to do.

use std::time::Duration;

/// Why a call failed as the caller saw it. No message repeats a token, a prompt or what was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// The address cannot be used.
    #[error("the address is not usable: {reason}; expected one like http://127.0.0.1:8080 or wss://voice.example.com")]
    BadUrl {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A voice or prompt that the model's wire cannot carry.
    #[error("the voice or the prompt cannot be sent: {reason}")]
    BadPrompt {
        /// What is expected.
        reason: String,
    },
    /// The token or ticket has characters that a header or query cannot carry.
    #[error("the token is not usable: it has characters that no token has (spaces or line ends?)")]
    BadToken,
    /// The audio cannot be sent in the format that was asked for.
    #[error("the audio cannot be sent: {reason}")]
    Audio {
        /// What the codec says.
        reason: String,
    },
    /// Nothing listens at the address.
    #[error("nothing listens at {at}: is `tandem serve` running?")]
    Refused {
        /// Host and port.
        at: String,
    },
    /// The connection could not be made for another reason.
    #[error("no connection to {at}: {reason}")]
    Connect {
        /// Host and port.
        at: String,
        /// What the operating system says.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("no answer from {at} within {} s: is `tandem serve` running?", .within.as_secs_f32())]
    NoAnswer {
        /// Host and port.
        at: String,
        /// The timeout.
        within: Duration,
    },
    /// TLS was asked for and the other side speaks plain HTTP.
    #[error("{at} does not speak TLS: use ws:// or http:// for it, or turn TLS on there")]
    NotTls {
        /// Host and port.
        at: String,
    },
    /// TLS failed.
    #[error("TLS with {at} failed: {reason}")]
    Tls {
        /// Host and port.
        at: String,
        /// What the TLS library says.
        reason: String,
    },
    /// The answer is not HTTP.
    #[error("{at} does not answer with HTTP: is it the right port?")]
    NotHttp {
        /// Host and port.
        at: String,
    },
    /// The upgrade was refused.
    #[error("the call was refused: {message}")]
    RefusedCall {
        /// The HTTP status.
        status: u16,
        /// The problem's code, or `http_<status>`.
        code: String,
        /// The problem's sentence.
        message: String,
        /// When another try makes sense, in seconds.
        retry_after_seconds: Option<u64>,
    },
    /// The model did not begin to listen in time.
    #[error("the call was not set up within {} s: see the server's log, or allow more time", .within.as_secs_f32())]
    SetupTimeout {
        /// The timeout.
        within: Duration,
    },
    /// The other side fell silent.
    #[error("nothing came from the server for {} s; the call was given up", .within.as_secs_f32())]
    Silence {
        /// The timeout.
        within: Duration,
    },
    /// The other side takes nothing.
    #[error("the server took no audio for {} s; the call was given up", .within.as_secs_f32())]
    Stuck {
        /// The timeout.
        within: Duration,
    },
    /// The connection ended without a goodbye.
    #[error("the connection was lost {}: {reason}", if *.ready { "during the call" } else { "before the model was ready" })]
    Lost {
        /// Whether the model already listened.
        ready: bool,
        /// What the socket says.
        reason: String,
    },
    /// The other side ended the call with a close frame that was not asked for.
    #[error("the server ended the call with close code {code}")]
    Closed {
        /// The close code; 1005 when there was none.
        code: u16,
    },
    /// Tandem ended the call and said why.
    #[error("{message}")]
    Ended {
        /// The ending's code.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// No goodbye came after hanging up.
    #[error("no goodbye from the server within {} s after hanging up", .within.as_secs_f32())]
    NoGoodbye {
        /// The timeout.
        within: Duration,
    },
    /// The caller was told to hang up before the call was set up.
    #[error("the call was given up before it was set up")]
    GivenUp,
    /// The other side sent what the wire does not have.
    #[error("the server sent what this wire does not have: {reason}")]
    Protocol {
        /// What was expected.
        reason: String,
    },
}

impl CallerError {
    /// The stable code of this error; for refusals and endings it is the server's own.
    pub fn code(&self) -> &str {
        match self {
            CallerError::BadUrl { .. } => "bad_url",
            CallerError::BadPrompt { .. } => "bad_prompt",
            CallerError::BadToken => "bad_token",
            CallerError::Audio { .. } => "audio",
            CallerError::Refused { .. } => "connection_refused",
            CallerError::Connect { .. } => "connect_failed",
            CallerError::NoAnswer { .. } => "no_answer",
            CallerError::NotTls { .. } => "not_tls",
            CallerError::Tls { .. } => "tls_failed",
            CallerError::NotHttp { .. } => "not_http",
            CallerError::RefusedCall { code, .. } | CallerError::Ended { code, .. } => code,
            CallerError::SetupTimeout { .. } => "setup_timeout",
            CallerError::Silence { .. } => "silence",
            CallerError::Stuck { .. } => "stuck",
            CallerError::Lost { .. } => "connection_lost",
            CallerError::Closed { .. } => "closed",
            CallerError::NoGoodbye { .. } => "no_goodbye",
            CallerError::GivenUp => "given_up",
            CallerError::Protocol { .. } => "protocol",
        }
    }
}
