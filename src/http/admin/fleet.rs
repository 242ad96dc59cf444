//! `/admin/fleet`: the machines, woken and put to sleep by whoever runs the process.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};

use super::{
    order::{Done, answer, carry_out, read},
    told::{Fleet, SleepOrder, WakeOrder},
};
use crate::{
    fleet::control::MachineSnapshot,
    http::{
        doors::Doors,
        fleet::LONGEST_HOLD_SECONDS,
        problem::{Problem, Refusal},
    },
    metrics::AdminAction,
    protocol::ending::Ending,
};

/// `GET /admin/fleet`.
pub async fn list(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let work = async { Ok(Fleet { machines: doors.fleet.machines().await.ok_or(Problem::Internal)? }) };
    answer(&doors, &request, work).await
}

/// `POST /admin/fleet/{name}/wake`: and held awake for a while.
pub async fn wake(
    doors: web::Data<Doors>,
    request: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
) -> HttpResponse {
    let house = doors.clone();
    let work = async move {
        let WakeOrder { hold_seconds } = read(payload).await?;
        if house.switchboard.is_draining() {
            return Err(Problem::Draining.into());
        }
        let hold_seconds = hold_seconds.unwrap_or(0);
        if hold_seconds > LONGEST_HOLD_SECONDS {
            return Err(Problem::BadOrder.into());
        }
        let (name, hold) = (name.into_inner(), Duration::from_secs(hold_seconds));
        let machines = house.fleet.wake(Some(name.clone()), hold).await.ok_or(Problem::Internal)?;
        done(name, machines, "ready")
    };
    carry_out(doors, request, AdminAction::Wake, work).await
}

/// `POST /admin/fleet/{name}/sleep`: as soon as nobody uses it, whatever holds it; with `force` its calls are ended.
pub async fn sleep(
    doors: web::Data<Doors>,
    request: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
) -> HttpResponse {
    let house = doors.clone();
    let work = async move {
        let SleepOrder { force } = read(payload).await?;
        let name = name.into_inner();
        let machines = house.fleet.sleep(name.clone()).await.ok_or(Problem::Internal)?;
        if force && !machines.is_empty() {
            let ended = house.switchboard.end_calls_at(&name, Ending::Admin);
            tracing::warn!(upstream = name, ended, "calls are ended so that their machine can sleep");
        }
        done(name, machines, "asleep")
    };
    carry_out(doors, request, AdminAction::Sleep, work).await
}

/// 200 if the machine is as it was ordered to be, 202 while it is not yet.
fn done(name: String, machines: Vec<MachineSnapshot>, wanted: &str) -> Result<Done, Refusal> {
    let Some(machine) = machines.first() else { return Err(Problem::UnknownMachine.into()) };
    let status = if machine.state == wanted { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(Done::new(name, status, &Fleet { machines }))
}
