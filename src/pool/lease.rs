//! The right to one slot, as an owned value: it cannot be copied, and it cannot be forgotten.

use std::{fmt, sync::Arc};

use super::{
    endpoint::Endpoint,
    pace::Measured,
    roster::{Grant, QuarantineReason, UpstreamId, Verdict},
};

/// What becomes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The server is known to have no socket of ours: the slot is free.
    Released,
    /// It is not known: the slot stays out of use until a release follows.
    Quarantined(QuarantineReason),
}

/// What a holder says of its grant while it has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Remark {
    /// The server did what it should, or failed.
    Verdict(Verdict),
    /// What the call measured of the server's pace.
    Measured(Measured),
    /// The rehearsal under this grant reached the server's handshake.
    Passed,
}

/// Where leases report to: the pool.
pub trait Desk: Send + Sync {
    /// Takes the news of one slot. Must not block.
    fn give_back(&self, grant: Grant, what: Return);
    /// Takes a remark on one slot. Must not block.
    fn remark(&self, grant: Grant, remark: Remark);
}

/// The right to one slot of an upstream.
///
/// It moves from the pool through the session to the task that owns the upstream socket. Dropped before a socket was
/// opened, or after [`Lease::close`], it frees the slot; dropped in any other way, a panic included, it quarantines it.
pub struct Lease {
    grant: Grant,
    endpoint: Box<Endpoint>,
    desk: Arc<dyn Desk>,
    state: State,
}

/// Says what happens under a lease while the lease is with the task that owns the socket.
///
/// It outlives the lease without harm: what it says then is stale.
#[derive(Clone)]
pub struct Witness {
    grant: Grant,
    desk: Arc<dyn Desk>,
}

impl Witness {
    /// The grant of the lease.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Tells the pool, without waiting.
    pub fn remark(&self, remark: Remark) {
        self.desk.remark(self.grant, remark);
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("grant", &self.grant).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unused,
    Open,
    Quarantined(QuarantineReason),
    Closed,
}

impl Lease {
    /// Wraps a grant of the roster.
    pub fn new(grant: Grant, endpoint: Endpoint, desk: Arc<dyn Desk>) -> Self {
        Self { grant, endpoint: Box::new(endpoint), desk, state: State::Unused }
    }

    /// Which upstream it is for.
    pub fn upstream(&self) -> UpstreamId {
        self.grant.upstream
    }

    /// A way to tell the pool what happens under this lease.
    pub fn witness(&self) -> Witness {
        Witness { grant: self.grant, desk: Arc::clone(&self.desk) }
    }

    /// Where that upstream listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// To be called before the first byte is sent to the server: from now on a drop quarantines.
    pub fn opening(&mut self) {
        if self.state == State::Unused {
            self.state = State::Open;
        }
    }

    /// Says early that the server does not acknowledge the end; a later [`Lease::close`] still frees the slot, and a later
    /// reason replaces this one.
    pub fn quarantine(&mut self, reason: QuarantineReason) {
        if !matches!(self.state, State::Unused | State::Closed) && self.state != State::Quarantined(reason) {
            self.state = State::Quarantined(reason);
            self.desk.give_back(self.grant, Return::Quarantined(reason));
        }
    }

    /// The server acknowledged the end, and the slot is to be used again by the same holder: it is as if never opened.
    pub fn acknowledged(mut self) -> Self {
        self.state = State::Unused;
        self
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
            State::Quarantined(reason) if !reason.is_awaited() => {}
            State::Open | State::Quarantined(_) => {
                self.desk.give_back(self.grant, Return::Quarantined(QuarantineReason::Abandoned));
            }
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

        fn remark(&self, _: Grant, _: Remark) {}
    }

    fn told(by: impl FnOnce(Lease)) -> Vec<Return> {
        let desk = Arc::new(Notebook::default());
        let endpoint = Endpoint::plain("1", "h", 1);
        by(Lease::new(Grant { upstream: UpstreamId(1), slot: 0, generation: 1 }, endpoint, desk.clone()));
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
    fn a_kept_lease_frees_its_slot_only_after_its_last_use() {
        assert_eq!(
            told(|mut lease| {
                lease.opening();
                let mut lease = lease.acknowledged();
                lease.opening();
                lease.quarantine(QuarantineReason::NoCloseReply);
            })[..1],
            [Return::Quarantined(QuarantineReason::NoCloseReply)]
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
