//! Plugs the fleet into the pool, the providers, the model servers and the metrics.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, Addr};

use crate::{
    config::{FleetSettings, Settings, UpstreamSettings, UpstreamUrl},
    fleet::{
        account::Money,
        actor::{Ear, FleetActor, FleetObserver, PoolPort, Ports, Readiness},
        provider::{BuildError, Exchange, Provider},
    },
    metrics::Metrics,
    pool::{
        actor::{Moved, PoolActor, PowerChanged, Retire, WarmUp},
        endpoint::{Endpoint, Upstream},
        roster::Probed,
    },
    session::leg::upstream::{connect::UpstreamConnector, probe},
};

/// How long a provider may take to answer.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);

/// The servers of the settings, of which some have machines, and how their providers are asked: read again with every
/// reload.
#[derive(Clone, Debug)]
pub(super) struct Owners(Arc<Mutex<(UpstreamSettings, FleetSettings)>>);

/// A machine that cannot be started and stopped.
#[derive(Debug, thiserror::Error)]
#[error("the machine of upstream {place} cannot be started and stopped: {error}")]
pub struct MachineError {
    /// The place of its address on the list, from 1.
    pub place: usize,
    /// Why.
    pub error: BuildError,
}

impl Owners {
    /// Those of the settings, if every machine among them can be asked for.
    pub(super) fn of(settings: &Settings) -> Result<Self, MachineError> {
        check(&settings.upstreams, &settings.fleet)?;
        Ok(Self(Arc::new(Mutex::new((settings.upstreams.clone(), settings.fleet.clone())))))
    }

    /// The same in place of those before, which stay where one cannot be asked for.
    pub(super) fn renew(&self, upstreams: &UpstreamSettings, fleet: &FleetSettings) -> Result<(), MachineError> {
        check(upstreams, fleet)?;
        *self.lock() = (upstreams.clone(), fleet.clone());
        Ok(())
    }

    /// The servers, and how their machines' providers are asked.
    pub(super) fn current(&self) -> (UpstreamSettings, FleetSettings) {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, (UpstreamSettings, FleetSettings)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn provider(&self, upstream: &Upstream, exchange: &Exchange) -> Option<Result<Box<dyn Provider>, BuildError>> {
        let Endpoint { host, port, path_prefix, .. } = &upstream.endpoint;
        let owners = self.lock();
        let (UpstreamSettings { urls, .. }, fleet) = &*owners;
        let is_its = |url: &&UpstreamUrl| url.host == *host && url.port == *port && url.prefix == *path_prefix;
        let url = urls.iter().find(is_its).filter(|url| url.options.machine.is_some())?;
        Some(fleet.provider(url, exchange))
    }
}

/// Whether every machine can be asked for: what is left out of this program, or was not said, is found before a call is.
fn check(upstreams: &UpstreamSettings, fleet: &FleetSettings) -> Result<(), MachineError> {
    let exchange = Exchange::new(PROVIDER_TIMEOUT);
    for (index, url) in upstreams.urls.iter().enumerate() {
        fleet.provider(url, &exchange).map_err(|error| MachineError { place: index + 1, error })?;
    }
    Ok(())
}

/// The pool, which is there a moment after the fleet.
#[derive(Clone, Default)]
pub(super) struct PoolLater(Rc<RefCell<Option<Addr<PoolActor>>>>);

impl PoolLater {
    pub(super) fn is(&self, pool: Addr<PoolActor>) {
        *self.0.borrow_mut() = Some(pool);
    }
}

impl PoolPort for PoolLater {
    #[expect(clippy::disallowed_methods, reason = "a few for each wake, and wakes are single-flight")]
    fn power(&self, changed: PowerChanged) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(changed);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "one at a time for each machine")]
    fn retire(&self, retire: Retire) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(retire);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "one at a time for each machine")]
    fn warm_up(&self, warm_up: WarmUp) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(warm_up);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "one for each look at a machine")]
    fn moved(&self, moved: Moved) {
        if let Some(pool) = &*self.0.borrow() {
            pool.do_send(moved);
        }
    }
}

/// Starts the fleet; machines may come with a reload.
pub(super) fn start(
    settings: &Settings,
    owners: &Owners,
    connector: &UpstreamConnector,
    metrics: &Arc<Metrics>,
    pool: &PoolLater,
) -> (Addr<FleetActor>, Ear) {
    let (owners, exchange) = (owners.clone(), Exchange::new(PROVIDER_TIMEOUT));
    let find = move |upstream: &Upstream| -> Option<Box<dyn Provider>> {
        owners.provider(upstream, &exchange)?.inspect_err(|error| tracing::error!(%error, "no provider")).ok()
    };
    let ports = Ports {
        find: Box::new(find),
        readiness: Box::new(Answers(connector.clone())),
        observer: Box::new(Counts(Arc::clone(metrics))),
        pool: Box::new(pool.clone()),
    };
    let actor = FleetActor::new(settings.fleet.policy, ports).kept_warm(settings.fleet.keep_warm.clone()).start();
    (actor.clone(), Ear(actor))
}

/// Asks model servers whether they answer, with a plain request and never a WebSocket.
struct Answers(UpstreamConnector);

impl Readiness for Answers {
    fn answers(&self, endpoint: &Endpoint) -> Pin<Box<dyn Future<Output = bool>>> {
        let (connector, endpoint) = (self.0.clone(), endpoint.clone());
        Box::pin(async move { probe::probe(&connector, &endpoint).await == Probed::Answered })
    }
}

struct Counts(Arc<Metrics>);

impl FleetObserver for Counts {
    fn state(&self, upstream: &str, state: &'static str) {
        self.0.machine_state(upstream, state);
    }

    fn woke(&self, upstream: &str, took: Duration) {
        self.0.machine_woke(upstream, took);
    }

    fn wake_failed(&self, upstream: &str, why: &'static str) {
        self.0.machine_wake_failed(upstream, why);
    }

    fn restarted(&self, upstream: &str, result: &'static str) {
        self.0.machine_restarted(upstream, result);
    }

    fn wake_promised(&self, kept: bool) {
        self.0.machine_promised(kept);
    }

    fn spent(&self, upstream: &str, what: &'static str, seconds: u64) {
        self.0.machine_spent(upstream, what, seconds);
    }

    fn bill(&self, upstream: &str, per_hour: Money, cost: Money, saving: Money) {
        self.0.machine_bill(upstream, per_hour.units(), cost.units(), saving.units());
    }

    fn gone(&self, upstream: &str) {
        self.0.machine_left(upstream);
    }

    fn asked(&self, provider: &'static str, what: &'static str, result: &'static str) {
        self.0.provider_asked(provider, what, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, pool::endpoint::Labels};

    #[test]
    fn a_machine_is_of_the_server_that_it_is_written_behind() {
        let urls = "ws://a:1/one#provider=command:one,ws://a:1/two,ws://b:1/one";
        let variables = [("PERSONAPLEX_SERVER_URL", urls), ("TANDEM__PROVIDERS__COMMAND__START", "true")];
        let settings = config::load(None, &variables.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let owners = Owners::of(&settings.unwrap()).unwrap();
        let exchange = Exchange::new(PROVIDER_TIMEOUT);
        for (host, prefix, is_its) in
            [("a", "/one", true), ("a", "/two", false), ("b", "/one", false), ("a", "", false)]
        {
            let endpoint = Endpoint { path_prefix: prefix.to_owned(), ..Endpoint::plain("1", host, 1) };
            let upstream = Upstream { endpoint, capacity: 1, labels: Labels::default() };
            assert_eq!(owners.provider(&upstream, &exchange).is_some(), is_its, "{host}{prefix}");
        }
    }
}
