//! What a store knows, as calls ask for it: in time, or not at all.

use std::sync::Arc;

use tokio::time::timeout;

use super::Store;
use crate::context::{
    private::Private,
    source::{CONTEXT_TIMEOUT, ContextError, ContextSource, Loading},
};

/// A store as the source of contexts. One that is slow or down costs a call [`CONTEXT_TIMEOUT`] and no more.
#[derive(Clone)]
pub struct StoredContexts(Arc<dyn Store>);

impl StoredContexts {
    /// The contexts of this store.
    pub fn new(store: &Arc<dyn Store>) -> Self {
        Self(Arc::clone(store))
    }
}

impl ContextSource for StoredContexts {
    fn load(&self, user: Private<String>) -> Loading {
        let loading = self.0.context(user);
        Box::pin(async move {
            let loaded = timeout(CONTEXT_TIMEOUT, loading).await.map_err(|_| ContextError::Timeout)?;
            Ok(loaded.map_err(|error| ContextError::Store(error.to_string()))?.unwrap_or_default())
        })
    }
}
