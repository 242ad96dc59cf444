//! Who is told what the pool does, in order to count it.

use std::time::Duration;

use crate::pool::{
    breaker::Trust,
    endpoint::Upstream,
    lease::Return,
    roster::{Class, SlotSnapshot, WaitEnd, Waited},
};

/// What the pool tells about its slots, besides its answers. Called on the pool's own thread; must not block.
pub trait PoolObserver: Send {
    /// The slots after a change.
    fn slots(&self, _slots: &[SlotSnapshot]) {}
    /// How many wait, by class.
    fn waiting(&self, _class: Class, _count: usize) {}
    /// A slot was given back in this way.
    fn returned(&self, _what: Return) {}
    /// A slot that was in quarantine for so long is usable again.
    fn cleared(&self, _after: Duration) {}
    /// A wait ended in this way.
    fn waited(&self, _class: Class, _end: WaitEnd, _waited: Waited) {}
    /// Another try was asked for; whether the budget allowed it.
    fn retried(&self, _allowed: bool) {}
    /// The test of a quarantined slot is over; whether it passed.
    fn rehearsed(&self, _passed: bool) {}
    /// A grant was taken back, because of what the record of leases said or did not say.
    fn ungranted(&self, _why: Ungranted) {}
    /// A breaker changed.
    fn trust(&self, _upstream: &str, _trust: Trust) {}
    /// An upstream has come, or (`stays`) does not leave after all.
    fn joined(&self, _upstream: &Upstream, _stays: bool) {}
    /// An upstream is gone: its series go with it.
    fn gone(&self, _upstream: &str) {}
}

/// Why a grant was taken back before anybody had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ungranted {
    /// Another process holds the slot.
    HeldElsewhere,
    /// The record of leases cannot be written.
    NoLedger,
}

impl Ungranted {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 2] = [Self::HeldElsewhere, Self::NoLedger];

    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::HeldElsewhere => "held_elsewhere",
            Self::NoLedger => "no_ledger",
        }
    }
}
