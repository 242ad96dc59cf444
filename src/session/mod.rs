//! One call: a pure machine that decides, an actor that does, and two legs that own the sockets.

pub mod actor;
mod admission;
pub mod chronicle;
pub mod glance;
pub mod leg;
pub mod legs;
pub mod machine;
pub mod preparation;
pub mod registrar;
pub mod resume;
pub mod round_trip;
pub mod script;
pub mod setup;
pub mod switchboard;
pub mod transcript;
