//! The one actor that owns the roster.

use std::sync::Arc;

use actix::{Actor, ActorContext, Addr, Context, Handler, Message, MessageResult, System};
use tokio::time::Instant;

use super::{
    lease::{Desk, Lease, Return},
    pace::Measured,
    roster::{Endpoint, Grant, Policy, Roster, SlotSnapshot, UpstreamIndex},
};

/// What the pool tells about its slots, besides its answers. Called on the pool's own thread; must not block.
pub trait PoolObserver: Send {
    /// The slots after a change.
    fn slots(&self, slots: &[SlotSnapshot]);
    /// A slot was given back in this way.
    fn returned(&self, what: Return);
}

/// Owns the roster: every grant and every return passes through here.
pub struct PoolActor {
    roster: Roster,
    observer: Box<dyn PoolObserver>,
    stopping: bool,
}

impl PoolActor {
    /// A pool over these upstreams.
    pub fn new(upstreams: Vec<Endpoint>, policy: Policy, observer: Box<dyn PoolObserver>) -> Self {
        Self { roster: Roster::new(upstreams, policy), observer, stopping: false }
    }

    fn observe(&self) {
        self.observer.slots(&self.roster.snapshot());
    }
}

impl Actor for PoolActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.observe();
    }

    /// Without its pool the process can neither grant nor free anything: it ends, and the platform restarts it.
    fn stopped(&mut self, _: &mut Self::Context) {
        if !self.stopping {
            tracing::error!("the pool stopped unasked; the process ends");
            if let Some(system) = System::try_current() {
                system.stop_with_code(70);
            }
        }
    }
}

/// Asks for a free slot.
#[derive(Debug)]
pub struct Acquire {
    /// An upstream that the caller has just failed on.
    pub avoid: Option<UpstreamIndex>,
}

impl Message for Acquire {
    type Result = Option<Lease>;
}

impl Handler<Acquire> for PoolActor {
    type Result = Option<Lease>;

    fn handle(&mut self, ask: Acquire, ctx: &mut Self::Context) -> Option<Lease> {
        let grant = self.roster.acquire(ask.avoid, Instant::now().into_std())?;
        let endpoint = self.roster.endpoint(grant)?.clone();
        self.observe();
        Some(Lease::new(grant, endpoint, Arc::new(PoolDesk(actix::AsyncContext::address(ctx)))))
    }
}

/// The pool's side of every lease.
struct PoolDesk(Addr<PoolActor>);

struct GiveBack(Grant, Return);

impl Message for GiveBack {
    type Result = ();
}

impl Desk for PoolDesk {
    #[expect(clippy::disallowed_methods, reason = "at most two messages a lease, and leases are bounded by the slots")]
    fn give_back(&self, grant: Grant, what: Return) {
        self.0.do_send(GiveBack(grant, what));
    }

    fn measured(&self, grant: Grant, measured: Measured) {
        // A full mailbox loses it; a verdict that lasts is told again.
        let _ = self.0.try_send(Report(grant, measured));
    }
}

struct Report(Grant, Measured);

impl Message for Report {
    type Result = ();
}

impl Handler<Report> for PoolActor {
    type Result = ();

    fn handle(&mut self, Report(grant, measured): Report, _: &mut Self::Context) {
        if !self.roster.measured(grant, measured, Instant::now().into_std()) {
            return;
        }
        let upstream = self.roster.endpoint(grant).map(|endpoint| endpoint.name.as_str());
        let (slow, withheld) = (measured.slow, measured.slow && self.roster.withholds_slow(None));
        tracing::info!(upstream, slow, withheld, realtime_factor = measured.realtime_factor, "upstream's pace changed");
        self.observe();
    }
}

impl Handler<GiveBack> for PoolActor {
    type Result = ();

    fn handle(&mut self, GiveBack(grant, what): GiveBack, _: &mut Self::Context) {
        let changed = match what {
            Return::Released => self.roster.release(grant, Instant::now().into_std()),
            Return::Quarantined(reason) => self.roster.quarantine(grant, reason),
        };
        if changed {
            if let (Return::Quarantined(reason), Some(endpoint)) = (what, self.roster.endpoint(grant)) {
                tracing::warn!(upstream = endpoint.name, reason = reason.code(), "slot quarantined");
            }
            self.observer.returned(what);
            self.observe();
        }
    }
}

/// Asks for every slot and its state.
#[derive(Debug)]
pub struct Slots;

impl Message for Slots {
    type Result = Vec<SlotSnapshot>;
}

impl Handler<Slots> for PoolActor {
    type Result = MessageResult<Slots>;

    fn handle(&mut self, _: Slots, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.roster.snapshot())
    }
}

/// Stops the pool at the end of the process.
#[derive(Debug)]
pub struct Stop;

impl Message for Stop {
    type Result = ();
}

impl Handler<Stop> for PoolActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.stopping = true;
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::roster::SlotState;

    struct Nobody;

    impl PoolObserver for Nobody {
        fn slots(&self, _: &[SlotSnapshot]) {}
        fn returned(&self, _: Return) {}
    }

    fn pool(count: u16) -> Addr<PoolActor> {
        let upstreams = (1..=count)
            .map(|port| Endpoint { name: "1".into(), tls: false, host: "h".into(), port, path_prefix: String::new() })
            .collect();
        PoolActor::new(upstreams, Policy::default(), Box::new(Nobody)).start()
    }

    #[actix::test]
    async fn a_dropped_lease_comes_back_to_the_pool() {
        let pool = pool(1);
        let lease = pool.send(Acquire { avoid: None }).await.unwrap().unwrap();
        assert!(pool.send(Acquire { avoid: None }).await.unwrap().is_none());
        drop(lease);
        assert!(pool.send(Acquire { avoid: None }).await.unwrap().is_some());
    }

    #[actix::test]
    async fn a_lease_that_is_dropped_open_stays_out_of_use() {
        let pool = pool(1);
        let mut lease = pool.send(Acquire { avoid: None }).await.unwrap().unwrap();
        lease.opening();
        drop(lease);
        assert!(pool.send(Acquire { avoid: None }).await.unwrap().is_none());
        assert!(matches!(pool.send(Slots).await.unwrap()[0].state, SlotState::Quarantined(_)));
    }
}
