//! The simulated server against the recordings of the real one and what is known of its wire.

mod audio;
mod captures;
mod client;
mod faults;
mod http;
mod prompts;
mod starting;
mod waiting;
