//! Providers against servers that answer as the real ones do, and against those that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod clouds;
mod command;
mod contract;
#[cfg(feature = "docker")]
mod docker;
mod factory;
mod faults;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(any(feature = "docker", feature = "kubernetes"))]
mod log;
mod railway;
mod runpod;
mod stage;
mod vast;
mod webhook;
