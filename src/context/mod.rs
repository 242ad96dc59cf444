//! What a model server is told of a call before it listens.
//!
//! [`recap`] lets another server go on where the last one stopped.

pub mod recap;
