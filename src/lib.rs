//! Tandem puts authenticated app users through to full-duplex voice models.
//!
//! ARCHITECTURE.md has the map; `docs/life-of-a-session.md` follows one call through it.

pub mod audio;
pub mod auth;
pub mod cli;
pub mod config;
pub mod context;
pub mod fleet;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod pool;
pub mod protocol;
pub mod session;
pub mod sim;
pub mod store;
pub mod telemetry;
