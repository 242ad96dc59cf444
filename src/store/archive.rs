//! The records of calls: the store, and what is on its way to it.
//!
//! Whoever removes something removes it here, in both: what is not in the store yet comes there later.

use std::{path::Path, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Store, StoreError, StoreFuture,
    record::{Page, Record, Written},
    seal::Seal,
    spool::{Brought, Room, Spool},
};
use crate::context::private::Private;

/// How long records are kept that the store will never take.
const ASIDE_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long after an erasure something that was on its way can still reach the store: no write takes as long.
const SETTLED: Duration = Duration::from_secs(60);

/// A store with a file of records on their way to it. Clones share both.
#[derive(Clone)]
pub struct Archive {
    store: Arc<dyn Store>,
    spool: Spool,
    retention: Option<Duration>,
}

impl Archive {
    /// The records of this store; what it does not take waits in the file, which is made if there is none.
    pub fn open_at(path: &Path, store: Arc<dyn Store>, room: Room) -> Result<Self, StoreError> {
        Ok(Self { spool: Spool::open(path, Arc::clone(&store), room)?, store, retention: None })
    }

    /// The same, in which no record stays on its way for longer than the store would keep it.
    #[must_use]
    pub fn kept_for(self, retention: Option<Duration>) -> Self {
        Self { retention, ..self }
    }

    /// The same, with what is on its way sealed by these keys.
    #[must_use]
    pub fn sealed(self, seal: Seal) -> Self {
        Self { spool: self.spool.sealed(seal), ..self }
    }

    /// The store alone.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Keeps that a call began. It is durable when the answer comes, and on its way at once.
    pub fn open(&self, record: Record) -> StoreFuture<Written> {
        self.spool.keep(Record { ended: None, ..record })
    }

    /// Keeps how a call ended. It is durable when the answer comes, and on its way at once.
    pub fn complete(&self, record: Record) -> StoreFuture<Written> {
        self.spool.keep(record)
    }

    /// Brings what waits to the store, until the store cannot be reached.
    pub async fn bring(&self) -> Result<Brought, StoreError> {
        self.spool.bring().await
    }

    /// How many records wait. The answer comes after all that was to be kept before.
    pub fn waiting(&self) -> StoreFuture<u64> {
        self.spool.waiting()
    }

    /// A user's calls, the newest first, without transcripts.
    pub fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        self.store.sessions(user, page)
    }

    /// Everybody's calls, the newest first, without transcripts.
    pub fn all_sessions(&self, page: Page) -> StoreFuture<Vec<Record>> {
        self.store.all_sessions(page)
    }

    /// One call with its transcript.
    pub fn session(&self, session: Uuid) -> StoreFuture<Option<Record>> {
        self.store.session(session)
    }

    /// Removes everything of ours about a user, for good, what is on its way included: later records are refused. Once more
    /// does no harm. Gives the number of calls that the store held.
    pub fn erase(&self, user: Private<String>) -> StoreFuture<u64> {
        let this = self.clone();
        Box::pin(async move {
            // The store first: what is on its way in this moment finds the tombstone there.
            let calls = this.store.erase(user.clone()).await;
            both(calls, this.spool.erase(user.expose()).await).map(|(calls, _)| calls)
        })
    }

    /// Removes one call with its transcript, for good, and what is on its way of it. Says whether it was there.
    pub fn erase_session(&self, session: Uuid) -> StoreFuture<bool> {
        let this = self.clone();
        Box::pin(async move {
            let was_there = this.store.erase_session(session).await;
            let (was_there, waited) = both(was_there, this.spool.erase_session(session).await)?;
            Ok(was_there || waited > 0)
        })
    }

    /// Removes the records whose time is over, and what reached the store of calls that were erased on their way; offers what
    /// was set aside again. What fails of it keeps nothing from the rest. Gives the number of records that were removed.
    pub async fn expire(&self) -> Result<u64, StoreError> {
        let removed = self.store.expire().await;
        let waited = self.spool.expire(ASIDE_FOR, self.retention).await;
        let cleaned = self.spool.clean(SETTLED).await;
        let offered = self.spool.offer_again().await;
        let removed = removed? + waited?;
        cleaned?;
        offered?;
        Ok(removed)
    }
}

/// What came of an erasure in the store and in the spool: what fails in one of them keeps nothing in the other. Traces are
/// told only if that is all that is left.
fn both<T, U>(store: Result<T, StoreError>, spool: Result<U, StoreError>) -> Result<(T, U), StoreError> {
    match (store, spool) {
        (Ok(store), Ok(spool)) => Ok((store, spool)),
        (Err(StoreError::Traces), Err(error)) | (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_erased_is_told_before_what_left_traces() {
        let told = |store, spool| both::<(), ()>(store, spool).map_err(|error| error.to_string());
        let (traces, full) = (|| Err(StoreError::Traces), || Err(StoreError::Full));
        assert_eq!(told(Ok(()), Ok(())), Ok(((), ())));
        for (store, spool) in [(traces(), full()), (full(), traces()), (full(), Ok(())), (Ok(()), full())] {
            assert_eq!(told(store, spool), Err(StoreError::Full.to_string()));
        }
        assert_eq!(told(Ok(()), traces()), Err(StoreError::Traces.to_string()));
    }
}
