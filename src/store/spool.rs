//! Records on their way: what a store does not take now waits in a file, and is brought to it later.
//!
//! A record is durable once [`Spool::keep`] says so, whether or not the store answers; a process that was killed goes on
//! where it stopped. The store takes each record once, so that one that is brought twice does no harm. What the store
//! refuses while it takes others is set aside, so that it is in nobody's way.

mod rows;
mod waiting;

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use uuid::Uuid;

use self::{
    rows::{Row, SCHEMA},
    waiting::Waiting,
};
use super::{
    Store, StoreError, StoreFuture, digest, embedded,
    error::Fault,
    now_ms,
    record::{Record, Written},
    writer::Writer,
};

/// The file's name in the state directory.
pub const FILE_NAME: &str = "spool.sqlite";

/// How much may wait; what is more is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Records.
    pub records: u32,
    /// What they take together, in bytes.
    pub bytes: u32,
}

impl Default for Room {
    fn default() -> Self {
        Self { records: 10_000, bytes: 256 << 20 }
    }
}

/// Records that are brought to the store at once.
const AT_ONCE: u32 = 16;
/// How often the store takes others before a record that it does not take is set aside.
pub const TRIES: u32 = 5;
/// The most records that are set aside; the oldest goes first.
pub const SET_ASIDE: u32 = 1_000;

/// A file of records on their way to a store. Clones share it.
#[derive(Clone)]
pub struct Spool {
    writer: Writer,
    store: Arc<dyn Store>,
    room: Room,
}

/// What became of records that were brought to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Records that the store took, or refused because their user was erased.
    pub records: u64,
    /// Records that were set aside now: the store will never take them.
    pub set_aside: u64,
    /// Why not all were taken, if some were not: the store cannot be reached, or refuses one that still waits.
    pub trouble: Option<String>,
    /// Whether it is the first: nothing can be brought for a while.
    pub is_down: bool,
}

impl Spool {
    /// Opens the file, and makes it if there is none.
    pub fn open(path: &Path, store: Arc<dyn Store>, room: Room) -> Result<Self, StoreError> {
        Ok(Self { writer: Writer::start(embedded::connect(path, &SCHEMA)?)?, store, room })
    }

    /// Keeps a record until the store has taken it: of a call that began, or of one that ended. It is on its way at once,
    /// whether or not the answer is waited for.
    pub fn keep(&self, record: Record) -> StoreFuture<Written> {
        let room = self.room;
        Box::pin(self.writer.run(move |transaction| {
            let row = Row {
                session: record.session.to_string(),
                user: digest(record.user.expose()),
                ended: record.ended.is_some(),
                record: Waiting::of(&record).text()?,
            };
            rows::keep(transaction, &row, room)
        }))
    }

    /// Brings what waits to the store, the oldest first, until the store cannot be reached; the rest stays. To be called at
    /// the start, after each record, and now and then while the store is down. An error is one of the file.
    pub async fn bring(&self) -> Result<Brought, StoreError> {
        let (mut brought, mut refused, mut after) = (Brought::default(), Vec::new(), 0);
        while !brought.is_down {
            let rows = self.writer.run(move |transaction| Ok(rows::next(transaction, after)?)).await?;
            let Some((last, _)) = rows.last() else { break };
            after = *last;
            let mut taken = Vec::new();
            for (number, outcome) in join_all(rows.into_iter().map(|row| self.give(row))).await {
                match outcome.map_err(|error| (error.fault(), error)) {
                    Ok(()) => taken.push(number),
                    Err((Fault::Record, error)) => self.set_aside(number, &error, &mut brought).await?,
                    Err((fault, error)) => {
                        brought.is_down |= fault == Fault::Outage;
                        refused.extend((fault == Fault::Refusal).then_some(number));
                        brought.trouble = Some(error.to_string());
                    }
                }
            }
            brought.records += taken.len() as u64;
            self.writer.run(move |transaction| Ok(rows::remove(transaction, &taken)?)).await?;
        }
        // One that is refused while others are taken is at fault itself; if none is taken the store may be.
        if brought.records > 0 && !refused.is_empty() {
            brought.set_aside += self.writer.run(move |transaction| rows::strike(transaction, &refused)).await?;
        }
        if brought.records + brought.set_aside > 0
            && let Err(error) = self.writer.bare(embedded::forget).await
        {
            // Whoever erases something waits for this; what was brought is gone from the log a little later.
            tracing::debug!(%error, "the log of the spool is not empty yet");
        }
        Ok(brought)
    }

    /// Gives one row to the store.
    async fn give(&self, (number, text): (i64, String)) -> (i64, Result<(), StoreError>) {
        let given = match Waiting::read(&text) {
            Some(record) if record.ended.is_some() => self.store.complete(record).await.map(drop),
            Some(record) => self.store.open(record).await.map(drop),
            None => Err(StoreError::Unreadable("a record")),
        };
        (number, given)
    }

    async fn set_aside(&self, number: i64, error: &StoreError, brought: &mut Brought) -> Result<(), StoreError> {
        tracing::error!(%error, "a record of a call cannot be stored, and is set aside");
        self.writer.run(move |transaction| Ok(rows::set_aside(transaction, number)?)).await?;
        brought.set_aside += 1;
        Ok(())
    }

    /// How many records wait. The answer comes after all that was given to [`Spool::keep`] before.
    pub fn waiting(&self) -> StoreFuture<u64> {
        Box::pin(self.writer.run(|transaction| Ok(rows::count(transaction, "waiting")?)))
    }

    /// How many records are set aside.
    pub fn aside(&self) -> StoreFuture<u64> {
        Box::pin(self.writer.run(|transaction| Ok(rows::count(transaction, "aside")?)))
    }

    /// Removes what waits or is set aside of this user, for good: later records of it are not kept. Gives their number.
    pub fn erase(&self, user: &str) -> StoreFuture<u64> {
        let (this, user) = (self.clone(), digest(user));
        Box::pin(async move {
            let removed = this.writer.run(move |transaction| Ok(rows::erase_user(transaction, user)?)).await?;
            this.writer.bare(embedded::forget).await?;
            Ok(removed)
        })
    }

    /// The same of one call.
    pub fn erase_session(&self, session: Uuid) -> StoreFuture<u64> {
        let this = self.clone();
        Box::pin(async move {
            let id = session.to_string();
            let removed = this.writer.run(move |transaction| Ok(rows::erase_call(transaction, &id)?)).await?;
            this.writer.bare(embedded::forget).await?;
            Ok(removed)
        })
    }

    /// Removes what was set aside longer ago than this; gives its number.
    pub fn expire(&self, age: Duration) -> StoreFuture<u64> {
        let since_ms = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        Box::pin(self.writer.run(move |transaction| Ok(rows::expire(transaction, since_ms)?)))
    }
}
