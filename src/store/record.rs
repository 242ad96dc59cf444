//! What is kept of a call.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{bounds, details::Details, seal::plain_bytes};
use crate::{
    context::{private::Private, user::Entry},
    protocol::ending::Ending,
};

/// The longest transcript that is kept, in bytes of text; later lines are left out.
pub const MAX_TRANSCRIPT_BYTES: usize = 1 << 20;
/// The most lines of a transcript that are kept.
pub const MAX_TRANSCRIPT_LINES: usize = 20_000;

/// One call. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The session's own name, never used twice.
    pub session: Uuid,
    /// Who called, as tokens name it.
    pub user: Private<String>,
    /// Which persona answered.
    pub persona: String,
    /// When the call began.
    pub began_ms: i64,
    /// Who carries it.
    pub origin: Origin,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
}

/// The process that carries a call: what is needed to find calls that nobody carries any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The state directory's own name ([`home`](super::ledger::home)): one process at a time has it.
    pub home: String,
    /// The process, a name that is never used twice.
    pub process: Uuid,
    /// When the call is over at the latest, whatever happens, in milliseconds since 1970.
    pub until_ms: i64,
}

/// How a call ended, and what was said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at_ms: i64,
    /// Why.
    pub ending: Ending,
    /// How long a model listened.
    pub talked_ms: i64,
    /// What a later call should know of this one; may be empty.
    pub recap: Private<String>,
    /// How it went.
    pub details: Details,
    /// What was said, oldest first. Lists of calls leave it out.
    pub transcript: Vec<Line>,
    /// Recap and transcript are there, and no key opens them: they are left out.
    pub sealed: bool,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// By whom.
    pub speaker: Speaker,
    /// When, from the call's beginning on.
    pub at_ms: i64,
    /// What.
    pub text: Private<String>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are all there is to say")]
pub enum Speaker {
    Caller,
    Assistant,
}

impl Speaker {
    /// As stores name it.
    pub const fn name(self) -> &'static str {
        match self {
            Speaker::Caller => "caller",
            Speaker::Assistant => "assistant",
        }
    }

    /// The speaker of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Speaker::Caller, Speaker::Assistant].into_iter().find(|speaker| speaker.name() == name)
    }
}

impl Ended {
    /// The end of a call whose process is gone: found out, not seen. One that was seen takes its place.
    pub fn lost(at_ms: i64) -> Self {
        Self {
            at_ms,
            ending: Ending::GatewayLost,
            talked_ms: 0,
            recap: String::new().into(),
            details: Details::default(),
            transcript: Vec::new(),
            sealed: false,
        }
    }

    /// Whether nobody saw the call end.
    pub fn is_lost(&self) -> bool {
        self.ending == Ending::GatewayLost
    }

    /// As much of the transcript as is kept; of a call that was lost nothing is.
    pub fn kept(&self) -> impl Iterator<Item = &Line> {
        let mut room = if self.is_lost() { 0 } else { MAX_TRANSCRIPT_BYTES };
        self.transcript.iter().take(MAX_TRANSCRIPT_LINES).take_while(move |line| {
            let bytes = plain_bytes(line.text.expose());
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        })
    }
}

/// What became of something to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable, or was already.
    Kept,
    /// Its user was erased: nothing was written, and nothing will be.
    Erased,
}

/// Which part of a list is wanted; the list begins with the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only what comes after this one.
    pub after: Option<Mark>,
    /// At most so many, 1 to [`Page::MOST`].
    pub limit: u16,
}

/// A place in a list of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When the call there began.
    pub began_ms: i64,
    /// Which one it is.
    pub session: Uuid,
}

impl Page {
    /// The most records of one page.
    pub const MOST: u16 = 200;

    /// The first so many.
    pub const fn first(limit: u16) -> Self {
        Self { after: None, limit }
    }

    /// How many it may hold.
    pub(super) fn size(self) -> i64 {
        self.limit.clamp(1, Self::MOST).into()
    }
}

impl Record {
    /// What a call that continues this one is told of it; nothing of one that is not over, or in which nothing was said.
    pub fn told(&self) -> Option<Entry> {
        let recap = self.ended.as_ref().map(|ended| ended.recap.expose()).filter(|recap| !recap.is_empty())?;
        let text = bounds::clipped(recap.clone()).into();
        Some(Entry { date: bounds::day_of(self.began_ms), text })
    }

    /// Where the record is in a list of its user's calls.
    pub const fn mark(&self) -> Mark {
        Mark { began_ms: self.began_ms, session: self.session }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_kept_up_to_its_limit_and_words_do_not_print() {
        let line = |bytes| Line { speaker: Speaker::Caller, at_ms: 0, text: "s".repeat(bytes).into() };
        let lines = vec![line(MAX_TRANSCRIPT_BYTES - 1), line(1), line(1)];
        let ended =
            Ended { ending: Ending::ClientLeft, recap: "ss".into(), transcript: lines.clone(), ..Ended::lost(1) };
        assert_eq!(ended.kept().count(), 2);
        assert_eq!(Ended { transcript: lines, ..Ended::lost(1) }.kept().count(), 0);
        assert!(!format!("{ended:?}").contains("ss\""), "{ended:?}");
        assert_eq!(Speaker::named("assistant"), Some(Speaker::Assistant));
        assert_eq!(Speaker::named("model"), None);
    }
}
