//! One call: a pure machine that decides, an actor that does, and two legs that own the sockets.

pub mod machine;
pub mod transcript;
pub mod leg;
