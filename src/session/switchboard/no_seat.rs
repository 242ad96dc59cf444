//! Why a call is not admitted.

use std::time::Duration;

use crate::pool::quota::Exceeded;

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// The process holds as many calls as it may.
    #[error("the gateway is full")]
    Full,
    /// The user or its tenant is in as many calls as it may be, or has used up its time.
    #[error("a limit of the user or its tenant is reached")]
    Quota(Exceeded),
    /// Tandem shuts down.
    #[error("the gateway is shutting down")]
    Draining,
    /// No model server may be told of the caller, which the call needs.
    #[error("no model server may be told of the caller")]
    NotTold,
    /// Every model server is busy or out of use, and the caller does not wait; when another try makes sense.
    #[error("no slot is free")]
    NoSlot(Duration),
    /// A slot cannot be written down, so that none is given out.
    #[error("the record of leases cannot be used")]
    NoLedger,
    /// The pool does not answer.
    #[error("the pool does not answer")]
    PoolLost,
}
