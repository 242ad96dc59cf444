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
    owed: Arc<Owed>,
    /// When somebody was in the way last.
    hindered: Arc<Mutex<Option<Instant>>>,
}

/// What is still to be done for what was removed.
#[derive(Debug)]
struct Owed {
    /// The log may hold texts that are removed.
    log: AtomicBool,
    /// Unused parts of the file's pages may.
    pages: AtomicBool,
}

impl Owed {
    fn pay(&self, connection: &mut Connection) -> Result<(), StoreError> {
        if self.pages.load(Ordering::Relaxed) {
            embedded::rewrite(connection).map_err(|_| StoreError::Traces)?;
            self.pages.store(false, Ordering::Relaxed);
            self.log.store(true, Ordering::Relaxed);
        }
        if self.log.load(Ordering::Relaxed) {
            embedded::forget(connection)?;
            self.log.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Eraser {
    /// The eraser of this writer's file. What an earlier process left in the log is not known.
    pub(super) fn new(writer: Writer) -> Self {
        let owed = Owed { log: true.into(), pages: false.into() };
        Self { writer, owed: Arc::new(owed), hindered: Arc::default() }
    }

    /// Something was removed in another way.
    pub(super) fn owe(&self) {
        self.owed.log.store(true, Ordering::Relaxed);
    }

    /// Has something removed in a transaction, and then emptied out of the log; all of it is done even if nobody waits for it
    /// any more. [`StoreError::Traces`] while somebody reads the file: what was removed is gone, and every later call tries
    /// again to empty the log, whether or not it removes anything itself.
    pub(super) fn remove<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let owed = Arc::clone(&self.owed);
        self.writer.bare(move |connection| {
            let (done, changed) = in_transaction(connection, work)?;
            owed.log.fetch_or(changed, Ordering::Relaxed);
            owed.pay(connection)?;
            Ok(done)
        })
    }

    /// The same, and no byte of what was removed now or earlier is left in the file; it is written anew for that if
    /// `leaves` says so of what was done.
    pub(super) fn erase<T, W>(
        &self,
        leaves: fn(&T) -> bool,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let owed = Arc::clone(&self.owed);
        self.writer.bare(move |connection| {
            let (done, changed) = in_transaction(connection, work)?;
            owed.log.fetch_or(changed, Ordering::Relaxed);
            owed.pages.fetch_or(leaves(&done), Ordering::Relaxed);
            owed.pay(connection)?;
            Ok(done)
        })
    }

    /// Empties the log if it may hold texts that are removed and nobody reads the file now. Whatever else is to be written
    /// does not wait for readers; [`StoreError::Traces`] while there are some.
    pub(super) async fn empty(&self) -> Result<(), StoreError> {
        let hindered = || self.hindered.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.owed.log.load(Ordering::Relaxed) || hindered().is_some_and(|at| at.elapsed() < TRY_AGAIN) {
            return Ok(());
        }
        let owed = Arc::clone(&self.owed);
        let emptying = self.writer.bare(move |connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let emptied = embedded::forget(connection);
            connection.busy_timeout(embedded::BUSY_TIMEOUT)?;
            emptied?;
            owed.log.store(false, Ordering::Relaxed);
            Ok(())
        });
        let emptied = emptying.await;
        *hindered() = emptied.is_err().then(Instant::now);
        emptied
    }
}

/// What was done, and whether that changed anything.
fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<(T, bool), StoreError> {
    let before = connection.total_changes();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok((done, connection.total_changes() != before))
}
