//! What a model server is told before it listens: who it is, and what is known of its caller.
//!
//! [`persona`] is the first, [`user`] the second, and [`prompt`] makes one text of both. [`recap`] lets another server
//! go on where the last one stopped.

mod caller;
pub mod cast;
mod command;
mod item;
pub mod persona;
mod piece;
pub mod plain;
pub mod private;
pub mod prompt;
pub mod recap;
pub mod role;
pub mod sentence;
pub mod source;
mod template;
pub mod tokens;
pub mod topic;
pub mod user;
pub mod when;
mod work;
mod writing;
