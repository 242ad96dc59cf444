//! Records on their way: what a store does not take now waits in a file, and is brought to it later.
//!
//! A record is durable once [`Spool::keep`] says so, whether or not the store answers; a process that was killed goes on
//! where it stopped. The store takes each record once, so that one that is brought twice does no harm.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Store, StoreError, StoreFuture, embedded,
    record::{Ended, Line, Record, Speaker},
    writer::Writer,
};
use crate::protocol::ending::Ending;

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

/// A call that began and its end are two rows: the second says all that the first does.
const SCHEMA: [&str; 1] = ["
    CREATE TABLE waiting (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        ended INTEGER NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (session, ended)
    ) STRICT;
"];

/// A file of records on their way to a store. Clones share it.
#[derive(Clone)]
pub struct Spool {
    writer: Writer,
    store: Arc<dyn Store>,
    room: Room,
}

/// What is left after records were brought to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Records that the store took, or refused because their user was erased.
    pub records: u64,
    /// Records that could not be read any more, and were dropped.
    pub unreadable: u64,
}

impl Spool {
    /// Opens the file, and makes it if there is none.
    pub fn open(path: &Path, store: Arc<dyn Store>, room: Room) -> Result<Self, StoreError> {
        Ok(Self { writer: Writer::start(embedded::connect(path, &SCHEMA)?)?, store, room })
    }

    /// Keeps a record until the store has taken it: of a call that began, or of one that ended.
    pub fn keep(&self, record: &Record) -> StoreFuture<()> {
        let room = self.room;
        let (session, ended) = (record.session.to_string(), record.ended.is_some());
        let text = serde_json::to_string(&Waiting::of(record)).map_err(|_| StoreError::Unreadable("a record"));
        Box::pin(self.writer.run(move |transaction| {
            let text = text?;
            let (records, bytes): (i64, i64) = transaction
                .prepare_cached("SELECT count(*), coalesce(sum(octet_length(record)), 0) FROM waiting")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
            if records >= room.records.into() || bytes.saturating_add(length) > room.bytes.into() {
                return Err(StoreError::Full);
            }
            let sql = "INSERT OR IGNORE INTO waiting (session, ended, record) VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute(params![session, ended, text])?;
            Ok(())
        }))
    }

    /// Brings what waits to the store, the oldest first, and stops at the first record that the store does not take; the
    /// rest stays. To be called at the start, after each record, and now and then while the store is down.
    pub async fn bring(&self) -> Result<Brought, StoreError> {
        let mut brought = Brought { records: 0, unreadable: 0 };
        while let Some((number, text)) = self.writer.run(|transaction| Ok(oldest(transaction)?)).await? {
            match serde_json::from_str::<Waiting>(&text).ok().and_then(Waiting::record) {
                Some(record) => {
                    let taken =
                        if record.ended.is_some() { self.store.complete(record) } else { self.store.open(record) };
                    taken.await?;
                    brought.records += 1;
                }
                None => brought.unreadable += 1,
            }
            let remove = "DELETE FROM waiting WHERE number = ?1";
            self.writer.run(move |transaction| Ok(transaction.execute(remove, [number])?)).await?;
        }
        if brought.records + brought.unreadable > 0 {
            self.writer.bare(embedded::forget).await?;
        }
        Ok(brought)
    }

    /// How many records wait.
    pub fn waiting(&self) -> StoreFuture<u64> {
        Box::pin(self.writer.run(|transaction| {
            let count: i64 = transaction.query_row("SELECT count(*) FROM waiting", [], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        }))
    }
}

fn oldest(connection: &Connection) -> rusqlite::Result<Option<(i64, String)>> {
    connection
        .prepare_cached("SELECT number, record FROM waiting ORDER BY number LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// A record as it waits. Private texts have no way to be written down but this one.
#[derive(Serialize, Deserialize)]
struct Waiting {
    session: Uuid,
    user: String,
    persona: String,
    began_ms: i64,
    ended: Option<WaitingEnd>,
}

#[derive(Serialize, Deserialize)]
struct WaitingEnd {
    at_ms: i64,
    ending: Ending,
    talked_ms: i64,
    recap: String,
    lines: Vec<(String, i64, String)>,
}

impl Waiting {
    fn of(record: &Record) -> Self {
        let line = |line: &Line| (line.speaker.name().to_owned(), line.at_ms, line.text.expose().clone());
        let ended = record.ended.as_ref().map(|ended| WaitingEnd {
            at_ms: ended.at_ms,
            ending: ended.ending,
            talked_ms: ended.talked_ms,
            recap: ended.recap.expose().clone(),
            lines: ended.kept().map(line).collect(),
        });
        let (user, persona) = (record.user.expose().clone(), record.persona.clone());
        Self { session: record.session, user, persona, began_ms: record.began_ms, ended }
    }

    fn record(self) -> Option<Record> {
        let ended = match self.ended {
            None => None,
            Some(WaitingEnd { at_ms, ending, talked_ms, recap, lines }) => {
                let line = |(speaker, at_ms, text): (String, i64, String)| {
                    Some(Line { speaker: Speaker::named(&speaker)?, at_ms, text: text.into() })
                };
                let transcript = lines.into_iter().map(line).collect::<Option<_>>()?;
                Some(Ended { at_ms, ending, talked_ms, recap: recap.into(), transcript })
            }
        };
        let (user, persona) = (self.user.into(), self.persona);
        Some(Record { session: self.session, user, persona, began_ms: self.began_ms, ended })
    }
}
