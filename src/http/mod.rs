//! The HTTP edge: doors for callers, health and metrics for machines, and the one table of refusals.

pub mod admin;
pub mod admission;
pub mod asker;
pub mod body;
pub mod continuation;
pub mod cursor;
pub mod doors;
pub mod erasure;
pub mod export;
pub mod fleet;
pub mod health;
pub mod history;
pub mod identity;
pub mod operator;
pub mod orders;
pub mod problem;
pub mod query;
pub mod refusal;
pub mod reload;
pub mod resume;
pub mod rules;
pub mod tickets;
pub mod told;
pub mod trace;
pub mod voice;

use actix_web::{
    Resource,
    web::{self, ServiceConfig},
};

/// Every address that exists.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(get("/v1/voice").route(web::get().to(voice::native)))
        .service(get("/api/chat").route(web::get().to(voice::moshi)))
        .service(get("/t/{ticket}/api/chat").route(web::get().to(voice::moshi)))
        .service(only("/v1/tickets", "POST").route(web::post().to(tickets::mint)))
        .service(get("/v1/sessions").route(web::get().to(history::list)))
        .service(
            only("/v1/sessions/{id}", "GET, DELETE")
                .route(web::get().to(history::one))
                .route(web::delete().to(history::remove)),
        )
        .service(get("/v1/me/export").route(web::get().to(export::me)))
        .service(only("/v1/me", "DELETE").route(web::delete().to(erasure::me)))
        .service(get("/v1/users/{user}/export").route(web::get().to(export::user)))
        .service(only("/v1/users/{user}", "DELETE").route(web::delete().to(erasure::user)))
        .service(only("/v1/wake", "POST").route(web::post().to(fleet::wake_any)))
        .service(only("/v1/upstreams/{name}/wake", "POST").route(web::post().to(fleet::wake_one)))
        .service(only("/v1/upstreams/{name}/sleep", "POST").route(web::post().to(fleet::sleep)))
        .service(only("/v1/upstreams/{name}/restart", "POST").route(web::post().to(fleet::restart)))
        .service(get("/v1/upstreams/{name}").route(web::get().to(fleet::one)))
        .service(get("/v1/upstreams").route(web::get().to(fleet::list)))
        .service(get("/v1/autoscale").route(web::get().to(fleet::autoscale)))
        .configure(admin::routes)
        .service(get("/healthz").route(web::get().to(health::healthz)).route(web::head().to(health::healthz)))
        .service(get("/readyz").route(web::get().to(health::readyz)).route(web::head().to(health::readyz)))
        .service(get("/metrics").route(web::get().to(health::metrics)))
        .default_service(web::to(health::nothing_here));
}

fn get(path: &str) -> Resource {
    only(path, "GET")
}

/// A resource that names its methods to whoever tries another.
fn only(path: &str, methods: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move { health::not_allowed(methods) }))
}
