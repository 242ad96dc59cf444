//! The pool: which model servers exist, who holds them, and who may have one.
//!
//! The [`roster`] decides (pure, with [`breaker`], [`discovery`], [`pace`], [`quota`] and [`retry`]), the [`actor`] does, a [`lease::Lease`] is the right to one slot.

pub mod actor;
pub mod breaker;
pub mod discovery;
pub mod endpoint;
pub mod lease;
pub mod ledger;
pub mod pace;
pub mod pulse;
pub mod quota;
pub mod retry;
pub mod roster;
pub mod trust;
pub mod wait;
