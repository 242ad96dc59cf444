//! Asks a model server whether it lives, without touching it: a plain request where a WebSocket would begin.
//!
//! The server answers it with 400 and remembers nothing of it; a WebSocket would overwrite prompts (personaplex.md 9.1).
//! Under load it waits for whole model steps, so the patience is in seconds.

use std::time::Duration;

use super::connect::UpstreamConnector;
use crate::{pool::endpoint::Endpoint, protocol::moshi::CHAT_PATH};

/// The longest wait for the answer: a server at the edge of real time took up to half a second (personaplex.md 9.3).
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the server at this endpoint answers HTTP. Any answer but a gateway's or an overloaded server's will do.
pub async fn probe(connector: &UpstreamConnector, endpoint: &Endpoint) -> bool {
    let scheme = if endpoint.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}:{}{}{CHAT_PATH}", endpoint.host, endpoint.port, endpoint.path_prefix);
    let (client, _tap) = connector.client(endpoint);
    let asked = client.get(url).force_close().send();
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(answer)) if !answer.status().is_server_error())
}
