//! The record of leases in the embedded store.
//!
//! Every process has a row with its last beat; a lease's row names its process. Whether a process lives is judged by
//! the clock of the store, which all that share the file have in common. A process of the same home (its state
//! directory, which one process at a time holds) is known to be dead as soon as its successor runs.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params};

use uuid::Uuid;

use super::{StoreError, embedded::Embedded};
use crate::pool::ledger::{Foreign, LeaseLedger, LedgerError, LedgerFuture, Opened, SlotKey};

/// After how long without a beat a process counts as dead.
pub const EXPIRY: Duration = Duration::from_secs(10);

/// The store's clock, in milliseconds since 1970.
const NOW_MS: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// The processes that live, this one among them.
const LIVING: &str = "SELECT id FROM processes
    WHERE id = :me OR (home <> :home AND beat_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER) - :expiry_ms)";

/// This process's side of the record.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    store: Embedded,
    me: String,
    home: String,
    expiry_ms: i64,
}

impl SqliteLedger {
    /// The record of the process `me` (never used twice) with this home, for example the state directory's own id.
    pub fn new(store: Embedded, me: impl ToString, home: impl Into<String>, expiry: Duration) -> Self {
        let expiry_ms = i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX);
        Self { store, me: me.to_string(), home: home.into(), expiry_ms }
    }

    /// This process's side of the record in `file`. Its home is `directory`, which this process alone uses: what an
    /// earlier one from there has left is known to be nobody's.
    pub fn open(file: &Path, directory: &Path) -> Result<Self, StoreError> {
        let home = home(directory)?;
        Ok(Self::new(Embedded::open(file)?, Uuid::new_v4(), home, EXPIRY))
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &Self) -> rusqlite::Result<T> + Send + 'static,
    ) -> LedgerFuture<T> {
        let this = self.clone();
        let working = self.store.run(move |connection| work(connection, &this));
        Box::pin(async move { working.await.map_err(|error: StoreError| LedgerError(error.to_string())) })
    }
}

/// The directory's own name, made once: paths are alike on many machines. A directory that is not there is made.
pub fn home(directory: &Path) -> io::Result<String> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = directory.join("instance");
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(Uuid::new_v4().to_string().as_bytes())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let name = fs::read_to_string(path)?;
    // An empty one is of a process that was stopped in the middle: as good as none, and never anybody else's.
    Ok(if name.is_empty() { Uuid::new_v4().to_string() } else { name })
}

fn signed(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

const fn opened(rows: usize) -> Opened {
    if rows == 0 { Opened::Theirs } else { Opened::Ours }
}

impl LeaseLedger for SqliteLedger {
    fn open(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened> {
        self.run(move |connection, this| {
            let sql = format!(
                "INSERT INTO leases (upstream, slot, process, generation, opened_ms)
                 VALUES (:upstream, :slot, :me, :generation, {NOW_MS})
                 ON CONFLICT (upstream, slot) DO UPDATE
                 SET generation = excluded.generation, opened_ms = excluded.opened_ms
                 WHERE process = excluded.process AND orphan = 0"
            );
            let rows = connection.execute(
                &sql,
                named_params! { ":upstream": slot.upstream, ":slot": slot.slot, ":me": this.me,
                ":generation": signed(generation) },
            )?;
            Ok(opened(rows))
        })
    }

    fn clear(&self, slot: SlotKey, generation: u64) -> LedgerFuture<()> {
        self.run(move |connection, this| {
            connection.execute(
                "DELETE FROM leases WHERE upstream = :upstream AND slot = :slot AND process = :me
                 AND generation <= :generation",
                named_params! { ":upstream": slot.upstream, ":slot": slot.slot, ":me": this.me,
                ":generation": signed(generation) },
            )?;
            Ok(())
        })
    }

    fn adopt(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened> {
        self.run(move |connection, this| {
            let sql = format!(
                "UPDATE leases SET process = :me, generation = :generation, orphan = 1
                 WHERE upstream = :upstream AND slot = :slot
                 AND (process NOT IN ({LIVING}) OR (process = :me AND orphan = 1))"
            );
            let rows = connection.execute(
                &sql,
                named_params! { ":upstream": slot.upstream, ":slot": slot.slot, ":me": this.me, ":home": this.home,
                ":expiry_ms": this.expiry_ms, ":generation": signed(generation) },
            )?;
            Ok(opened(rows))
        })
    }

    fn foreign(&self) -> LedgerFuture<Vec<Foreign>> {
        self.run(|connection, this| {
            let sql = format!(
                "SELECT upstream, slot, process <> :me AND process IN ({LIVING}) FROM leases
                 WHERE process <> :me OR orphan = 1 ORDER BY 1, 2"
            );
            let mut select = connection.prepare(&sql)?;
            let rows = select.query_map(
                named_params! { ":me": this.me, ":home": this.home, ":expiry_ms": this.expiry_ms },
                |row| Ok(Foreign { slot: SlotKey { upstream: row.get(0)?, slot: row.get(1)? }, alive: row.get(2)? }),
            )?;
            rows.collect()
        })
    }

    fn beat(&self) -> LedgerFuture<bool> {
        self.run(|connection, this| {
            // It reads first: one that did not say at once that it writes would be refused, and not wait, when another
            // process writes in between.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = format!("SELECT beat_ms > {NOW_MS} - :expiry_ms FROM processes WHERE id = :me");
            let known: Option<bool> = transaction
                .query_row(&sql, named_params! { ":me": this.me, ":expiry_ms": this.expiry_ms }, |row| row.get(0))
                .optional()?;
            let sql = format!(
                "INSERT INTO processes (id, home, beat_ms) VALUES (:me, :home, {NOW_MS})
                 ON CONFLICT (id) DO UPDATE SET beat_ms = excluded.beat_ms"
            );
            transaction.execute(&sql, named_params! { ":me": this.me, ":home": this.home })?;
            // Processes that are dead and have left nothing are not of interest to anybody.
            let sql =
                format!("DELETE FROM processes WHERE id NOT IN ({LIVING}) AND id NOT IN (SELECT process FROM leases)");
            transaction
                .execute(&sql, named_params! { ":me": this.me, ":home": this.home, ":expiry_ms": this.expiry_ms })?;
            transaction.commit()?;
            Ok(known.unwrap_or(true))
        })
    }

    fn retire(&self) -> LedgerFuture<()> {
        self.run(|connection, this| {
            connection.execute("DELETE FROM processes WHERE id = :me", named_params! { ":me": this.me })?;
            Ok(())
        })
    }

    fn expiry(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.expiry_ms).unwrap_or_default())
    }
}
