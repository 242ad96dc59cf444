//! `POST /v1/tickets`: a one-use ticket for clients that can only open a URL.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    admission, continuation,
    doors::{Doors, Wishes},
    identity,
    problem::{Problem, Refusal},
    rules::Rules,
    trace,
};

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 4096;

/// How long the body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a ticket is to be bound to. Every field is optional, as is the body.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    persona: Option<String>,
    voice: Option<String>,
    text_prompt: Option<SecretString>,
    continue_from: Option<String>,
}

/// The answer: the ticket, and the two addresses that take it.
#[derive(Serialize)]
struct Minted<'a> {
    ticket: &'a str,
    expires_in_seconds: u64,
    voice_path: String,
    chat_path: String,
}

/// Mints a ticket for the bearer of a token.
pub async fn mint(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    match minted(&doors, &request, payload).await {
        Ok(response) => response,
        Err(refused) => actix_web::ResponseError::error_response(&refused),
    }
}

async fn minted(doors: &Doors, request: &HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    identity::check_origin(doors, request)?;
    let identity = identity::bearer(doors, request)?;
    doors.throttle.attempt(identity.user.hash())?;
    if doors.switchboard.is_draining() {
        return Err(Problem::Draining.into());
    }
    let body = match timeout(BODY_TIMEOUT, payload.to_bytes_limited(MAX_BODY_BYTES)).await {
        Ok(Ok(read)) => read.map_err(|_| Problem::BadRequest)?,
        Ok(Err(_)) => return Err(Problem::BodyTooLarge.into()),
        Err(_) => return Err(Problem::BodyTimeout.into()),
    };
    let rules = doors.rules.now();
    let wishes = Wishes { trace: trace::parent(request), ..wishes(&rules, &body)? };
    // What could never become a call is refused now, not when the ticket is used.
    let continued = continuation::of(doors, &identity, wishes.continue_from).await?;
    admission::role(&rules, wishes.clone(), &continued, &identity.scopes)?;
    let ticket = doors.tickets.mint(identity, wishes, doors.now()).map_err(Problem::from)?;
    hint(doors, &rules);
    let ticket = ticket.expose_secret();
    let answer = Minted {
        ticket,
        expires_in_seconds: doors.tickets.ttl().as_secs(),
        voice_path: format!("/v1/voice?ticket={ticket}"),
        chat_path: format!("/t/{ticket}/api/chat"),
    };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Whoever gets a ticket will call soon: a machine may wake meanwhile. Nobody waits for that.
fn hint(doors: &Doors, rules: &Rules) {
    if let Some(hold) = rules.ticket_hold {
        let fleet = doors.fleet.clone();
        actix_web::rt::spawn(async move { fleet.wake(None, hold).await });
    }
}

fn wishes(rules: &Rules, body: &[u8]) -> Result<Wishes, Problem> {
    let order: Order = if body.iter().all(u8::is_ascii_whitespace) {
        Order::default()
    } else {
        serde_json::from_slice(body).map_err(|_| Problem::BadRequest)?
    };
    let continue_from = order.continue_from.as_deref().map(str::parse).transpose();
    let continue_from = continue_from.map_err(|_| Problem::UnknownSession)?;
    if order.voice.is_none() && order.text_prompt.is_none() {
        return Ok(Wishes { persona: order.persona, continue_from, ..Wishes::default() });
    }
    if !rules.policy.caller_prompts {
        return Err(Problem::PromptNotAllowed);
    }
    let voice = order.voice.as_deref().map(str::parse).transpose().map_err(|_| Problem::UnknownVoice)?;
    Ok(Wishes { persona: order.persona, voice, prompt: order.text_prompt, continue_from, trace: None })
}
