//! Removing from a SQLite file, with what stays of it in the file's log.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::time::Instant;

use super::{StoreError, embedded, writer::Writer};

/// After somebody was in the way of emptying the log, where nobody waits for that.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Removes what a writer has written. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Eraser {
    writer: Writer,
    /// Whether the log may hold texts that are removed.
    owed: Arc<AtomicBool>,
    /// When somebody was in the way last.
    hindered: Arc<Mutex<Option<Instant>>>,
}

impl Eraser {
    /// The eraser of this writer's file. What an earlier process left in the log is not known.
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, owed: Arc::new(AtomicBool::new(true)), hindered: Arc::default() }
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
    /// Empties the log if it may hold texts that are removed and nobody reads the file now. Whatever else is to be written
    /// does not wait for readers; [`StoreError::Traces`] while there are some.
    pub(super) async fn empty(&self) -> Result<(), StoreError> {
        let hindered = || self.hindered.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.owed.load(Ordering::Relaxed) || hindered().is_some_and(|at| at.elapsed() < TRY_AGAIN) {
            return Ok(());
        }
        let owed = Arc::clone(&self.owed);
        let emptying = self.writer.bare(move |connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let emptied = embedded::forget(connection);
            connection.busy_timeout(embedded::BUSY_TIMEOUT)?;
            emptied?;
            owed.store(false, Ordering::Relaxed);
            Ok(())
        });
        let emptied = emptying.await;
        *hindered() = emptied.is_err().then(Instant::now);
        emptied
    }
}
