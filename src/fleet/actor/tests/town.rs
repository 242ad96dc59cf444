//! A town of machines, with a model server each, that can be stuck and can move.

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
pub(super) struct Server {
    pub(super) running: bool,
    /// It holds a socket of somebody who is gone: no call gets to its handshake.
    pub(super) stuck: bool,
    /// When it answers again.
    pub(super) answers_at: Option<Instant>,
    /// Its public port, if the provider tells of one.
    pub(super) port: Option<u16>,
    /// From when on it tells.
    pub(super) tells_at: Option<Instant>,
    pub(super) starts: u32,
    pub(super) restarts: u32,
    /// What a restart comes to.
    pub(super) refuses: Option<ProviderError>,
    pub(super) probed: Vec<u16>,
    pub(super) rehearsed: Vec<u16>,
}

pub(super) type Servers = Arc<Mutex<BTreeMap<String, Server>>>;

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
            let tells = server.tells_at.is_none_or(|at| Instant::now() >= at);
            let address =
                server.port.filter(|_| tells).map(|port| Address { host: "203.0.113.9".into(), port, tls: None });
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
pub(super) struct Record(Mutex<BTreeMap<SlotKey, u64>>);

impl Record {
    pub(super) fn rows(&self) -> Vec<String> {
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

pub(super) struct Town {
    pub(super) servers: Servers,
    pub(super) record: Arc<Record>,
    pub(super) pool: Addr<PoolActor>,
    pub(super) fleet: Addr<FleetActor>,
}

impl Town {
    /// So many machines, which run and whose servers answer.
    pub(super) async fn new(count: u16) -> Town {
        Town::of(count, |_| {}).await
    }

    pub(super) async fn of(count: u16, set: impl Fn(&mut Server)) -> Town {
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
            labels: Labels { machine: Some("memory".into()), ..Labels::default() },
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

    pub(super) fn with<T>(&self, n: u16, act: impl FnOnce(&mut Server) -> T) -> T {
        act(self.servers.lock().unwrap().get_mut(&n.to_string()).unwrap())
    }

    pub(super) async fn labels(&self) -> Vec<SlotLabel> {
        self.pool.send(Slots).await.unwrap().into_iter().map(|slot| slot.label).collect()
    }

    /// Lets time pass until it is so.
    pub(super) async fn until(&self, is_so: impl Fn(&[SlotLabel]) -> bool) {
        for _ in 0..20_000 {
            if is_so(&self.labels().await) {
                return;
            }
            tokio::time::advance(SECOND / 2).await;
        }
        panic!("{:?} {:?} {:#?}", self.labels().await, self.fleet.send(Machines).await, self.servers.lock());
    }

    pub(super) async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        self.until(|_| Instant::now() >= end).await;
    }

    /// A call that got a slot.
    pub(super) async fn call(&self, user: u8) -> Lease {
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
    pub(super) async fn get_stuck(&self, count: u8) {
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

    pub(super) async fn restart(&self, upstream: &str) -> RestartAnswer {
        self.fleet.send(Restart { upstream: upstream.to_owned() }).await.unwrap()
    }
}

pub(super) fn all_free(labels: &[SlotLabel]) -> bool {
    labels.iter().all(|label| *label == SlotLabel::Free)
}
