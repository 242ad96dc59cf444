//! `/v1/wake`, `/v1/upstreams` and `/v1/autoscale`: what operators and autoscalers ask of the machines.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::{
    body,
    doors::Doors,
    operator,
    orders::{OrderKey, Taken},
    problem::{Problem, Refusal},
};
use crate::fleet::control::{Control, MachineSnapshot, RestartAnswer};
use crate::session::switchboard::Demand;

/// The longest that a request waits for a machine.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest that a machine is held awake by one request.
pub(super) const LONGEST_HOLD_SECONDS: u64 = 86_400;
/// The longest reason, key and name, in bytes.
const MAX_WORD_BYTES: usize = 128;
/// Between two looks while a request waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a wake may say. Every field is optional, as is the body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// For people; at most 128 bytes.
    reason: Option<String>,
    /// For how long the machine stays awake at least, in seconds.
    #[serde(default, deserialize_with = "body::whole")]
    hold_seconds: Option<u64>,
    /// An order that was given with this key before is not carried out again.
    idempotency_key: Option<String>,
}

/// For how long to wait until the machine is ready, as the query says: nothing if it does not. Like every query, of
/// repeated parameters the first counts, and an empty one counts as none.
fn patience(raw: &str) -> Result<Duration, Problem> {
    let mut said = form_urlencoded::parse(raw.as_bytes()).filter(|(key, value)| key == "wait" && !value.is_empty());
    let Some((_, seconds)) = said.next() else { return Ok(Duration::ZERO) };
    if !seconds.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Problem::BadRequest);
    }
    // What is too long for a number is longer than anybody waits.
    Ok(seconds.parse().map_or(LONGEST_WAIT, Duration::from_secs).min(LONGEST_WAIT))
}

/// The answer: what is known of the machines in question.
#[derive(Serialize)]
struct Told {
    /// ready, waking, asleep or failed: the best of them.
    state: &'static str,
    machines: Vec<MachineSnapshot>,
}

/// `POST /v1/wake`: some machine, enough for one call.
pub async fn wake_any(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(woken(&doors, &request, None, payload).await)
}

/// `POST /v1/upstreams/{name}/wake`: this one.
pub async fn wake_one(
    doors: web::Data<Doors>,
    request: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
) -> HttpResponse {
    answer(woken(&doors, &request, Some(name.into_inner()), payload).await)
}

/// `POST /v1/upstreams/{name}/sleep`: as soon as nobody uses it.
pub async fn sleep(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    answer(put_to_sleep(&doors, &request, name.into_inner()).await)
}

/// `POST /v1/upstreams/{name}/restart`: now, if nobody uses it and no other machine is being restarted.
pub async fn restart(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    answer(restarted(&doors, &request, name.into_inner()).await)
}

/// `GET /v1/upstreams`: every machine.
pub async fn list(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let listed = async {
        operator::admit(&doors, &request)?;
        let machines = all(&doors.fleet).await?;
        Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "machines": machines })))
    };
    answer(listed.await)
}

/// `GET /v1/upstreams/{name}`: this one.
pub async fn one(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let known = async {
        operator::admit(&doors, &request)?;
        let machines = named(&doors.fleet, &[name.into_inner()]).await?;
        let mut response = HttpResponse::Ok();
        if best(&machines) == "waking" {
            response.insert_header((header::RETRY_AFTER, later(&machines).to_string()));
        }
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        Ok(response.json(Told { state: best(&machines), machines }))
    };
    answer(known.await)
}

/// `GET /v1/autoscale`: how many machines should run, for KEDA's metrics-api and adapters of the HPA.
pub async fn autoscale(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let told = async {
        operator::admit(&doors, &request)?;
        let (demand, machines) = (demand(&doors).await?, all(&doors.fleet).await?);
        let body = json!({
            "desired": desired(&demand, &machines),
            "active": doors.switchboard.active(),
            "waiting": demand.waiting,
            "state": best(&machines),
        });
        Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body))
    };
    answer(told.await)
}

/// How many machines should run, if there are any.
pub async fn desired_machines(doors: &Doors) -> Option<usize> {
    let machines = all(&doors.fleet).await.ok()?;
    Some(desired(&demand(doors).await.ok()?, &machines))
}

async fn demand(doors: &Doors) -> Result<Demand, Refusal> {
    Ok(doors.switchboard.demand().await.ok_or(Problem::Internal)?)
}

/// Those that calls use or wait for, and those that are held awake.
fn desired(demand: &Demand, machines: &[MachineSnapshot]) -> usize {
    demand.machines.max(machines.iter().filter(|machine| machine.wanted).count())
}

fn answer(result: Result<HttpResponse, Refusal>) -> HttpResponse {
    result.unwrap_or_else(|refused| actix_web::ResponseError::error_response(&refused))
}

async fn woken(
    doors: &Doors,
    request: &HttpRequest,
    machine: Option<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let operator = operator::admit(doors, request)?;
    let (patience, order) = (patience(request.query_string())?, order(payload).await?);
    if doors.switchboard.is_draining() {
        return Err(Problem::Draining.into());
    }
    let fleet = &doors.fleet;
    let by = Instant::now() + patience;
    let key = order.idempotency_key.clone().map(|key| OrderKey { operator, machine: machine.clone(), key });
    let (mut machines, repeated) = match key.as_ref().map(|key| doors.orders.take(key, Instant::now())) {
        None | Some(Taken::New) => {
            let machines = carry_out(fleet, machine, &order).await;
            if let Some(key) = &key {
                // Whoever asks again after a lost answer may have hung up while this one waits.
                doors.orders.done(key, machines.as_deref().ok().map(names_of));
            }
            (machines?, false)
        }
        Some(Taken::UnderWay) => return Err(Problem::OrderUnderWay.into()),
        Some(Taken::Done(names)) => (named(fleet, &names).await?, true),
    };
    let wanted = |machines: &[MachineSnapshot]| !repeated || machines.iter().any(|machine| machine.wanted);
    while is_on_its_way(&machines) && wanted(&machines) && Instant::now() < by && !doors.switchboard.is_draining() {
        tokio::time::sleep(LOOK_EVERY).await;
        machines = named(fleet, &names_of(&machines)).await?;
    }
    let Some(why) = machines.iter().find_map(|machine| machine.failure).filter(|_| is_hopeless(&machines)) else {
        return Ok(told(machines));
    };
    if let Some(key) = &key {
        // It may be given again.
        doors.orders.done(key, None);
    }
    Err(failed(why, &machines))
}

async fn carry_out(fleet: &Control, machine: Option<String>, order: &Order) -> Result<Vec<MachineSnapshot>, Refusal> {
    let hold = Duration::from_secs(order.hold_seconds.unwrap_or(0));
    let machines = fleet.wake(machine, hold).await.ok_or(Problem::Internal)?;
    if machines.is_empty() {
        return Err(none_such(fleet).await);
    }
    // The reason is whoever asks' own words, which no log is for.
    tracing::info!(upstreams = names_of(&machines).join(" "), hold_seconds = hold.as_secs(), "wake asked for");
    Ok(machines)
}

/// Every machine, of which there is one at least.
async fn all(fleet: &Control) -> Result<Vec<MachineSnapshot>, Refusal> {
    let machines = fleet.machines().await.ok_or(Problem::Internal)?;
    if machines.is_empty() { Err(Problem::NoFleet.into()) } else { Ok(machines) }
}

/// That there is no such machine, or none at all.
async fn none_such(fleet: &Control) -> Refusal {
    all(fleet).await.err().unwrap_or(Problem::UnknownMachine.into())
}

/// What is known of these machines now; gone ones are left out.
async fn named(fleet: &Control, names: &[String]) -> Result<Vec<MachineSnapshot>, Refusal> {
    let mut known = all(fleet).await?;
    known.retain(|machine| names.contains(&machine.upstream));
    if known.is_empty() { Err(Problem::UnknownMachine.into()) } else { Ok(known) }
}

fn names_of(machines: &[MachineSnapshot]) -> Vec<String> {
    machines.iter().map(|machine| machine.upstream.clone()).collect()
}

async fn put_to_sleep(doors: &Doors, request: &HttpRequest, name: String) -> Result<HttpResponse, Refusal> {
    operator::admit(doors, request)?;
    let machines = doors.fleet.sleep(name).await.ok_or(Problem::Internal)?;
    if machines.is_empty() {
        return Err(none_such(&doors.fleet).await);
    }
    tracing::info!(upstreams = names_of(&machines).join(" "), "sleep asked for");
    let state = best(&machines);
    let mut response = if state == "asleep" { HttpResponse::Ok() } else { HttpResponse::Accepted() };
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(response.json(Told { state, machines }))
}

async fn restarted(doors: &Doors, request: &HttpRequest, name: String) -> Result<HttpResponse, Refusal> {
    operator::admit(doors, request)?;
    let fleet = &doors.fleet;
    match fleet.restart(name.clone()).await.ok_or(Problem::Internal)? {
        RestartAnswer::Begins => {}
        RestartAnswer::Unknown => return Err(none_such(fleet).await),
        RestartAnswer::InUse => return Err(Problem::MachineInUse.into()),
        RestartAnswer::NotAwake => return Err(Problem::MachineNotAwake.into()),
        RestartAnswer::OneAtATime => return Err(Problem::RestartUnderWay.into()),
    }
    tracing::info!(upstream = name, "restart asked for");
    Ok(told(named(fleet, &[name]).await?))
}

async fn order(payload: web::Payload) -> Result<Order, Problem> {
    let body = body::read(payload, Problem::BadRequest).await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Order::default());
    }
    let order: Order = serde_json::from_slice(&body).map_err(|_| Problem::BadRequest)?;
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MAX_WORD_BYTES);
    let held = order.hold_seconds.unwrap_or(0) <= LONGEST_HOLD_SECONDS;
    if held && short(&order.reason) && short(&order.idempotency_key) { Ok(order) } else { Err(Problem::BadRequest) }
}

/// Why a wake came to nothing, and when the next may be tried.
fn failed(why: &str, machines: &[MachineSnapshot]) -> Refusal {
    let problem = match why {
        "capacity" => Problem::MachineCapacity,
        "auth" => Problem::MachineAuth,
        _ => Problem::MachineFailed,
    };
    let again = machines.iter().filter_map(|machine| machine.retry_ms).min();
    again.map_or_else(|| problem.into(), |again| problem.retry_after(Duration::from_millis(again)))
}

/// 200 when a machine is ready, else 202 with when and where to look again: never an error while it wakes.
fn told(machines: Vec<MachineSnapshot>) -> HttpResponse {
    let state = best(&machines);
    if state == "ready" {
        return HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Told { state, machines });
    }
    let mut response = HttpResponse::Accepted();
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::RETRY_AFTER, later(&machines).to_string()));
    if let [machine] = machines.as_slice() {
        response.insert_header((header::LOCATION, format!("/v1/upstreams/{}", machine.upstream)));
    }
    response.json(Told { state, machines })
}

/// When to look again, in seconds.
fn later(machines: &[MachineSnapshot]) -> u64 {
    let eta = machines.iter().filter_map(|machine| machine.eta_ms).min().unwrap_or(5_000);
    eta.div_ceil(1_000).clamp(1, 60)
}

/// Whether waiting may help: one that is asleep still is about to be woken.
fn is_on_its_way(machines: &[MachineSnapshot]) -> bool {
    !matches!(best(machines), "ready" | "failed")
}

/// Whether none of them will be there before somebody does something, or a while has passed.
fn is_hopeless(machines: &[MachineSnapshot]) -> bool {
    best(machines) != "ready" && machines.iter().all(|machine| machine.failure.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_for_whole_seconds_and_never_longer_than_a_minute() {
        let seconds = Duration::from_secs;
        for (query, expected) in [
            ("", Ok(seconds(0))),
            ("wait=", Ok(seconds(0))),
            ("wait=7", Ok(seconds(7))),
            ("wait=&x=1&wait=7&wait=8", Ok(seconds(7))),
            ("wait=61", Ok(LONGEST_WAIT)),
            ("wait=99999999999999999999999", Ok(LONGEST_WAIT)),
            ("wait=-1", Err(Problem::BadRequest)),
            ("wait=%2B1", Err(Problem::BadRequest)),
            ("wait=1.5", Err(Problem::BadRequest)),
            ("wait=soon", Err(Problem::BadRequest)),
        ] {
            assert_eq!(patience(query), expected, "{query}");
        }
    }
}
