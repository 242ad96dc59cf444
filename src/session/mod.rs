//! One call: a pure machine that decides, an actor that does, and two legs that own the sockets.

pub mod actor;
pub mod leg;
pub mod machine;
pub mod resume;
pub mod switchboard;
pub mod transcript;
