//! A reload that is asked for at a door: whoever reads the configuration is elsewhere, and does one at a time.

use std::{sync::OnceLock, time::Duration};

use serde::Serialize;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};

use super::problem::{Problem, Refusal};
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
    /// Whether whoever asked waits no longer, so that nothing is to come of it.
    pub fn is_given_up(&self) -> bool {
        self.0.is_closed()
    }

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
    pub async fn ask(&self) -> Result<Reloaded, Refusal> {
        // Without anybody who reads a configuration there is none to be read again.
        let orders = self.0.get().ok_or(Problem::ReloadRefused)?;
        let (answer, answered) = oneshot::channel();
        orders.try_send(ReloadOrder(answer)).map_err(|error| match error {
            TrySendError::Full(_) => because("Why: so many others were before it that it was not begun."),
            TrySendError::Closed(_) => Problem::Draining.into(),
        })?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(outcome)) => Ok(outcome.map_err(Problem::from)?),
            // Nobody carries reloads out any more.
            Ok(Err(_)) => Err(Problem::Draining.into()),
            Err(_) => {
                tracing::warn!(seconds = PATIENCE.as_secs(), "a reload takes long; whoever ordered it waits no longer");
                Err(because("Why: it takes long; if it has begun it may be taken over yet, and the log will say so."))
            }
        }
    }
}

fn because(why: &str) -> Refusal {
    Refusal { why: Some(why.to_owned()), ..Problem::ReloadRefused.into() }
}

impl From<NotReloaded> for Problem {
    fn from(not_reloaded: NotReloaded) -> Problem {
        match not_reloaded {
            NotReloaded::Wrong => Problem::ConfigWrong,
            NotReloaded::Refused => Problem::ReloadRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: Result<Reloaded, Refusal>) -> (Problem, bool) {
        let refusal = answer.expect_err("it was taken over");
        (refusal.problem, refusal.why.is_some())
    }

    #[tokio::test]
    async fn who_orders_a_reload_that_cannot_be_is_told_why() {
        let reloads = Reloads::default();
        assert_eq!(told(reloads.ask().await), (Problem::ReloadRefused, false), "nobody reads a configuration");
        let mut orders = reloads.attend().unwrap();
        assert!(reloads.attend().is_none(), "one does");
        let crowd = futures_util::future::join_all((0..=WAITING).map(|_| reloads.ask()));
        let working = async {
            while let Some(order) = orders.recv().await {
                match orders.is_empty() {
                    false => order.done(Ok(Reloaded::default())),
                    // The last one is never told: the process ends.
                    true => return drop(orders),
                }
            }
        };
        let (crowd, ()) = tokio::join!(crowd, working);
        let outcomes: Vec<_> = crowd.into_iter().map(|answer| answer.map_err(|refusal| refusal.problem)).collect();
        let done = || Ok(Reloaded::default());
        assert_eq!(outcomes, [done(), done(), done(), Err(Problem::Draining), Err(Problem::ReloadRefused)]);
        assert_eq!(told(reloads.ask().await).0, Problem::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_nobody_waits_for_any_more_is_not_begun() {
        let reloads = Reloads::default();
        let mut orders = reloads.attend().unwrap();
        assert_eq!(told(reloads.ask().await), (Problem::ReloadRefused, true));
        assert!(orders.recv().await.unwrap().is_given_up());
    }
}
