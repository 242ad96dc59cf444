//! The pool: which model servers exist, who holds them, and who may have one.
//!
//! The [`roster`] decides (pure, with [`pace`]), the [`actor`] does, a [`lease::Lease`] is the right to one slot.

pub mod actor;
pub mod lease;
pub mod pace;
pub mod roster;
