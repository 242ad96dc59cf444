//! The embedded store: users, journals and records in one SQLite file, written by one thread.

mod calls;
mod schema;
mod users;

use std::{path::Path, time::Duration};

use rusqlite::Connection;
use uuid::Uuid;

use self::schema::SCHEMA;
use super::{
    Findings, Store, StoreError, StoreFuture,
    embedded::{self, Embedded},
    eraser::Eraser,
    now_ms,
    record::{Page, Record, Written},
    seal::Seal,
    writer::Writer,
};
use crate::context::{
    private::Private,
    user::{Context, User, Users, UsersError},
};

/// Users to try Tandem with.
const DEMO: &str = include_str!("../../config/demo-users.json");

/// An open file of users and records. Clones share it.
#[derive(Clone, Debug)]
pub struct LocalStore {
    reader: Embedded,
    writer: Writer,
    eraser: Eraser,
    retention: Option<Duration>,
    seal: Seal,
}

/// What became of users that were to be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Written down.
    pub users: usize,
    /// Left out, because they were erased.
    pub erased: usize,
}

impl LocalStore {
    /// Opens the file, and makes it if there is none. Records of calls that began longer ago than `retention` are
    /// neither shown nor kept.
    pub fn open(path: &Path, retention: Option<Duration>) -> Result<Self, StoreError> {
        let writer = Writer::start(embedded::connect(path, &SCHEMA)?)?;
        // Steps of the schema are done by now.
        let reader = Embedded::on(embedded::connect(path, &SCHEMA)?);
        let eraser = Eraser::new(writer.clone());
        Ok(Self { reader, eraser, writer, retention, seal: Seal::default() })
    }

    /// The same, with what is said in calls sealed by these keys.
    #[must_use]
    pub fn sealed(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// Takes users in, each in place of what was known of it: all of them, or in case of an error none.
    pub fn import(&self, users: Vec<User>) -> StoreFuture<Imported> {
        Box::pin(self.writer.run(move |transaction| import(transaction, &users)))
    }

    /// Takes in the users for a trial, if nothing was ever written here; gives their number.
    pub fn import_demo(&self) -> StoreFuture<usize> {
        let users = demo();
        Box::pin(self.writer.run(move |transaction| {
            if !users::is_untouched(transaction)? {
                return Ok(0);
            }
            let users = users.map_err(|_| StoreError::Unreadable("the users for a trial"))?;
            Ok(import(transaction, &users)?.users)
        }))
    }

    /// What is in a file, which is neither made nor changed.
    pub fn look_at(path: &Path) -> Result<Findings, StoreError> {
        if !path.exists() {
            let facts = vec![format!("{}: not there yet; it is made at the first start", path.display())];
            return Ok(Findings { facts, warnings: Vec::new() });
        }
        let found = counted(&embedded::connect_to_read(path, &SCHEMA)?)?;
        let facts = found.facts.into_iter().map(|fact| format!("{}: {fact}", path.display()));
        Ok(Findings { facts: facts.collect(), warnings: found.warnings })
    }

    /// When the oldest call began that is still shown.
    fn since_ms(&self) -> i64 {
        let age_ms = self.retention.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        age_ms.map_or(i64::MIN, |age_ms| now_ms().saturating_sub(age_ms))
    }
}

fn demo() -> Result<Vec<User>, UsersError> {
    Users::read(DEMO).map(|read| read.users)
}

fn import(connection: &Connection, users: &[User]) -> Result<Imported, StoreError> {
    let mut imported = Imported { users: 0, erased: 0 };
    for user in users {
        match users::put(connection, user)? {
            true => imported.users += 1,
            false => imported.erased += 1,
        }
    }
    Ok(imported)
}

fn counted(connection: &Connection) -> Result<Findings, StoreError> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (users, erased) = (count("SELECT count(*) FROM users")?, count("SELECT count(*) FROM erased")?);
    let entries = count("SELECT count(*) FROM entries WHERE kind = 'journal'")?;
    let calls = count("SELECT count(*) FROM sessions")?;
    let fact = format!("{users} users ({erased} erased), {entries} journal entries, {calls} calls");
    Ok(Findings { facts: vec![fact], warnings: Vec::new() })
}

impl Store for LocalStore {
    fn context(&self, user: Private<String>) -> StoreFuture<Option<Context>> {
        let (since_ms, seal) = (self.since_ms(), self.seal.clone());
        Box::pin(self.reader.run(move |connection| {
            // One view of all tables: an erasure in between is either not there yet, or complete.
            let view = connection.transaction()?;
            users::context(&view, user.expose(), since_ms, &seal)
        }))
    }

    fn open(&self, record: Record) -> StoreFuture<Written> {
        Box::pin(self.writer.run(move |transaction| calls::open(transaction, &record)))
    }

    fn complete(&self, record: Record) -> StoreFuture<Written> {
        let seal = self.seal.clone();
        Box::pin(self.writer.run(move |transaction| calls::complete(transaction, &seal.seal_record(record)?)))
    }

    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        let (since_ms, seal) = (self.since_ms(), self.seal.clone());
        Box::pin(self.reader.run(move |connection| {
            calls::list(connection, Some(user.expose()), page, since_ms).map(|found| seal.open_list(found))
        }))
    }

    fn all_sessions(&self, page: Page) -> StoreFuture<Vec<Record>> {
        let (since_ms, seal) = (self.since_ms(), self.seal.clone());
        Box::pin(
            self.reader.run(move |connection| {
                calls::list(connection, None, page, since_ms).map(|found| seal.open_list(found))
            }),
        )
    }

    fn session(&self, session: Uuid) -> StoreFuture<Option<Record>> {
        let (since_ms, seal) = (self.since_ms(), self.seal.clone());
        Box::pin(self.reader.run(move |connection| {
            let view = connection.transaction()?;
            Ok::<_, StoreError>(calls::one(&view, session, since_ms)?.map(|record| seal.open_one(record)))
        }))
    }

    fn improve_recap(&self, session: Uuid, recap: Private<String>) -> StoreFuture<bool> {
        let seal = self.seal.clone();
        Box::pin(self.writer.run(move |transaction| {
            let recap = seal.seal_recap(session, &recap)?;
            Ok(calls::improve_recap(transaction, session, recap.expose())?)
        }))
    }

    fn held(&self, user: Private<String>) -> StoreFuture<Option<Context>> {
        Box::pin(self.reader.run(move |connection| {
            let view = connection.transaction()?;
            users::held(&view, user.expose())
        }))
    }

    fn erase(&self, user: Private<String>) -> StoreFuture<u64> {
        Box::pin(self.eraser.erase(|_| true, move |transaction| Ok(users::erase(transaction, user.expose())?)))
    }

    fn erase_session(&self, session: Uuid) -> StoreFuture<bool> {
        Box::pin(
            self.eraser
                .erase(|was_there| *was_there, move |transaction| Ok(calls::erase(transaction, session, now_ms())?)),
        )
    }

    fn close_lost(&self, home: String, process: Uuid) -> StoreFuture<u64> {
        Box::pin(self.writer.run(move |transaction| Ok(calls::close_lost(transaction, &home, process, now_ms())?)))
    }

    fn expire(&self) -> StoreFuture<u64> {
        let since_ms = self.since_ms();
        Box::pin(self.eraser.remove(move |transaction| Ok(calls::expire(transaction, since_ms)?)))
    }

    fn look(&self) -> StoreFuture<Findings> {
        Box::pin(self.reader.run(|connection| counted(connection)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_for_a_trial_can_be_read_and_the_developer_is_one_of_them() {
        let users = Users::read(DEMO).unwrap();
        assert!(users.ignored.is_empty(), "{:?}", users.ignored);
        let developer = &users.find("developer").unwrap().context;
        assert!(!developer.journal.is_empty() && !developer.health.goals.expose().is_empty());
    }
}
