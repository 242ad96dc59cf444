//! A scripted caller: places one call as an app would, and reports what came of it.
//!
//! It speaks both client wires, our own (`tandem.v1`) and PersonaPlex's, so the same script runs against
//! Tandem and straight against a model server. Its faults (no pongs, vanishing, not reading) are those of real phones.

mod address;
mod dial;
mod ear;
mod error;
mod line;
mod mouth;
mod pages;
mod pong_filter;
mod report;
mod settings;
mod tls;
mod transcript;

pub use address::Address;
pub use dial::{HttpAnswer, http_get};
pub use error::CallerError;
pub use line::call;
pub use report::{CallError, CallEvent, CallReport, Gap};
pub use settings::{
    Audio, Behaviour, CallerSettings, Credential, HangUp, Hearing, NATIVE_PATH, Pace, SAMPLE_RATE_HZ, Wire,
};
pub use tls::Trust;

#[cfg(test)]
mod tests;
