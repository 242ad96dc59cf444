//! Records on their way: what a store does not take now waits in a file, and is brought to it later.
//!
//! A record is durable once [`Spool::keep`] says so, whether or not the store answers; a process that was killed goes on
//! where it stopped. The store takes each record once, so that one that is brought twice does no harm. What the store
//! refuses while it takes others is set aside, so that it is in nobody's way, and offered again now and then.

mod rows;
mod waiting;

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use uuid::Uuid;

use self::{
    rows::{Next, Row, SCHEMA},
    waiting::Waiting,
};
use super::{
    Store, StoreError, StoreFuture, digest, embedded,
    eraser::Eraser,
    error::Fault,
    now_ms,
    record::{Record, Written},
    seal::{Field, Place, Seal, SealError},
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
    eraser: Eraser,
    store: Arc<dyn Store>,
    room: Room,
    seal: Seal,
}

/// What became of one row.
struct Given {
    number: i64,
    /// Whether it is a call's end.
    ended: bool,
    outcome: Result<(), StoreError>,
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
        let writer = Writer::start(embedded::connect(path, &SCHEMA)?)?;
        Ok(Self { eraser: Eraser::new(writer.clone()), writer, store, room, seal: Seal::default() })
    }

    /// The same, with what waits sealed by these keys.
    #[must_use]
    pub fn sealed(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// Keeps a record until the store has taken it: of a call that began, or of one that ended. It is on its way at once,
    /// whether or not the answer is waited for.
    pub fn keep(&self, record: Record) -> StoreFuture<Written> {
        let (room, seal) = (self.room, self.seal.clone());
        Box::pin(self.writer.run(move |transaction| {
            let (session, ended) = (record.session, record.ended.is_some());
            let field = Field::Waiting { ended };
            let row = Row {
                session: session.to_string(),
                user: digest(record.user.expose()),
                ended,
                began_ms: record.began_ms,
                record: seal.seal(Place { session, field }, &Waiting::of(&record).text()?)?,
            };
            rows::keep(transaction, &row, room)
        }))
    }

    /// Brings what waits to the store, the oldest first, until the store cannot be reached; the rest stays. To be called at
    /// the start, after each record, and now and then while the store is down. An error is one of the file.
    pub async fn bring(&self) -> Result<Brought, StoreError> {
        let (mut brought, mut ends, mut refused, mut after) = (Brought::default(), 0, Vec::new(), 0);
        while !brought.is_down {
            let rows = self.writer.run(move |transaction| Ok(rows::next(transaction, "waiting", after)?)).await?;
            let Some(last) = rows.last() else { break };
            after = last.number;
            let (mut taken, mut late) = (Vec::new(), Vec::new());
            for Given { number, ended, outcome } in join_all(rows.into_iter().map(|row| self.give(row))).await {
                let Err(error) = outcome else {
                    ends += u64::from(ended);
                    taken.push(number);
                    continue;
                };
                match error.fault() {
                    Fault::Record => self.set_aside(number, &error, &mut brought).await?,
                    Fault::Outage => brought.is_down = true,
                    Fault::Refusal => refused.push((number, ended)),
                    Fault::Late => late.push((number, ended)),
                    // It waits for its key, for as long as that takes, and is in nobody's way.
                    Fault::Key => {}
                }
                if error.fault() != Fault::Record {
                    brought.trouble = Some(error.to_string());
                }
            }
            // A store that takes others meanwhile is not down: this one is too long for the way there.
            brought.is_down |= taken.is_empty() && !late.is_empty();
            refused.append(&mut late);
            brought.records += taken.len() as u64;
            self.writer.run(move |transaction| Ok(rows::remove(transaction, "waiting", &taken)?)).await?;
        }
        // One that is refused while others of its kind are taken is at fault itself; if none is taken the store may be, or
        // what we may do in it: ends are written where beginnings are not.
        refused.retain(|(_, ended)| if *ended { ends > 0 } else { brought.records > 0 });
        if !refused.is_empty() {
            let numbers: Vec<i64> = refused.into_iter().map(|(number, _)| number).collect();
            brought.set_aside += self.writer.run(move |transaction| rows::strike(transaction, &numbers)).await?;
        }
        self.tidy(brought.records + brought.set_aside > 0).await;
        Ok(brought)
    }

    /// Offers what was set aside to the store once more, the oldest first: what was in the way may be gone. Gives the number
    /// of records that it took, or refused because they were erased.
    pub async fn offer_again(&self) -> Result<u64, StoreError> {
        let (mut records, mut after) = (0, 0);
        loop {
            let rows = self.writer.run(move |transaction| Ok(rows::next(transaction, "aside", after)?)).await?;
            let Some(last) = rows.last() else { break };
            after = last.number;
            let given = join_all(rows.into_iter().map(|row| self.give(row))).await;
            let down = given.iter().any(|it| it.outcome.as_ref().is_err_and(|error| error.fault() == Fault::Outage));
            let taken: Vec<i64> = given.iter().filter(|it| it.outcome.is_ok()).map(|it| it.number).collect();
            records += taken.len() as u64;
            self.writer.run(move |transaction| Ok(rows::remove(transaction, "aside", &taken)?)).await?;
            if down {
                break;
            }
        }
        self.tidy(records > 0).await;
        Ok(records)
    }

    /// Removes from the store what has reached it of calls that were erased here at least so long ago, while they were on
    /// their way. Gives their number.
    pub async fn clean(&self, age: Duration) -> Result<u64, StoreError> {
        let (before_ms, mut after, mut calls) = (ago_ms(age), String::new(), 0);
        while let Some(session) =
            self.writer.run(move |transaction| Ok(rows::leftover(transaction, &after, before_ms)?)).await?
        {
            let id = session.parse().map_err(|_| StoreError::Unreadable("a session's name"))?;
            self.store.erase_session(id).await?;
            after = session.clone();
            self.writer.run(move |transaction| Ok(rows::cleaned(transaction, &session)?)).await?;
            calls += 1;
        }
        Ok(calls)
    }

    /// Gives one row to the store.
    async fn give(&self, row: Next) -> Given {
        let (number, ended) = (row.number, row.ended);
        let outcome = match self.read(row) {
            Ok(record) if record.ended.is_some() => self.store.complete(record).await.map(drop),
            Ok(record) => self.store.open(record).await.map(drop),
            Err(error) => Err(error),
        };
        Given { number, ended, outcome }
    }

    /// Empties the log if something was removed, now or before.
    async fn tidy(&self, removed: bool) {
        if removed {
            self.eraser.owe();
        }
        if let Err(error) = self.eraser.remove(|_| Ok(())).await {
            // Whoever erases something waits for this; what was brought is gone from the log a little later.
            tracing::debug!(%error, "the log of the spool is not empty yet");
        }
    }

    /// The record that waits. One that was damaged is none.
    fn read(&self, row: Next) -> Result<Record, StoreError> {
        let unreadable = StoreError::Unreadable("a record");
        let Ok(session) = row.session.parse() else { return Err(unreadable) };
        let place = Place { session, field: Field::Waiting { ended: row.ended } };
        match self.seal.open(place, row.record) {
            Ok(text) => Waiting::read(&text).ok_or(unreadable),
            Err(SealError::Damaged) => Err(unreadable),
            Err(error) => Err(error.into()),
        }
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
        let user = digest(user);
        // What was brought to the store before may have left copies here.
        Box::pin(self.eraser.erase(|_| true, move |transaction| Ok(rows::erase_user(transaction, user)?)))
    }

    /// The same of one call.
    pub fn erase_session(&self, session: Uuid) -> StoreFuture<u64> {
        let id = session.to_string();
        Box::pin(self.eraser.erase(|_| true, move |transaction| Ok(rows::erase_call(transaction, &id)?)))
    }

    /// Removes what was set aside longer ago than `age`, and everything of calls that began longer ago than `retention`;
    /// gives its number.
    pub fn expire(&self, age: Duration, retention: Option<Duration>) -> StoreFuture<u64> {
        let (aside_ms, since_ms) = (ago_ms(age), retention.map_or(i64::MIN, ago_ms));
        Box::pin(self.eraser.remove(move |transaction| Ok(rows::expire(transaction, aside_ms, since_ms)?)))
    }
}

/// So long ago, in milliseconds since 1970.
fn ago_ms(age: Duration) -> i64 {
    now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}
