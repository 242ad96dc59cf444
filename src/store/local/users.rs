//! Users of the embedded store: what is known of each.

use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{
    context::{
        private::Private,
        user::{Context, Entry, Health, User},
    },
    store::{
        StoreError,
        bounds::{self, HEALTH_TEXTS, JOURNAL_ENTRIES, RECAPS},
        digest, now_ms,
        seal::Seal,
    },
};

/// Whether nothing must be known or written of this user.
pub(super) fn is_erased(connection: &Connection, user: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM erased WHERE user = ?1")?.exists([digest(user)])
}

/// Whether nobody was ever here.
pub(super) fn is_untouched(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM users) AND NOT EXISTS (SELECT 1 FROM sessions)
               AND NOT EXISTS (SELECT 1 FROM erased)";
    connection.query_row(sql, [], |row| row.get(0))
}

/// What is known of a user; `since_ms` is when the oldest call began whose recap may be told.
pub(super) fn context(
    connection: &Connection,
    user: &str,
    since_ms: i64,
    seal: &Seal,
) -> Result<Option<Context>, StoreError> {
    if is_erased(connection, user)? {
        return Ok(None);
    }
    let known = profile(connection, user)?;
    let mut recaps = entries(connection, user, "recap", RECAPS)?;
    recaps.extend(told(connection, user, since_ms, seal)?);
    let Some((name, pronouns)) = known else {
        // A user of tokens only, who has called before.
        let recaps = bounds::newest(recaps, RECAPS);
        return Ok((!recaps.is_empty()).then(|| Context { recaps, ..Context::default() }));
    };
    let context = Context {
        name: name.into(),
        pronouns: pronouns.into(),
        health: health(connection, user, HEALTH_TEXTS)?,
        journal: entries(connection, user, "journal", JOURNAL_ENTRIES)?,
        recaps,
        continues: None,
    };
    Ok(Some(bounds::bounded(context)))
}

/// All that was written down of a user, without bounds and without its calls.
pub(super) fn held(connection: &Connection, user: &str) -> Result<Option<Context>, StoreError> {
    const ALL: usize = i64::MAX as usize;
    let Some((name, pronouns)) = profile(connection, user)? else { return Ok(None) };
    Ok(Some(Context {
        name: name.into(),
        pronouns: pronouns.into(),
        health: health(connection, user, ALL)?,
        journal: entries(connection, user, "journal", ALL)?,
        recaps: entries(connection, user, "recap", ALL)?,
        continues: None,
    }))
}

fn profile(connection: &Connection, user: &str) -> rusqlite::Result<Option<(String, String)>> {
    let mut profile = connection.prepare_cached("SELECT name, pronouns FROM users WHERE id = ?1")?;
    profile.query_row([user], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Writes down what is known of a user, in place of what was; `false` if it was erased.
pub(super) fn put(connection: &Connection, User { id, context }: &User) -> Result<bool, StoreError> {
    if is_erased(connection, id)? {
        return Ok(false);
    }
    let sql = "INSERT INTO users (id, name, pronouns) VALUES (?1, ?2, ?3)
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, pronouns = excluded.pronouns";
    connection.execute(sql, params![id, context.name.expose(), context.pronouns.expose()])?;
    connection.execute("DELETE FROM health WHERE user = ?1", [id])?;
    connection.execute("DELETE FROM entries WHERE user = ?1", [id])?;
    let mut insert = connection.prepare_cached("INSERT INTO health (user, field, text) VALUES (?1, ?2, ?3)")?;
    let mut health = context.health.clone();
    for (field, texts) in fields(&mut health) {
        for text in texts.expose() {
            insert.execute(params![id, field, text])?;
        }
    }
    let mut insert =
        connection.prepare_cached("INSERT INTO entries (user, kind, date, text) VALUES (?1, ?2, ?3, ?4)")?;
    for (kind, entries) in [("journal", &context.journal), ("recap", &context.recaps)] {
        for Entry { date, text } in entries {
            insert.execute(params![id, kind, date.map(|date| date.to_string()), text.expose()])?;
        }
    }
    Ok(true)
}

/// Removes a user with its calls, and remembers that it did.
pub(super) fn erase(connection: &Connection, user: &str) -> rusqlite::Result<u64> {
    connection
        .execute("INSERT OR IGNORE INTO erased (user, at_ms) VALUES (?1, ?2)", params![digest(user), now_ms()])?;
    connection.execute("DELETE FROM lines WHERE session IN (SELECT id FROM sessions WHERE user = ?1)", [user])?;
    let calls = connection.execute("DELETE FROM sessions WHERE user = ?1", [user])?;
    for table in ["health", "entries"] {
        connection.execute(&format!("DELETE FROM {table} WHERE user = ?1"), [user])?;
    }
    connection.execute("DELETE FROM users WHERE id = ?1", [user])?;
    Ok(calls as u64)
}

fn fields(health: &mut Health) -> [(&'static str, &mut Private<Vec<String>>); 6] {
    [
        ("conditions", &mut health.conditions),
        ("medication", &mut health.medication),
        ("sleep", &mut health.sleep),
        ("mood", &mut health.mood),
        ("goals", &mut health.goals),
        ("allergies", &mut health.allergies),
    ]
}

fn health(connection: &Connection, user: &str, most: usize) -> rusqlite::Result<Health> {
    let mut health = Health::default();
    let sql = "SELECT text FROM health WHERE user = ?1 AND field = ?2 ORDER BY id LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    for (field, texts) in fields(&mut health) {
        let rows = select.query_map(params![user, field, most as i64], |row| row.get(0))?;
        *texts = Private::new(rows.collect::<rusqlite::Result<_>>()?);
    }
    Ok(health)
}

fn entries(connection: &Connection, user: &str, kind: &str, most: usize) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT date, text FROM entries WHERE user = ?1 AND kind = ?2 ORDER BY date DESC, id LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![user, kind, most as i64], |row: &Row<'_>| {
        Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (date, text) = row?;
        let date = date.map(|date| date.parse::<Date>().map_err(|_| StoreError::Unreadable("a date"))).transpose()?;
        Ok(Entry { date, text: text.into() })
    })
    .collect()
}

/// The recaps of earlier calls.
fn told(connection: &Connection, user: &str, since_ms: i64, seal: &Seal) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT began_ms, id, recap FROM sessions WHERE user = ?1 AND began_ms >= ?2 AND recap <> ''
               ORDER BY began_ms DESC, id DESC LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![user, since_ms, RECAPS as i64], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    let entry = |(began_ms, session, text): (i64, String, String)| {
        Some(Entry { date: bounds::day_of(began_ms), text: seal.open_recap(&session, text)? })
    };
    rows.filter_map(|row| row.map(entry).transpose()).map(|entry| Ok(entry?)).collect()
}
