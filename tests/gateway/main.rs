//! Whole calls over real sockets: callers, Tandem, and simulated PersonaPlex servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod blame;
mod calls;
mod care;
mod credentials;
mod crowd;
mod discovery;
mod echo;
mod exclusivity;
mod failover;
mod failures;
mod formats;
mod health;
mod house;
mod machines;
mod metrics;
mod odd_servers;
mod overlap;
mod personas;
mod process;
mod queue;
mod quotas;
mod refusals;
mod resume;
mod revival;
mod rotation;
mod rush;
mod slow_callers;
mod slowness;
mod trust;
mod turns;
