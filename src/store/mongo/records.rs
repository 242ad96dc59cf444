//! The records of calls as documents (pure).

use mongodb::bson::{Bson, DateTime, Document, deserialize_from_bson, doc, serialize_to_bson};
use uuid::Uuid;

use crate::{
    protocol::ending::Ending,
    store::{
        StoreError,
        details::Details,
        record::{Ended, Line, Origin, Page, Record, Speaker},
    },
};

/// What is known of a call when it begins.
pub(super) fn begun(record: &Record) -> Document {
    doc! {
        "user": record.user.expose(),
        "persona": &record.persona,
        "began": DateTime::from_millis(record.began_ms),
        "origin": {
            "home": &record.origin.home,
            "process": record.origin.process.to_string(),
            "until": DateTime::from_millis(record.origin.until_ms),
        },
    }
}

/// What is added when it ends.
pub(super) fn ended(ended: &Ended) -> Result<Document, StoreError> {
    let details = serialize_to_bson(&ended.details).map_err(|_| StoreError::Unreadable("how a call went"))?;
    Ok(doc! {
        "ended": DateTime::from_millis(ended.at_ms),
        "ending": ended.ending.code(),
        "talkedMs": ended.talked_ms,
        "recap": ended.recap.expose(),
        "details": details,
    })
}

/// The call whose end this is to become: one that has none, or none that somebody saw.
pub(super) fn without_end(id: &str, user: &str, ended: &Ended) -> Document {
    let mut open = vec![doc! { "ended": null }];
    if !ended.is_lost() {
        open.push(doc! { "ending": Ending::GatewayLost.code() });
    }
    doc! { "_id": id, "user": user, "$or": open }
}

/// The open calls that nobody carries any more.
pub(super) fn uncarried(home: &str, process: Uuid, now_ms: i64) -> Document {
    let gone = doc! { "origin.home": home, "origin.process": { "$ne": process.to_string() } };
    let over = doc! { "origin.until": { "$lt": DateTime::from_millis(now_ms) } };
    doc! { "ended": null, "$or": [gone, over] }
}

/// When a call that nobody carries any more is taken to have ended: now, or when it was over at the latest.
/// Whatever else of its document can be read: one that cannot is not in the way of the others.
pub(super) fn lost(document: &Document, now_ms: i64) -> Ended {
    let began_ms = document.get_datetime("began").map_or(0, |began| began.timestamp_millis());
    let until_ms = document.get_document("origin").map(origin).unwrap_or_default().until_ms;
    Ended::lost(until_ms.min(now_ms).max(began_ms))
}

/// The transcript of a call.
pub(super) fn transcript(record: &Record, ended: &Ended) -> Document {
    let line = |line: &Line| doc! { "speaker": line.speaker.name(), "atMs": line.at_ms, "text": line.text.expose() };
    let lines: Vec<Document> = ended.kept().map(line).collect();
    doc! { "user": record.user.expose(), "began": DateTime::from_millis(record.began_ms), "lines": lines }
}

/// The condition of a page of a user's calls, or of everybody's, that began at `since_ms` or later.
pub(super) fn page_of(user: Option<&str>, page: Page, since_ms: i64) -> Document {
    let mut filter = doc! { "began": { "$gte": DateTime::from_millis(since_ms) } };
    if let Some(user) = user {
        filter.insert("user", user);
    }
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
            let details = document.get("details").cloned();
            Some(Ended {
                at_ms: at.timestamp_millis(),
                ending: Ending::of(text("ending")?),
                talked_ms: document.get_i64("talkedMs").unwrap_or_default(),
                recap: document.get_str("recap").unwrap_or_default().into(),
                // A list of calls is worth more than the numbers of one of them.
                details: details.and_then(|details| deserialize_from_bson::<Details>(details).ok()).unwrap_or_default(),
                transcript: Vec::new(),
                sealed: false,
            })
        }
    };
    Ok(Record {
        session,
        user: text("user")?.into(),
        persona: text("persona")?.to_owned(),
        began_ms: document.get_datetime("began").map_err(unreadable("a call"))?.timestamp_millis(),
        origin: document.get_document("origin").map(origin).unwrap_or_default(),
        ended,
    })
}

fn origin(origin: &Document) -> Origin {
    Origin {
        home: origin.get_str("home").unwrap_or_default().to_owned(),
        process: origin.get_str("process").ok().and_then(|name| name.parse().ok()).unwrap_or_default(),
        until_ms: origin.get_datetime("until").map(|at| at.timestamp_millis()).unwrap_or_default(),
    }
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
