//! Who starts and stops the machine of a model server: one port, and one file for each provider.
//!
//! A provider does what it is asked, once, and says what came of it. When to ask, how often and what for is not decided
//! here. What a provider says of a machine is about power: whether its model server listens, only a probe can tell.

mod address;
pub mod command;
mod detail;
pub mod docker;
mod error;
mod exchange;
mod factory;
pub mod kubernetes;
mod machine;
pub mod none;
pub mod railway;
mod renewal;
pub mod runpod;
pub mod vast;
pub mod webhook;

use std::fmt;

use futures_util::future::LocalBoxFuture;

pub use self::{
    address::Address,
    detail::Detail,
    error::ProviderError,
    exchange::Exchange,
    factory::{
        Access, BuildError, CloudAccess, CommandAccess, CommandOutput, DockerAccess, KubernetesAccess, Place,
        RailwayAccess, build,
    },
    machine::{Machine, MachineError},
};

/// What a provider says of a machine. `Running` is not readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerState {
    /// It does not run. Its disks may still cost money.
    Stopped,
    /// It was asked to run and does not yet; it may wait for a free GPU, for ever.
    Starting,
    /// It runs.
    Running,
    /// It was asked to stop and still runs.
    Stopping,
    /// It ended unasked, or can never start.
    Failed,
    /// The provider does not say, or says what is not known here.
    Unknown,
}

impl PowerState {
    /// Every state, for tables.
    pub const ALL: [Self; 6] =
        [Self::Stopped, Self::Starting, Self::Running, Self::Stopping, Self::Failed, Self::Unknown];

    /// The name in metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it runs or is on its way there: a start would change nothing.
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Running | Self::Starting)
    }
}

/// What a provider says of a machine, and where it is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it runs.
    pub state: PowerState,
    /// Where the model server's port is reached now, where that may change with each start; none: the configured address
    /// holds.
    pub address: Option<Address>,
    /// What else the provider says, for people.
    pub detail: Option<Detail>,
}

impl Status {
    /// This state, and nothing else to say.
    pub const fn of(state: PowerState) -> Self {
        Self { state, address: None, detail: None }
    }

    /// The same with a remark.
    pub fn with_detail(self, detail: Option<Detail>) -> Self {
        Self { detail, ..self }
    }
}

/// What came of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The provider took it on; the machine runs later, if at all.
    Accepted,
    /// The machine runs or is on its way there.
    AlreadyRunning,
}

/// What came of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The provider took it on.
    Accepted,
    /// The machine does not run, or is on its way there.
    AlreadyStopped,
}

/// Who starts and stops one machine. Every call ends: over HTTP within the time-out of the [`Exchange`]. It may be made
/// again: what is already so is no error.
///
/// `Debug` shows no secret, and neither does any error.
pub trait Provider: fmt::Debug {
    /// The name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Asks for the machine to run.
    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>>;

    /// Asks for the machine to stop, in its orderly way.
    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>>;

    /// Asks for the machine to begin anew, on the same hardware where the provider can; one that is stopped is started.
    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>>;

    /// Reads what the machine does.
    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>>;
}
