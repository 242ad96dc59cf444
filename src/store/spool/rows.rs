//! The tables of the spool's file.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{AT_ONCE, Room, TRIES};
use crate::store::{StoreError, now_ms, record::Written};

/// The schema, step by step; a file knows how many steps it has seen. Steps are only ever added.
pub(super) const SCHEMA: [&str; 3] = [
    "
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
",
    // Calls that were erased on their way: of one that was being brought then, something may reach the store still.
    "
    ALTER TABLE waiting ADD COLUMN began_ms INTEGER;
    ALTER TABLE aside ADD COLUMN began_ms INTEGER;
    ALTER TABLE aside ADD COLUMN ended INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE leftovers (
        session TEXT PRIMARY KEY,
        at_ms INTEGER NOT NULL
    ) STRICT;
",
    // How much there is in each table: a sum over all of it would read all of it for each record that is kept.
    "
    CREATE TABLE held (
        place TEXT PRIMARY KEY,
        records INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    INSERT INTO held SELECT 'waiting', count(*), coalesce(sum(octet_length(record)), 0) FROM waiting;
    INSERT INTO held SELECT 'aside', count(*), coalesce(sum(octet_length(record)), 0) FROM aside;
    CREATE TRIGGER waiting_comes AFTER INSERT ON waiting BEGIN
        UPDATE held SET records = records + 1, bytes = bytes + octet_length(new.record) WHERE place = 'waiting';
    END;
    CREATE TRIGGER waiting_goes AFTER DELETE ON waiting BEGIN
        UPDATE held SET records = records - 1, bytes = bytes - octet_length(old.record) WHERE place = 'waiting';
    END;
    CREATE TRIGGER waiting_changes AFTER UPDATE OF record ON waiting BEGIN
        UPDATE held SET bytes = bytes - octet_length(old.record) + octet_length(new.record) WHERE place = 'waiting';
    END;
    CREATE TRIGGER aside_comes AFTER INSERT ON aside BEGIN
        UPDATE held SET records = records + 1, bytes = bytes + octet_length(new.record) WHERE place = 'aside';
    END;
    CREATE TRIGGER aside_goes AFTER DELETE ON aside BEGIN
        UPDATE held SET records = records - 1, bytes = bytes - octet_length(old.record) WHERE place = 'aside';
    END;
    CREATE TRIGGER aside_changes AFTER UPDATE OF record ON aside BEGIN
        UPDATE held SET bytes = bytes - octet_length(old.record) + octet_length(new.record) WHERE place = 'aside';
    END;
",
];

/// Makes what is known for as long as the process lives: the records whose key it has not.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA temp_store = memory; CREATE TEMP TABLE locked (number INTEGER PRIMARY KEY) STRICT")
}

/// A record that is to wait.
pub(super) struct Row {
    pub(super) session: String,
    /// A digest: whose record it is can be asked, and not read.
    pub(super) user: [u8; 32],
    pub(super) ended: bool,
    pub(super) began_ms: i64,
    pub(super) record: String,
}

/// Keeps a record. An end takes the place of its call's beginning: it says all that that does.
pub(super) fn keep(connection: &Connection, row: &Row, room: Room) -> Result<Written, StoreError> {
    let Row { session, user, ended, began_ms, record } = row;
    let sql = "SELECT EXISTS (SELECT 1 FROM erased WHERE user = ?1)
               OR EXISTS (SELECT 1 FROM erased_sessions WHERE id = ?2)";
    if connection.prepare_cached(sql)?.query_row(params![user, session], |row| row.get(0))? {
        return Ok(Written::Erased);
    }
    if *ended {
        let sql = "DELETE FROM waiting WHERE session = ?1 AND ended = 0";
        connection.prepare_cached(sql)?.execute([session])?;
    }
    if !held(connection, "waiting")?.leaves_room_for(record.len() as u64, room.share(*ended)) {
        return Err(StoreError::SpoolFull { records: room.records, bytes: room.bytes });
    }
    let sql = "INSERT OR IGNORE INTO waiting (session, ended, user, began_ms, record) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![session, ended, user, began_ms, record])?;
    Ok(Written::Kept)
}

/// How much there is of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Held {
    fn leaves_room_for(self, bytes: u64, room: Room) -> bool {
        self.records < room.records.into() && self.bytes.saturating_add(bytes) <= room.bytes.into()
    }
}

/// How much there is in this table.
pub(super) fn held(connection: &Connection, table: &str) -> rusqlite::Result<Held> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Held { records: row.get::<_, i64>(0)?.unsigned_abs(), bytes: row.get::<_, i64>(1)?.unsigned_abs() })
    };
    connection.prepare_cached("SELECT records, bytes FROM held WHERE place = ?1")?.query_row([table], read)
}

/// A record that waits.
pub(super) struct Next {
    pub(super) number: i64,
    pub(super) session: String,
    pub(super) ended: bool,
    pub(super) record: String,
}

/// The first records after the one of this number, of `waiting` or `aside`, but those that cannot be read.
pub(super) fn next(connection: &Connection, table: &str, after: i64) -> rusqlite::Result<Vec<Next>> {
    let sql = format!(
        "SELECT number, session, ended, record FROM {table}
         WHERE number > ?1 AND number NOT IN (SELECT number FROM locked) ORDER BY number LIMIT ?2"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Next { number: row.get(0)?, session: row.get(1)?, ended: row.get(2)?, record: row.get(3)? })
    };
    select.query_map(params![after, AT_ONCE], read)?.collect()
}

pub(super) fn remove(connection: &Connection, table: &str, numbers: &[i64]) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached(&format!("DELETE FROM {table} WHERE number = ?1"))?;
    numbers.iter().try_for_each(|number| delete.execute([number]).map(drop))
}

/// Has these left alone for as long as the process lives: it has not their key, and will not get it.
pub(super) fn lock(connection: &Connection, numbers: &[i64]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO locked (number) VALUES (?1)")?;
    numbers.iter().try_for_each(|number| insert.execute([number]).map(drop))
}

/// Counts one more refusal against each of these, and sets those aside that have had enough; gives their number, and that
/// of those that were dropped for them.
pub(super) fn strike(connection: &Connection, numbers: &[i64], room: Room) -> Result<(u64, u64), StoreError> {
    let (mut aside, mut dropped) = (0, 0);
    for number in numbers {
        let sql = "UPDATE waiting SET tries = tries + 1 WHERE number = ?1 RETURNING tries";
        let tries: Option<u32> = connection.query_row(sql, [number], |row| row.get(0)).optional()?;
        if tries.is_some_and(|tries| tries >= TRIES) {
            dropped += set_aside(connection, *number, room)?;
            aside += 1;
        }
    }
    Ok((aside, dropped))
}

/// Puts a record where it is in nobody's way. Gives the number of those that there is no room for any more; the oldest go
/// first.
pub(super) fn set_aside(connection: &Connection, number: i64, room: Room) -> Result<u64, StoreError> {
    let sql = "INSERT INTO aside (number, session, ended, user, at_ms, began_ms, record)
               SELECT number, session, ended, user, ?2, began_ms, record FROM waiting WHERE number = ?1";
    connection.execute(sql, params![number, now_ms()])?;
    remove(connection, "waiting", &[number])?;
    let (room, mut dropped) = (room.aside(), 0);
    loop {
        let Held { records, bytes } = held(connection, "aside")?;
        if records <= room.records.into() && bytes <= room.bytes.into() {
            return Ok(dropped);
        }
        let sql = "DELETE FROM aside WHERE number = (SELECT min(number) FROM aside)";
        if connection.execute(sql, [])? == 0 {
            return Ok(dropped);
        }
        dropped += 1;
    }
}

/// Counts what is in a table, also where nobody keeps count of it.
pub(super) fn count(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Removes everything of a user, and remembers that it did.
pub(super) fn erase_user(connection: &Connection, user: [u8; 32]) -> rusqlite::Result<u64> {
    connection.execute("INSERT OR IGNORE INTO erased (user) VALUES (?1)", [user])?;
    for table in ["waiting", "aside"] {
        let sql =
            format!("INSERT OR IGNORE INTO leftovers (session, at_ms) SELECT session, ?2 FROM {table} WHERE user = ?1");
        connection.execute(&sql, params![user, now_ms()])?;
    }
    let waiting = connection.execute("DELETE FROM waiting WHERE user = ?1", [user])?;
    Ok((waiting + connection.execute("DELETE FROM aside WHERE user = ?1", [user])?) as u64)
}

/// Removes everything of a call, and remembers that it did.
pub(super) fn erase_call(connection: &Connection, session: &str) -> rusqlite::Result<u64> {
    connection.execute("INSERT OR IGNORE INTO erased_sessions (id) VALUES (?1)", [session])?;
    for table in ["waiting", "aside"] {
        let sql = format!(
            "INSERT OR IGNORE INTO leftovers (session, at_ms) SELECT session, ?2 FROM {table} WHERE session = ?1"
        );
        connection.execute(&sql, params![session, now_ms()])?;
    }
    let waiting = connection.execute("DELETE FROM waiting WHERE session = ?1", [session])?;
    Ok((waiting + connection.execute("DELETE FROM aside WHERE session = ?1", [session])?) as u64)
}

/// Removes what was set aside before `aside_ms`, and all of calls that began before `since_ms`; gives its number.
pub(super) fn expire(connection: &Connection, aside_ms: i64, since_ms: i64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM aside WHERE at_ms < ?1 OR began_ms < ?2";
    let aside = connection.execute(sql, [aside_ms, since_ms])?;
    Ok((aside + connection.execute("DELETE FROM waiting WHERE began_ms < ?1", [since_ms])?) as u64)
}

/// The oldest call that was erased on its way before `before_ms` and after the one of this name.
pub(super) fn leftover(connection: &Connection, after: &str, before_ms: i64) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT session FROM leftovers WHERE session > ?1 AND at_ms <= ?2 ORDER BY session LIMIT 1";
    connection.query_row(sql, params![after, before_ms], |row| row.get(0)).optional()
}

/// Nothing is left of this call.
pub(super) fn cleaned(connection: &Connection, session: &str) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM leftovers WHERE session = ?1", [session])
}
