//! The tables of the spool's file.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{AT_ONCE, Room, SET_ASIDE, TRIES};
use crate::store::{StoreError, now_ms, record::Written};

/// The schema, step by step; a file knows how many steps it has seen. Steps are only ever added.
pub(super) const SCHEMA: [&str; 1] = ["
    CREATE TABLE waiting (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        ended INTEGER NOT NULL,
        user BLOB NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        record TEXT NOT NULL,
        UNIQUE (session, ended)
    ) STRICT;
    CREATE TABLE aside (
        number INTEGER PRIMARY KEY,
        session TEXT NOT NULL,
        user BLOB NOT NULL,
        at_ms INTEGER NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE erased (
        user BLOB PRIMARY KEY
    ) STRICT;
    CREATE TABLE erased_sessions (
        id TEXT PRIMARY KEY
    ) STRICT;
"];

/// A record that is to wait.
pub(super) struct Row {
    pub(super) session: String,
    /// A digest: whose record it is can be asked, and not read.
    pub(super) user: [u8; 32],
    pub(super) ended: bool,
    pub(super) record: String,
}

/// Keeps a record. An end takes the place of its call's beginning: it says all that that does.
pub(super) fn keep(connection: &Connection, row: &Row, room: Room) -> Result<Written, StoreError> {
    let Row { session, user, ended, record } = row;
    let sql = "SELECT EXISTS (SELECT 1 FROM erased WHERE user = ?1)
               OR EXISTS (SELECT 1 FROM erased_sessions WHERE id = ?2)";
    if connection.prepare_cached(sql)?.query_row(params![user, session], |row| row.get(0))? {
        return Ok(Written::Erased);
    }
    if *ended {
        let sql = "DELETE FROM waiting WHERE session = ?1 AND ended = 0";
        connection.prepare_cached(sql)?.execute([session])?;
    }
    let (records, bytes): (i64, i64) = connection
        .prepare_cached("SELECT count(*), coalesce(sum(octet_length(record)), 0) FROM waiting")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let length = i64::try_from(record.len()).unwrap_or(i64::MAX);
    if records >= room.records.into() || bytes.saturating_add(length) > room.bytes.into() {
        return Err(StoreError::Full);
    }
    let sql = "INSERT OR IGNORE INTO waiting (session, ended, user, record) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.execute(params![session, ended, user, record])?;
    Ok(Written::Kept)
}

/// The first records after the one of this number.
pub(super) fn next(connection: &Connection, after: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    let sql = "SELECT number, record FROM waiting WHERE number > ?1 ORDER BY number LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    select.query_map(params![after, AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

pub(super) fn remove(connection: &Connection, numbers: &[i64]) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM waiting WHERE number = ?1")?;
    numbers.iter().try_for_each(|number| delete.execute([number]).map(drop))
}

/// Counts one more refusal against each of these, and sets those aside that have had enough; gives their number.
pub(super) fn strike(connection: &Connection, numbers: &[i64]) -> Result<u64, StoreError> {
    let mut aside = 0;
    for number in numbers {
        let sql = "UPDATE waiting SET tries = tries + 1 WHERE number = ?1 RETURNING tries";
        let tries: Option<u32> = connection.query_row(sql, [number], |row| row.get(0)).optional()?;
        if tries.is_some_and(|tries| tries >= TRIES) {
            set_aside(connection, *number)?;
            aside += 1;
        }
    }
    Ok(aside)
}

/// Puts a record where it is in nobody's way.
pub(super) fn set_aside(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO aside (number, session, user, at_ms, record)
               SELECT number, session, user, ?2, record FROM waiting WHERE number = ?1";
    connection.execute(sql, params![number, now_ms()])?;
    remove(connection, &[number])?;
    let sql = "DELETE FROM aside WHERE number NOT IN (SELECT number FROM aside ORDER BY number DESC LIMIT ?1)";
    connection.execute(sql, [SET_ASIDE])?;
    Ok(())
}

pub(super) fn count(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Removes everything of a user, and remembers that it did.
pub(super) fn erase_user(connection: &Connection, user: [u8; 32]) -> rusqlite::Result<u64> {
    connection.execute("INSERT OR IGNORE INTO erased (user) VALUES (?1)", [user])?;
    let waiting = connection.execute("DELETE FROM waiting WHERE user = ?1", [user])?;
    Ok((waiting + connection.execute("DELETE FROM aside WHERE user = ?1", [user])?) as u64)
}

/// Removes everything of a call, and remembers that it did.
pub(super) fn erase_call(connection: &Connection, session: &str) -> rusqlite::Result<u64> {
    connection.execute("INSERT OR IGNORE INTO erased_sessions (id) VALUES (?1)", [session])?;
    let waiting = connection.execute("DELETE FROM waiting WHERE session = ?1", [session])?;
    Ok((waiting + connection.execute("DELETE FROM aside WHERE session = ?1", [session])?) as u64)
}

pub(super) fn expire(connection: &Connection, since_ms: i64) -> rusqlite::Result<u64> {
    Ok(connection.execute("DELETE FROM aside WHERE at_ms < ?1", [since_ms])? as u64)
}
