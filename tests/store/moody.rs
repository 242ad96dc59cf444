//! A store with moods.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tandem::{
    context::{private::Private, user::Context},
    store::{
        Findings, Store, StoreError, StoreFuture,
        local::LocalStore,
        record::{Page, Record, Written},
    },
};
use uuid::Uuid;

/// A store that can be down for records, and refuses those of one user.
pub struct Moody {
    inner: LocalStore,
    pub down: AtomicBool,
}

impl Moody {
    pub const REFUSED: &'static str = "refused";

    pub fn over(inner: LocalStore, down: bool) -> Arc<Moody> {
        Arc::new(Moody { inner, down: down.into() })
    }

    fn write(&self, user: &str, writing: impl FnOnce() -> StoreFuture<Written>) -> StoreFuture<Written> {
        match (self.down.load(Ordering::Relaxed), user) {
            (true, _) => Box::pin(async { Err(StoreError::Unreachable("it is down".into())) }),
            (false, Self::REFUSED) => {
                Box::pin(async { Err(StoreError::Mongo("DocumentValidationFailure (121)".into())) })
            }
            (false, _) => writing(),
        }
    }
}

impl Store for Moody {
    fn context(&self, user: Private<String>) -> StoreFuture<Option<Context>> {
        self.inner.context(user)
    }

    fn open(&self, record: Record) -> StoreFuture<Written> {
        self.write(&record.user.expose().clone(), || self.inner.open(record))
    }

    fn complete(&self, record: Record) -> StoreFuture<Written> {
        self.write(&record.user.expose().clone(), || self.inner.complete(record))
    }

    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        self.inner.sessions(user, page)
    }

    fn session(&self, session: Uuid) -> StoreFuture<Option<Record>> {
        self.inner.session(session)
    }

    fn erase(&self, user: Private<String>) -> StoreFuture<u64> {
        self.inner.erase(user)
    }

    fn erase_session(&self, session: Uuid) -> StoreFuture<bool> {
        self.inner.erase_session(session)
    }

    fn close_lost(&self, home: String, process: Uuid) -> StoreFuture<u64> {
        self.inner.close_lost(home, process)
    }

    fn expire(&self) -> StoreFuture<u64> {
        self.inner.expire()
    }

    fn look(&self) -> StoreFuture<Findings> {
        self.inner.look()
    }
}
