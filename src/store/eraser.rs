//! Removing from a SQLite file, with what stays of it in the file's log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, embedded, writer::Writer};

/// Removes what a writer has written. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Eraser {
    writer: Writer,
    /// Whether the log may hold texts that are removed.
    owed: Arc<AtomicBool>,
}

impl Eraser {
    /// The eraser of this writer's file. What an earlier process left in the log is not known.
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, owed: Arc::new(AtomicBool::new(true)) }
    }

    /// Something was removed in another way.
    pub(super) fn owe(&self) {
        self.owed.store(true, Ordering::Relaxed);
    }

    /// Has something removed in a transaction, and then its traces; all of it is done even if nobody waits for it any more.
    /// [`StoreError::Traces`] while somebody reads the file: what was removed is gone, and every later call tries again to
    /// empty the log, whether or not it removes anything itself.
    pub(super) fn remove<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let owed = Arc::clone(&self.owed);
        self.writer.bare(move |connection| {
            let before = connection.total_changes();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            if connection.total_changes() != before {
                owed.store(true, Ordering::Relaxed);
            }
            if owed.load(Ordering::Relaxed) {
                embedded::forget(connection)?;
                owed.store(false, Ordering::Relaxed);
            }
            Ok(done)
        })
    }
}
