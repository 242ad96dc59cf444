//! The two sockets of a call. Each is owned by its own task or stream; the machine decides what they do.

pub mod client;
pub mod connect;
pub mod dialect;
mod pages;
pub mod upstream;
