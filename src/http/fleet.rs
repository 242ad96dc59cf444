//! `/v1/wake`, `/v1/upstreams` and `/v1/autoscale`: what operators and autoscalers ask of the machines.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{
    doors::Doors,
    identity,
    problem::{Problem, Refusal},
};
use crate::fleet::actor::{MachineSnapshot, WakeReason};

/// The scope that a token needs for this.
pub const SCOPE: &str = "tandem:operate";
/// The longest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 4096;
/// How long the body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a request waits for a machine.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest that a machine is held awake by one request.
const LONGEST_HOLD_SECONDS: u64 = 86_400;
/// Between two looks while a request waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a wake may say. Every field is optional, as is the body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// For people; at most 128 bytes.
    reason: Option<String>,
    /// For how long the machine stays awake at least, in seconds.
    hold_seconds: Option<u64>,
    /// A wake is single-flight by itself: the same key twice is the same wake, and so are two keys.
    idempotency_key: Option<String>,
}

/// What the query may say.
#[derive(Debug, Default, Deserialize)]
pub struct Patience {
    /// For how long to wait until the machine is ready, in seconds.
    wait: Option<u64>,
}

/// The answer: what is known of the machines in question.
#[derive(Serialize)]
struct Told {
    /// ready, waking, asleep or failed: the best of them.
    state: &'static str,
    machines: Vec<MachineSnapshot>,
}

/// `POST /v1/wake`: some machine, enough for one call.
pub async fn wake_any(
    doors: web::Data<Doors>,
    request: HttpRequest,
    query: web::Query<Patience>,
    payload: web::Payload,
) -> HttpResponse {
    answer(woken(&doors, &request, None, query.wait, payload).await)
}

/// `POST /v1/upstreams/{name}/wake`: this one.
pub async fn wake_one(
    doors: web::Data<Doors>,
    request: HttpRequest,
    name: web::Path<String>,
    query: web::Query<Patience>,
    payload: web::Payload,
) -> HttpResponse {
    answer(woken(&doors, &request, Some(name.into_inner()), query.wait, payload).await)
}

/// `POST /v1/upstreams/{name}/sleep`: as soon as nobody uses it.
pub async fn sleep(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    answer(put_to_sleep(&doors, &request, name.into_inner()).await)
}

/// `GET /v1/upstreams`: every machine.
pub async fn list(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let listed = async {
        operator(&doors, &request)?;
        let machines = doors.fleet()?.machines().await.ok_or(Problem::Internal)?;
        Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "machines": machines })))
    };
    answer(listed.await)
}

/// `GET /v1/autoscale`: how many machines should run, for KEDA's metrics-api and adapters of the HPA.
pub async fn autoscale(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let told = async {
        operator(&doors, &request)?;
        let demand = doors.switchboard.demand().await.ok_or(Problem::Internal)?;
        let machines = doors.fleet()?.machines().await.ok_or(Problem::Internal)?;
        let body = json!({
            "desired": demand.machines,
            "active": doors.switchboard.active(),
            "waiting": demand.waiting,
            "state": best(&machines),
        });
        Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body))
    };
    answer(told.await)
}

/// Whoever has a token with the scope for it.
fn operator(doors: &Doors, request: &HttpRequest) -> Result<(), Refusal> {
    let identity = identity::bearer(doors, request)?;
    doors.throttle.attempt(identity.user.hash())?;
    if identity.scopes.iter().any(|scope| scope == SCOPE) { Ok(()) } else { Err(Problem::NotOperator.into()) }
}

fn answer(result: Result<HttpResponse, Refusal>) -> HttpResponse {
    result.unwrap_or_else(|refused| actix_web::ResponseError::error_response(&refused))
}

async fn woken(
    doors: &Doors,
    request: &HttpRequest,
    name: Option<String>,
    wait: Option<u64>,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    operator(doors, request)?;
    let order = order(payload).await?;
    let fleet = doors.fleet()?;
    let hold = Duration::from_secs(order.hold_seconds.unwrap_or(0).min(LONGEST_HOLD_SECONDS));
    let by = Instant::now() + Duration::from_secs(wait.unwrap_or(0)).min(LONGEST_WAIT);
    tracing::info!(upstream = name, hold_seconds = hold.as_secs(), "wake asked for");
    let mut machines = fleet.wake(name.clone(), WakeReason::Request, hold).await.ok_or(Problem::Internal)?;
    while best(&machines) == "waking" && Instant::now() < by {
        tokio::time::sleep(LOOK_EVERY).await;
        let known = fleet.machines().await.ok_or(Problem::Internal)?;
        let asked = |machine: &MachineSnapshot| machines.iter().any(|other| other.upstream == machine.upstream);
        machines = known.into_iter().filter(asked).collect();
    }
    match best(&machines) {
        _ if machines.is_empty() => Err(Problem::UnknownMachine.into()),
        "failed" => Err(Problem::MachineFailed.into()),
        _ => Ok(told(machines)),
    }
}

async fn put_to_sleep(doors: &Doors, request: &HttpRequest, name: String) -> Result<HttpResponse, Refusal> {
    operator(doors, request)?;
    tracing::info!(upstream = name, "sleep asked for");
    let machines = doors.fleet()?.sleep(name).await.ok_or(Problem::Internal)?;
    if machines.is_empty() { Err(Problem::UnknownMachine.into()) } else { Ok(told(machines)) }
}

async fn order(payload: web::Payload) -> Result<Order, Problem> {
    let body = match timeout(BODY_TIMEOUT, payload.to_bytes_limited(MAX_BODY_BYTES)).await {
        Ok(Ok(read)) => read.map_err(|_| Problem::BadRequest)?,
        Ok(Err(_)) => return Err(Problem::BodyTooLarge),
        Err(_) => return Err(Problem::BodyTimeout),
    };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Order::default());
    }
    let order: Order = serde_json::from_slice(&body).map_err(|_| Problem::BadRequest)?;
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= 128);
    if short(&order.reason) && short(&order.idempotency_key) { Ok(order) } else { Err(Problem::BadRequest) }
}

/// 200 when a machine is ready, else 202 with when to look again: never an error while it wakes.
fn told(machines: Vec<MachineSnapshot>) -> HttpResponse {
    let state = best(&machines);
    if state == "ready" {
        return HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Told { state, machines });
    }
    let later =
        machines.iter().filter_map(|machine| machine.eta_ms).min().unwrap_or(5_000).div_ceil(1_000).clamp(1, 60);
    let mut response = HttpResponse::Accepted();
    response.insert_header((header::CACHE_CONTROL, "no-store")).insert_header((header::RETRY_AFTER, later.to_string()));
    if state == "waking" {
        response.insert_header((header::LOCATION, "/v1/upstreams"));
    }
    response.json(Told { state, machines })
}

/// The state of the machine that is nearest to take a call.
fn best(machines: &[MachineSnapshot]) -> &'static str {
    let is = |state: &str| machines.iter().any(|machine| machine.state == state);
    match () {
        () if is("ready") => "ready",
        () if ["waking", "warming", "restarting"].into_iter().any(is) => "waking",
        () if is("asleep") || is("falling_asleep") || is("unknown") => "asleep",
        () => "failed",
    }
}
