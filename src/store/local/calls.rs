//! The records of calls in the embedded store.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::users::is_erased;
use crate::{
    protocol::ending::Ending,
    store::{
        StoreError,
        details::Details,
        record::{Ended, Line, Origin, Page, Record, Speaker, Written},
    },
};

const COLUMNS: &str =
    "id, user, persona, began_ms, home, process, until_ms, ended_ms, ending, talked_ms, recap, details";

/// Writes down that a call began.
pub(super) fn open(connection: &Connection, record: &Record) -> Result<Written, StoreError> {
    let (session, user) = (record.session.to_string(), record.user.expose());
    let removed = connection.prepare_cached("SELECT 1 FROM erased_sessions WHERE id = ?1")?.exists([&session])?;
    if removed || is_erased(connection, user)? {
        return Ok(Written::Erased);
    }
    let sql = "INSERT OR IGNORE INTO sessions (id, user, persona, began_ms, home, process, until_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Origin { home, process, until_ms } = &record.origin;
    let values = params![session, user, record.persona, record.began_ms, home, process.to_string(), until_ms];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(Written::Kept)
}

/// Writes down how a call ended, unless that is written down already. An end that was seen takes the place of one that was
/// only found out.
pub(super) fn complete(connection: &Connection, record: &Record) -> Result<Written, StoreError> {
    let Some(ended) = &record.ended else { return open(connection, record) };
    if open(connection, record)? == Written::Erased {
        return Ok(Written::Erased);
    }
    let session = record.session.to_string();
    let sql = "UPDATE sessions SET ended_ms = ?2, ending = ?3, talked_ms = ?4, recap = ?5, details = ?6
               WHERE id = ?1 AND user = ?7 AND (ended_ms IS NULL OR (ending = ?8 AND ?3 <> ?8))";
    let (ending, recap, user) = (ended.ending.code(), ended.recap.expose(), record.user.expose());
    let details = serde_json::to_string(&ended.details).map_err(|_| StoreError::Unreadable("how a call went"))?;
    let lost = Ending::GatewayLost.code();
    let values = params![session, ended.at_ms, ending, ended.talked_ms, recap, details, user, lost];
    if connection.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(Written::Kept);
    }
    let sql = "INSERT INTO lines (session, number, speaker, at_ms, text) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = connection.prepare_cached(sql)?;
    for (number, line) in ended.kept().enumerate() {
        insert.execute(params![session, number as i64, line.speaker.name(), line.at_ms, line.text.expose()])?;
    }
    Ok(Written::Kept)
}

/// Puts a better recap in the place of the one that a call ended with.
pub(super) fn improve_recap(connection: &Connection, session: Uuid, recap: &str) -> rusqlite::Result<bool> {
    let sql = "UPDATE sessions SET recap = ?2 WHERE id = ?1 AND ended_ms IS NOT NULL";
    Ok(connection.prepare_cached(sql)?.execute(params![session.to_string(), recap])? > 0)
}

/// A user's calls, or everybody's, that began at `since_ms` or later.
pub(super) fn list(
    connection: &Connection,
    user: Option<&str>,
    page: Page,
    since_ms: i64,
) -> Result<Vec<Record>, StoreError> {
    // Each of the two has an index of its own.
    let whose = if user.is_some() { "user = ?1" } else { "?1 IS NULL" };
    let (before_ms, before) = match page.after {
        Some(mark) => (mark.began_ms, mark.session.to_string()),
        None => (i64::MAX, String::new()),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM sessions WHERE {whose} AND began_ms >= ?2 AND (began_ms, id) < (?3, ?4)
         ORDER BY began_ms DESC, id DESC LIMIT ?5"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params![user, since_ms, before_ms, before, page.size()], read)?;
    rows.map(|row| row?).collect()
}

/// One call that began at `since_ms` or later, with its transcript.
pub(super) fn one(connection: &Connection, session: Uuid, since_ms: i64) -> Result<Option<Record>, StoreError> {
    let id = session.to_string();
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE id = ?1 AND began_ms >= ?2");
    let found = connection.prepare_cached(&sql)?.query_row(params![id, since_ms], read).optional()?;
    let Some(mut record) = found.transpose()? else { return Ok(None) };
    if let Some(ended) = &mut record.ended {
        let sql = "SELECT speaker, at_ms, text FROM lines WHERE session = ?1 ORDER BY number";
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query([id])?;
        while let Some(row) = rows.next()? {
            let (speaker, at_ms, text): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let speaker = Speaker::named(&speaker).ok_or(StoreError::Unreadable("a speaker"))?;
            ended.transcript.push(Line { speaker, at_ms, text: text.into() });
        }
    }
    Ok(Some(record))
}

/// Closes calls that nobody carries any more, until `now_ms` or until they were over at the latest.
pub(super) fn close_lost(connection: &Connection, home: &str, process: Uuid, now_ms: i64) -> rusqlite::Result<u64> {
    let sql = "UPDATE sessions SET ended_ms = max(began_ms, min(until_ms, ?3)), ending = ?4, talked_ms = 0, recap = ''
               WHERE ended_ms IS NULL AND (until_ms < ?3 OR (home = ?1 AND process <> ?2))";
    let lost = Ending::GatewayLost.code();
    Ok(connection.execute(sql, params![home, process.to_string(), now_ms, lost])? as u64)
}

/// Removes one call, and remembers that it did.
pub(super) fn erase(connection: &Connection, session: Uuid, now_ms: i64) -> rusqlite::Result<bool> {
    let id = session.to_string();
    connection.execute("INSERT OR IGNORE INTO erased_sessions (id, at_ms) VALUES (?1, ?2)", params![id, now_ms])?;
    connection.execute("DELETE FROM lines WHERE session = ?1", [&id])?;
    Ok(connection.execute("DELETE FROM sessions WHERE id = ?1", [&id])? > 0)
}

/// Removes the calls that began before `since_ms`.
pub(super) fn expire(connection: &Connection, since_ms: i64) -> rusqlite::Result<u64> {
    connection
        .execute("DELETE FROM lines WHERE session IN (SELECT id FROM sessions WHERE began_ms < ?1)", [since_ms])?;
    Ok(connection.execute("DELETE FROM sessions WHERE began_ms < ?1", [since_ms])? as u64)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<Record, StoreError>> {
    let ended = match (row.get::<_, Option<i64>>(7)?, row.get::<_, Option<String>>(8)?) {
        (Some(at_ms), Some(code)) => {
            let (talked_ms, recap): (Option<i64>, Option<String>) = (row.get(9)?, row.get(10)?);
            let (talked_ms, recap) = (talked_ms.unwrap_or_default(), recap.unwrap_or_default().into());
            let details: Option<String> = row.get(11)?;
            // A list of calls is worth more than the numbers of one of them.
            let details = details.and_then(|text| serde_json::from_str::<Details>(&text).ok()).unwrap_or_default();
            Some(Ended {
                at_ms,
                ending: Ending::of(&code),
                talked_ms,
                recap,
                details,
                transcript: Vec::new(),
                sealed: false,
            })
        }
        _ => None,
    };
    let (session, process): (String, String) = (row.get(0)?, row.get(5)?);
    let (Ok(session), Ok(process)) = (session.parse(), process.parse()) else {
        return Ok(Err(StoreError::Unreadable("a session's name")));
    };
    let user: String = row.get(1)?;
    let origin = Origin { home: row.get(4)?, process, until_ms: row.get(6)? };
    Ok(Ok(Record { session, user: user.into(), persona: row.get(2)?, began_ms: row.get(3)?, origin, ended }))
}
