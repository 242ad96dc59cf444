//! What a pool needs from outside.

use std::sync::Arc;

use super::{PoolObserver, Prober};
#[cfg(doc)]
use super::{Retire, WarmUp};
use crate::pool::{endpoint::Upstream, lease::Lease, ledger::LeaseLedger, roster::UpstreamId};

/// Tests a quarantined slot: one call with a neutral prompt, to the handshake and back. The pool defines it, the session's
/// legs provide it.
pub trait Rehearser: Send {
    /// Begins a test under this lease. It remarks [`Remark::Passed`](crate::pool::lease::Remark::Passed) when the handshake came, and gives the lease back.
    fn rehearse(&self, lease: Lease);
}

/// Whoever starts and stops machines. The pool defines it, the fleet provides it. Must not block.
pub trait WakePort: Send {
    /// An upstream has come, whose machine may be one of the fleet's.
    fn joined(&self, id: UpstreamId, upstream: &Upstream);
    /// An upstream is gone.
    fn gone(&self, id: UpstreamId);
    /// Somebody waits for this machine.
    fn wake(&self, upstream: UpstreamId);
    /// Whether calls use it, or wait for it, changed.
    fn used(&self, upstream: UpstreamId, used: bool);
    /// Whether a call has a slot there changed.
    fn leased(&self, upstream: UpstreamId, leased: bool);
    /// Whether it may be stopped or restarted, as was asked with [`Retire`].
    fn retired(&self, upstream: UpstreamId, gone: bool);
    /// How the call without a caller went that was asked for with [`WarmUp`].
    fn warmed_up(&self, upstream: UpstreamId, passed: bool);
    /// Its server takes no calls, has not for long, and nobody is there: a restart may help.
    fn stuck(&self, upstream: UpstreamId);
}

/// All of it.
pub struct Ports {
    /// Who is told what happens.
    pub observer: Box<dyn PoolObserver>,
    /// Who tests quarantined slots; without one they wait for late acknowledgements.
    pub rehearser: Option<Box<dyn Rehearser>>,
    /// Who asks servers whether they live; without one calls find out.
    pub prober: Option<Box<dyn Prober>>,
    /// Where leases are written down; without it nobody else can know of them.
    pub ledger: Option<Arc<dyn LeaseLedger>>,
    /// Who starts and stops machines; without it all of them run.
    pub fleet: Option<Box<dyn WakePort>>,
}
