//! The wires that Tandem speaks, and the endings that all of them share (pure).

pub mod ending;
pub mod moshi;
pub mod native;
