//! `/admin/config`, `/admin/reload` and `/admin/drain`: what the process was told, and its end.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};

use super::{
    mask::masked,
    order::{Done, answer, carry_out},
    told::{Configuration, Drain, Setting},
};
use crate::{http::doors::Doors, metrics::AdminAction};

/// `GET /admin/config`: every setting with its source; of secrets only whether they are set.
pub async fn config(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let work = async {
        let line = |line: crate::config::SettingLine| Setting {
            key: line.key.to_owned(),
            value: masked(line.key, &line.value),
            source: line.source,
        };
        Ok(Configuration { settings: doors.steward.settings().into_iter().map(line).collect() })
    };
    answer(&doors, &request, work).await
}

/// `POST /admin/reload`: the configuration is read again, as a SIGHUP has it be, and the answer says what came of it.
pub async fn reload(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let house = doors.clone();
    let work = async move {
        let reloaded = house.reloads.ask().await?;
        Ok(Done::new("configuration", StatusCode::OK, &reloaded))
    };
    carry_out(doors, request, AdminAction::Reload, work).await
}

/// `POST /admin/drain`: the process takes no more calls and ends, as a SIGTERM has it do. Asked again, it goes on doing so.
pub async fn drain(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let house = doors.clone();
    let work = async move {
        house.steward.drain();
        let told = Drain {
            state: "draining".to_owned(),
            sessions: house.switchboard.active(),
            deadline_seconds: house.steward.drain_deadline().as_secs(),
        };
        Ok(Done::new("process", StatusCode::ACCEPTED, &told))
    };
    carry_out(doors, request, AdminAction::Drain, work).await
}
