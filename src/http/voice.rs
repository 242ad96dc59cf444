//! The doors for callers: an upgrade, or a refusal that says why.

use std::time::{Duration, SystemTime};

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    admission::{Admitted, Role, admit},
    doors::Doors,
    problem::{Problem, Refusal},
    query::{CallQuery, Door},
    refusal, resume,
};
use crate::{
    context::persona::Persona,
    protocol::native::SUBPROTOCOL,
    session::{
        actor::SessionActor,
        leg::{
            client::{self, Jack, Line, MAX_MESSAGE_BYTES},
            dialect::{Decoder, Dialect, Encoder},
        },
        machine::{ContextNeed, Limits, Terms},
        registrar::{Beginning, Entry},
        setup::Setup,
        switchboard::ResumeOffer,
    },
    telemetry::span::{Attribute, Span, SpanName},
};

/// What OpenTelemetry is told of the model servers: who made the model, and its name.
const PROVIDER: &str = "nvidia.personaplex";

/// `GET /v1/voice`: our own wire.
pub async fn native(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(&doors, request, payload, Door::Native).await
}

/// `GET /api/chat`, also below `/t/{ticket}`: the PersonaPlex wire.
pub async fn moshi(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(&doors, request, payload, Door::Moshi).await
}

async fn answer(doors: &Doors, request: HttpRequest, payload: web::Payload, door: Door) -> HttpResponse {
    let query = CallQuery::parse(request.query_string());
    let token = (door == Door::Native).then(|| resume::token(&request)).flatten();
    let opening = match &token {
        Some(token) => resume::resume(doors, &request, &query, token).await,
        None => begin(doors, &request, &query, door).await,
    };
    let refused = match opening {
        // What the leg logs from here on is the call's.
        Ok(Opening { codec, jack, span, call }) => match span.in_scope(|| upgrade(&request, payload, jack, codec)) {
            Ok(response) => {
                if let Some(call) = call {
                    doors.metrics.admitted(call.admitted.seat.is_queued());
                    start(doors, call, span);
                }
                return response;
            }
            Err(problem) => return refuse(doors, problem.into(), token.is_some()),
        },
        Err(refused) => refused,
    };
    let upgraded =
        query.errors_on_socket && refused.problem != Problem::UpgradeRequired && doors.throttle.may_refuse_on_socket();
    if upgraded && let Ok(response) = refusal::on_socket(&request, payload, &refused, door) {
        count(doors, refused.problem, token.is_some());
        return response;
    }
    refuse(doors, refused, token.is_some())
}

fn refuse(doors: &Doors, refused: Refusal, coming_back: bool) -> HttpResponse {
    count(doors, refused.problem, coming_back);
    tracing::debug!(problem = refused.problem.code(), coming_back, "call refused");
    actix_web::ResponseError::error_response(&refused)
}

/// Counts a refusal. Who comes back starts no call.
fn count(doors: &Doors, problem: Problem, coming_back: bool) {
    match problem {
        Problem::ResumeUnknown => doors.metrics.resume("unknown"),
        Problem::ResumeWrongFormat => doors.metrics.resume("wrong_format"),
        _ if coming_back => doors.metrics.resume("refused"),
        _ => doors.metrics.rejected(problem.code()),
    }
}

/// A leg that only lacks its socket, and the call to start with it if it is a new one.
pub struct Opening {
    /// Its dialect.
    pub codec: Codec,
    /// Where the socket goes.
    pub jack: Jack,
    /// The call's span in the log.
    pub span: tracing::Span,
    /// The new call, if it is one.
    pub call: Option<Call>,
}

/// A call that is admitted and written down, with its end of the leg, and its span in its trace.
pub struct Call {
    admitted: Admitted,
    limits: Limits,
    entry: Entry,
    line: Line,
    trace: Span,
}

/// Admits a caller to a new call.
async fn begin(doors: &Doors, request: &HttpRequest, query: &CallQuery, door: Door) -> Result<Opening, Refusal> {
    let since = SystemTime::now();
    let admitted = admit(doors, request, query, door).await?;
    let codec = Codec::new(admitted.dialect)?;
    let limits = limits(&admitted.rules.limits, &admitted.role.persona);
    let beginning = Beginning {
        session: admitted.seat.id(),
        user: admitted.user.clone(),
        persona: admitted.role.persona.name.clone(),
        protocol: admitted.dialect.code(),
    };
    let entry = Entry::new(&doors.registrar, beginning, &limits);
    // Nobody is told of a call that a crash would leave no trace of.
    entry.open().await;
    let (line, jack) = client::line();
    let trace = begin_trace(doors, &admitted, since);
    let span = log_span(&admitted, &trace);
    Ok(Opening { codec, jack, span, call: Some(Call { admitted, limits, entry, line, trace }) })
}

/// The call's span in its trace, from when it was asked for.
fn begin_trace(doors: &Doors, admitted: &Admitted, since: SystemTime) -> Span {
    let mut trace = doors.tracer.root(SpanName::Session, admitted.trace.as_ref(), since);
    if trace.is_seen() {
        trace.set(Attribute::Session(&admitted.seat.id().to_string()));
        trace.set(Attribute::Provider(PROVIDER));
        trace.set(Attribute::Protocol(admitted.dialect.code()));
    }
    trace
}

/// What every line of the call in the log says. The trace is that of whoever asked, if nothing is exported here.
fn log_span(admitted: &Admitted, trace: &Span) -> tracing::Span {
    let (session, user) = (admitted.seat.id().to_string(), &admitted.pseudonym);
    let trace_id = trace.trace().or_else(|| Some(admitted.trace.as_ref()?.trace)).map(|id| id.to_string());
    tracing::info_span!("session", session, user, trace_id)
}

/// Both ways of one leg's dialect.
pub struct Codec {
    decoder: Decoder,
    encoder: Encoder,
    max_bytes_per_second: u32,
}

impl Codec {
    /// A codec at the start of a socket.
    pub fn new(dialect: Dialect) -> Result<Self, Problem> {
        Ok(Self {
            decoder: Decoder::new(dialect).map_err(|_| Problem::Internal)?,
            encoder: Encoder::new(dialect, rand::random()).map_err(|_| Problem::Internal)?,
            max_bytes_per_second: dialect.format().max_bytes_per_second(),
        })
    }
}

/// Answers the upgrade and gives the leg its socket, on this thread.
fn upgrade(request: &HttpRequest, payload: web::Payload, jack: Jack, codec: Codec) -> Result<HttpResponse, Problem> {
    let (response, socket, messages) =
        actix_ws::handle_with_protocols(request, payload, &[SUBPROTOCOL]).map_err(|_| Problem::UpgradeRequired)?;
    let messages =
        messages.max_frame_size(MAX_MESSAGE_BYTES).aggregate_continuations().max_continuation_size(MAX_MESSAGE_BYTES);
    jack.connect(socket, messages, codec.decoder, codec.encoder, codec.max_bytes_per_second);
    Ok(response)
}

fn start(doors: &Doors, Call { admitted, limits, entry, line, trace }: Call, span: tracing::Span) {
    let Admitted { dialect, seat, role, rules, .. } = admitted;
    let Role { persona, script, preparation, withheld, .. } = role;
    let session_id = seat.id().to_string();
    let resumable = match dialect {
        Dialect::Native(format) if !rules.limits.resume_grace.is_zero() => {
            Some(ResumeOffer { format, grace: rules.limits.resume_grace })
        }
        Dialect::Native(_) | Dialect::Moshi => None,
    };
    let setup = Setup {
        terms: Terms {
            session_id,
            audio: dialect.format().terms(),
            handshake: rules.handshake.terms(&script),
            context: match &preparation {
                // Without a store there is no context, either.
                _ if persona.sight.required => ContextNeed::Required,
                Some(_) => ContextNeed::Wanted,
                None if withheld => ContextNeed::Withheld,
                None => ContextNeed::Nothing,
            },
            jitter: rand::random(),
            player_lead: dialect.player_lead(),
            resume: None,
            allowance: seat.allowance(),
            // A share of 1 takes every call: the random number is below 1.
            sampled: rand::random::<f64>() < rules.turn_share,
        },
        limits,
        seat,
        entry,
        script,
        preparation,
        connector: doors.connector.clone(),
        metrics: doors.metrics.clone(),
        protocol: dialect.code(),
        resumable,
        span,
        trace,
    };
    SessionActor::start(setup, line);
}

/// Everybody's limits, or the persona's own where those are shorter.
fn limits(everybody: &Limits, persona: &Persona) -> Limits {
    let shorter = |limit: Duration, own: Option<Duration>| own.map_or(limit, |own| own.min(limit));
    Limits {
        max_duration: shorter(everybody.max_duration, persona.limits.max_duration),
        idle_timeout: shorter(everybody.idle_timeout, persona.limits.idle_timeout),
        ..everybody.clone()
    }
}
