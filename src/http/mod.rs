//! The HTTP edge: doors for callers, health and metrics for machines, and the one table of refusals.

pub mod admission;
pub mod doors;
pub mod health;
pub mod identity;
pub mod problem;
pub mod query;
pub mod refusal;
pub mod tickets;
pub mod voice;

use actix_web::web::{self, ServiceConfig};

/// Every address that exists.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/voice", web::get().to(voice::native))
        .route("/api/chat", web::get().to(voice::moshi))
        .route("/t/{ticket}/api/chat", web::get().to(voice::moshi))
        .route("/v1/tickets", web::post().to(tickets::mint))
        .route("/healthz", web::get().to(health::healthz))
        .route("/readyz", web::get().to(health::readyz))
        .route("/metrics", web::get().to(health::metrics))
        .default_service(web::to(health::nothing_here));
}
