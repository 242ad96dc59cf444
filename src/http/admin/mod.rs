//! `/admin`: what whoever runs this process sees of it, and may do to it, with a token of its own.
//!
//! What is asked and answered is in `told.rs`; every order is let in, counted and logged in `order.rs`.

mod calls;
mod fleet;
mod gate;
mod mask;
mod order;
mod process;
pub mod steward;
pub mod told;
mod upstreams;

use actix_web::web::{self, ServiceConfig};

use super::{get, only};

/// Every address below `/admin`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(get("/admin/sessions").route(web::get().to(calls::list)))
        .service(only("/admin/sessions/{id}", "DELETE").route(web::delete().to(calls::end)))
        .service(
            only("/admin/upstreams", "GET, POST")
                .route(web::get().to(upstreams::list))
                .route(web::post().to(upstreams::add)),
        )
        .service(only("/admin/upstreams/{name}", "DELETE").route(web::delete().to(upstreams::remove)))
        .service(only("/admin/upstreams/{name}/quarantine", "POST").route(web::post().to(upstreams::quarantine)))
        .service(only("/admin/upstreams/{name}/release", "POST").route(web::post().to(upstreams::release)))
        .service(get("/admin/queue").route(web::get().to(upstreams::queue)))
        .service(get("/admin/fleet").route(web::get().to(fleet::list)))
        .service(only("/admin/fleet/{name}/wake", "POST").route(web::post().to(fleet::wake)))
        .service(only("/admin/fleet/{name}/sleep", "POST").route(web::post().to(fleet::sleep)))
        .service(get("/admin/config").route(web::get().to(process::config)))
        .service(only("/admin/reload", "POST").route(web::post().to(process::reload)))
        .service(only("/admin/drain", "POST").route(web::post().to(process::drain)));
}
