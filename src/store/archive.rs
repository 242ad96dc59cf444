//! The records of calls: the store, and what is on its way to it.
//!
//! Whoever removes something removes it here, in both: what is not in the store yet comes there later.

use std::{path::Path, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Store, StoreError, StoreFuture,
    record::{Page, Record, Written},
    spool::{Brought, Room, Spool},
};
use crate::context::private::Private;

/// How long records are kept that the store will never take.
const ASIDE_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A store with a file of records on their way to it. Clones share both.
#[derive(Clone)]
pub struct Archive {
    store: Arc<dyn Store>,
    spool: Spool,
}

impl Archive {
    /// The records of this store; what it does not take waits in the file, which is made if there is none.
    pub fn open_at(path: &Path, store: Arc<dyn Store>, room: Room) -> Result<Self, StoreError> {
        Ok(Self { spool: Spool::open(path, Arc::clone(&store), room)?, store })
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
            let calls = this.store.erase(user.clone()).await?;
            this.spool.erase(user.expose()).await?;
            Ok(calls)
        })
    }

    /// Removes one call with its transcript, for good, and what is on its way of it. Says whether it was there.
    pub fn erase_session(&self, session: Uuid) -> StoreFuture<bool> {
        let this = self.clone();
        Box::pin(async move {
            let was_there = this.store.erase_session(session).await?;
            let waited = this.spool.erase_session(session).await?;
            Ok(was_there || waited > 0)
        })
    }

    /// Removes the records whose time is over; gives their number in the store.
    pub async fn expire(&self) -> Result<u64, StoreError> {
        self.spool.expire(ASIDE_FOR).await?;
        self.store.expire().await
    }
}
