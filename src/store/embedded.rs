//! The embedded store: one SQLite file, used from threads that may block.

use std::{
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// How long a writer waits for another process's transaction.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The schema of the record of leases, step by step; a file knows how many steps it has seen. Steps are only ever added.
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

/// An open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded {
    connection: Arc<Mutex<Connection>>,
}

impl Embedded {
    /// Opens the record of leases in this file, and makes it if there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(connect(path, &SCHEMA)?))
    }

    /// A store on a connection that is open.
    pub(super) fn on(connection: Connection) -> Self {
        Self { connection: Arc::new(Mutex::new(connection)) }
    }

    /// Does one piece of work on a thread that may block.
    pub fn run<T, E, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, E, W>
    where
        T: Send + 'static,
        E: Send + 'static,
        StoreError: From<E>,
        W: FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let working = tokio::task::spawn_blocking(move || {
            // A piece of work that panicked left no transaction behind: its drop rolled it back.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        async move { Ok(working.await.map_err(|_| StoreError::GivenUp)??) }
    }
}

/// Opens a file of this schema, and makes it if there is none.
pub(super) fn connect(path: &Path, schema: &[&str]) -> Result<Connection, StoreError> {
    // SQLite gives its other files the mode of this one. A file that is there must not be opened but by SQLite: closing it
    // again would take every lock of this process with it (howtocorrupt.html, 2.2), and whoever looked at the file next
    // would take it for unused and remove its log.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Readers do not wait for writers; what is written down survives a power failure.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "secure_delete", "on")?;
    migrate(&mut connection, schema)?;
    Ok(connection)
}

/// Opens a file that is there, and changes nothing in it.
pub(super) fn connect_to_read(path: &Path, schema: &[&str]) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    missing(&connection, schema)?;
    Ok(connection)
}

/// The steps that the file has not seen.
fn missing<'a>(connection: &Connection, schema: &'a [&'a str]) -> Result<&'a [&'a str], StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    schema.get(found..).ok_or(StoreError::TooNew { found, known: schema.len() })
}

/// Brings the file to this version's schema, in one transaction: of two processes that start, one waits.
fn migrate(connection: &mut Connection, schema: &[&str]) -> Result<(), StoreError> {
    // Nothing is written where nothing is missing: a disk that is full is no reason not to start.
    if missing(connection, schema)?.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in missing(&transaction, schema)? {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(schema.len()).unwrap_or(i64::MAX))?;
    Ok(transaction.commit()?)
}

/// Writes the file anew. Deleting overwrites a row where it is now; copies from where it was before pages were split or
/// joined stay in their unused parts, and nothing else finds those. Takes memory and time as the file is large.
pub(super) fn rewrite(connection: &Connection) -> Result<(), StoreError> {
    // The new pages are not for a folder that others see, and some hosts have none that can be written.
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection.execute_batch("VACUUM")?)
}

/// Empties the file's log, in which texts that are deleted from the file would stay for a while.
pub(super) fn forget(connection: &mut Connection) -> Result<(), StoreError> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy { Err(StoreError::Traces) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether another process takes a lock on the file for one of somebody who uses it.
    fn is_held(path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
        std::fs::read_to_string("/proc/locks").unwrap().lines().any(|lock| lock.contains(&inode))
    }

    #[test]
    fn a_file_that_is_opened_again_is_still_held() {
        let path = std::env::temp_dir().join(format!("tandem-{}.sqlite", uuid::Uuid::new_v4()));
        let first = Embedded::open(&path).unwrap();
        assert!(is_held(&path), "by who made it");
        let second = Embedded::open(&path).unwrap();
        assert!(is_held(&path), "the second opening took no lock away");
        drop((first, second));
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }

    #[test]
    fn a_file_that_has_all_its_tables_is_opened_without_writing_to_it() {
        let path = std::env::temp_dir().join(format!("tandem-{}.sqlite", uuid::Uuid::new_v4()));
        let other = connect(&path, &SCHEMA).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(connect(&path, &SCHEMA).is_ok(), "nobody else can write now");
        let more = [SCHEMA[0], "CREATE TABLE a (b)"];
        assert!(matches!(connect(&path, &more), Err(StoreError::Locked(_))));
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }

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
