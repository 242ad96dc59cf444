//! Who is to be a member: the configured list, which can be exchanged, and names that are looked up again and again.

use std::{future::Future, io, net::IpAddr, pin::Pin, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use tokio::{net::lookup_host, time::timeout};

use super::PoolActor;
use crate::pool::{
    discovery::{Change, Configured, Seed, SourceId},
    endpoint::{Endpoint, Upstream},
    roster::{Input, Tuning, UpstreamId},
};

/// Between two look-ups of a name.
const EVERY: Duration = Duration::from_secs(10);
/// A look-up that takes longer will not come; it is shorter than a round, so that two of a name never overlap.
pub const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of a name, or why there are none.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>>;

/// Looks names up.
pub trait Resolve: Send {
    /// Every address of this name, A and AAAA. The pool bounds its time.
    fn resolve(&self, name: &str, port: u16) -> Addresses;
}

/// Looks names up as the system does.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str, port: u16) -> Addresses {
        let name = name.to_owned();
        Box::pin(async move { Ok(lookup_host((name, port)).await?.map(|address| address.ip()).collect()) })
    }
}

impl PoolActor {
    /// Looks names up with this instead of the system.
    #[must_use]
    pub fn with_resolver(self, resolver: Box<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// Begins the rounds of look-ups.
    pub(super) fn begin_discovery(&mut self, ctx: &mut Context<Self>) {
        self.look_up(|_| true, ctx);
        ctx.run_interval(EVERY, |actor, ctx| actor.look_up(|_| true, ctx));
    }

    fn look_up(&self, wanted: impl Fn(SourceId) -> bool, ctx: &mut Context<Self>) {
        for (source, name, port) in self.directory.names().into_iter().filter(|(source, ..)| wanted(*source)) {
            let asking = timeout(LOOK_UP_TIMEOUT, self.resolver.resolve(&name, port));
            ctx.spawn(asking.into_actor(self).map(move |answer, actor, ctx| {
                let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                actor.looked_up(source, answer, ctx);
            }));
        }
    }

    fn looked_up(&mut self, source: SourceId, answer: io::Result<Vec<IpAddr>>, ctx: &mut Context<Self>) {
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                let changes = self.directory.resolved(source, &addresses);
                self.changes.extend(changes);
                self.follow(ctx);
            }
            failed => {
                if let Some(name) = self.directory.unresolved(source) {
                    let error = failed.err().map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
                    tracing::warn!(name, error, "model servers are not found by their name; the known ones stay");
                }
            }
        }
    }

    /// Does what the directory wants, one after the other: what follows from one change comes after those that were
    /// wanted before it.
    pub(super) fn follow(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.following, true) {
            return;
        }
        while let Some(change) = self.changes.pop_front() {
            match change {
                Change::Join(id, upstream) => {
                    let Endpoint { name, tls, .. } = &upstream.endpoint;
                    let address = upstream.endpoint.address();
                    tracing::info!(upstream = name, address, tls = tls.is_some(), "model server");
                    self.ports.observer.joined(&upstream, self.roster.upstream(id).is_some());
                    let joined = upstream.clone();
                    self.drive(Input::Join(id, *upstream), ctx);
                    self.tell_fleet(|fleet| fleet.joined(id, &joined));
                }
                Change::Part(id) => {
                    let name = self.roster.upstream(id).map(|upstream| upstream.endpoint.name.as_str());
                    tracing::info!(upstream = name, "model server takes no more calls and leaves");
                    self.drive(Input::Part(id), ctx);
                }
                Change::Twice(address) => {
                    tracing::warn!(address, "two entries lead to this model server; it counts once");
                }
            }
        }
        self.following = false;
    }

    /// The last call of a server that was leaving is over.
    pub(super) fn see_off(&mut self, id: UpstreamId, upstream: &Upstream) {
        tracing::info!(upstream = upstream.endpoint.name, "model server left the pool");
        self.ports.observer.gone(&upstream.endpoint.name);
        self.tell_fleet(|fleet| fleet.gone(id));
        let changes = self.directory.gone(id);
        self.changes.extend(changes);
    }
}

/// Takes a new list of servers. Calls go on: who is not on it any more leaves after its last one.
#[derive(Debug)]
pub struct Configure(pub Vec<Seed>);

impl Message for Configure {
    type Result = Configured;
}

impl Handler<Configure> for PoolActor {
    type Result = MessageResult<Configure>;

    fn handle(&mut self, Configure(seeds): Configure, ctx: &mut Self::Context) -> Self::Result {
        let known: Vec<SourceId> = self.directory.names().into_iter().map(|(source, ..)| source).collect();
        let configured = self.directory.configure(seeds);
        self.changes.extend(configured.changes.clone());
        self.follow(ctx);
        // The others have their rounds: asked more often, a name that answers in part would lose servers sooner.
        self.look_up(|source| !known.contains(&source), ctx);
        MessageResult(configured)
    }
}

/// Puts other settings in place of those that can be set while the pool runs.
#[derive(Clone, Copy, Debug)]
pub struct Tune(pub Tuning);

impl Message for Tune {
    type Result = ();
}

impl Handler<Tune> for PoolActor {
    type Result = ();

    fn handle(&mut self, Tune(tuning): Tune, ctx: &mut Self::Context) {
        self.drive(Input::Tune(tuning), ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use actix::{Actor, Addr};
    use tokio::sync::mpsc;

    use super::*;
    use crate::pool::{
        actor::{Acquire, PoolObserver, Ports, Slots},
        endpoint::Labels,
        lease::Lease,
        roster::{Ask, RosterSettings},
        wait::{News, Outcome, Wait},
    };

    /// Longer than any round, in the time of the tests that move theirs.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// Gives its answers one after the other, and the last one for ever.
    struct Script(Mutex<VecDeque<&'static [u8]>>);

    impl Resolve for Script {
        fn resolve(&self, _: &str, _: u16) -> Addresses {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
            let addresses = answer.unwrap_or_default().iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
            Box::pin(async move { Ok(addresses) })
        }
    }

    /// Passes on who comes and goes.
    struct Gate(mpsc::UnboundedSender<String>);

    impl PoolObserver for Gate {
        fn joined(&self, upstream: &Upstream, stays: bool) {
            let _ = self.0.send(format!("{}{}", if stays { '=' } else { '+' }, upstream.endpoint.name));
        }

        fn gone(&self, upstream: &str) {
            let _ = self.0.send(format!("-{upstream}"));
        }
    }

    fn pool(answers: &[&'static [u8]]) -> (Addr<PoolActor>, mpsc::UnboundedReceiver<String>) {
        #[expect(clippy::disallowed_methods, reason = "a test has few events")]
        let (tell, told) = mpsc::unbounded_channel();
        let endpoint = Endpoint::plain("", "voice.internal", 8998);
        let upstream = Upstream { endpoint, capacity: 1, labels: Labels::default() };
        let ports = Ports { observer: Box::new(Gate(tell)), rehearser: None, prober: None, ledger: None, fleet: None };
        let pool = PoolActor::new(vec![Seed { upstream, discovered: true }], RosterSettings::default(), ports);
        let script = Script(Mutex::new(answers.iter().copied().collect()));
        (pool.with_resolver(Box::new(script)).start(), told)
    }

    /// Who came or went.
    async fn next(told: &mut mpsc::UnboundedReceiver<String>) -> String {
        timeout(PATIENCE, told.recv()).await.expect("nobody came and nobody went").unwrap()
    }

    async fn lease(pool: &Addr<PoolActor>) -> Lease {
        let mut wait = pool.send(Acquire(Ask::new([1; 32]))).await.unwrap();
        granted(&mut wait).await
    }

    async fn granted(wait: &mut Wait) -> Lease {
        loop {
            match timeout(PATIENCE, wait.news()).await.expect("nothing is granted") {
                News::Place(_) => {}
                News::Outcome(Some(Outcome::Granted(lease, _))) => return lease,
                News::Outcome(other) => panic!("{other:?}"),
            }
        }
    }

    async fn count(pool: &Addr<PoolActor>) -> usize {
        pool.send(Slots).await.unwrap().len()
    }

    #[actix::test]
    async fn a_server_that_vanishes_from_its_name_leaves_after_its_call() {
        tokio::time::pause();
        let (pool, mut told) = pool(&[&[1], &[2], &[2]]);
        assert_eq!(next(&mut told).await, "+1.1");
        let mut call = lease(&pool).await;
        call.opening();
        assert_eq!(call.endpoint().address(), "10.0.0.1:8998");
        assert_eq!(next(&mut told).await, "+1.2");
        tokio::time::advance(EVERY * 6).await;
        assert_eq!(count(&pool).await, 2, "it is still called");
        call.close();
        assert_eq!(next(&mut told).await, "-1.1");
        assert_eq!(count(&pool).await, 1);
        assert_eq!(lease(&pool).await.endpoint().address(), "10.0.0.2:8998");
    }

    #[actix::test]
    async fn a_server_that_comes_back_during_its_call_is_not_given_to_a_second_one() {
        tokio::time::pause();
        let (pool, mut told) = pool(&[&[1], &[2], &[2], &[1, 2]]);
        assert_eq!(next(&mut told).await, "+1.1");
        let mut call = lease(&pool).await;
        call.opening();
        assert_eq!(next(&mut told).await, "+1.2");
        assert_eq!(next(&mut told).await, "=1.1", "it stays after all");
        let other = lease(&pool).await;
        assert_eq!(other.endpoint().address(), "10.0.0.2:8998");
        let mut third = pool.send(Acquire(Ask::new([3; 32]))).await.unwrap();
        assert!(matches!(third.news().await, News::Place(_)), "both servers are taken");
        call.close();
        assert_eq!(granted(&mut third).await.endpoint().address(), "10.0.0.1:8998");
        assert_eq!(count(&pool).await, 2);
    }

    #[actix::test]
    async fn a_new_list_takes_over_a_server_that_is_being_called() {
        tokio::time::pause();
        let (pool, mut told) = pool(&[&[1]]);
        assert_eq!(next(&mut told).await, "+1.1");
        let mut call = lease(&pool).await;
        call.opening();
        let list = |hosts: &[&str]| {
            let upstream = |host: &&str| Upstream {
                endpoint: Endpoint::plain("", *host, 8998),
                capacity: 1,
                labels: Labels::default(),
            };
            Configure(hosts.iter().map(upstream).map(Seed::from).collect())
        };
        pool.send(list(&[])).await.unwrap();
        assert_eq!(count(&pool).await, 1, "the call goes on");
        pool.send(list(&["10.0.0.1", "10.0.0.2"])).await.unwrap();
        assert_eq!((next(&mut told).await, next(&mut told).await), ("=1.1".into(), "+3".into()));
        assert_eq!(lease(&pool).await.endpoint().host, "10.0.0.2");
        call.close();
        pool.send(list(&["10.0.0.1"])).await.unwrap();
        assert_eq!(next(&mut told).await, "-3");
        assert_eq!(count(&pool).await, 1);
    }

    #[actix::test]
    async fn the_system_knows_this_machine() {
        let found = SystemResolver.resolve("localhost", 80).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
