//! Records on their way: what a store does not take now waits in a file, and is brought to it later.
//!
//! A record is durable once [`Spool::keep`] says so, whether or not the store answers; a process that was killed goes on
//! where it stopped. The store takes each record once, so that one that is brought twice does no harm. What the store
//! refuses while it takes others is set aside, so that it is in nobody's way, and offered again now and then.

mod course;
mod rows;
mod waiting;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use uuid::Uuid;

use self::{
    course::{Batch, Course},
    rows::{Next, Row, SCHEMA},
    waiting::Waiting,
};
use super::{
    Findings, Store, StoreError, StoreFuture, digest, embedded,
    eraser::Eraser,
    error::Fault,
    now_ms,
    record::{Record, Written},
    seal::{Field, Place, Seal, SealError},
    writer::Writer,
};

/// The file's name in the state directory.
pub const FILE_NAME: &str = "spool.sqlite";

/// How much may wait; what is more is refused. The last fifth is for ends: a call whose beginning was kept should not be
/// taken for lost later. Beside it a quarter of the bytes is for what is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Records.
    pub records: u32,
    /// What they take together, in bytes.
    pub bytes: u32,
}

impl Room {
    /// For ends, or for beginnings.
    fn share(self, ended: bool) -> Self {
        let part = |all: u32| if ended { all } else { all - all.div_ceil(5) };
        Self { records: part(self.records), bytes: part(self.bytes) }
    }

    /// For what is set aside.
    fn aside(self) -> Self {
        Self { records: SET_ASIDE, bytes: self.bytes / 4 }
    }
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
    suspended: Arc<Mutex<Option<Course>>>,
}

/// What became of one row.
#[derive(Debug)]
struct Given {
    number: i64,
    /// Whether it is a call's end.
    ended: bool,
    outcome: Result<Written, StoreError>,
}

/// What became of records that were brought to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Records that the store took.
    pub records: u64,
    /// Records that it refused because they were erased.
    pub erased: u64,
    /// Records that were set aside now: the store will never take them.
    pub set_aside: u64,
    /// Records that had been set aside and are gone, because there is no room for more.
    pub dropped: u64,
    /// Why not all were taken, if some were not: the store cannot be reached, or refuses some that still wait.
    pub trouble: Option<String>,
    /// Whether the store takes nothing: for a while none is to be brought.
    pub is_down: bool,
}

impl Spool {
    /// Opens the file, and makes it if there is none.
    pub fn open(path: &Path, store: Arc<dyn Store>, room: Room) -> Result<Self, StoreError> {
        let connection = embedded::connect(path, &SCHEMA)?;
        rows::prepare(&connection)?;
        let writer = Writer::start(connection)?;
        let (eraser, suspended) = (Eraser::new(writer.clone()), Arc::default());
        Ok(Self { eraser, writer, store, room, seal: Seal::default(), suspended })
    }

    /// What waits in a file, which is neither made nor changed.
    pub fn look_at(path: &Path) -> Result<Findings, StoreError> {
        if !path.exists() {
            return Ok(Findings::default());
        }
        let file = embedded::connect_to_read(path, &SCHEMA)?;
        let (waiting, aside) = (rows::count(&file, "waiting")?, rows::count(&file, "aside")?);
        let name = path.display();
        let warning = format!("{name}: {aside} records of calls are set aside, because the store refuses them");
        Ok(Findings {
            facts: vec![format!("{name}: {waiting} records of calls wait for the store")],
            warnings: if aside > 0 { vec![warning] } else { Vec::new() },
        })
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

    /// Brings what waits to the store, the oldest first, until the store takes none; the rest stays. To be called at the
    /// start, after each record, and now and then while the store is down. An error is one of the file.
    pub async fn bring(&self) -> Result<Brought, StoreError> {
        let (mut brought, suspended) = (Brought::default(), self.suspended().take());
        let went_on = match suspended {
            Some(course) => self.pursue(course, &mut brought).await?,
            None => false,
        };
        if !went_on {
            self.pursue(Course::default(), &mut brought).await?;
        }
        if brought.dropped > 0 {
            tracing::error!(
                records = brought.dropped,
                "there is no room for what was set aside, and the oldest is gone"
            );
        }
        self.tidy(brought.records + brought.erased + brought.set_aside + brought.dropped > 0).await;
        Ok(brought)
    }

    /// Offers to the store what comes next, until it takes none. Says whether there was anything.
    async fn pursue(&self, mut course: Course, brought: &mut Brought) -> Result<bool, StoreError> {
        let (mut is_vain, began_at) = (false, course.after);
        while !brought.is_down {
            let after = course.after;
            let rows = self.writer.run(move |transaction| Ok(rows::next(transaction, "waiting", after)?)).await?;
            let Some(last) = rows.last() else { break };
            course.after = last.number;
            let batch = course.pass(join_all(rows.into_iter().map(|row| self.give(row))).await);
            is_vain = batch.is_vain && !batch.is_down;
            brought.is_down = batch.is_vain || batch.is_down;
            self.settle(batch, brought).await?;
        }
        let offered = course.after != began_at;
        brought.trouble.clone_from(&course.trouble);
        if is_vain {
            *self.suspended() = Some(course);
        } else {
            self.strike(course.at_fault(), brought).await?;
        }
        Ok(offered)
    }

    /// Where the last round stopped, because the store took nothing.
    fn suspended(&self) -> MutexGuard<'_, Option<Course>> {
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does with records what became of them.
    async fn settle(&self, batch: Batch, brought: &mut Brought) -> Result<(), StoreError> {
        let Batch { settled, taken, unfit, locked, .. } = batch;
        brought.records += taken;
        brought.erased += settled.len() as u64 - taken;
        brought.set_aside += unfit.len() as u64;
        for (_, error) in &unfit {
            tracing::error!(%error, "a record of a call cannot be stored, and is set aside");
        }
        let (room, unfit) = (self.room, unfit.into_iter().map(|(number, _)| number).collect::<Vec<_>>());
        let settling = self.writer.run(move |transaction| {
            rows::remove(transaction, "waiting", &settled)?;
            rows::lock(transaction, &locked)?;
            unfit.iter().try_fold(0, |dropped, number| Ok(dropped + rows::set_aside(transaction, *number, room)?))
        });
        brought.dropped += settling.await?;
        Ok(())
    }

    /// Counts one more refusal against each of these, and sets those aside that have had enough.
    async fn strike(&self, numbers: Vec<i64>, brought: &mut Brought) -> Result<(), StoreError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let room = self.room;
        let striking = self.writer.run(move |transaction| rows::strike(transaction, &numbers, room));
        let (set_aside, dropped) = striking.await?;
        brought.set_aside += set_aside;
        brought.dropped += dropped;
        Ok(())
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
            Ok(record) if record.ended.is_some() => self.store.complete(record).await,
            Ok(record) => self.store.open(record).await,
            Err(error) => Err(error),
        };
        Given { number, ended, outcome }
    }

    /// Empties the log if something was removed, now or before.
    async fn tidy(&self, removed: bool) {
        if removed {
            self.eraser.owe();
        }
        if let Err(error) = self.eraser.empty().await {
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

    /// How many records wait. The answer comes after all that was given to [`Spool::keep`] before.
    pub fn waiting(&self) -> StoreFuture<u64> {
        Box::pin(self.writer.run(|transaction| Ok(rows::held(transaction, "waiting")?.records)))
    }

    /// How many records are set aside.
    pub fn aside(&self) -> StoreFuture<u64> {
        Box::pin(self.writer.run(|transaction| Ok(rows::held(transaction, "aside")?.records)))
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
