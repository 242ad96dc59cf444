//! What holders of leases tell the pool.

use std::sync::Arc;

use actix::{Addr, Context, Handler, Message};
use tokio::time::Instant;

use super::PoolActor;
use crate::pool::{
    lease::{Desk, Remark, Return},
    pulse::Pulse,
    roster::{Grant, Input, SlotState},
};

/// The pool's side of a lease.
pub(super) struct PoolDesk {
    pool: Addr<PoolActor>,
    /// The pulse of this process, if there is a record, and its gaps when the lease was made.
    pulse: Option<(Arc<Pulse>, u64)>,
}

impl PoolDesk {
    pub(super) fn new(pool: Addr<PoolActor>, pulse: Option<Arc<Pulse>>) -> Self {
        let pulse = pulse.map(|pulse| {
            let gaps = pulse.gaps();
            (pulse, gaps)
        });
        Self { pool, pulse }
    }
}

enum OfGrant {
    Return(Return),
    Remark(Remark),
}

impl Message for FromHolder {
    type Result = ();
}

struct FromHolder(Grant, OfGrant);

impl Desk for PoolDesk {
    #[expect(clippy::disallowed_methods, reason = "at most two messages a lease, and leases are bounded by the slots")]
    fn give_back(&self, grant: Grant, what: Return) {
        self.pool.do_send(FromHolder(grant, OfGrant::Return(what)));
    }

    fn stands(&self) -> bool {
        let stands =
            |(pulse, gaps): &(Arc<Pulse>, u64)| pulse.gaps() == *gaps && pulse.beats(Instant::now().into_std());
        self.pulse.as_ref().is_none_or(stands)
    }

    #[expect(clippy::disallowed_methods, reason = "a handful a lease, and leases are bounded by the slots")]
    fn remark(&self, grant: Grant, remark: Remark) {
        self.pool.do_send(FromHolder(grant, OfGrant::Remark(remark)));
    }
}

impl Handler<FromHolder> for PoolActor {
    type Result = ();

    fn handle(&mut self, FromHolder(grant, what): FromHolder, ctx: &mut Self::Context) {
        match what {
            OfGrant::Return(what) => self.returned(grant, what, ctx),
            OfGrant::Remark(Remark::Verdict(verdict)) => self.drive(Input::Judge(grant, verdict), ctx),
            OfGrant::Remark(Remark::Measured(measured)) => self.drive(Input::Measured(grant, measured), ctx),
            OfGrant::Remark(Remark::Passed) => self.drive(Input::Passed(grant), ctx),
        }
    }
}

impl PoolActor {
    fn returned(&mut self, grant: Grant, what: Return, ctx: &mut Context<Self>) {
        let before = self.roster.state(grant);
        let input = match what {
            Return::Released => Input::Release(grant),
            Return::Quarantined(reason) => Input::Quarantine(grant, reason),
        };
        // Cleared first: the slot may be granted again at once, and its new row is of a later generation.
        // A slot whose server is elsewhere by now is free whatever became of the old one.
        let frees = if what == Return::Released { self.roster.frees(grant) } else { self.roster.left(grant).is_some() };
        if frees {
            self.clear(grant, ctx);
        }
        self.drive(input, ctx);
        let quarantines = matches!(what, Return::Quarantined(_));
        let counts = if quarantines { before == Some(SlotState::Leased) } else { before.is_some() };
        if counts && self.roster.state(grant) != before {
            if let (Return::Quarantined(reason), Some(endpoint)) = (what, self.roster.endpoint(grant)) {
                tracing::warn!(upstream = endpoint.name, reason = reason.code(), "slot quarantined");
            }
            self.ports.observer.returned(what);
        }
    }
}
