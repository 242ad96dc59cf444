//! A fleet over a pool of its own, with a provider in memory and time that stands still.

mod care;
mod town;

use std::{cell::RefCell, future::Future, pin::Pin, time::Duration};

use actix::Addr;
use futures_util::future::LocalBoxFuture;

use super::*;
use crate::{
    fleet::{
        account::Money,
        provider::{PowerState, Started, Status, Stopped},
        wakes::Prior,
    },
    pool::{
        actor::{Acquire, Configure, Moved, PoolActor, PoolObserver, Ports as PoolPorts, Slots},
        endpoint::{Endpoint, Labels},
        roster::{Ask, RosterSettings, SlotLabel},
        wait::{News, Outcome, Wait},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A machine in memory: it runs 20 s after its start, and its server answers 10 s later.
#[derive(Debug, Default)]
struct Machine {
    started_at: RefCell<Option<Instant>>,
    starts: RefCell<u32>,
    stops: RefCell<u32>,
    refuses: RefCell<bool>,
}

impl Machine {
    fn state(&self) -> PowerState {
        match *self.started_at.borrow() {
            None => PowerState::Stopped,
            Some(at) if Instant::now() < at + SECOND * 20 => PowerState::Starting,
            Some(_) => PowerState::Running,
        }
    }

    fn answers(&self) -> bool {
        self.started_at.borrow().is_some_and(|at| Instant::now() >= at + SECOND * 30)
    }
}

#[derive(Debug)]
struct InMemory(Rc<Machine>);

impl Provider for InMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        *self.0.starts.borrow_mut() += 1;
        if *self.0.refuses.borrow() {
            return Box::pin(async { Err(ProviderError::Auth) });
        }
        self.0.started_at.borrow_mut().get_or_insert_with(Instant::now);
        Box::pin(async { Ok(Started::Accepted) })
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        *self.0.stops.borrow_mut() += 1;
        *self.0.started_at.borrow_mut() = None;
        Box::pin(async { Ok(Stopped::Accepted) })
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        let state = self.0.state();
        Box::pin(async move { Ok(Status::of(state)) })
    }
}

struct Answers(Rc<Machine>);

impl Readiness for Answers {
    fn answers(&self, _: &Endpoint) -> Pin<Box<dyn Future<Output = bool>>> {
        let answers = self.0.answers();
        Box::pin(async move { answers })
    }
}

struct Nobody;

impl PoolObserver for Nobody {}
impl FleetObserver for Nobody {}

/// What was told to whoever counts.
#[derive(Clone, Default)]
struct Counted(Rc<RefCell<Sums>>);

#[derive(Default)]
struct Sums {
    seconds: BTreeMap<&'static str, u64>,
    bill: Option<(Money, Money, Money)>,
    promises: Vec<bool>,
    gone: Vec<String>,
}

impl FleetObserver for Counted {
    fn wake_promised(&self, kept: bool) {
        self.0.borrow_mut().promises.push(kept);
    }

    fn spent(&self, _: &str, what: &'static str, seconds: u64) {
        *self.0.borrow_mut().seconds.entry(what).or_default() += seconds;
    }

    fn bill(&self, _: &str, per_hour: Money, cost: Money, saving: Money) {
        self.0.borrow_mut().bill = Some((per_hour, cost, saving));
    }

    fn gone(&self, upstream: &str) {
        self.0.borrow_mut().gone.push(upstream.to_owned());
    }
}

/// The pool's address, which is there after the fleet's.
#[derive(Clone, Default)]
struct Later(Rc<RefCell<Option<Addr<PoolActor>>>>);

impl PoolPort for Later {
    #[expect(clippy::disallowed_methods, reason = "as the gateway does it")]
    fn power(&self, changed: PowerChanged) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(changed);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "as the gateway does it")]
    fn retire(&self, retire: Retire) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(retire);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "as the gateway does it")]
    fn warm_up(&self, warm_up: WarmUp) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(warm_up);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "as the gateway does it")]
    fn moved(&self, moved: Moved) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(moved);
        }
    }
}

struct World {
    machine: Rc<Machine>,
    pool: Addr<PoolActor>,
    fleet: Addr<FleetActor>,
    counted: Counted,
}

fn policy() -> Policy {
    Policy {
        idle: SECOND * 600,
        min_awake: SECOND * 60,
        wake_deadline: SECOND * 480,
        pause: SECOND * 2,
        longest_pause: SECOND * 60,
        reconcile: SECOND * 60,
        probe: SECOND,
        look: SECOND * 5,
        warm_up: true,
        prior: Prior { median: SECOND * 60, p90: SECOND * 180 },
    }
}

impl World {
    async fn new() -> World {
        World::of(true).await
    }

    /// The same; whether anybody can start the machine.
    async fn of(is_known: bool) -> World {
        tokio::time::pause();
        let (machine, later, counted) = (Rc::new(Machine::default()), Later::default(), Counted::default());
        let found = Rc::clone(&machine);
        let ports = Ports {
            find: Box::new(move |_| is_known.then(|| Box::new(InMemory(Rc::clone(&found))) as Box<dyn Provider>)),
            readiness: Box::new(Answers(Rc::clone(&machine))),
            observer: Box::new(counted.clone()),
            pool: Box::new(later.clone()),
        };
        let fleet = FleetActor::new(policy(), ports).start();
        let endpoint = Endpoint::plain("1", "h", 1);
        let labels = Labels { price: "0.72".parse().ok(), machine: Some("memory".into()), ..Labels::default() };
        let upstream = Upstream { endpoint, capacity: 1, labels };
        let ports = PoolPorts {
            observer: Box::new(Nobody),
            rehearser: None,
            prober: None,
            ledger: None,
            fleet: Some(Box::new(Ear(fleet.clone()))),
        };
        // The pool's address is known before it says its first word.
        let pool = PoolActor::create(|ctx| {
            *later.0.borrow_mut() = Some(ctx.address());
            PoolActor::new(vec![upstream], RosterSettings::default(), ports)
        });
        let world = World { machine, pool, fleet, counted };
        world.until(SlotLabel::Asleep).await;
        world
    }

    async fn label(&self) -> SlotLabel {
        self.pool.send(Slots).await.unwrap()[0].label
    }

    /// Lets time pass until the slot is as wanted.
    async fn until(&self, wanted: SlotLabel) {
        for _ in 0..2_000 {
            if self.label().await == wanted {
                return;
            }
            tokio::time::advance(SECOND).await;
        }
        panic!("it is {:?}, not {wanted:?}; {:?}", self.label().await, self.fleet.send(Machines).await);
    }

    /// Seconds leased, idle and asleep that were counted so far.
    fn seconds(&self) -> [u64; 3] {
        let sums = self.counted.0.borrow();
        ["leased", "idle", "asleep"].map(|what| sums.seconds.get(what).copied().unwrap_or_default())
    }

    async fn ask(&self, user: u8) -> Wait {
        self.pool.send(Acquire(Ask::new([user; 32]))).await.unwrap()
    }
}

/// How a wait ends.
async fn outcome(wait: &mut Wait) -> Outcome {
    loop {
        if let News::Outcome(outcome) = wait.news().await {
            return outcome.expect("the pool answers");
        }
    }
}

#[actix::test]
async fn a_call_wakes_its_machine_talks_and_leaves_it_asleep() {
    let world = World::new().await;
    let (mut first, mut second) = (world.ask(1).await, world.ask(2).await);
    let Outcome::Granted(lease, _) = outcome(&mut first).await else { panic!("it is served") };
    assert_eq!(*world.machine.starts.borrow(), 1, "one request for both");
    drop(lease);
    let Outcome::Granted(lease, _) = outcome(&mut second).await else { panic!("so is the next") };
    tokio::time::advance(SECOND * 3_600).await;
    assert_eq!(world.label().await, SlotLabel::Leased, "never under a call");
    drop(lease);
    world.until(SlotLabel::Free).await;
    world.until(SlotLabel::Asleep).await;
    let machines = world.fleet.send(Machines).await.unwrap();
    assert!(matches!(machines[0].state, "falling_asleep" | "asleep"), "{machines:?}");
    tokio::time::advance(SECOND * 30).await;
    assert_eq!((*world.machine.starts.borrow(), *world.machine.stops.borrow()), (1, 1));
}

#[actix::test]
async fn who_waits_for_a_machine_that_nobody_can_start_is_told_so_at_once() {
    let world = World::of(false).await;
    let Outcome::Refused(why, _) = outcome(&mut world.ask(1).await).await else { panic!("there is none") };
    assert_eq!(why, crate::pool::roster::NoSlot::WakeFailed);
}

#[actix::test]
async fn who_waits_for_a_machine_that_cannot_be_woken_is_told_so() {
    let world = World::new().await;
    *world.machine.refuses.borrow_mut() = true;
    let Outcome::Refused(why, _) = outcome(&mut world.ask(1).await).await else { panic!("there is none") };
    assert_eq!(why, crate::pool::roster::NoSlot::WakeFailed);
    assert_eq!(world.fleet.send(Machines).await.unwrap()[0].state, "failed");
}

#[actix::test]
async fn an_operator_wakes_a_machine_and_holds_it() {
    let world = World::new().await;
    let wake = |hold| WakeUp { upstream: Some("1".into()), hold };
    world.fleet.send(wake(SECOND * 7_200)).await.unwrap();
    let machines = world.fleet.send(Machines).await.unwrap();
    assert_eq!((machines[0].state, machines[0].eta_ms), ("waking", Some(60_000)));
    world.until(SlotLabel::Free).await;
    for _ in 0..70 {
        tokio::time::advance(SECOND * 100).await;
        assert_eq!(world.label().await, SlotLabel::Free);
    }
    world.until(SlotLabel::Asleep).await;
    world.fleet.send(WakeUp { upstream: Some("nobody".into()), ..wake(SECOND) }).await.unwrap();
    assert_eq!(world.label().await, SlotLabel::Asleep);
}

#[actix::test]
async fn the_time_of_a_machine_is_counted_while_it_passes_and_has_its_price() {
    let world = World::new().await;
    tokio::time::advance(SECOND * 1_000).await;
    world.until(SlotLabel::Asleep).await;
    let [leased, idle, asleep] = world.seconds();
    assert!((leased, idle) == (0, 0) && asleep >= 995, "{asleep} s asleep");
    let mut call = world.ask(1).await;
    let Outcome::Granted(lease, _) = outcome(&mut call).await else { panic!("it is served") };
    let talk = async |seconds: u32| {
        for _ in 0..seconds / 6 {
            tokio::time::advance(SECOND * 6).await;
            world.label().await;
        }
    };
    talk(48).await;
    let [leased, ..] = world.seconds();
    assert!((40..=48).contains(&leased), "while nothing happens: {leased} s leased");
    talk(552).await;
    let [leased, idle, _] = world.seconds();
    assert!((590..=600).contains(&leased), "{leased} s leased");
    assert!((30..=40).contains(&idle), "paid for while it wakes: {idle} s");
    drop(lease);
    world.until(SlotLabel::Asleep).await;
    tokio::time::advance(SECOND * 10).await;
    let machine = world.fleet.send(Machines).await.unwrap().remove(0);
    assert_eq!(machine.awake_seconds, machine.leased_seconds + machine.idle_seconds);
    assert!((600..=602).contains(&machine.leased_seconds) && machine.idle_seconds >= 630, "{machine:?}");
    // 0.72 an hour is 200 millionths a second.
    let cost = machine.cost.unwrap().millionths();
    assert!(cost.abs_diff(machine.awake_seconds * 200) <= 400, "{machine:?}");
    let saving = machine.saving.unwrap().millionths();
    assert!(saving.abs_diff(machine.asleep_seconds * 200) <= 200, "{machine:?}");
    assert_eq!(machine.price_per_hour.map(Money::millionths), Some(720_000));
    let (_, told, _) = world.counted.0.borrow().bill.unwrap();
    assert!(told.millionths() <= cost && told.millionths() + 3_000 > cost, "{told:?}");
}

#[actix::test]
async fn whether_a_wake_was_as_quick_as_was_said_is_counted_once() {
    let world = World::new().await;
    let Outcome::Granted(lease, _) = outcome(&mut world.ask(1).await).await else { panic!("it is served") };
    assert_eq!(world.counted.0.borrow().promises, [true], "30 s, and 180 s were told");
    drop(lease);
    world.until(SlotLabel::Free).await;
    world.until(SlotLabel::Asleep).await;
    tokio::time::advance(SECOND * 30).await;
    *world.machine.refuses.borrow_mut() = true;
    let Outcome::Refused(..) = outcome(&mut world.ask(2).await).await else { panic!("it is refused") };
    assert_eq!(world.counted.0.borrow().promises, [true], "refused at once: nobody knows");
    world.pool.send(Configure(Vec::new())).await.unwrap();
    assert_eq!(world.counted.0.borrow().gone, ["1"]);
}
