//! One call to a server that may hold a socket of somebody who is gone: with a prompt of nobody, to the handshake and back.
//!
//! A stock server answers the handshake only to the one socket that has its lock, so the handshake proves that no other
//! is in a call. The prompt says nothing: on a server that mixes prompts nothing of anybody can leak from here.

use std::time::Duration;

use futures_util::StreamExt;
use secrecy::SecretString;
use tokio::time::timeout;
use tracing::Instrument;

use super::{connect::UpstreamConnector, open};
use crate::{
    pool::lease::{Lease, Remark},
    protocol::moshi::{ChatTarget, Voice},
    session::machine::UpstreamInput,
};

/// A prompt of few tokens that is nobody's.
const NOBODYS_PROMPT: &str = "You are silent.";

/// Begins one under this lease, and gives the lease back when the server has let go. The handshake may take `patience`.
pub fn begin(connector: &UpstreamConnector, lease: Lease, patience: Duration) {
    let Ok(target) = ChatTarget::build(Voice::Natf0, &SecretString::from(NOBODYS_PROMPT)) else { return };
    let connector = connector.clone();
    let span = tracing::info_span!("rehearsal", upstream = lease.endpoint().name);
    let call = async move {
        let witness = lease.witness();
        let (handle, heard) = open(&connector, lease, &target);
        let mut heard = std::pin::pin!(heard);
        let ready = async {
            while let Some(input) = heard.next().await {
                match input {
                    UpstreamInput::Ready => return true,
                    UpstreamInput::Ended(_) => return false,
                    _ => {}
                }
            }
            false
        };
        let passed = timeout(patience, ready).await.unwrap_or(false);
        if passed {
            witness.remark(Remark::Passed);
        }
        tracing::info!(passed, "the test of a slot is over");
        // Closes the leg, which gives the lease back.
        drop(handle);
    };
    actix_rt::spawn(call.instrument(span));
}
