//! Where contexts come from: the port that a store implements.

use std::{pin::Pin, time::Duration};

use super::{private::Private, user::Context};

/// The longest that a call waits for its caller's context.
pub const CONTEXT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no context. It says nothing of the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The store does not answer, or with an error.
    #[error("the store of contexts gave none: {0}")]
    Store(String),
    /// The store did not answer in time.
    #[error("the store of contexts did not answer within {} s", CONTEXT_TIMEOUT.as_secs())]
    Timeout,
}

/// A context on its way.
pub type Loading = Pin<Box<dyn Future<Output = Result<Context, ContextError>>>>;

/// A source of which it is known that it gives none.
#[derive(Clone, Debug)]
pub struct NoContext(pub ContextError);

impl ContextSource for NoContext {
    fn load(&self, _: Private<String>) -> Loading {
        let error = self.0.clone();
        Box::pin(async { Err(error) })
    }
}

/// What gives the context of a user. One that is not known has an empty context, which is no error.
pub trait ContextSource: Send + Sync {
    /// Begins to load what is known of this user.
    fn load(&self, user: Private<String>) -> Loading;
}
