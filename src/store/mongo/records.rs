//! The records of calls as documents (pure).

use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::{
    protocol::ending::Ending,
    store::{
        StoreError,
        record::{Ended, Line, Page, Record, Speaker},
    },
};

/// What is known of a call when it begins.
pub(super) fn begun(record: &Record) -> Document {
    doc! {
        "user": record.user.expose(),
        "persona": &record.persona,
        "began": DateTime::from_millis(record.began_ms),
    }
}

/// What is added when it ends.
pub(super) fn ended(ended: &Ended) -> Document {
    doc! {
        "ended": DateTime::from_millis(ended.at_ms),
        "ending": ended.ending.code(),
        "talkedMs": ended.talked_ms,
        "recap": ended.recap.expose(),
    }
}

/// The transcript of a call.
pub(super) fn transcript(record: &Record, ended: &Ended) -> Document {
    let line = |line: &Line| doc! { "speaker": line.speaker.name(), "atMs": line.at_ms, "text": line.text.expose() };
    let lines: Vec<Document> = ended.kept().map(line).collect();
    doc! { "user": record.user.expose(), "began": DateTime::from_millis(record.began_ms), "lines": lines }
}

/// The condition of a page of a user's calls that began at `since_ms` or later.
pub(super) fn page_of(user: &str, page: Page, since_ms: i64) -> Document {
    let mut filter = doc! { "user": user, "began": { "$gte": DateTime::from_millis(since_ms) } };
    if let Some(mark) = page.after {
        let began = DateTime::from_millis(mark.began_ms);
        let after =
            [doc! { "began": { "$lt": began } }, doc! { "began": began, "_id": { "$lt": mark.session.to_string() } }];
        filter.insert("$or", after.map(Bson::from).to_vec());
    }
    filter
}

/// A call without its transcript.
pub(super) fn record(document: &Document) -> Result<Record, StoreError> {
    let unreadable = |what| move |_| StoreError::Unreadable(what);
    let text = |name| document.get_str(name).map_err(unreadable("a call"));
    let session = text("_id")?.parse().map_err(|_| StoreError::Unreadable("a session's name"))?;
    let ended = match document.get_datetime("ended") {
        Err(_) => None,
        Ok(at) => {
            let code = text("ending")?;
            let ending = Ending::ALL.into_iter().find(|ending| ending.code() == code);
            Some(Ended {
                at_ms: at.timestamp_millis(),
                ending: ending.ok_or(StoreError::Unreadable("an ending"))?,
                talked_ms: document.get_i64("talkedMs").unwrap_or_default(),
                recap: document.get_str("recap").unwrap_or_default().into(),
                transcript: Vec::new(),
            })
        }
    };
    Ok(Record {
        session,
        user: text("user")?.into(),
        persona: text("persona")?.to_owned(),
        began_ms: document.get_datetime("began").map_err(unreadable("a call"))?.timestamp_millis(),
        ended,
    })
}

/// The lines of a transcript.
pub(super) fn lines(document: &Document) -> Result<Vec<Line>, StoreError> {
    let unreadable = || StoreError::Unreadable("a transcript");
    let line = |line: &Bson| {
        let line = line.as_document()?;
        let speaker = Speaker::named(line.get_str("speaker").ok()?)?;
        Some(Line { speaker, at_ms: line.get_i64("atMs").ok()?, text: line.get_str("text").ok()?.into() })
    };
    let lines = document.get_array("lines").map_err(|_| unreadable())?;
    lines.iter().map(|value| line(value).ok_or_else(unreadable)).collect()
}
