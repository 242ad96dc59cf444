//! Stores: what both of them promise, and what only one of them does.
//!
//! Tests of MongoDB run against any server that speaks its protocol, at `MONGODB_TEST_URI`; each makes a database of its
//! own and drops it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and one that is left out says so"
)]

mod bench;
mod calls;
mod contract;
mod crowded;
mod file;
mod leases;
mod mishaps;
mod mongo;
mod moody;
mod scripted;
mod sealed;
mod spool;
mod unreachable;
