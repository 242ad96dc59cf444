<<<<<<< HEAD
//! Stand-ins for the outside world: what Tandem is tried against, on another WebSocket stack than its own.

pub mod caller;
pub mod wav;
=======
//! The other side of every wire, for tests, load and demonstrations.
//!
//! [`upstream`] is a PersonaPlex server without a model.

pub mod upstream;
>>>>>>> main
