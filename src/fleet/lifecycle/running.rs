//! Whether a machine is paid for.

use super::{Lifecycle, State};

impl Lifecycle {
    /// Whether it runs, in the sense that it is paid for: from the provider's acceptance of a start, or from when it was
    /// seen on, until it is known to be off. `None`: as was last known.
    pub fn runs(&self) -> Option<bool> {
        match self.state {
            State::Unknown | State::Failed { .. } => self.is_off.then_some(false),
            State::Asleep => Some(false),
            State::Waking { .. } => Some(self.started),
            State::Restarting { .. } => Some(true),
            State::Warming { .. } | State::Ready { .. } | State::Retiring { .. } | State::FallingAsleep => Some(true),
        }
    }
}
