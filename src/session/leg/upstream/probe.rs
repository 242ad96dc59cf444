//! Asks a model server whether it lives, without touching it: a plain request where a WebSocket would begin.
//!
//! The server answers it with 400 and remembers nothing of it; a WebSocket would overwrite prompts (personaplex.md 9.1).
//! Under load it waits for whole model steps, so the patience is in seconds.

use std::{io::ErrorKind, time::Duration};

use awc::error::{ConnectError, SendRequestError};
use tokio::time::timeout;

use super::{
    connect::{
        self, UpstreamConnector,
        tls::{TlsFault, Untrusted},
    },
    failure::tls_fault,
};
use crate::{
    pool::{endpoint::Endpoint, roster::Probed},
    protocol::moshi::CHAT_PATH,
};

/// The longest wait for the answer: a server at the edge of real time took up to half a second (personaplex.md 9.3).
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a server did not answer.
#[derive(Clone, Debug)]
pub enum NoAnswer {
    /// Nothing listens there.
    Refused,
    /// The name leads nowhere.
    NoSuchName,
    /// Nothing came in time.
    Silence,
    /// TLS was expected and plain HTTP came.
    PlainHttp,
    /// Its certificate is not trusted.
    Untrusted(Untrusted),
    /// Something came, and it was not HTTP; or the connection was closed instead.
    NotHttp,
    /// The system's words.
    Other(String),
}

/// Asks the server at this endpoint: the status of its answer. Uses what a call would use, to the last certificate.
///
/// To be called where futures may be spawned on their own thread.
pub async fn ask(connector: &UpstreamConnector, endpoint: &Endpoint) -> Result<u16, NoAnswer> {
    let url = connect::url("http", endpoint, CHAT_PATH);
    let (client, _tap) = connector.client(endpoint);
    match timeout(PATIENCE, client.get(url).force_close().send()).await {
        Ok(Ok(answer)) => Ok(answer.status().as_u16()),
        Ok(Err(error)) => Err(no_answer(&error)),
        Err(_) => Err(NoAnswer::Silence),
    }
}

/// Whether the server at this endpoint answers HTTP. Any answer but a gateway's or an overloaded server's will do.
pub async fn probe(connector: &UpstreamConnector, endpoint: &Endpoint) -> Probed {
    match ask(connector, endpoint).await {
        Ok(status) if status < 500 => Probed::Answered,
        Err(NoAnswer::Refused) => Probed::Refused,
        Ok(_) | Err(_) => Probed::Silent,
    }
}

fn no_answer(error: &SendRequestError) -> NoAnswer {
    match (tls_fault(error), error) {
        (Some(TlsFault::PlainHttp), _) => NoAnswer::PlainHttp,
        (Some(TlsFault::Untrusted(untrusted)), _) => NoAnswer::Untrusted(untrusted),
        (None, SendRequestError::Connect(error)) => match error {
            ConnectError::Io(io) if io.kind() == ErrorKind::ConnectionRefused => NoAnswer::Refused,
            ConnectError::Io(io) if io.kind() == ErrorKind::TimedOut => NoAnswer::Silence,
            ConnectError::Timeout => NoAnswer::Silence,
            ConnectError::Resolver(_) | ConnectError::NoRecords => NoAnswer::NoSuchName,
            ConnectError::Disconnected => NoAnswer::NotHttp,
            other => NoAnswer::Other(other.to_string()),
        },
        (None, SendRequestError::Response(_)) => NoAnswer::NotHttp,
        (None, SendRequestError::Timeout) => NoAnswer::Silence,
        (None, other) => NoAnswer::Other(other.to_string()),
    }
}
