//! Machines that are tried out, that move, and that are stuck: several of them, with a model server each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    fleet::provider::Address,
    pool::{
        actor::Rehearser,
        lease::{Lease, Remark},
        ledger::{Foreign, LeaseLedger, LedgerFuture, Opened, SlotKey},
    },
};

/// A machine and its model server, as many see them.
#[derive(Debug, Default)]
struct Server {
    running: bool,
    /// It holds a socket of somebody who is gone: no call gets to its handshake.
    stuck: bool,
    /// When it answers again.
    answers_at: Option<Instant>,
    /// Its public port, if the provider tells of one.
    port: Option<u16>,
    starts: u32,
    restarts: u32,
    /// What a restart comes to.
    refuses: Option<ProviderError>,
    probed: Vec<u16>,
    rehearsed: Vec<u16>,
}

type Servers = Arc<Mutex<BTreeMap<String, Server>>>;

#[derive(Debug)]
struct OneOf(Servers, String);

impl OneOf {
    fn with<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        act(self.0.lock().unwrap().get_mut(&self.1).unwrap())
    }

    fn begin(&self) {
        self.with(|server| {
            (server.running, server.stuck) = (true, false);
            server.answers_at = Some(Instant::now() + SECOND * 20);
        });
    }
}

impl Provider for OneOf {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        self.begin();
        self.with(|server| server.starts += 1);
        Box::pin(async { Ok(Started::Accepted) })
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        self.with(|server| (server.running, server.answers_at) = (false, None));
        Box::pin(async { Ok(Stopped::Accepted) })
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        let mut servers = self.0.lock().unwrap();
        let begun = |server: &Server| server.restarts > 0 && server.answers_at.is_some_and(|at| Instant::now() < at);
        assert!(!servers.values().any(begun), "two restarts at once: {servers:?}");
        servers.get_mut(&self.1).unwrap().restarts += 1;
        drop(servers);
        let refused = self.with(|server| server.refuses.clone());
        if refused.is_none() {
            self.begin();
        }
        Box::pin(async { refused.map_or(Ok(()), Err) })
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        let status = self.with(|server| {
            let state = if server.running { PowerState::Running } else { PowerState::Stopped };
            let address = server.port.map(|port| Address { host: "203.0.113.9".into(), port, tls: None });
            Status { address, ..Status::of(state) }
        });
        Box::pin(async { Ok(status) })
    }
}

struct Listens(Servers);

impl Readiness for Listens {
    fn answers(&self, endpoint: &Endpoint) -> Pin<Box<dyn Future<Output = bool>>> {
        let mut servers = self.0.lock().unwrap();
        let server = servers.get_mut(&endpoint.name).unwrap();
        server.probed.push(endpoint.port);
        let answers = server.answers_at.is_some_and(|at| Instant::now() >= at)
            && server.port.is_none_or(|port| port == endpoint.port);
        Box::pin(async move { answers })
    }
}

struct Tries(Servers);

impl Rehearser for Tries {
    fn rehearse(&self, mut lease: Lease) {
        let mut servers = self.0.lock().unwrap();
        let server = servers.get_mut(&lease.endpoint().name).unwrap();
        server.rehearsed.push(lease.endpoint().port);
        lease.opening();
        if server.running && !server.stuck {
            lease.witness().remark(Remark::Passed);
            lease.close();
        }
    }
}

/// A record of leases in memory.
#[derive(Default)]
struct Record(Mutex<BTreeMap<SlotKey, u64>>);

impl Record {
    fn rows(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().map(|key| key.upstream.clone()).collect()
    }
}

impl LeaseLedger for Record {
    fn open(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened> {
        self.0.lock().unwrap().insert(slot, generation);
        Box::pin(std::future::ready(Ok(Opened::Ours)))
    }

    fn clear(&self, slot: SlotKey, generation: u64) -> LedgerFuture<()> {
        self.0.lock().unwrap().retain(|key, row| *key != slot || *row > generation);
        Box::pin(std::future::ready(Ok(())))
    }

    fn adopt(&self, _: SlotKey, _: u64) -> LedgerFuture<Opened> {
        Box::pin(std::future::ready(Ok(Opened::Theirs)))
    }

    fn foreign(&self) -> LedgerFuture<Vec<Foreign>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn beat(&self) -> LedgerFuture<bool> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn retire(&self) -> LedgerFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn expiry(&self) -> Duration {
        SECOND * 10
    }
}

struct Town {
    servers: Servers,
    record: Arc<Record>,
    pool: Addr<PoolActor>,
    fleet: Addr<FleetActor>,
}

impl Town {
    /// So many machines, which run and whose servers answer.
    async fn new(count: u16) -> Town {
        Town::of(count, |_| {}).await
    }

    async fn of(count: u16, set: impl Fn(&mut Server)) -> Town {
        tokio::time::pause();
        let server = || {
            let mut server = Server { running: true, answers_at: Some(Instant::now()), ..Server::default() };
            set(&mut server);
            server
        };
        let servers: Servers = Arc::new(Mutex::new((1..=count).map(|n| (n.to_string(), server())).collect()));
        let (later, record) = (Later::default(), Arc::new(Record::default()));
        let found = Arc::clone(&servers);
        let ports = Ports {
            find: Box::new(move |upstream| {
                Some(Box::new(OneOf(Arc::clone(&found), upstream.endpoint.name.clone())) as Box<dyn Provider>)
            }),
            readiness: Box::new(Listens(Arc::clone(&servers))),
            observer: Box::new(Nobody),
            pool: Box::new(later.clone()),
        };
        let fleet = FleetActor::new(Policy { idle: Duration::ZERO, ..policy() }, ports).start();
        let upstreams = (1..=count).map(|n| Upstream {
            endpoint: Endpoint::plain(n.to_string(), "h", n),
            capacity: 1,
            labels: Labels { sleeps: true, ..Labels::default() },
        });
        let upstreams: Vec<_> = upstreams.collect();
        let ports = PoolPorts {
            observer: Box::new(Nobody),
            rehearser: Some(Box::new(Tries(Arc::clone(&servers)))),
            prober: None,
            ledger: Some(Arc::<Record>::clone(&record)),
            fleet: Some(Box::new(Ear(fleet.clone()))),
        };
        let pool = PoolActor::create(|ctx| {
            *later.0.borrow_mut() = Some(ctx.address());
            PoolActor::new(upstreams, RosterSettings::default(), ports)
        });
        Town { servers, record, pool, fleet }
    }

    fn with<T>(&self, n: u16, act: impl FnOnce(&mut Server) -> T) -> T {
        act(self.servers.lock().unwrap().get_mut(&n.to_string()).unwrap())
    }

    async fn labels(&self) -> Vec<SlotLabel> {
        self.pool.send(Slots).await.unwrap().into_iter().map(|slot| slot.label).collect()
    }

    /// Lets time pass until it is so.
    async fn until(&self, is_so: impl Fn(&[SlotLabel]) -> bool) {
        for _ in 0..20_000 {
            if is_so(&self.labels().await) {
                return;
            }
            tokio::time::advance(SECOND / 2).await;
        }
        panic!("{:?} {:?} {:#?}", self.labels().await, self.fleet.send(Machines).await, self.servers.lock());
    }

    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        self.until(|_| Instant::now() >= end).await;
    }

    /// A call that got a slot.
    async fn call(&self, user: u8) -> Lease {
        let mut wait = self.pool.send(Acquire(Ask::new([user; 32]))).await.unwrap();
        for _ in 0..2_000 {
            tokio::select! {
                biased;
                outcome = outcome(&mut wait) => {
                    let Outcome::Granted(lease, _) = outcome else { panic!("{outcome:?}") };
                    return lease;
                }
                () = tokio::task::yield_now() => tokio::time::advance(SECOND / 2).await,
            }
        }
        panic!("nothing is granted: {:?}", self.labels().await);
    }

    /// Somebody vanishes in mid-call, and every server is stuck with what they left.
    async fn get_stuck(&self, count: u8) {
        self.until(|labels| labels.iter().all(|label| *label == SlotLabel::Free)).await;
        let mut leases = Vec::new();
        for user in 1..=count {
            leases.push(self.call(user).await);
        }
        for mut lease in leases {
            lease.opening();
            self.servers.lock().unwrap().get_mut(&lease.endpoint().name).unwrap().stuck = true;
        }
        self.until(|labels| labels.iter().all(|label| *label == SlotLabel::Quarantined)).await;
    }

    async fn restart(&self, upstream: &str) -> RestartAnswer {
        self.fleet.send(Restart { upstream: upstream.to_owned() }).await.unwrap()
    }
}

fn all_free(labels: &[SlotLabel]) -> bool {
    labels.iter().all(|label| *label == SlotLabel::Free)
}

#[actix::test]
async fn stuck_machines_begin_anew_one_at_a_time_and_the_next_call_talks() {
    let town = Town::new(3).await;
    town.get_stuck(3).await;
    let since = Instant::now();
    let lease = town.call(9).await;
    let waited = since.elapsed();
    assert!((SECOND * 290..SECOND * 400).contains(&waited), "{waited:?}");
    drop(lease);
    town.until(all_free).await;
    assert_eq!([1, 2, 3].map(|n| town.with(n, |server| server.restarts)), [1, 1, 1]);
    assert_eq!(town.record.rows(), Vec::<String>::new(), "nothing is left of the old calls");
}

#[actix::test]
async fn a_machine_is_not_restarted_while_a_call_is_on_another_of_its_slots_or_tests_pass() {
    let town = Town::new(1).await;
    town.get_stuck(1).await;
    town.with(1, |server| server.stuck = false);
    town.until(all_free).await;
    town.pass(SECOND * 600).await;
    assert_eq!(town.with(1, |server| server.restarts), 0, "it came back by itself");
}

#[actix::test]
async fn an_operator_restarts_what_nobody_uses_and_is_told_why_not() {
    let town = Town::new(2).await;
    town.until(all_free).await;
    assert_eq!(town.restart("9").await, RestartAnswer::Unknown);
    let lease = town.call(1).await;
    let (used, other) = if lease.endpoint().name == "1" { ("1", "2") } else { ("2", "1") };
    assert_eq!(town.restart(used).await, RestartAnswer::InUse);
    assert_eq!(town.restart(other).await, RestartAnswer::Begins);
    assert_eq!(town.restart(other).await, RestartAnswer::OneAtATime);
    assert_eq!(town.restart(used).await, RestartAnswer::OneAtATime);
    let states: Vec<_> = town.fleet.send(Machines).await.unwrap().iter().map(|machine| machine.state).collect();
    assert!(
        states.contains(&"ready") && states.iter().any(|state| matches!(*state, "restarting" | "warming")),
        "{states:?}"
    );
    drop(lease);
    town.until(all_free).await;
    assert_eq!([1, 2].map(|n| town.with(n, |server| server.restarts)).iter().sum::<u32>(), 1);
    town.fleet.send(FallAsleep { upstream: "1".into() }).await.unwrap();
    town.until(|labels| labels[0] == SlotLabel::Asleep).await;
    assert_eq!(town.restart("1").await, RestartAnswer::NotAwake);
}

#[actix::test]
async fn a_restart_that_fails_leaves_the_turn_to_others() {
    let town = Town::new(2).await;
    town.with(1, |server| server.refuses = Some(ProviderError::Auth));
    town.get_stuck(2).await;
    town.until(|labels| labels[1] == SlotLabel::Free).await;
    // Again and again, but not for ever.
    town.until(|_| town.with(1, |server| server.restarts) == 3).await;
    town.pass(SECOND * 1_800).await;
    assert_eq!(town.with(1, |server| server.restarts), 3);
    assert_eq!(town.fleet.send(Machines).await.unwrap()[0].state, "failed");
    assert_eq!(town.with(2, |server| server.restarts), 1);
}

#[actix::test]
async fn a_wake_ends_with_a_call_without_a_caller_that_others_can_see() {
    let town = Town::of(1, |server| server.running = false).await;
    town.until(|labels| labels[0] == SlotLabel::Asleep).await;
    town.with(1, |server| server.stuck = true);
    let mut wait = town.pool.send(Acquire(Ask::new([1; 32]))).await.unwrap();
    town.pass(SECOND * 10).await;
    town.with(1, |server| server.stuck = true);
    town.until(|_| town.with(1, |server| server.rehearsed.len()) > 1).await;
    assert_eq!(town.record.rows(), ["h:1"], "it is written down like any lease");
    town.with(1, |server| server.stuck = false);
    town.until(|labels| labels[0] == SlotLabel::Leased).await;
    let Outcome::Granted(lease, _) = outcome(&mut wait).await else { panic!("it is served") };
    drop(lease);
    town.until(all_free).await;
    assert_eq!((town.with(1, |server| server.starts), town.record.rows()), (1, vec![]));
}

#[actix::test]
async fn probes_tests_grants_and_the_record_follow_a_server_to_where_it_is() {
    let town = Town::of(1, |server| server.port = Some(40_001)).await;
    town.until(all_free).await;
    assert_eq!(town.with(1, |server| server.probed.clone()), [40_001], "never at the address that is written");
    let mut lease = town.call(1).await;
    assert_eq!(
        (lease.endpoint().address(), town.record.rows()),
        ("203.0.113.9:40001".into(), vec!["203.0.113.9:40001".into()])
    );
    lease.opening();
    // Somebody restarts it under the call; its old process is gone, and what was open there with it.
    town.with(1, |server| (server.port, server.answers_at) = (Some(40_002), Some(Instant::now() + SECOND * 90)));
    town.until(|_| town.with(1, |server| server.probed.contains(&40_002))).await;
    drop(lease);
    town.until(all_free).await;
    assert_eq!(town.record.rows(), Vec::<String>::new(), "the old row went with the call");
    let lease = town.call(2).await;
    assert_eq!(lease.endpoint().address(), "203.0.113.9:40002");
    drop(lease);
    // A new list with the same entry changes nothing.
    let entry = Upstream {
        endpoint: Endpoint::plain("", "h", 1),
        capacity: 1,
        labels: Labels { sleeps: true, ..Labels::default() },
    };
    town.pool.send(crate::pool::actor::Configure(vec![entry.into()])).await.unwrap();
    assert_eq!(town.call(3).await.endpoint().address(), "203.0.113.9:40002");
    assert_eq!(town.with(1, |server| (server.starts, server.restarts)), (0, 0));
}

#[actix::test]
async fn no_server_is_followed_to_where_another_one_is() {
    let town = Town::of(2, |server| server.port = Some(40_001)).await;
    town.until(|labels| labels.contains(&SlotLabel::Free)).await;
    town.pass(SECOND * 120).await;
    let (a, b) = (town.call(1).await, town.call(2).await);
    assert_ne!(a.endpoint().address(), b.endpoint().address(), "two calls on one server would hear each other");
}
