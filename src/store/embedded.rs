//! The embedded store: one SQLite file, used from threads that may block.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The schema, step by step; a file knows how many steps it has seen. Steps are only ever added.
const SCHEMA: [&str; 1] = ["
    CREATE TABLE processes (
        id TEXT PRIMARY KEY,
        home TEXT NOT NULL,
        beat_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE leases (
        upstream TEXT NOT NULL,
        slot INTEGER NOT NULL,
        process TEXT NOT NULL,
        generation INTEGER NOT NULL,
        orphan INTEGER NOT NULL DEFAULT 0,
        opened_ms INTEGER NOT NULL,
        PRIMARY KEY (upstream, slot)
    ) STRICT;
"];

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file, and none can be made.
    #[error("the store's file cannot be opened: {0}; set state.ledger (TANDEM__STATE__LEDGER) to one that can")]
    File(#[from] std::io::Error),
    /// SQLite said no.
    #[error("the store cannot be used: {0}")]
    Sqlite(rusqlite::Error),
    /// The file is no store, or a damaged one.
    #[error(
        "the store's file is damaged, or was never one: {0}; with every process that uses it stopped, remove it, and a \
         new one is made"
    )]
    Damaged(rusqlite::Error),
    /// Somebody else uses it for longer than a transaction takes.
    #[error("the store is locked by another process: {0}; end what has its file open, and start again")]
    Locked(rusqlite::Error),
    /// It can be read and not written, or its disk is full.
    #[error("the store cannot be written: {0}; make room, or make its file and directory writable")]
    Unwritable(rusqlite::Error),
    /// A later version of Tandem has written the file.
    #[error(
        "the store was written by a later version of Tandem (schema {found}, this one knows {known}); run that one"
    )]
    TooNew {
        /// The file's schema.
        found: usize,
        /// Ours.
        known: usize,
    },
    /// The thread that worked on it is gone.
    #[error("the store's work was given up")]
    GivenUp,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(error),
            Some(ErrorCode::ReadOnly | ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
                Self::Unwritable(error)
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// An open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded {
    connection: Arc<Mutex<Connection>>,
}

impl Embedded {
    /// Opens the file, and makes it if there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its other files the mode of this one.
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Readers do not wait for writers; a lease that is written down survives a power failure.
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "secure_delete", "on")?;
        migrate(&mut connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Does one piece of work on a thread that may block.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let working = tokio::task::spawn_blocking(move || {
            // A piece of work that panicked left no transaction behind: its drop rolled it back.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        async move { Ok(working.await.map_err(|_| StoreError::GivenUp)??) }
    }
}

/// Brings the file to this version's schema, in one transaction: of two processes that start, one waits.
fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let missing = SCHEMA.get(found..).ok_or(StoreError::TooNew { found, known: SCHEMA.len() })?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX))?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_one_of_a_later_version_is_left_alone() {
        let path = std::env::temp_dir().join(format!("tandem-{}.sqlite", uuid::Uuid::new_v4()));
        Embedded::open(&path).unwrap();
        let again = Embedded::open(&path).unwrap();
        again.connection.lock().unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Embedded::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
        assert!(Embedded::open(Path::new("/dev/null/x")).is_err());
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
