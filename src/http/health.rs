//! For machines: is the process up, does it take calls, and what does it count.

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::header::{self, ContentType, HeaderValue},
    web,
};
use serde_json::json;

use super::{doors::Doors, problem::Problem};
use crate::metrics::Format;

/// `GET /healthz`: the process turns its event loop.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("ok\n")
}

/// `GET /readyz`: whether calls are taken. Busy or broken model servers are details: a 503 would keep callers away who
/// could wait for them, or wake them.
pub async fn readyz(doors: web::Data<Doors>) -> HttpResponse {
    let Some(slots) = doors.switchboard.slots().await else { return Problem::Internal.error_response() };
    let draining = doors.switchboard.is_draining();
    let status = if draining { "draining" } else { "ready" };
    let body = json!({ "status": status, "sessions": doors.switchboard.active(), "slots": slots });
    let mut response = if draining { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    response.insert_header((header::CACHE_CONTROL, "no-store")).json(body)
}

/// `GET /metrics`: the text format of Prometheus, or OpenMetrics.
pub async fn metrics(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    if !doors.rules.now().policy.metrics {
        return Problem::UnknownRoute.error_response();
    }
    let accepted = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let format = Format::of(&accepted.collect::<Vec<_>>().join(","));
    // Beside the threads that carry calls: the process is looked at, and a page may be long.
    let page = web::block(move || {
        doors.metrics.observe_process();
        doors.metrics.render_as(format)
    });
    match page.await {
        Ok(page) => {
            HttpResponse::Ok().insert_header((header::VARY, "Accept")).content_type(format.content_type()).body(page)
        }
        Err(_) => Problem::Internal.error_response(),
    }
}

/// Everything else.
pub async fn nothing_here() -> HttpResponse {
    Problem::UnknownRoute.error_response()
}

/// An address that exists, asked with a method that it does not take; `allow` names those that it does.
pub fn not_allowed(allow: &'static str) -> HttpResponse {
    let mut response = Problem::MethodNotAllowed.error_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
