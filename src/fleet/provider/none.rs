//! A machine that nobody can start or stop: it is on, or somebody else's business.

use std::future;

use futures_util::future::LocalBoxFuture;

use super::{PowerState, Provider, ProviderError, Started, Status, Stopped};

/// A machine that is always on.
#[derive(Clone, Copy, Debug)]
pub struct AlwaysOn;

impl Provider for AlwaysOn {
    fn name(&self) -> &'static str {
        "none"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        Box::pin(future::ready(Ok(Started::AlreadyRunning)))
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        Box::pin(future::ready(Err(ProviderError::Unsupported)))
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(future::ready(Err(ProviderError::Unsupported)))
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        Box::pin(future::ready(Ok(Status::of(PowerState::Running))))
    }
}
