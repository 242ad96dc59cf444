//! A refusal told on a socket, for browsers: they cannot read the status of a failed upgrade.

use std::time::Duration;

use actix_http::ws::CloseReason;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{problem::Refusal, query::Door};
use crate::protocol::{
    moshi::{Message, TextPiece},
    native::{SUBPROTOCOL, ServerEvent, encode_server},
};

/// How long a refused caller may take to hang up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Upgrades, says the refusal as one event in the door's own words, and closes with its code.
pub fn on_socket(
    request: &HttpRequest,
    payload: web::Payload,
    refused: &Refusal,
    door: Door,
) -> Result<HttpResponse, actix_web::Error> {
    let (response, mut socket, mut messages) = actix_ws::handle_with_protocols(request, payload, &[SUBPROTOCOL])?;
    let row = refused.problem.row();
    let event = refused.to_error_event();
    let reason = CloseReason { code: row.close_code.into(), description: Some(row.code.to_owned()) };
    actix_rt::spawn(async move {
        let farewell = async {
            let said = match door {
                Door::Native => socket.text(encode_server(&ServerEvent::Error(event))).await,
                Door::Moshi => socket.binary(Message::Error(TextPiece::new(&event.message)).encode()).await,
            };
            if said.is_ok() && socket.close(Some(reason)).await.is_ok() {
                while let Some(Ok(_)) = messages.next().await {}
            }
        };
        // Who does not hang up is hung up on.
        let _ = timeout(PATIENCE, farewell).await;
    });
    Ok(response)
}
