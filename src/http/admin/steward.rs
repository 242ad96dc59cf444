//! What administration needs of the process beyond its doors: a port, which the gateway provides.

use std::{pin::Pin, time::Duration};

use crate::config::{SettingLine, UpstreamUrl};

/// An answer that takes a moment.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Looks after the process.
pub trait Steward: Send + Sync {
    /// Every setting and where it comes from, as it counts now.
    fn settings(&self) -> Vec<SettingLine>;
    /// How long calls may go on once the process is told to stop.
    fn drain_deadline(&self) -> Duration;
    /// Has the process take no more calls and end, as a SIGTERM does. Told again it changes nothing.
    fn drain(&self);
    /// Adds a model server to those that there are.
    fn add(&self, url: UpstreamUrl) -> Pending<Result<Added, NotAdded>>;
    /// Lets a model server go, by its name: it leaves after its last call.
    fn remove(&self, name: String) -> Pending<Result<(), NotRemoved>>;
}

/// A model server that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// What it is called; none as long as its name has not been looked up.
    pub name: Option<String>,
    /// `host:port`.
    pub address: String,
}

/// Why a model server is not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// It is there.
    #[error("the model server is there already")]
    Exists,
    /// It cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The process is about to end.
    #[error("the pool does not answer; the process is about to end")]
    PoolLost,
}

/// Why a model server is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRemoved {
    /// There is none of this name.
    #[error("there is no model server of this name")]
    Unknown,
    /// It is one of several that are found by one name.
    #[error("the model server is one of several behind a name")]
    OneOfName,
    /// There would be none left.
    #[error("it is the only model server")]
    Last,
    /// The process is about to end.
    #[error("the pool does not answer; the process is about to end")]
    PoolLost,
}
