//! The HTTP edge: what callers and operators reach.

pub mod problem;

pub use problem::{Problem, Refusal};
