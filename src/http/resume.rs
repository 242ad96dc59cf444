//! A caller who comes back to its call on another socket.

use actix_web::{HttpRequest, http::header};
use secrecy::{ExposeSecret, SecretString};

use super::{
    admission,
    doors::Doors,
    identity,
    problem::{Problem, Refusal},
    query::{CallQuery, Door},
    voice::{Codec, Opening},
};
use crate::{
    protocol::native::{RESUME_HEADER, RESUME_PREFIX},
    session::leg::client,
};

/// The token of a call to come back to: of the header, or of a `tandem.resume.` subprotocol.
pub fn token(request: &HttpRequest) -> Option<SecretString> {
    if let Some(value) = request.headers().get(RESUME_HEADER) {
        // What is no text is no token either: it leads to no call.
        return Some(SecretString::from(value.to_str().unwrap_or_default().trim()));
    }
    let lists = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offers = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim);
    offers.find_map(|offer| offer.strip_prefix(RESUME_PREFIX)).map(SecretString::from)
}

/// Puts the caller's new socket in the place of its old one. No slot and no seat is taken, and of the query only the
/// audio format counts.
///
/// The call takes the new leg before the upgrade is answered: a refusal is one before the upgrade. The token is good until
/// the socket has shown life, because the answer may be lost.
pub async fn resume(
    doors: &Doors,
    request: &HttpRequest,
    query: &CallQuery,
    token: &SecretString,
) -> Result<Opening, Refusal> {
    admission::check_request(doors, request)?;
    let dialect = query.dialect(Door::Native)?;
    let (identity, _) = identity::caller(doors, request, query)?;
    let user = identity.user.hash();
    doors.throttle.attempt(user)?;
    let codec = Codec::new(dialect)?;
    let (line, jack) = client::line();
    let resumed = doors.switchboard.resume(token.expose_secret(), user, dialect.format(), line).await;
    let span = resumed.map_err(Problem::from)?;
    Ok(Opening { codec, jack, span, call: None })
}
