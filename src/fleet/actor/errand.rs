//! What a provider is asked, and what its answer means to a lifecycle.

use crate::fleet::{
    lifecycle::{Input, Trouble},
    provider::{Provider, ProviderError},
};

/// What a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    Start,
    Stop,
    Look,
}

impl Errand {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Look => "status",
        }
    }

    pub(super) async fn run(self, provider: &dyn Provider) -> (Input, Option<ProviderError>) {
        match self {
            Self::Start => split(provider.start().await, |answer| Input::Started(answer.map(drop))),
            Self::Stop => split(provider.stop().await, |answer| Input::Stopped(answer.map(drop))),
            Self::Look => split(provider.status().await, |answer| Input::Seen(answer.map(|status| status.state))),
        }
    }
}

fn split<T>(
    answer: Result<T, ProviderError>,
    input: impl FnOnce(Result<T, Trouble>) -> Input,
) -> (Input, Option<ProviderError>) {
    match answer {
        Ok(answer) => (input(Ok(answer)), None),
        Err(error) => (input(Err(Trouble::from(&error))), Some(error)),
    }
}

impl From<&ProviderError> for Trouble {
    fn from(error: &ProviderError) -> Self {
        match error {
            ProviderError::Capacity { retry_after } => Self::Capacity(*retry_after),
            ProviderError::RateLimited { retry_after } => Self::RateLimited(*retry_after),
            ProviderError::Auth => Self::Auth,
            ProviderError::NotFound => Self::NotFound,
            ProviderError::Unsupported | ProviderError::Permanent(_) => Self::Refused,
            ProviderError::Transient(_) | ProviderError::Timeout => Self::Passing,
        }
    }
}
