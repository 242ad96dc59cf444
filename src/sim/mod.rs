//! Stand-ins for the outside world: what Tandem is tried against, on another WebSocket stack than its own.

pub mod caller;
pub mod wav;
