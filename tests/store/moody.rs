//! A store with moods.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
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
    /// Takes beginnings, and no ends.
    pub ends_refused: AtomicBool,
    /// Answers, and takes nothing.
    pub all_refused: AtomicBool,
    /// How often it was given a record.
    pub given: AtomicUsize,
    /// Cannot be tidied up, and how often that was tried.
    pub untidy: AtomicBool,
    pub tidied: AtomicUsize,
    /// Takes the records of those that it refuses, or that are slow, after all.
    pub mended: AtomicBool,
}

impl Moody {
    pub const REFUSED: &'static str = "refused";
    pub const SLOW: &'static str = "slow";

    pub fn over(inner: LocalStore, down: bool) -> Arc<Moody> {
        Arc::new(Moody {
            inner,
            down: down.into(),
            ends_refused: false.into(),
            all_refused: false.into(),
            given: 0.into(),
            untidy: false.into(),
            tidied: 0.into(),
            mended: false.into(),
        })
    }

    fn write(&self, user: &str, writing: impl FnOnce() -> StoreFuture<Written>) -> StoreFuture<Written> {
        self.given.fetch_add(1, Ordering::Relaxed);
        if self.all_refused.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Mongo("NotAllowed (9999)".into())) });
        }
        let user = if self.mended.load(Ordering::Relaxed) { "" } else { user };
        match (self.down.load(Ordering::Relaxed), user) {
            (true, _) => Box::pin(async { Err(StoreError::Unreachable("it is down".into())) }),
            (false, Self::REFUSED) => {
                Box::pin(async { Err(StoreError::Mongo("DocumentValidationFailure (121)".into())) })
            }
            (false, Self::SLOW) => Box::pin(async { Err(StoreError::Timeout(5_000)) }),
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
        if self.ends_refused.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Mongo("a write (121)".into())) });
        }
        self.write(&record.user.expose().clone(), || self.inner.complete(record))
    }

    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        self.inner.sessions(user, page)
    }

    fn all_sessions(&self, page: Page) -> StoreFuture<Vec<Record>> {
        self.inner.all_sessions(page)
    }

    fn improve_recap(&self, session: Uuid, recap: Private<String>) -> StoreFuture<bool> {
        self.inner.improve_recap(session, recap)
    }

    fn held(&self, user: Private<String>) -> StoreFuture<Option<Context>> {
        self.inner.held(user)
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
        self.tidied.fetch_add(1, Ordering::Relaxed);
        match self.untidy.load(Ordering::Relaxed) {
            true => Box::pin(async { Err(StoreError::Traces) }),
            false => self.inner.expire(),
        }
    }

    fn look(&self) -> StoreFuture<Findings> {
        self.inner.look()
    }
}
