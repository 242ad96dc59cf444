//! The settings as the program uses them: judged, typed, and safe to print.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::{line::SettingLine, upstream_url::UpstreamUrl};
use crate::auth::{TicketLimits, TokenRules};
use crate::context::cast::CastSettings;
use crate::context::recap::scribe::Scribe;
use crate::fleet::lifecycle::Policy;
use crate::fleet::provider::{self, Access, BuildError, Exchange, Place, Provider};
use crate::fleet::schedule::Schedule;
use crate::pool::breaker::BreakerSettings;
use crate::pool::discovery::Seed;
use crate::pool::endpoint::{Endpoint, PersonalContext, Upstream};
use crate::pool::pace::Realtime;
use crate::pool::quota::QuotaSettings;
use crate::pool::retry::RetrySettings;
use crate::pool::trust::Trust;
use crate::session::machine::Limits;
use crate::store::{mongo::MongoSettings, seal::Seal};

/// How strict Tandem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything has a working default.
    Development,
    /// Secrets and model servers are demanded, nothing is simulated.
    Production,
}

/// Everything that can be set, judged as a whole. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How strict Tandem is.
    pub mode: Mode,
    /// Where Tandem listens.
    pub listen: ListenSettings,
    /// Who may call.
    pub auth: AuthSettings,
    /// What the doors let through.
    pub doors: DoorSettings,
    /// Where personas come from.
    pub persona: CastSettings,
    /// The model servers and how they are reached.
    pub upstreams: UpstreamSettings,
    /// The limits of calls.
    pub session: SessionSettings,
    /// How calls wait for model servers, try again, and keep away from servers that fail.
    pub queue: QueueSettings,
    /// How much a user and a tenant may call.
    pub quota: QuotaSettings,
    /// In which calls it is measured who speaks when.
    pub turns: TurnSettings,
    /// How Tandem stops.
    pub drain: DrainSettings,
    /// How Tandem writes its log.
    pub logging: LoggingSettings,
    /// What is measured.
    pub metrics: MetricsSettings,
    /// Where spans go; none: nowhere.
    pub telemetry: Option<TelemetrySettings>,
    /// Where state is kept.
    pub state: StateSettings,
    /// Where users, journals and records are kept.
    pub store: StoreSettings,
    /// The model that writes recaps; none: they are made of what was said.
    pub recap: Option<Scribe>,
    /// The simulated model servers.
    pub simulator: SimulatorSettings,
    /// How machines that sleep are dealt with.
    pub fleet: FleetSettings,
    /// What is allowed but should be known: one sentence each.
    pub warnings: Vec<String>,
    pub(super) lines: Vec<SettingLine>,
}

impl Settings {
    /// Every setting with its value and where it comes from, in the order of default.toml. Secrets are not shown.
    pub fn describe(&self) -> &[SettingLine] {
        &self.lines
    }

    /// Whether others than this machine can reach Tandem, or it runs in production.
    pub fn is_exposed(&self) -> bool {
        self.mode == Mode::Production || !self.listen.host.is_loopback()
    }
}

/// Where Tandem listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// The address.
    pub host: IpAddr,
    /// The TCP port; 0 takes any free one.
    pub port: u16,
}

impl ListenSettings {
    /// Address and port in one.
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// Who may call.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The secret that signs tokens; none only in development on loopback, where one is kept in the state directory.
    pub jwt_secret: Option<SecretString>,
    /// What tokens must say.
    pub rules: TokenRules,
    /// What operators may send in place of a token.
    pub operator_key: Option<SecretString>,
    /// What opens `/admin`; none: it stays shut.
    pub admin_token: Option<SecretString>,
    /// How long tickets live and how many there may be.
    pub tickets: TicketLimits,
}

/// What the doors let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorSettings {
    /// The origins that may call, in lower case without a `/` at the end; empty: any.
    pub allowed_origins: Vec<String>,
    /// Whether a caller's own prompt and voice count.
    pub caller_prompts: bool,
    /// Whether tokens are taken from the URL.
    pub query_tokens: bool,
}

/// Which model servers may be told of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Telling {
    /// Those of which it is said; in development those of this machine too.
    Marked,
    /// All.
    All,
    /// None, whatever is said of them.
    #[serde(rename = "none")]
    Nobody,
}

/// The model servers and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The servers, each once.
    pub urls: Vec<UpstreamUrl>,
    /// Whether certificates go unchecked.
    pub insecure_tls: bool,
    /// A PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// How long a TCP and TLS connection may take.
    pub connect_timeout: Duration,
    /// How long the answer to the upgrade may take.
    pub upgrade_timeout: Duration,
    /// How long the answer to our close may take.
    pub close_timeout: Duration,
    /// The part of the handshake's limit that does not depend on the prompt.
    pub handshake_base: Duration,
    /// What every step of voice, silence and prompt adds to the handshake's limit.
    pub handshake_step: Duration,
    /// The steps of the voice's own prompt.
    pub voice_steps: u32,
    /// What becomes of a server that is slower than real time.
    pub realtime: Realtime,
    /// Which may be told of callers.
    pub telling: Telling,
    /// Whether those of this machine count as marked.
    pub trusts_loopback: bool,
}

impl UpstreamSettings {
    /// How this server may be told of callers, if at all.
    pub fn personal(&self, url: &UpstreamUrl) -> Option<PersonalContext> {
        let here = (self.trusts_loopback && url.is_loopback()).then_some(PersonalContext::Protected);
        match self.telling {
            Telling::Marked => url.options.personal.or(here),
            Telling::All => url.options.personal.or(Some(PersonalContext::Protected)),
            Telling::Nobody => None,
        }
    }

    /// The servers as the pool takes them in, named by their place in the list.
    pub fn servers(&self) -> impl Iterator<Item = Seed> {
        self.urls.iter().enumerate().map(|(index, url)| {
            let endpoint = Endpoint {
                tls: url.trust(self.insecure_tls, self.ca_file.as_deref()),
                path_prefix: url.prefix.clone(),
                personal: self.personal(url),
                ..Endpoint::plain((index + 1).to_string(), url.host.clone(), url.port)
            };
            let capacity = url.options.capacity.unwrap_or(1);
            Seed {
                upstream: Upstream { endpoint, capacity, labels: url.options.labels() },
                discovered: url.options.dns,
            }
        })
    }

    /// The ways in which certificates are accepted, each once; a file that is named counts before a server needs it.
    pub fn trusts(&self) -> HashSet<Trust> {
        let file = self.ca_file.clone().map(Trust::CaFile);
        self.servers().filter_map(|server| server.upstream.endpoint.tls).chain(file).collect()
    }
}

/// The limits of calls, and how many there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSettings {
    /// What one call may do.
    pub limits: Limits,
    /// Calls of this process at the same time.
    pub max_sessions: u32,
    /// Calls that one user may try in a minute.
    pub attempts_per_minute_per_user: u32,
}

/// How calls wait for model servers, try again, and keep away from servers that fail. How long one may wait and how it
/// pauses before another try are among the limits of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// New calls that may wait at the same time.
    pub limit: usize,
    /// How much may be tried again.
    pub retry: RetrySettings,
    /// When a server that fails is left alone, and for how long.
    pub breaker: BreakerSettings,
}

/// In which calls it is measured who speaks when.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnSettings {
    /// The share of the calls, 0 to 1.
    pub share: f64,
}

/// How Tandem stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long calls may go on after a request to stop.
    pub deadline: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// The least important lines that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// The process is broken.
    Error,
    /// Somebody should look.
    Warn,
    /// Calls begin and end.
    Info,
    /// Calls change their phase.
    Debug,
    /// Every packet.
    Trace,
}

impl LogLevel {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How Tandem writes its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines are written.
    pub level: LogLevel,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether metrics are collected and served.
    pub enabled: bool,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// The URL that takes them, path included.
    pub endpoint: String,
    /// Headers that go with them.
    pub headers: Vec<(String, SecretString)>,
    /// What this service is called there.
    pub service_name: String,
    /// The share of the traces that begin here that is kept, 0 to 1.
    pub sample_ratio: f64,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The directory for what must survive a restart.
    pub dir: PathBuf,
    /// Where leases are written down.
    pub ledger: LedgerPlace,
}

/// Where leases are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerPlace {
    /// Nowhere: nobody else uses the model servers, ever.
    Off,
    /// In this file.
    File(PathBuf),
    /// In the MongoDB of the store.
    MongoDb,
}

/// Where users, journals and records are kept.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// In MongoDB; none: in the file.
    pub mongodb: Option<MongoSettings>,
    /// The embedded store.
    pub file: PathBuf,
    /// How long records are kept; none: for ever.
    pub retention: Option<Duration>,
    /// What encrypts what was said.
    pub seal: Seal,
}

/// The simulated model servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatorSettings {
    /// Whether they take the calls.
    pub enabled: bool,
    /// How long after the caller they answer, in a voice of their own; without it, they give the caller's voice back.
    pub answers_after: Option<Duration>,
    /// How long a model step takes.
    pub step: Duration,
    /// The steps of the voice's own prompt.
    pub voice_steps: u32,
    /// How many there are.
    pub servers: u32,
}

/// How machines that sleep are dealt with, and what their providers need to know.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// When they wake and sleep.
    pub policy: Policy,
    /// How long a ticket keeps one awake; none: tickets wake nothing.
    pub ticket_hold: Option<Duration>,
    /// After how long one whose server is stuck is restarted; zero: never.
    pub restart_stuck: Duration,
    /// The hours in which they are kept awake.
    pub keep_warm: Schedule,
    /// What their providers need to know.
    pub access: Access,
}

impl FleetSettings {
    /// The provider of a server's machine; one of a server without a machine says that it is always on.
    pub fn provider(&self, url: &UpstreamUrl, exchange: &Exchange) -> Result<Box<dyn Provider>, BuildError> {
        let place = Place { host: &url.host, port: url.port };
        provider::build(url.options.machine.as_ref(), place, &self.access, exchange)
    }
}
