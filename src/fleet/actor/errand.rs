//! What a provider is asked, and what its answer means to a lifecycle.

use crate::fleet::{
    lifecycle::{Input, Trouble},
    provider::{Address, PowerState, Provider, ProviderError, Status},
};

/// What a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    Start,
    Stop,
    Look,
    Restart,
}

/// What came of an errand.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What it means to the lifecycle.
    pub(super) input: Input,
    /// Where the model server of a machine that runs is reached, if the provider says so.
    pub(super) address: Option<Address>,
    /// What went wrong.
    pub(super) failed: Option<ProviderError>,
}

impl Errand {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Look => "status",
            Self::Restart => "restart",
        }
    }

    pub(super) async fn run(self, provider: &dyn Provider) -> Outcome {
        match self {
            Self::Start => outcome(provider.start().await, |answer| Input::Started(answer.map(drop))),
            Self::Stop => outcome(provider.stop().await, |answer| Input::Stopped(answer.map(drop))),
            Self::Restart => outcome(provider.restart().await, Input::Restarted),
            Self::Look => {
                let (mut seen, mut address) = (provider.status().await, None);
                if let Ok(Status { state: PowerState::Running, address: found, .. }) = &mut seen {
                    address = found.take();
                }
                let told = outcome(seen, |answer| Input::Seen(answer.map(|status| status.state)));
                Outcome { address, ..told }
            }
        }
    }
}

fn outcome<T>(answer: Result<T, ProviderError>, input: impl FnOnce(Result<T, Trouble>) -> Input) -> Outcome {
    let (input, failed) = match answer {
        Ok(answer) => (input(Ok(answer)), None),
        Err(error) => (input(Err(Trouble::from(&error))), Some(error)),
    };
    Outcome { input, address: None, failed }
}

impl From<&ProviderError> for Trouble {
    fn from(error: &ProviderError) -> Self {
        match error {
            ProviderError::Capacity { retry_after } => Self::Capacity(*retry_after),
            ProviderError::RateLimited { retry_after } => Self::RateLimited(*retry_after),
            ProviderError::Auth => Self::Auth,
            ProviderError::NotFound => Self::NotFound,
            ProviderError::Unsupported => Self::Unsupported,
            ProviderError::Permanent(_) => Self::Refused,
            ProviderError::Transient(_) | ProviderError::Timeout => Self::Passing,
        }
    }
}
