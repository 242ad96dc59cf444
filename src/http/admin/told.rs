//! Everything that `/admin` asks for and answers, as JSON. Whoever reads the answers may use the same types.
//!
//! No words of a call and no name of a user are among them: users have pseudonyms here as they have in the log.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// `GET /admin/sessions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// Calls in progress, with those that are being let in just now.
    pub active: usize,
    /// Calls that this process takes at most.
    pub limit: usize,
    /// Whether the process refuses new calls to end.
    pub draining: bool,
    /// The calls, the oldest first.
    pub sessions: Vec<Session>,
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its name, as in the log and in the records.
    pub session_id: String,
    /// The caller's pseudonym.
    pub user: String,
    /// Which persona answers.
    pub persona: String,
    /// The wire.
    pub protocol: String,
    /// `preparing`, `leasing`, `pausing`, `handshaking`, `streaming` or `closing`.
    pub phase: String,
    /// The caller's connection broke, and the call waits for it.
    pub detached: bool,
    /// The model server that is heard, or else the one that gets ready.
    pub upstream: Option<String>,
    /// When it began, by universal time.
    pub since: String,
    /// How long ago that was, in seconds.
    pub seconds: u64,
    /// How far behind real time the caller hears the model, in milliseconds.
    pub lag_ms: Option<u64>,
}

/// `DELETE /admin/sessions/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// The call that ends.
    pub session_id: String,
    /// `admin`, unless it was about to end for another reason.
    pub ending: String,
}

/// `GET /admin/upstreams`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upstreams {
    /// The model servers, in the order in which they came.
    pub upstreams: Vec<Upstream>,
}

/// One model server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// What it is called in the log, in metrics, and in the addresses here.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Whether TLS is spoken with it.
    pub tls: bool,
    /// The one word for it: `ready`, `leaving`, `withheld`, `asleep`, `waking`, `unhealthy` or `slow`.
    pub state: String,
    /// An operator keeps calls away from it.
    pub withheld: bool,
    /// It leaves after its last call.
    pub leaving: bool,
    /// `closed` while calls go there, `half_open` while one may try, `open` while none may.
    pub breaker: String,
    /// Whether it was slower than real time when it was measured last.
    pub slow: bool,
    /// Seconds of audio for each second of time, as measured last.
    pub realtime_factor: Option<f64>,
    /// The time of one step of a prompt, smoothed over its handshakes, in milliseconds.
    pub prompt_step_ms: Option<f64>,
    /// The model that it is said to run.
    pub model: Option<String>,
    /// Where it is said to stand.
    pub region: Option<String>,
    /// What an hour of it is said to cost.
    pub price_per_hour: Option<f64>,
    /// Its slots.
    pub slots: Vec<Slot>,
}

/// One slot of a model server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// `free`, `leased`, `elsewhere`, `quarantined`, `waking`, `asleep`, `unhealthy`, `draining` or `withheld`.
    pub state: String,
    /// Why nobody knows whether it is free, if it is quarantined.
    pub reason: Option<String>,
    /// For how long its call has held slots, in seconds.
    pub held_seconds: Option<u64>,
}

/// `POST /admin/upstreams`, the question. It does not print: an address may hold a password by mistake.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUpstream {
    /// The address as in `upstreams.urls`, with what is said of the server behind its `#`.
    pub url: SecretString,
}

/// `POST /admin/upstreams`, the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamAdded {
    /// What it is called; `null` for a name that has to be looked up first.
    pub name: Option<String>,
    /// `host:port`.
    pub address: String,
}

/// `DELETE /admin/upstreams/{name}`, `POST .../quarantine` and `POST .../release`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamChanged {
    /// Which server.
    pub name: String,
    /// What it is now; nothing if it is gone.
    pub upstream: Option<Upstream>,
}

/// `GET /admin/queue`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// New calls that may wait.
    pub limit: usize,
    /// Everybody who waits, in order.
    pub waiting: Vec<Waiting>,
}

/// One who waits for a slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The caller's pseudonym.
    pub user: String,
    /// `new`, or what a live call needs another slot for: `failover` or `rotation`.
    pub class: String,
    /// How long it has waited, in seconds.
    pub seconds: u64,
    /// Its place, from 1, as it was told last.
    pub position: Option<usize>,
    /// `busy` or `waking`.
    pub reason: Option<String>,
    /// Half of such waits are shorter, in milliseconds.
    pub eta_ms: Option<u64>,
    /// Nine of ten are.
    pub eta_p90_ms: Option<u64>,
}

/// `GET /admin/fleet`, and the answers to its orders. A machine is told as `GET /v1/upstreams` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fleet {
    /// The machines; none where no upstream has one.
    pub machines: Vec<crate::fleet::control::MachineSnapshot>,
}

/// `POST /admin/fleet/{name}/wake`, the question. It may be left out.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeOrder {
    /// For how long the machine stays awake at least, in seconds.
    #[serde(default, deserialize_with = "crate::http::body::whole")]
    pub hold_seconds: Option<u64>,
}

/// `POST /admin/fleet/{name}/sleep`, the question. It may be left out.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SleepOrder {
    /// Whether the calls that it has are ended; else it sleeps after the last of them.
    #[serde(default)]
    pub force: bool,
}

/// `GET /admin/config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Every setting.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// `section.key`.
    pub key: String,
    /// What it is; of a secret, whether it is set.
    pub value: String,
    /// `default`, the line of a file, or the variable.
    pub source: String,
}

/// `POST /admin/drain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// `draining`.
    pub state: String,
    /// Calls in progress.
    pub sessions: usize,
    /// How long they may go on at most, from the first such order, in seconds.
    pub deadline_seconds: u64,
}
