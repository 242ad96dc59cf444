//! Who is at the door: a token from the header, the subprotocol list or (in development) the query, or a ticket.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, http::header};
use secrecy::{ExposeSecret, SecretString};

use super::{
    doors::{Doors, Wishes},
    problem::Problem,
    query::CallQuery,
};
use crate::{
    auth::{Identity, TokenError},
    protocol::native::BEARER_PREFIX,
};

/// Seconds since 1970, by which tokens live.
pub fn unix_now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Who is calling, and what the ticket was minted for if it was a ticket.
pub fn caller(doors: &Doors, request: &HttpRequest, query: &CallQuery) -> Result<(Identity, Option<Wishes>), Problem> {
    if let Some(token) = header_token(request) {
        return Ok((verified(doors, &token?)?, None));
    }
    let path_ticket = request.match_info().get("ticket").map(SecretString::from);
    if let Some(ticket) = path_ticket.as_ref().or(query.ticket.as_ref()) {
        let redeemed = doors.tickets.redeem(ticket.expose_secret(), doors.now());
        doors.metrics.auth(redeemed.as_ref().err().map(|error| error.label()));
        let redeemed = redeemed?;
        if doors.tokens.has_expired(&redeemed.identity, unix_now_seconds()) {
            return Err(Problem::TokenExpired);
        }
        return Ok((redeemed.identity, Some(redeemed.terms)));
    }
    match &query.token {
        Some(_) if !doors.rules.now().policy.query_tokens => {
            doors.metrics.auth(Some("in_query"));
            Err(Problem::TokenInQuery)
        }
        Some(token) => Ok((verified(doors, token)?, None)),
        None => {
            doors.metrics.auth(Some(TokenError::Missing.label()));
            Err(Problem::TokenMissing)
        }
    }
}

/// The bearer of a token in the header, for requests that are no calls.
pub fn bearer(doors: &Doors, request: &HttpRequest) -> Result<Identity, Problem> {
    match header_token(request) {
        Some(token) => verified(doors, &token?),
        None => {
            doors.metrics.auth(Some(TokenError::Missing.label()));
            Err(Problem::TokenMissing)
        }
    }
}

fn verified(doors: &Doors, token: &SecretString) -> Result<Identity, Problem> {
    let verified = doors.tokens.verify(token.expose_secret(), unix_now_seconds());
    doors.metrics.auth(verified.as_ref().err().map(|error| error.label()));
    Ok(verified?)
}

/// The bearer of a token in the header, who need not be one who may call.
pub fn anybody(doors: &Doors, request: &HttpRequest) -> Result<Identity, Problem> {
    let Some(token) = header_token(request) else {
        doors.metrics.auth(Some(TokenError::Missing.label()));
        return Err(Problem::TokenMissing);
    };
    let verified = doors.tokens.verify_for(None, token?.expose_secret(), unix_now_seconds());
    doors.metrics.auth(verified.as_ref().err().map(|error| error.label()));
    Ok(verified?)
}

/// What `Authorization: Bearer` says, whatever it is.
pub fn bearer_text(request: &HttpRequest) -> Option<SecretString> {
    request.headers().get(header::AUTHORIZATION)?;
    header_token(request)?.ok()
}

/// The token of `Authorization: Bearer`, or of a `tandem.bearer.` subprotocol; `None` if there is neither.
fn header_token(request: &HttpRequest) -> Option<Result<SecretString, Problem>> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| SecretString::from(token.trim()))
        });
        return Some(token.ok_or(Problem::TokenMalformed));
    }
    let lists = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offers = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim);
    offers.find_map(|offer| offer.strip_prefix(BEARER_PREFIX)).map(|token| Ok(SecretString::from(token)))
}

/// Whether a browser's page may call. Other clients send no origin.
pub fn check_origin(doors: &Doors, request: &HttpRequest) -> Result<(), Problem> {
    let rules = doors.rules.now();
    let allowed = &rules.policy.allowed_origins;
    match request.headers().get(header::ORIGIN) {
        Some(origin) if !allowed.is_empty() && !allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()) => {
            Err(Problem::OriginNotAllowed)
        }
        _ => Ok(()),
    }
}
