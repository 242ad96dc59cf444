//! `/admin/sessions`: the live calls.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    order::{Done, answer, carry_out},
    told::{Session, SessionEnded, Sessions},
};
use crate::{
    auth::pseudonym_of,
    http::{doors::Doors, problem::Problem},
    metrics::AdminAction,
    protocol::ending::Ending,
    session::switchboard::LiveCall,
};

/// `GET /admin/sessions`.
pub async fn list(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    answer(&doors, &request, async { Ok(sessions(&doors)) }).await
}

fn sessions(doors: &Doors) -> Sessions {
    let mut calls = doors.switchboard.calls();
    calls.sort_unstable_by_key(|call| (call.glance.began_ms, call.id));
    let now_ms = Timestamp::now().as_millisecond();
    Sessions {
        active: doors.switchboard.active(),
        limit: doors.switchboard.limit(),
        draining: doors.switchboard.is_draining(),
        sessions: calls.iter().map(|call| told(call, now_ms)).collect(),
    }
}

fn told(LiveCall { id, user, glance }: &LiveCall, now_ms: i64) -> Session {
    let moment = glance.moment();
    Session {
        session_id: id.to_string(),
        user: pseudonym_of(user),
        persona: glance.persona.clone(),
        protocol: glance.protocol.to_owned(),
        phase: moment.phase.to_owned(),
        detached: moment.detached,
        upstream: moment.upstream,
        since: Timestamp::from_millisecond(glance.began_ms).map(|at| at.to_string()).unwrap_or_default(),
        seconds: u64::try_from((now_ms - glance.began_ms) / 1_000).unwrap_or(0),
        lag_ms: moment.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// `DELETE /admin/sessions/{id}`: its caller is told that an operator ended it. One that is over by now is unknown.
pub async fn end(doors: web::Data<Doors>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let id: Uuid = id.parse().map_err(|_| Problem::UnknownCall)?;
        if !doors.switchboard.end(id, Ending::Admin).await {
            return Err(Problem::UnknownCall.into());
        }
        let told = SessionEnded { session_id: id.to_string(), ending: Ending::Admin.code().to_owned() };
        Ok(Done::new(id, StatusCode::ACCEPTED, &told))
    };
    carry_out(&doors, &request, AdminAction::EndSession, work).await
}
