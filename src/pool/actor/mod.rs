//! The one actor that owns the roster.
//!
//! Every message, timer and answer of the ledger goes through `PoolActor::drive`; nothing else touches the roster.

mod census;
mod desk;
mod discovery;
mod grant;
mod health;
mod observer;
mod oversight;
mod ports;
mod power;

pub use discovery::{Addresses, Configure, LOOK_UP_TIMEOUT, Resolve, SystemResolver, Tune};
pub use health::{PROBE_EVERY, Prober};
pub use observer::{PoolObserver, Ungranted};
pub use oversight::{Entry, EntryOf, Look, Withhold};
pub use ports::{Ports, Rehearser, WakePort};
pub use power::{Demand, HowMuch, Moved, PowerChanged, Retire, WarmUp};

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, ResponseActFuture,
    SpawnHandle, System, WrapFuture,
};
use tokio::time::{Instant, timeout};

use crate::pool::{
    breaker::Trust,
    discovery::{Change, Directory, Seed},
    lease::Return,
    ledger::SlotKey,
    pace::Measured,
    pulse::Pulse,
    roster::{
        Ask, Class, Effect, Grant, Input, QuarantineReason, Roster, RosterSettings, SlotSnapshot, SlotState,
        UpstreamId, WaiterId,
    },
    wait::{Asked, Outcome, Wait},
};

/// An answer of the ledger that takes longer will not come.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Owns the roster: every grant and every return passes through here.
pub struct PoolActor {
    roster: Roster,
    ports: Ports,
    asked: HashMap<WaiterId, Asked>,
    next_waiter: u64,
    directory: Directory,
    resolver: Box<dyn Resolve>,
    /// What the directory wants and is not done yet, in its order.
    changes: VecDeque<Change>,
    following: bool,
    alarm: Option<(Instant, SpawnHandle)>,
    /// Rows of free slots that could not be cleared, with their generation.
    uncleared: BTreeMap<SlotKey, u64>,
    /// Whether others know that this process lives; of no account without a record.
    pulse: Arc<Pulse>,
    stopping: bool,
}

impl PoolActor {
    /// A pool over these servers, which are members once it has started.
    pub fn new(seeds: Vec<impl Into<Seed>>, settings: RosterSettings, ports: Ports) -> Self {
        let mut directory = Directory::default();
        let expiry = ports.ledger.as_ref().map_or(Duration::MAX, |ledger| ledger.expiry());
        let changes = directory.configure(seeds.into_iter().map(Into::into).collect()).changes.into();
        Self {
            roster: Roster::new(RosterSettings { probes: ports.prober.is_some(), ..settings }),
            ports,
            asked: HashMap::new(),
            next_waiter: 0,
            directory,
            resolver: Box::new(SystemResolver),
            changes,
            following: false,
            alarm: None,
            uncleared: BTreeMap::new(),
            pulse: Arc::new(Pulse::new(expiry)),
            stopping: false,
        }
    }

    /// The one door to the roster. **Invariant:** all effects are drained before the next input.
    fn drive(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.roster.handle(input, Instant::now().into_std());
        self.settle(ctx);
        self.follow(ctx);
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        while let Some(effect) = self.roster.poll_effect() {
            self.perform(effect, ctx);
        }
        self.observe();
        self.arm(ctx);
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Grant(waiter, grant, waited) => self.grant(waiter, grant, waited, ctx),
            Effect::Place(id, place) => {
                if let Some(asked) = self.asked.get(&id) {
                    asked.stands(place);
                }
            }
            Effect::Refuse(id, why, later) => self.answer(id, Outcome::Refused(why, later)),
            Effect::Waited(class, end, waited) => self.ports.observer.waited(class, end, waited),
            Effect::Cleared(after) => self.ports.observer.cleared(after),
            Effect::Retried(allowed) => self.ports.observer.retried(allowed),
            Effect::Rehearse(grant) => self.rehearse(grant, ctx),
            Effect::Rehearsed(id, passed) => self.rehearsed(id, passed),
            Effect::WarmUp(grant) => self.warm_up(grant, ctx),
            Effect::WarmedUp(id, passed) => self.tell_fleet(|fleet| fleet.warmed_up(id, passed)),
            Effect::Stuck(id) => self.tell_fleet(|fleet| fleet.stuck(id)),
            Effect::Orphaned(id) => {
                let upstream = self.roster.upstream(id).map(|upstream| upstream.endpoint.name.as_str());
                let reason = QuarantineReason::HolderGone;
                tracing::warn!(upstream, reason = reason.code(), "slot quarantined");
                self.ports.observer.returned(Return::Quarantined(reason));
            }
            Effect::Wake(id) => self.tell_fleet(|fleet| fleet.wake(id)),
            Effect::Used(id, used) => self.tell_fleet(|fleet| fleet.used(id, used)),
            Effect::Leased(id, leased) => self.tell_fleet(|fleet| fleet.leased(id, leased)),
            Effect::Retired(id, gone) => self.tell_fleet(|fleet| fleet.retired(id, gone)),
            Effect::Trust(id, trust) => {
                let upstream = self.roster.upstream(id).map_or("", |upstream| &upstream.endpoint.name);
                match trust {
                    Trust::Open => tracing::warn!(upstream, "model server gets no calls: it failed, or is not there"),
                    Trust::HalfOpen => tracing::info!(upstream, "model server may be tried by one call"),
                    Trust::Closed => tracing::info!(upstream, "model server gets calls again"),
                }
                self.ports.observer.trust(upstream, trust);
            }
            Effect::Pace(id, Measured { slow, realtime_factor }) => {
                let upstream = self.roster.upstream(id).map(|upstream| upstream.endpoint.name.as_str());
                tracing::info!(upstream, slow, realtime_factor, "model server's pace changed");
            }
            Effect::Gone(id, upstream) => self.see_off(id, &upstream),
        }
    }

    fn answer(&mut self, id: WaiterId, outcome: Outcome) {
        if let Some(asked) = self.asked.remove(&id) {
            asked.ends(outcome);
        }
    }

    fn rehearse(&mut self, grant: Grant, ctx: &mut Context<Self>) {
        let (Some(rehearser), Some(lease)) = (&self.ports.rehearser, self.lease(grant, ctx)) else { return };
        let quarantined = self.roster.state(grant) != Some(SlotState::Leased);
        tracing::info!(upstream = lease.endpoint().name, quarantined, "testing a slot");
        rehearser.rehearse(lease);
    }

    fn rehearsed(&self, id: UpstreamId, passed: bool) {
        let upstream = self.roster.upstream(id).map(|upstream| upstream.endpoint.name.as_str());
        tracing::info!(upstream, passed, "quarantined slot tested");
        self.ports.observer.rehearsed(passed);
    }

    fn observe(&self) {
        self.ports.observer.slots(&self.roster.snapshot(Instant::now().into_std()));
        for class in Class::ALL {
            self.ports.observer.waiting(class, self.roster.waiting(class));
        }
    }

    /// One alarm for the roster's one deadline.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Some(deadline) = self.roster.deadline(now.into_std()).map(Instant::from_std) else { return };
        if let Some((armed, handle)) = self.alarm {
            if armed <= deadline {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(deadline.saturating_duration_since(now), |actor, ctx| {
            actor.alarm = None;
            actor.drive(Input::Tick, ctx);
        });
        self.alarm = Some((deadline, handle));
    }
}

impl Actor for PoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.follow(ctx);
        self.begin_census(ctx);
        self.begin_probing(ctx);
        self.begin_discovery(ctx);
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

/// Asks for a slot.
#[derive(Debug)]
pub struct Acquire(pub Ask);

impl Message for Acquire {
    type Result = Wait;
}

impl Handler<Acquire> for PoolActor {
    type Result = MessageResult<Acquire>;

    fn handle(&mut self, Acquire(ask): Acquire, ctx: &mut Self::Context) -> Self::Result {
        self.next_waiter += 1;
        let id = WaiterId(self.next_waiter);
        let pool = ctx.address();
        #[expect(clippy::disallowed_methods, reason = "one message a request, and requests are bounded by the seats")]
        let (asked, wait) = Asked::new(move |exhausted| pool.do_send(Leave { id, exhausted }));
        self.asked.insert(id, asked);
        self.drive(Input::Ask(id, ask), ctx);
        MessageResult(wait)
    }
}

/// Who asked does not wait any more.
struct Leave {
    id: WaiterId,
    /// Its patience was at its end.
    exhausted: bool,
}

impl Message for Leave {
    type Result = ();
}

impl Handler<Leave> for PoolActor {
    type Result = ();

    fn handle(&mut self, Leave { id, exhausted }: Leave, ctx: &mut Self::Context) {
        if self.asked.remove(&id).is_some() {
            self.drive(if exhausted { Input::TimedOut(id) } else { Input::Leave(id) }, ctx);
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
        MessageResult(self.roster.snapshot(Instant::now().into_std()))
    }
}

/// Stops the pool at the end of the process.
#[derive(Debug)]
pub struct Stop;

impl Message for Stop {
    type Result = ();
}

impl Handler<Stop> for PoolActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let retiring = self.ports.ledger.as_ref().map(|ledger| timeout(LEDGER_TIMEOUT, ledger.retire()));
        let retiring = async move {
            if let Some(Err(error)) = match retiring {
                Some(retiring) => retiring.await.ok(),
                None => None,
            } {
                tracing::warn!(%error, "the record of leases was not told of the end");
            }
        };
        Box::pin(retiring.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use actix::Addr;

    use super::*;
    use crate::pool::{
        endpoint::{Endpoint, Labels, Upstream},
        lease::Lease,
        ledger::{Foreign, LeaseLedger, LedgerError, LedgerFuture, Opened},
        roster::NoSlot,
        wait::News,
    };

    struct Nobody;

    impl PoolObserver for Nobody {}

    /// A record on a disk that may be full.
    #[derive(Default)]
    struct Disk {
        full: AtomicBool,
        rows: Mutex<BTreeMap<SlotKey, u64>>,
    }

    impl Disk {
        fn write<T: Send + 'static>(&self, change: impl FnOnce(&mut BTreeMap<SlotKey, u64>) -> T) -> LedgerFuture<T> {
            let full = self.full.load(Ordering::SeqCst);
            let done = if full {
                Err(LedgerError("the disk is full".into()))
            } else {
                Ok(change(&mut self.rows.lock().unwrap()))
            };
            Box::pin(std::future::ready(done))
        }
    }

    impl LeaseLedger for Disk {
        fn open(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened> {
            self.write(|rows| {
                rows.insert(slot, generation);
                Opened::Ours
            })
        }

        fn clear(&self, slot: SlotKey, generation: u64) -> LedgerFuture<()> {
            self.write(move |rows| rows.retain(|key, row| *key != slot || *row > generation))
        }

        fn adopt(&self, _: SlotKey, _: u64) -> LedgerFuture<Opened> {
            self.write(|_| Opened::Theirs)
        }

        fn foreign(&self) -> LedgerFuture<Vec<Foreign>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn beat(&self) -> LedgerFuture<bool> {
            self.write(|_| true)
        }

        fn retire(&self) -> LedgerFuture<()> {
            self.write(|_| ())
        }

        fn expiry(&self) -> Duration {
            Duration::from_millis(50)
        }
    }

    fn pool(count: u16) -> Addr<PoolActor> {
        pool_with(count, None)
    }

    fn pool_with(count: u16, ledger: Option<Arc<dyn LeaseLedger>>) -> Addr<PoolActor> {
        let endpoint = |port| Endpoint::plain("1", "h", port);
        let upstreams =
            (1..=count).map(|port| Upstream { endpoint: endpoint(port), capacity: 1, labels: Labels::default() });
        let ports = Ports { observer: Box::new(Nobody), rehearser: None, prober: None, ledger, fleet: None };
        PoolActor::new(upstreams.collect(), RosterSettings::default(), ports).start()
    }

    async fn ask(pool: &Addr<PoolActor>) -> Wait {
        pool.send(Acquire(Ask::new([1; 32]))).await.unwrap()
    }

    async fn lease(wait: &mut Wait) -> Lease {
        loop {
            match wait.news().await {
                News::Place(_) => {}
                News::Outcome(Some(Outcome::Granted(lease, _))) => return lease,
                News::Outcome(other) => panic!("{other:?}"),
            }
        }
    }

    #[actix::test]
    async fn a_dropped_lease_goes_to_who_waits() {
        let pool = pool(1);
        let first = lease(&mut ask(&pool).await).await;
        let mut second = ask(&pool).await;
        assert!(matches!(second.news().await, News::Place(place) if place.position == 1));
        drop(first);
        lease(&mut second).await;
    }

    #[actix::test]
    async fn a_lease_that_is_dropped_open_stays_out_of_use() {
        let pool = pool(1);
        let mut first = lease(&mut ask(&pool).await).await;
        first.opening();
        drop(first);
        assert!(matches!(ask(&pool).await.news().await, News::Place(_)));
        assert!(matches!(pool.send(Slots).await.unwrap()[0].state, SlotState::Quarantined(_)));
    }

    #[actix::test]
    async fn a_lease_for_one_who_left_comes_back() {
        let pool = pool(1);
        drop(ask(&pool).await);
        lease(&mut ask(&pool).await).await;
    }

    #[actix::test]
    async fn while_the_disk_is_full_nothing_is_given_out_and_afterwards_everything_is_as_before() {
        let disk = Arc::new(Disk::default());
        let pool = pool_with(1, Some(Arc::<Disk>::clone(&disk)));
        let first = lease(&mut ask(&pool).await).await;
        assert_eq!(disk.rows.lock().unwrap().len(), 1, "written down before it is handed over");
        disk.full.store(true, Ordering::SeqCst);
        let mut second = ask(&pool).await;
        drop(first);
        let outcome = loop {
            if let News::Outcome(outcome) = second.news().await {
                break outcome;
            }
        };
        assert!(matches!(outcome, Some(Outcome::Refused(NoSlot::NoLedger, _))), "{outcome:?}");
        assert_eq!(pool.send(Slots).await.unwrap()[0].state, SlotState::Free);
        assert_eq!(disk.rows.lock().unwrap().len(), 1, "the row of a free slot stays");
        disk.full.store(false, Ordering::SeqCst);
        let cleared = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while !disk.rows.lock().unwrap().is_empty() {
                look.tick().await;
            }
        };
        timeout(Duration::from_secs(10), cleared).await.expect("it is cleared by itself");
        lease(&mut ask(&pool).await).await;
    }
}
