//! From a request to a call's seat, slot and terms: everything that may refuse, before the upgrade.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpMessage, HttpRequest, http::header};

use super::{
    continuation::{self, Continued},
    doors::{Doors, Wishes},
    identity,
    problem::{Problem, ReachedLimit, Refusal},
    query::{CallQuery, Door},
    rules::Rules,
    trace,
};
use crate::{
    auth::Identity,
    context::{cast::NoPersona, persona::Persona, private::Private},
    protocol::moshi::Voice,
    session::{
        leg::dialect::Dialect,
        preparation::Preparation,
        script::Script,
        switchboard::{Exceeded, Limit, Needs, NoSeat, Payer, Seat},
    },
    telemetry::parent::TraceParent,
};

/// A caller who may talk.
pub struct Admitted {
    /// The wire and the audio format.
    pub dialect: Dialect,
    /// The call's place on the switchboard, with its slot.
    pub seat: Seat,
    /// Who the assistant is, and what it says first.
    pub role: Role,
    /// The user, as tokens name them.
    pub user: Private<String>,
    /// The user, as logs may name them.
    pub pseudonym: String,
    /// The trace that the call is a part of.
    pub trace: Option<TraceParent>,
    /// What holds for the call until its end.
    pub rules: Arc<Rules>,
}

/// Who the assistant of a call is.
pub struct Role {
    /// The persona.
    pub persona: Arc<Persona>,
    /// Its voice in this call.
    pub voice: Voice,
    /// Voice and prompts, as long as nothing is known of the caller.
    pub script: Script,
    /// What makes other prompts of the caller's context, if the persona is told of it.
    pub preparation: Option<Preparation>,
    /// Whether the persona would be told of it, and no model server may be.
    pub withheld: bool,
}

impl Role {
    /// What a model server must have to play it.
    fn needs(&self) -> Needs {
        Needs {
            model: self.persona.model.clone(),
            voice: Some(self.voice.name().to_owned()),
            region: None,
            told: self.preparation.is_some(),
        }
    }
}

/// Lets a caller in or says why not. A ticket is used up by the attempt, whatever comes of it.
pub async fn admit(doors: &Doors, request: &HttpRequest, query: &CallQuery, door: Door) -> Result<Admitted, Refusal> {
    check_request(doors, request)?;
    let dialect = query.dialect(door)?;
    let (identity, ticket) = identity::caller(doors, request, query)?;
    let (user, rules) = (identity.user.hash(), doors.rules.now());
    doors.throttle.attempt(user)?;
    // A browser cannot send headers with its upgrade: there the request for its ticket counts.
    let trace = trace::parent(request).or_else(|| ticket.as_ref()?.trace.clone());
    let wishes = match ticket {
        Some(bound) if !bound.is_empty() => bound,
        _ => wishes(&rules, query, door)?,
    };
    let continued = continuation::of(doors, &identity, wishes.continue_from).await?;
    let mut role = role(&rules, wishes, &continued, &identity.scopes)?;
    role.preparation = preparation(doors, &rules, &role, (continued, &identity));
    let payer = Payer { user, tenant: identity.tenant.hash() };
    let seat = seat(doors, payer, &mut role, waits(request, query)).await?;
    let (user, pseudonym) = (identity.user.expose().into(), identity.user.pseudonym());
    Ok(Admitted { dialect, seat, role, user, pseudonym, trace, rules })
}

/// Takes a seat. Where no model server may be told of the caller, a persona that can do without that goes on alone.
async fn seat(doors: &Doors, payer: Payer, role: &mut Role, waits: bool) -> Result<Seat, Refusal> {
    match doors.switchboard.admit(payer, role.needs(), waits).await {
        Err(NoSeat::NotTold) if role.persona.sight.required => {
            doors.metrics.context_not_allowed();
            Err(Problem::ContextNotAllowed.into())
        }
        Err(NoSeat::NotTold) => {
            (role.preparation, role.withheld) = (None, true);
            Ok(doors.switchboard.admit(payer, role.needs(), waits).await?)
        }
        admitted => Ok(admitted?),
    }
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

/// What the query asks for. A persona may always be chosen, words of one's own only where that is allowed. The Moshi
/// wire's own clients always send a prompt and a voice: there they are ignored where they do not count.
fn wishes(rules: &Rules, query: &CallQuery, door: Door) -> Result<Wishes, Problem> {
    match (rules.policy.caller_prompts, door) {
        (true, _) => query.wishes(),
        (false, Door::Native) if query.has_own_words() => Err(Problem::PromptNotAllowed),
        (false, _) => query.without_words(),
    }
}

/// What model servers are given to read: the persona, with the caller's own voice or prompt where it asks for them.
///
/// `scopes` are the caller's. Nothing is known of the caller here, and a prompt of its own is said as it is.
pub fn role(rules: &Rules, wishes: Wishes, continued: &Continued, scopes: &[String]) -> Result<Role, Refusal> {
    let found = rules.cast.find(wishes.persona.as_deref().or(continued.persona()), scopes);
    let persona = found.map_err(|none| Refusal { personas: rules.cast.names(scopes), ..Problem::from(none).into() })?;
    let voice = wishes.voice.unwrap_or(persona.voice);
    let persona = match &wishes.prompt {
        Some(prompt) => Arc::new(Persona::clone(persona).with_prompt(prompt.clone())),
        None => Arc::clone(persona),
    };
    let script = Script::new(voice, persona.bare().clone()).map_err(|_| Problem::BadPrompt)?;
    let script = script.continued_as(persona.short().clone());
    Ok(Role { persona, voice, script, preparation: None, withheld: false })
}

/// How the caller's context gets into the prompt, where there is one and the persona is told of it.
fn preparation(
    doors: &Doors,
    rules: &Rules,
    role: &Role,
    (continued, identity): (Continued, &Identity),
) -> Option<Preparation> {
    if !role.persona.sees_context() {
        return None;
    }
    let (source, continues) = continued.into_context(&doors.contexts);
    Some(Preparation {
        persona: Arc::clone(&role.persona),
        voice: role.voice,
        source,
        continues,
        user: identity.user.expose().into(),
        budget: rules.handshake,
    })
}

impl From<NoPersona> for Problem {
    fn from(no_persona: NoPersona) -> Problem {
        match no_persona {
            NoPersona::Unknown => Problem::UnknownPersona,
            NoPersona::Forbidden => Problem::PersonaForbidden,
        }
    }
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
            NoSeat::NotTold => Problem::ContextNotAllowed.into(),
            NoSeat::Quota(exceeded) => exceeded.into(),
            NoSeat::Draining => Problem::Draining.into(),
            NoSeat::PoolLost => Problem::Internal.into(),
        }
    }
}
