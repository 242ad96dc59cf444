//! The machines that model servers run on: they sleep while nobody calls, and wake when somebody does.

pub mod account;
pub mod actor;
pub mod control;
pub mod lifecycle;
pub mod provider;
pub mod schedule;
pub mod wakes;
