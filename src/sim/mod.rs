//! The other side of every wire, for tests, load and demonstrations; on another WebSocket stack than Tandem's own.
//!
//! [`caller`] places calls as an app would, [`upstream`] is a PersonaPlex server without a model, and [`voice`] what
//! both may speak with.

pub mod caller;
pub mod upstream;
pub mod voice;
pub mod wav;
