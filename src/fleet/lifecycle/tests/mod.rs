//! One machine's life: scripts, and random days against the rules.

mod care;
mod odd;
mod random;
mod scripts;
mod world;

pub(super) use super::*;
pub(super) use crate::fleet::provider::PowerState;
