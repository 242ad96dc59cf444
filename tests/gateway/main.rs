//! Whole calls over real sockets: callers, Tandem, and simulated PersonaPlex servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod admin;
mod archives;
mod blame;
mod calls;
mod care;
mod continuing;
mod crash;
mod credentials;
mod crowd;
mod cut_off;
mod discovery;
mod echo;
mod erasing;
mod exclusivity;
mod failover;
mod failures;
mod formats;
mod health;
mod history;
mod house;
mod machines;
mod metrics;
#[path = "../store/moody.rs"]
mod moody;
mod odd_servers;
mod overlap;
mod personas;
mod process;
mod prompts;
mod queue;
mod quotas;
mod records;
mod refusals;
mod reload;
mod resume;
mod revival;
mod rotation;
mod rush;
mod secrets;
mod slow_callers;
mod slowness;
mod told;
mod trust;
mod turns;
mod unreadable;
