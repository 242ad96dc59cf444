//! What administration asks of the process: to change the list of model servers, and to end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::Addr;
use tokio::{
    sync::{self, Notify},
    time::timeout,
};

use super::{ReloadError, machines::Owners};
use crate::{
    config::{FleetSettings, InForce, NotTaken, SettingLine, Settings, UpstreamSettings, UpstreamUrl},
    http::admin::steward::{Added, NotAdded, NotRemoved, Pending, Steward},
    pool::{
        actor::{Configure, Entry, EntryOf, PoolActor},
        discovery::{Change, Configured},
        endpoint::Endpoint,
    },
    session::leg::upstream::connect::UpstreamConnector,
};

/// The pool answers from memory.
const POOL_TIMEOUT: Duration = Duration::from_secs(2);
/// The key of the list of model servers.
const SERVERS: &str = "upstreams.urls";

/// The list of model servers, in the one place where it changes: by a reload, or one server at a time.
#[derive(Clone)]
pub(super) struct Stewardship(Arc<Inner>);

struct Inner {
    owners: Owners,
    connector: UpstreamConnector,
    pool: Addr<PoolActor>,
    /// One change at a time: each begins with the list as the one before has left it.
    turn: sync::Mutex<()>,
    lines: Mutex<Vec<SettingLine>>,
    deadline: Mutex<Duration>,
    told_to_stop: AtomicBool,
    stop: Notify,
}

impl Stewardship {
    pub(super) fn new(
        settings: &Settings,
        owners: Owners,
        connector: UpstreamConnector,
        pool: Addr<PoolActor>,
    ) -> Self {
        Self(Arc::new(Inner {
            owners,
            connector,
            pool,
            turn: sync::Mutex::new(()),
            lines: Mutex::new(settings.describe().to_vec()),
            deadline: Mutex::new(settings.drain.deadline),
            told_to_stop: AtomicBool::new(false),
            stop: Notify::new(),
        }))
    }

    /// The turn to change something; others wait until it is dropped.
    pub(super) async fn turn(&self) -> sync::MutexGuard<'_, ()> {
        self.0.turn.lock().await
    }

    /// Takes the model servers of new settings in place of those that there are.
    pub(super) async fn configure(&self, settings: &Settings) -> Result<Configured, ReloadError> {
        self.0.configure(&settings.upstreams, &settings.fleet).await
    }

    /// These settings are in force, but for those that need a restart.
    pub(super) fn took_over(&self, settings: &Settings) {
        *self.0.deadline.lock().unwrap_or_else(PoisonError::into_inner) = settings.drain.deadline;
        let mut lines = self.0.lines();
        for new in settings.describe().iter().filter(|line| InForce::of(line.key) != InForce::Restart) {
            if let Some(known) = lines.iter_mut().find(|line| line.key == new.key) {
                known.clone_from(new);
            }
        }
    }

    /// How long calls may go on once the process is to end.
    pub(super) fn drain_deadline(&self) -> Duration {
        *self.0.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an administrator wants the process to end.
    pub(super) async fn told_to_stop(&self) {
        self.0.stop.notified().await;
    }

    /// Whether an administrator wants the process to end.
    pub(super) fn was_told_to_stop(&self) -> bool {
        self.0.told_to_stop.load(Ordering::SeqCst)
    }
}

impl Inner {
    async fn configure(&self, upstreams: &UpstreamSettings, fleet: &FleetSettings) -> Result<Configured, ReloadError> {
        for trust in upstreams.trusts() {
            self.connector.prepare(&trust)?;
        }
        self.owners.renew(upstreams, fleet)?;
        let configure = self.pool.send(Configure(upstreams.servers().collect()));
        timeout(POOL_TIMEOUT, configure).await.ok().and_then(Result::ok).ok_or(ReloadError::PoolLost)
    }

    async fn add(&self, url: UpstreamUrl) -> Result<Added, NotAdded> {
        let _turn = self.turn.lock().await;
        let (before, fleet) = self.owners.current();
        let (address, is_name) = (Endpoint::plain("", url.host.clone(), url.port).address(), url.options.dns);
        let after = before.with(url).map_err(|not| match not {
            NotTaken::Exists => NotAdded::Exists,
            other => NotAdded::Unusable(other.to_string()),
        })?;
        let unusable = |error: ReloadError| match error {
            ReloadError::PoolLost => NotAdded::PoolLost,
            other => NotAdded::Unusable(other.to_string()),
        };
        let configured = self.configure(&after, &fleet).await.map_err(unusable)?;
        let joined = configured.changes.into_iter().find_map(|change| match change {
            Change::Join(_, upstream) => Some(upstream.endpoint.name),
            Change::Part(_) | Change::Twice(_) => None,
        });
        if joined.is_none() && !is_name {
            // Another entry leads there by another name: what came of this one is taken back.
            self.configure(&before, &fleet).await.map_err(unusable)?;
            return Err(NotAdded::Exists);
        }
        self.show_list(&after);
        Ok(Added { name: joined.filter(|_| !is_name), address })
    }

    async fn remove(&self, name: String) -> Result<(), NotRemoved> {
        let _turn = self.turn.lock().await;
        let entry = timeout(POOL_TIMEOUT, self.pool.send(EntryOf(name))).await.ok().and_then(Result::ok);
        let seed = match entry.ok_or(NotRemoved::PoolLost)? {
            Entry::Unknown => return Err(NotRemoved::Unknown),
            Entry::Leaving => return Ok(()),
            Entry::Listed(seed) if seed.discovered => return Err(NotRemoved::OneOfName),
            Entry::Listed(seed) => seed,
        };
        let (mut upstreams, fleet) = self.owners.current();
        let Endpoint { host, port, path_prefix, .. } = &seed.upstream.endpoint;
        let is_it = |url: &UpstreamUrl| {
            url.host == *host && url.port == *port && url.prefix == *path_prefix && !url.options.dns
        };
        upstreams.urls.retain(|url| !is_it(url));
        if upstreams.urls.is_empty() {
            return Err(NotRemoved::Last);
        }
        // What the others need was there before.
        self.configure(&upstreams, &fleet).await.map_err(|_| NotRemoved::PoolLost)?;
        self.show_list(&upstreams);
        Ok(())
    }

    fn show_list(&self, upstreams: &UpstreamSettings) {
        let urls: Vec<String> = upstreams.urls.iter().map(UpstreamUrl::to_string).collect();
        self.show(&urls.join(", "), "/admin/upstreams");
    }

    fn show(&self, value: &str, source: &str) {
        if let Some(line) = self.lines().iter_mut().find(|line| line.key == SERVERS) {
            (line.value, line.source) = (value.to_owned(), source.to_owned());
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<SettingLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steward for Stewardship {
    fn settings(&self) -> Vec<SettingLine> {
        self.0.lines().clone()
    }

    fn drain_deadline(&self) -> Duration {
        Stewardship::drain_deadline(self)
    }

    fn drain(&self) {
        if !self.0.told_to_stop.swap(true, Ordering::SeqCst) {
            self.0.stop.notify_one();
        }
    }

    fn add(&self, url: UpstreamUrl) -> Pending<Result<Added, NotAdded>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.add(url).await })
    }

    fn remove(&self, name: String) -> Pending<Result<(), NotRemoved>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.remove(name).await })
    }
}
