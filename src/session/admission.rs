//! What a call begins with.

use crate::pool::{
    lease::Lease,
    roster::{Offer, Place},
    wait::Wait,
};

/// What admits a call.
#[derive(Debug)]
pub enum Admission {
    /// A slot, and what is known of its server.
    Granted(Lease, Offer),
    /// A place in the queue.
    Waiting(Wait, Place),
}
