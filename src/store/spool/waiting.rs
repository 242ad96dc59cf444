//! A record as it waits: the only form in which private texts are written down on their way (pure).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    protocol::ending::Ending,
    store::{
        StoreError,
        details::Details,
        record::{Ended, Line, Origin, Record, Speaker},
    },
};

#[derive(Serialize, Deserialize)]
pub(super) struct Waiting {
    session: Uuid,
    user: String,
    persona: String,
    began_ms: i64,
    #[serde(default)]
    origin: Origin,
    ended: Option<WaitingEnd>,
}

#[derive(Serialize, Deserialize)]
struct WaitingEnd {
    at_ms: i64,
    ending: Ending,
    talked_ms: i64,
    recap: String,
    #[serde(default)]
    details: Details,
    lines: Vec<(String, i64, String)>,
}

impl Waiting {
    pub(super) fn of(record: &Record) -> Self {
        let line = |line: &Line| (line.speaker.name().to_owned(), line.at_ms, line.text.expose().clone());
        let ended = record.ended.as_ref().map(|ended| WaitingEnd {
            at_ms: ended.at_ms,
            ending: ended.ending,
            talked_ms: ended.talked_ms,
            recap: ended.recap.expose().clone(),
            details: ended.details.clone(),
            lines: ended.kept().map(line).collect(),
        });
        Self {
            session: record.session,
            user: record.user.expose().clone(),
            persona: record.persona.clone(),
            began_ms: record.began_ms,
            origin: record.origin.clone(),
            ended,
        }
    }

    /// As it is written down.
    pub(super) fn text(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|_| StoreError::Unreadable("a record"))
    }

    /// The record of a text that was written down; none if it cannot be read.
    pub(super) fn read(text: &str) -> Option<Record> {
        let Waiting { session, user, persona, began_ms, origin, ended } = serde_json::from_str(text).ok()?;
        let ended = match ended {
            None => None,
            Some(WaitingEnd { at_ms, ending, talked_ms, recap, details, lines }) => {
                let line = |(speaker, at_ms, text): (String, i64, String)| {
                    Some(Line { speaker: Speaker::named(&speaker)?, at_ms, text: text.into() })
                };
                let transcript = lines.into_iter().map(line).collect::<Option<_>>()?;
                Some(Ended { at_ms, ending, talked_ms, recap: recap.into(), details, transcript, sealed: false })
            }
        };
        Some(Record { session, user: user.into(), persona, began_ms, origin, ended })
    }
}
