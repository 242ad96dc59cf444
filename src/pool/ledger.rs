//! The durable record of leases: what a process that comes later must know of those before and beside it.
//!
//! A row is written before a socket opens and cleared when its end is acknowledged. A process that starts finds the
//! rows of dead ones (their slots are quarantined) and of live ones (their slots are out of reach).

use std::{future::Future, pin::Pin};

use super::endpoint::Endpoint;

/// One slot as the ledger names it: addresses, since names are a process's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotKey {
    /// `host:port` and the path prefix.
    pub upstream: String,
    /// Which of its slots, from 0.
    pub slot: u16,
}

impl SlotKey {
    /// The slot of this number of the server at `endpoint`.
    pub fn new(endpoint: &Endpoint, slot: u16) -> Self {
        Self { upstream: format!("{}{}", endpoint.address().to_ascii_lowercase(), endpoint.path_prefix), slot }
    }
}

/// What the ledger says of a slot that this process has not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Which slot.
    pub slot: SlotKey,
    /// Whether the process that it belongs to still runs; `false` for what this process adopted.
    pub alive: bool,
}

/// What became of an attempt to open a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The row is ours, and durable.
    Ours,
    /// Another process has it.
    Theirs,
}

/// Why the ledger could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of leases cannot be used: {0}")]
pub struct LedgerError(pub String);

/// A future of the ledger.
pub type LedgerFuture<T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send>>;

/// Where leases are written down. The pool defines it, the store provides it.
pub trait LeaseLedger: Send + Sync {
    /// Opens the row of a slot for this process, at this generation; a row that it opened itself is replaced, one that
    /// it adopted is not.
    fn open(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened>;
    /// Clears the row of a slot if it is this process's own and of this generation or an older one.
    fn clear(&self, slot: SlotKey, generation: u64) -> LedgerFuture<()>;
    /// Takes over the row that a dead process left: it is ours to clear, and nobody's to open until then.
    fn adopt(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened>;
    /// Every row of other processes, and those that this one adopted and has not cleared.
    fn foreign(&self) -> LedgerFuture<Vec<Foreign>>;
    /// Says that this process lives; to be called more often than [`LeaseLedger::expiry`]. `false` means that the last
    /// beat was too long ago: others may have taken this process for dead.
    fn beat(&self) -> LedgerFuture<bool>;
    /// Says that this process ends: what it leaves open is a dead process's from now on.
    fn retire(&self) -> LedgerFuture<()>;
    /// After how long without a beat a process counts as dead.
    fn expiry(&self) -> std::time::Duration;
}
