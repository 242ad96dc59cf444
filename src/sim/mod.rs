//! The other side of every wire, for tests, load and demonstrations.
//!
//! [`upstream`] is a PersonaPlex server without a model.

pub mod upstream;
