//! `/admin/upstreams` and `/admin/queue`: the model servers, and who waits for them.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use secrecy::ExposeSecret;

use super::{
    order::{Done, answer, carry_out, read},
    steward::{Added, NotAdded, NotRemoved},
    told::{NewUpstream, Queue, Slot, Upstream, UpstreamAdded, UpstreamChanged, Upstreams, Waiting},
};
use crate::{
    auth::pseudonym_of,
    config::UpstreamUrl,
    http::{
        doors::Doors,
        problem::{Problem, Refusal},
    },
    metrics::AdminAction,
    pool::roster::{MemberSnapshot, PoolSnapshot, WaiterSnapshot},
};

/// `GET /admin/upstreams`.
pub async fn list(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let work = async {
        let upstreams = look(&doors).await?.members.iter().map(upstream).collect();
        Ok(Upstreams { upstreams })
    };
    answer(&doors, &request, work).await
}

/// `GET /admin/queue`.
pub async fn queue(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let work = async {
        let PoolSnapshot { waiters, queue_limit, .. } = look(&doors).await?;
        Ok(Queue { limit: queue_limit, waiting: waiters.iter().map(waiting).collect() })
    };
    answer(&doors, &request, work).await
}

/// `POST /admin/upstreams`: one more, until the list is read again.
pub async fn add(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let work = async {
        let NewUpstream { url } = read(payload).await?;
        let url: UpstreamUrl =
            url.expose_secret().trim().parse().map_err(|error| unusable(format!("expected {error}")))?;
        if doors.switchboard.is_draining() {
            return Err(Problem::Draining.into());
        }
        let Added { name, address } = doors.steward.add(url).await.map_err(|error| match error {
            NotAdded::Exists => Problem::UpstreamExists.into(),
            NotAdded::Unusable(why) => unusable(why),
            NotAdded::PoolLost => Problem::Internal.into(),
        })?;
        let target = name.clone().unwrap_or_else(|| address.clone());
        Ok(Done::new(target, StatusCode::CREATED, &UpstreamAdded { name, address }))
    };
    carry_out(&doors, &request, AdminAction::AddUpstream, work).await
}

/// `DELETE /admin/upstreams/{name}`: it leaves after its last call.
pub async fn remove(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let work = async {
        let name = name.into_inner();
        doors.steward.remove(name.clone()).await.map_err(|error| match error {
            NotRemoved::Unknown => Problem::UnknownUpstream,
            NotRemoved::OneOfName => Problem::UpstreamOfName,
            NotRemoved::Last => Problem::LastUpstream,
            NotRemoved::PoolLost => Problem::Internal,
        })?;
        changed(&doors, name).await
    };
    carry_out(&doors, &request, AdminAction::RemoveUpstream, work).await
}

/// `POST /admin/upstreams/{name}/quarantine`: no more calls for now; those that it has go on.
pub async fn quarantine(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let work = withhold(&doors, name.into_inner(), true);
    carry_out(&doors, &request, AdminAction::Quarantine, work).await
}

/// `POST /admin/upstreams/{name}/release`: it takes calls again, and its slots in doubt are tested at once.
pub async fn release(doors: web::Data<Doors>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let work = withhold(&doors, name.into_inner(), false);
    carry_out(&doors, &request, AdminAction::Release, work).await
}

async fn withhold(doors: &Doors, name: String, withheld: bool) -> Result<Done, Refusal> {
    if !doors.switchboard.withhold(name.clone(), withheld).await.ok_or(Problem::Internal)? {
        return Err(Problem::UnknownUpstream.into());
    }
    changed(doors, name).await
}

/// What the server is now: 200 if all is done, 202 while a call of it goes on.
async fn changed(doors: &Doors, name: String) -> Result<Done, Refusal> {
    let members = look(doors).await?.members;
    let upstream = members.iter().find(|member| member.name == name).map(upstream);
    let waits = upstream.as_ref().is_some_and(|upstream| {
        (upstream.leaving || upstream.withheld) && upstream.slots.iter().any(|slot| slot.state == "leased")
    });
    let status = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(Done::new(name.clone(), status, &UpstreamChanged { name, upstream }))
}

fn unusable(why: String) -> Refusal {
    let why = Some(format!("Why: {why}."));
    Refusal { why, ..Problem::BadUpstream.into() }
}

async fn look(doors: &Doors) -> Result<PoolSnapshot, Problem> {
    doors.switchboard.look().await.ok_or(Problem::Internal)
}

fn upstream(member: &MemberSnapshot) -> Upstream {
    let slot = |(label, reason, held): (&str, Option<&str>, Option<Duration>)| Slot {
        state: label.to_owned(),
        reason: reason.map(str::to_owned),
        held_seconds: held.map(|held| held.as_secs()),
    };
    Upstream {
        name: member.name.clone(),
        address: member.address.clone(),
        tls: member.tls,
        state: member.state().to_owned(),
        withheld: member.withheld,
        leaving: member.leaving,
        breaker: member.trust.code().to_owned(),
        slow: member.slow,
        realtime_factor: member.realtime_factor,
        prompt_step_ms: member.step.map(|step| step.as_secs_f64() * 1_000.0),
        model: member.model.clone(),
        region: member.region.clone(),
        price_per_hour: member.price_per_hour(),
        slots: member.slots.iter().map(|one| slot((one.label.code(), one.reason(), one.held))).collect(),
    }
}

fn waiting(waiter: &WaiterSnapshot) -> Waiting {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let eta = waiter.place.and_then(|place| place.eta);
    Waiting {
        user: pseudonym_of(&waiter.user),
        class: waiter.class.code().to_owned(),
        seconds: waiter.waited.as_secs(),
        position: waiter.place.map(|place| place.position),
        reason: waiter.place.map(|place| place.reason.code().to_owned()),
        eta_ms: eta.map(|eta| ms(eta.median)),
        eta_p90_ms: eta.map(|eta| ms(eta.p90)),
    }
}
