//! What a collector of OpenTelemetry gets of whole calls, and what nobody gets.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod caller;
mod calls;
mod collector;
mod faults;
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../gateway/house.rs"]
mod house;
mod parents;
mod secrets;
