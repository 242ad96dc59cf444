//! A reload that is asked for at a door: whoever reads the configuration is elsewhere, and does one at a time.

use std::{sync::OnceLock, time::Duration};

use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::problem::Problem;
use crate::config::InForce;

/// Reloads that wait for one that is under way; one more is refused.
const WAITING: usize = 4;
/// How long a reload may take, with those before it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration that was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Settings that say something else than before.
    pub changed: Vec<ChangedSetting>,
    /// Settings that say something else than those that the process runs with, now and before: they need a restart.
    pub needs_restart: Vec<&'static str>,
    /// What became of the list of model servers.
    pub servers: ChangedServers,
    /// What is allowed but should be known.
    pub warnings: Vec<String>,
}

/// A setting that says something else than before. Its value is not told: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedSetting {
    /// Its path, as in config/default.toml.
    pub key: &'static str,
    /// When that is in force: [`InForce::word`].
    pub in_force: &'static str,
}

/// What became of the list of model servers, by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangedServers {
    /// They take calls from now on.
    pub joined: Vec<String>,
    /// They go when their calls are over.
    pub parted: Vec<String>,
    /// Something else is said of them than before, which needs a restart.
    pub need_restart: Vec<String>,
}

impl ChangedSetting {
    /// This one, which is in force then.
    pub fn new(key: &'static str, in_force: InForce) -> Self {
        Self { key, in_force: in_force.word() }
    }
}

/// Why a configuration was not taken over: the one before stays. Why in detail is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// It has flaws.
    Wrong,
    /// It is sound, and cannot be taken over all the same.
    Refused,
}

/// Somebody waits to hear what came of a reload.
pub struct ReloadOrder(oneshot::Sender<Result<Reloaded, NotReloaded>>);

impl ReloadOrder {
    /// Says what came of it; whoever asked may have left.
    pub fn done(self, outcome: Result<Reloaded, NotReloaded>) {
        let _ = self.0.send(outcome);
    }
}

/// Where reloads are asked for.
#[derive(Default)]
pub struct Reloads(OnceLock<mpsc::Sender<ReloadOrder>>);

impl Reloads {
    /// The orders, for the one who carries them out; `None` if somebody does already.
    pub fn attend(&self) -> Option<mpsc::Receiver<ReloadOrder>> {
        let (orders, attended) = mpsc::channel(WAITING);
        self.0.set(orders).ok().map(|()| attended)
    }

    /// Asks for a reload, and waits for what comes of it.
    pub async fn ask(&self) -> Result<Reloaded, Problem> {
        // Without anybody who reads a configuration there is none to be read again.
        let orders = self.0.get().ok_or(Problem::ReloadRefused)?;
        let (answer, answered) = oneshot::channel();
        orders.try_send(ReloadOrder(answer)).map_err(|_| Problem::ReloadRefused)?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) | Err(_) => Err(Problem::ReloadRefused),
        }
    }
}

impl From<NotReloaded> for Problem {
    fn from(not_reloaded: NotReloaded) -> Problem {
        match not_reloaded {
            NotReloaded::Wrong => Problem::ConfigWrong,
            NotReloaded::Refused => Problem::ReloadRefused,
        }
    }
}
