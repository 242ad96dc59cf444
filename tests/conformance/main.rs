//! The simulated server against the recordings of the real one and what is known of its wire.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod audio;
mod captures;
mod client;
mod faults;
mod http;
mod prompts;
mod starting;
mod waiting;
