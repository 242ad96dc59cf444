//! The right to one slot, as an owned value: it cannot be copied, and it cannot be forgotten.

use std::{fmt, sync::Arc};

use super::{
    pace::Measured,
    roster::{Endpoint, Grant, QuarantineReason, UpstreamIndex},
};

/// What becomes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The server is known to have no socket of ours: the slot is free.
    Released,
    /// It is not known: the slot stays out of use until a release follows.
    Quarantined(QuarantineReason),
}

/// Where leases report to: the pool.
pub trait Desk: Send + Sync {
    /// Takes the news of one slot. Must not block.
    fn give_back(&self, grant: Grant, what: Return);
    /// Takes what the call under `grant` measured of its upstream. Must not block; it may be lost and is told again.
    fn measured(&self, grant: Grant, measured: Measured);
}

/// Says to the pool what the call under a lease measures, while the lease is with the task that owns the socket.
///
/// It outlives the lease without harm: what it says then is stale.
pub struct Witness {
    grant: Grant,
    desk: Arc<dyn Desk>,
}

impl Witness {
    /// Tells the pool, without waiting.
    pub fn measured(&self, measured: Measured) {
        self.desk.measured(self.grant, measured);
    }
}

/// The right to one slot of an upstream.
///
/// It moves from the pool through the session to the task that owns the upstream socket. Dropped before a socket was
/// opened, or after [`Lease::close`], it frees the slot; dropped in any other way, a panic included, it quarantines it.
pub struct Lease {
    grant: Grant,
    endpoint: Endpoint,
    desk: Arc<dyn Desk>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unused,
    Open,
    Quarantined,
    Closed,
}

impl Lease {
    /// Wraps a grant of the roster.
    pub fn new(grant: Grant, endpoint: Endpoint, desk: Arc<dyn Desk>) -> Self {
        Self { grant, endpoint, desk, state: State::Unused }
    }

    /// Which upstream it is for.
    pub fn upstream(&self) -> UpstreamIndex {
        self.grant.upstream
    }

    /// Where that upstream listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A way to tell the pool what is measured under this lease.
    pub fn witness(&self) -> Witness {
        Witness { grant: self.grant, desk: Arc::clone(&self.desk) }
    }

    /// To be called before the first byte is sent to the server: from now on a drop quarantines.
    pub fn opening(&mut self) {
        if self.state == State::Unused {
            self.state = State::Open;
        }
    }

    /// Says early that the server does not acknowledge the end; a later [`Lease::close`] still frees the slot.
    pub fn quarantine(&mut self, reason: QuarantineReason) {
        if self.state == State::Open {
            self.state = State::Quarantined;
            self.desk.give_back(self.grant, Return::Quarantined(reason));
        }
    }

    /// The server acknowledged the end (its close reply, FIN or RST): frees the slot.
    pub fn close(mut self) {
        self.state = State::Closed;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.state {
            State::Unused | State::Closed => self.desk.give_back(self.grant, Return::Released),
            State::Open => self.desk.give_back(self.grant, Return::Quarantined(QuarantineReason::Abandoned)),
            State::Quarantined => {}
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("grant", &self.grant).field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Notebook(Mutex<Vec<Return>>);

    impl Desk for Notebook {
        fn give_back(&self, _: Grant, what: Return) {
            self.0.lock().unwrap().push(what);
        }

        fn measured(&self, _: Grant, _: Measured) {}
    }

    fn told(by: impl FnOnce(Lease)) -> Vec<Return> {
        let desk = Arc::new(Notebook::default());
        let endpoint = Endpoint { name: "1".into(), tls: false, host: "h".into(), port: 1, path_prefix: String::new() };
        by(Lease::new(Grant { upstream: 0, generation: 1 }, endpoint, desk.clone()));
        desk.0.lock().unwrap().clone()
    }

    #[test]
    fn an_unused_lease_frees_its_slot() {
        assert_eq!(told(drop), [Return::Released]);
    }

    #[test]
    fn a_closed_lease_frees_its_slot_once() {
        assert_eq!(
            told(|mut lease| {
                lease.opening();
                lease.close();
            }),
            [Return::Released]
        );
    }

    #[test]
    fn a_forgotten_socket_quarantines() {
        assert_eq!(told(|mut lease| lease.opening()), [Return::Quarantined(QuarantineReason::Abandoned)]);
    }

    #[test]
    fn a_panic_quarantines() {
        let told = told(|mut lease| {
            lease.opening();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _held = lease;
                std::panic::resume_unwind(Box::new("boom"));
            }));
            assert!(outcome.is_err());
        });
        assert_eq!(told, [Return::Quarantined(QuarantineReason::Abandoned)]);
    }

    #[test]
    fn a_late_acknowledgement_frees_a_quarantined_slot() {
        assert_eq!(
            told(|mut lease| {
                lease.opening();
                lease.quarantine(QuarantineReason::NoCloseReply);
                lease.close();
            }),
            [Return::Quarantined(QuarantineReason::NoCloseReply), Return::Released]
        );
    }
}
