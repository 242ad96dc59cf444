//! The documents of the interface, held against the code, and the gateway held against them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

mod desk;
mod document;
mod openapi;
mod schemathesis;
mod sockets;
