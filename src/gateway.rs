//! The one place that knows everything: it plugs configuration, pool, sessions and doors together, and stops them.

mod canary;
mod counter;
mod doors;
mod listener;
mod machines;
mod recaps;
mod records;
mod reload;
mod reloader;
pub mod spans;
mod stewardship;
mod storage;

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext};
use actix_web::{dev::ServerHandle, web};
use secrecy::SecretString;
use tokio::time::Instant;

use self::{
    counter::Counter,
    doors::House,
    machines::{MachineError, Owners, PoolLater},
    records::Records,
    stewardship::Stewardship,
};
pub use self::{
    reload::ReloadError,
    reloader::{Reloader, Source},
};
use crate::{
    auth::{KeyError, SigningKey, Tokens},
    config::{Mode, Settings},
    context::{
        cast::{Cast, CastError},
        source::ContextSource,
    },
    fleet::control::Control,
    http::{self, doors::Doors, identity::unix_now_seconds},
    metrics::{Metrics, Thread},
    pool::{
        actor::{PROBE_EVERY, PoolActor, Ports, Prober, Rehearser, Stop},
        endpoint::Endpoint,
        lease::Lease,
        roster::{Policy, Probed, RosterSettings, SlotSnapshot, SlotState, Tuning},
    },
    protocol::ending::Ending,
    session::{
        leg::upstream::{
            connect::{ConnectTimeouts, UpstreamConnector, tls::TlsError},
            probe, rehearsal,
        },
        switchboard::{SeatLimits, Switchboard},
    },
    store::{Store, StoreError, source::StoredContexts, spool::Room},
    telemetry::span::TraceError,
};

/// Between two rounds of forgetting.
const UPKEEP: Duration = Duration::from_secs(5);
/// After the drain's deadline: for telling callers, and for the model servers' acknowledgements.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// For calls that did not end in time: until they are cut off, and then until they are gone.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// For the answer to whoever told the process at `/admin` to end.
const LAST_ANSWER: Duration = Duration::from_millis(100);
/// Prompt steps that a rehearsal may take: a voice's, the pauses', and a short prompt's, twice.
const REHEARSAL_STEPS: u32 = 160;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the port, or it may not be used.
    #[error("{address} cannot be listened on: {error}; stop what uses it, or set another port with PORT")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        error: std::io::Error,
    },
    /// The secret cannot sign.
    #[error(transparent)]
    Secret(#[from] KeyError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A persona cannot be used.
    #[error(transparent)]
    Personas(#[from] CastError),
    /// A machine cannot be asked for.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The store, or the record of leases, cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// What only tests choose.
#[derive(Clone)]
pub struct Rehearsal {
    /// How slots are given out.
    pub policy: Policy,
    /// Worker threads; 0 takes one a core.
    pub workers: usize,
    /// Between two rounds of probes.
    pub probe_every: Duration,
    /// Another store than that of the settings.
    pub store: Option<Arc<dyn Store>>,
    /// What knows the callers in place of the store.
    pub contexts: Option<Arc<dyn ContextSource>>,
    /// How many records may wait.
    pub spool: Room,
    /// Between two rounds of removing records that are too old.
    pub tidy_every: Duration,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            workers: 0,
            probe_every: PROBE_EVERY,
            store: None,
            contexts: None,
            spool: Room::default(),
            tidy_every: records::ROUND,
        }
    }
}

/// A running gateway.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its doors share.
    pub doors: web::Data<Doors>,
    pool: Addr<PoolActor>,
    steward: Stewardship,
    records: Arc<Records>,
    rehearsals: Rehearsals,
    server: ServerHandle,
    mode: Mode,
    knows_tenants: bool,
    close: Duration,
}

impl Gateway {
    /// Starts everything on the current actix system. `secret` is used where the settings have none.
    pub fn start(settings: &Settings, secret: &SecretString, rehearsal: Rehearsal) -> Result<Self, StartError> {
        // What may fail comes first: a pool that has begun is not taken down again.
        let address = settings.listen.address();
        let failed = |error| StartError::Listen { address, error };
        let listener = listener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let connector = connector(settings)?;
        let storage = storage::open(settings, &rehearsal)?;
        let cast = Cast::load(&settings.persona)?;
        let owners = Owners::of(settings)?;
        let metrics = Arc::new(Metrics::new());
        let tracer = spans::tracer(settings, &metrics)?;
        metrics.configured(settings.session.max_sessions as usize, unix_now_seconds());
        let key = SigningKey::new(settings.auth.jwt_secret.as_ref().unwrap_or(secret))?;
        let roster = roster(settings, &rehearsal);
        let later = PoolLater::default();
        let (fleet, ear) = machines::start(settings, &owners, &connector, &metrics, &later);
        let rehearsals = Rehearsals::new(settings, &connector);
        let ports = Ports {
            observer: Box::new(Counter::new(Arc::clone(&metrics), roster.queue_limit)),
            rehearser: Some(Box::new(rehearsals.clone())),
            prober: Some(Box::new(Probes { connector: connector.clone(), every: rehearsal.probe_every })),
            ledger: storage.ledger.clone(),
            fleet: Some(Box::new(ear)),
        };
        let pool = PoolActor::create(|ctx| {
            later.is(ctx.address());
            PoolActor::new(settings.upstreams.servers().collect(), roster, ports)
        });
        let switchboard = Switchboard::new(seat_limits(settings), pool.clone());
        let steward = Stewardship::new(settings, owners, connector.clone(), pool.clone());
        let records = Records::keep(&storage, settings.recap.as_ref(), &metrics, rehearsal.tidy_every);
        let contexts = rehearsal.contexts.unwrap_or_else(|| Arc::new(StoredContexts::new(storage.archive.store())));
        let house = House {
            tokens: Tokens::new(key, settings.auth.rules.clone()),
            switchboard,
            connector,
            metrics,
            tracer,
            cast,
            fleet: Control::new(fleet),
            contexts,
            records: records.clone(),
            steward: Arc::new(steward.clone()),
            storage,
        };
        let doors = web::Data::new(doors::open(settings, house));
        let server = listener::serve(listener, &doors, rehearsal.workers).map_err(failed)?;
        keep_up(doors.clone());
        canary::watch(&doors.metrics, Thread::Main);
        Ok(Self {
            address,
            doors,
            pool,
            steward,
            records,
            rehearsals,
            server,
            mode: settings.mode,
            knows_tenants: settings.auth.rules.tenant_claim.is_some(),
            close: settings.upstreams.close_timeout,
        })
    }

    /// Waits until an administrator wants the process to end.
    pub async fn told_to_stop(&self) {
        self.steward.told_to_stop().await;
    }

    /// Every slot and what it is doing; `None` if the pool is gone.
    pub async fn slots(&self) -> Option<Vec<SlotSnapshot>> {
        self.doors.switchboard.slots().await
    }

    /// Calls in progress.
    pub fn sessions(&self) -> usize {
        self.doors.switchboard.active()
    }

    /// Refuses new calls, lets the live ones end or reach the deadline, and closes everything in order. Gives the number
    /// of calls that had to be cut off.
    pub async fn stop(&self) -> usize {
        self.doors.metrics.draining();
        self.doors.fleet.resign().await;
        let drain = self.steward.drain_deadline();
        let (deadline, calls) = (Instant::now() + drain, self.sessions());
        tracing::info!(calls, deadline_seconds = drain.as_secs(), "draining");
        let mut left = self.doors.switchboard.drain(deadline, LAST_WORDS).await;
        if left > 0 {
            // What did not hear of its deadline may hear of this.
            self.doors.switchboard.end_all(Ending::Drained);
            left = self.doors.switchboard.emptied(Instant::now() + LAST_CHANCE).await;
        }
        if left > 0 {
            tracing::warn!(calls = left, "calls are cut off");
        }
        self.await_acknowledgements().await;
        if self.steward.was_told_to_stop() {
            tokio::time::sleep(LAST_ANSWER).await;
        }
        self.server.stop(false).await;
        // That drops what is left, and each of them writes down its end: only now no more records come.
        let unrecorded = self.doors.switchboard.emptied(Instant::now() + LAST_CHANCE).await;
        if unrecorded > 0 {
            tracing::error!(calls = unrecorded, "calls do not let go; the next start closes their records");
        }
        self.records.flush().await;
        // The pool may be gone already; then nothing is left to stop.
        let _ = self.pool.send(Stop).await;
        self.doors.tracer.finish().await;
        tracing::info!("stopped");
        left
    }

    /// Ends every call now, as a shutdown that cannot wait does; [`Gateway::stop`] then has nothing left to wait for.
    pub fn hurry(&self) {
        tracing::warn!(calls = self.sessions(), "told twice to stop: calls are ended now");
        self.doors.switchboard.end_all(Ending::Drained);
    }

    /// The legs close by themselves; a process that ends before the servers said so would leave them in doubt.
    async fn await_acknowledgements(&self) {
        let patience = Instant::now() + self.close + LAST_WORDS;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while Instant::now() < patience {
            look.tick().await;
            let slots = self.slots().await.unwrap_or_default();
            if !slots.iter().any(|slot| slot.state == SlotState::Leased) {
                return;
            }
        }
    }
}

/// Tests quarantined slots with calls of its own.
#[derive(Clone)]
struct Rehearsals {
    connector: UpstreamConnector,
    patience_ms: Arc<AtomicU64>,
}

impl Rehearsals {
    fn new(settings: &Settings, connector: &UpstreamConnector) -> Self {
        let rehearsals = Self { connector: connector.clone(), patience_ms: Arc::default() };
        rehearsals.tune(settings);
        rehearsals
    }

    /// Waits for servers as long as these settings say, from the next test on.
    fn tune(&self, settings: &Settings) {
        let upstreams = &settings.upstreams;
        let patience = upstreams.handshake_base + upstreams.handshake_step * REHEARSAL_STEPS;
        self.patience_ms.store(patience.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Rehearser for Rehearsals {
    fn rehearse(&self, lease: Lease) {
        let patience = Duration::from_millis(self.patience_ms.load(Ordering::Relaxed));
        rehearsal::begin(&self.connector, lease, patience);
    }
}

/// Asks idle servers whether they live.
struct Probes {
    connector: UpstreamConnector,
    every: Duration,
}

impl Prober for Probes {
    fn probe(&self, endpoint: &Endpoint) -> Pin<Box<dyn Future<Output = Probed>>> {
        let (connector, endpoint) = (self.connector.clone(), endpoint.clone());
        Box::pin(async move { probe::probe(&connector, &endpoint).await })
    }

    fn every(&self) -> Duration {
        self.every
    }
}

/// How many calls there may be.
fn seat_limits(settings: &Settings) -> SeatLimits {
    SeatLimits { total: settings.session.max_sessions as usize, quota: settings.quota }
}

/// What of [`roster`] can be exchanged.
fn roster_tuning(settings: &Settings) -> Tuning {
    Tuning::from(&roster(settings, &Rehearsal::default()))
}

/// How slots are given out.
fn roster(settings: &Settings, rehearsal: &Rehearsal) -> RosterSettings {
    RosterSettings {
        policy: Policy { realtime: settings.upstreams.realtime, ..rehearsal.policy },
        queue_limit: settings.queue.limit,
        longest: settings.session.limits.max_duration,
        breaker: settings.queue.breaker,
        retry: settings.queue.retry,
        restart_stuck: settings.fleet.restart_stuck,
        seed: rand::random(),
        ..RosterSettings::default()
    }
}

/// Opens sockets to the servers; every file that certificates need is read first.
fn connector(settings: &Settings) -> Result<UpstreamConnector, TlsError> {
    let upstreams = &settings.upstreams;
    let connector = UpstreamConnector::new(ConnectTimeouts {
        connect: upstreams.connect_timeout,
        upgrade: upstreams.upgrade_timeout,
        close: upstreams.close_timeout,
    });
    upstreams.trusts().iter().try_for_each(|trust| connector.prepare(trust))?;
    Ok(connector)
}

fn keep_up(doors: web::Data<Doors>) {
    actix_rt::spawn(async move {
        let mut round = tokio::time::interval(UPKEEP);
        loop {
            round.tick().await;
            doors.throttle.upkeep();
            doors.metrics.upkeep();
            if let Some(count) = http::fleet::desired_machines(&doors).await {
                doors.metrics.machines_desired(count);
            }
        }
    });
}
