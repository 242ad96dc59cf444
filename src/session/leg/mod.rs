//! The two sockets of a call. Each is owned by its own task or stream; the machine decides what they do.

pub mod client;
pub mod dialect;
pub mod format;
pub mod opening;
pub mod upstream;
