//! Why a provider did not do what it was asked.

use std::{fmt, time::Duration};

use super::detail::Detail;

/// Why a provider did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// There is no hardware for the machine now.
    #[error("the provider has no hardware free for this machine{}: try later, or use another machine", After(.retry_after))]
    Capacity {
        /// When to ask again, if the provider says so.
        retry_after: Option<Duration>,
    },
    /// Too much was asked.
    #[error("the provider wants to be asked less often{}: ask again later", After(.retry_after))]
    RateLimited {
        /// When to ask again, if the provider says so.
        retry_after: Option<Duration>,
    },
    /// The key is wrong, or may not do this.
    #[error("the provider refuses the key: check that it is right and may start, stop and read this machine")]
    Auth,
    /// There is no such machine.
    #[error("the provider does not know this machine: check its id, and whether it was deleted")]
    NotFound,
    /// It cannot do this at all.
    #[error("this provider cannot do that: leave it out of the plan for this machine")]
    Unsupported,
    /// It may work when it is asked again.
    #[error("the provider failed, and may not when it is asked again: {0}")]
    Transient(Detail),
    /// It will not work until something is changed.
    #[error("the provider refuses, and will until something is changed: {0}")]
    Permanent(Detail),
    /// No answer came. What was asked may still happen.
    #[error("the provider did not answer in time: read the machine's status, which tells what came of it")]
    Timeout,
}

impl ProviderError {
    /// Every code, for tables.
    pub const CODES: [&'static str; 8] =
        ["capacity", "rate_limited", "auth", "not_found", "unsupported", "transient", "permanent", "timeout"];

    /// The name in metrics and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Capacity { .. } => Self::CODES[0],
            Self::RateLimited { .. } => Self::CODES[1],
            Self::Auth => Self::CODES[2],
            Self::NotFound => Self::CODES[3],
            Self::Unsupported => Self::CODES[4],
            Self::Transient(_) => Self::CODES[5],
            Self::Permanent(_) => Self::CODES[6],
            Self::Timeout => Self::CODES[7],
        }
    }

    /// When the provider wants to be asked again, if it says so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Capacity { retry_after } | Self::RateLimited { retry_after } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn transient(text: impl Into<String>) -> Self {
        Self::Transient(Detail::own(text))
    }

    pub(super) fn permanent(text: impl Into<String>) -> Self {
        Self::Permanent(Detail::own(text))
    }
}

/// ` for 12 s`, or nothing.
struct After<'a>(&'a Option<Duration>);

impl fmt::Display for After<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |after| write!(f, " for {} s", after.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_code_of_its_own_and_says_what_to_do() {
        let wait = Some(Duration::from_secs(12));
        let errors = [
            ProviderError::Capacity { retry_after: wait },
            ProviderError::RateLimited { retry_after: wait },
            ProviderError::Auth,
            ProviderError::NotFound,
            ProviderError::Unsupported,
            ProviderError::transient("x"),
            ProviderError::permanent("x"),
            ProviderError::Timeout,
        ];
        assert_eq!(errors.each_ref().map(ProviderError::code), ProviderError::CODES);
        for error in &errors {
            let sentence = error.to_string();
            assert!(sentence.contains(':') && sentence.len() > 40, "{sentence}");
            assert_eq!(sentence.contains(" for 12 s"), error.retry_after() == wait, "{sentence}");
        }
        assert!(!ProviderError::Capacity { retry_after: None }.to_string().contains(" s:"));
    }
}
