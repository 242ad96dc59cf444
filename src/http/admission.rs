//! From a request to a call's seat, slot and terms: everything that may refuse, before the upgrade.

use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest, http::header};

use super::{
    doors::{Doors, Wishes},
    identity,
    problem::{Problem, ReachedLimit, Refusal},
    query::{CallQuery, Door},
};
use crate::session::{
    leg::dialect::Dialect,
    script::Script,
    switchboard::{Exceeded, Limit, NoSeat, Payer, Seat},
};

/// A caller who may talk.
pub struct Admitted {
    /// The wire and the audio format.
    pub dialect: Dialect,
    /// The call's place on the switchboard, with its slot.
    pub seat: Seat,
    /// Voice and prompts.
    pub script: Script,
    /// The user, as logs may name them.
    pub pseudonym: String,
}

/// Lets a caller in or says why not. A ticket is used up by the attempt, whatever comes of it.
pub async fn admit(doors: &Doors, request: &HttpRequest, query: &CallQuery, door: Door) -> Result<Admitted, Refusal> {
    check_request(doors, request)?;
    let dialect = query.dialect(door)?;
    let (identity, ticket) = identity::caller(doors, request, query)?;
    let user = identity.user.hash();
    doors.throttle.attempt(user)?;
    let wishes = match ticket {
        Some(bound) if !bound.is_empty() => bound,
        _ => wishes(doors, query, door)?,
    };
    let script = script(doors, wishes)?;
    let payer = Payer { user, tenant: identity.tenant.hash() };
    let seat = doors.switchboard.admit(payer, waits(request, query)).await?;
    Ok(Admitted { dialect, seat, script, pseudonym: identity.user.pseudonym() })
}

/// Whether the caller waits where no model server is free: yes, unless it says `wait=0`, or `Prefer: wait=0` (RFC 7240).
fn waits(request: &HttpRequest, query: &CallQuery) -> bool {
    let prefers = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
    let not = prefers.flat_map(|value| value.split(',')).any(|wish| wish.trim().eq_ignore_ascii_case("wait=0"));
    !not && !query.waits_not
}

/// Refuses what is no upgrade, and pages from elsewhere.
pub fn check_request(doors: &Doors, request: &HttpRequest) -> Result<(), Problem> {
    if actix_http::ws::verify_handshake(request.head()).is_err() {
        return Err(Problem::UpgradeRequired);
    }
    // The server below would take what follows for a body, and hear none of it.
    if request.headers().contains_key(header::CONTENT_LENGTH) || request.chunked().unwrap_or(true) {
        return Err(Problem::BadRequest);
    }
    identity::check_origin(doors, request)
}

/// What the query asks for, where callers may ask. The Moshi wire's own clients always send a prompt and a voice: there
/// they are ignored where they do not count.
fn wishes(doors: &Doors, query: &CallQuery, door: Door) -> Result<Wishes, Problem> {
    match (doors.policy.caller_prompts, door) {
        (true, _) => query.wishes(),
        (false, Door::Native) if query.has_wishes() => Err(Problem::PromptNotAllowed),
        (false, _) => Ok(Wishes::default()),
    }
}

/// What model servers are given to read: the wishes, and the persona where there are none.
pub fn script(doors: &Doors, wishes: Wishes) -> Result<Script, Problem> {
    let voice = wishes.voice.unwrap_or(doors.persona.voice);
    let prompt = wishes.prompt.unwrap_or_else(|| doors.persona.prompt.clone());
    Script::new(voice, prompt).map_err(|_| Problem::BadPrompt)
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        let problem = match exceeded.limit {
            Limit::UserCalls => Problem::TooManyCalls,
            Limit::TenantCalls => Problem::TooManyTenantCalls,
            Limit::UserTime => Problem::QuotaSpent,
            Limit::TenantTime => Problem::TenantQuotaSpent,
        };
        let refusal = exceeded.later.map_or_else(|| problem.into(), |later| problem.retry_after(later));
        Refusal { limit: Some(ReachedLimit { value: exceeded.value, window: exceeded.window }), ..refusal }
    }
}

impl From<NoSeat> for Refusal {
    fn from(no_seat: NoSeat) -> Self {
        match no_seat {
            // A record that is locked or whose disk is full is usable again without us.
            NoSeat::Full | NoSeat::NoLedger => Problem::NoCapacity.into(),
            NoSeat::NoSlot(later) => {
                Problem::NoCapacity.retry_after(later.clamp(Duration::from_secs(1), Duration::from_secs(3_600)))
            }
            NoSeat::Quota(exceeded) => exceeded.into(),
            NoSeat::Draining => Problem::Draining.into(),
            NoSeat::PoolLost => Problem::Internal.into(),
        }
    }
}
