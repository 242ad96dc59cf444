//! What there is to tell of a user, cut into the smallest parts that can be told alone (pure).
//!
//! A part is one thing of a list, or one sentence. What users wrote is told in quotation marks, or behind a label as a few
//! plain words, so that none of it reads as the prompt's own; and what speaks to a model, or cannot be told as it was
//! written, is left out.

use std::{cmp::Reverse, collections::HashSet};

use jiff::{Unit, civil::Date};

use super::{
    caller::{name, pronouns},
    command::{commands_model, speaks_to_model},
    item::{in_pairs, item},
    persona::Sight,
    plain::{GAP, Lines, marked},
    sentence::{MAX_SENTENCE_BYTES, sentences},
    topic::Topic,
    user::{Context, Entry},
    when::{is_to_come, when},
    writing::{is_latin, speak_latin},
};

/// The most parts of one field, entry or recap that are looked at.
const MAX_PARTS: usize = 12;
/// The most entries of a journal that are looked at, told or not.
const MAX_LOOKS: usize = 60;
/// The most texts of a list that are looked at, told or not.
const MAX_TEXTS: usize = 2 * MAX_PARTS;

/// One part.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) topic: Topic,
    /// Of the topic's entries, those included that are not told, the newest first.
    pub(super) entry: usize,
    /// Of the entry's parts; parts of one text are told from the first on.
    pub(super) part: usize,
    /// Whether it is of the call that this one continues.
    pub(super) continues: bool,
    /// Whether it makes no sense without the part before it.
    pub(super) follows: bool,
    /// Whether something was left out between the part before it and this one.
    pub(super) after_gap: bool,
    /// When its entry was written, as people say it.
    pub(super) when: String,
    pub(super) text: String,
}

impl Piece {
    /// One thing of a list, without a date.
    fn of_list(topic: Topic, part: usize, text: String) -> Self {
        Self { topic, entry: 0, part, continues: false, follows: false, after_gap: false, when: String::new(), text }
    }

    /// What it is worth: parts of less worth are cut first.
    pub(super) fn worth(&self) -> i64 {
        let (entry, part) = (self.entry.min(100) as i64, self.part.min(100) as i64);
        match self.topic {
            Topic::Journal | Topic::Recaps => self.topic.worth() - 60 * entry - 10 * part,
            _ => self.topic.worth() - 35 * part,
        }
    }
}

/// The parts that a persona may be told, and how many there are of each topic, those that it is not told included.
///
/// However much there is, a bounded part of it is looked at.
pub(super) fn pieces(
    context: &Context,
    sight: &Sight,
    languages: &[String],
    today: Date,
) -> (Vec<Piece>, Vec<(Topic, usize)>) {
    let mut cutter = Cutter::new(languages);
    let mut count = Vec::new();
    for topic in Topic::ALL {
        let of = if sight.topics.contains(&topic) {
            cutter.cut(topic, context, sight, today)
        } else {
            // Counted, and nothing else comes of it.
            Cutter::new(languages).cut(topic, context, sight, today)
        };
        if of > 0 {
            count.push((topic, of));
        }
    }
    (cutter.found, count)
}

struct Cutter {
    found: Vec<Piece>,
    latin: bool,
    /// Sentences of entries.
    seen: HashSet<String>,
}

impl Cutter {
    fn new(languages: &[String]) -> Self {
        Self { found: Vec::new(), latin: speak_latin(languages), seen: HashSet::new() }
    }

    /// Adds the parts of a topic, and counts all of them.
    fn cut(&mut self, topic: Topic, context: &Context, sight: &Sight, today: Date) -> usize {
        let health = &context.health;
        match topic {
            Topic::Name => self.single(topic, name(context.name.expose())),
            Topic::Pronouns => self.single(topic, pronouns(context.pronouns.expose())),
            Topic::Conditions => self.items(topic, health.conditions.expose()),
            Topic::Medication => self.items(topic, health.medication.expose()),
            Topic::Allergies => self.items(topic, health.allergies.expose()),
            Topic::Sleep => self.items(topic, health.sleep.expose()),
            Topic::Mood => self.items(topic, health.mood.expose()),
            Topic::Goals => self.items(topic, health.goals.expose()),
            Topic::Journal => {
                let age = Some(sight.journal_days);
                self.entries(topic, newest(&context.journal, today), sight.journal_entries, age, today)
            }
            Topic::Recaps => {
                let continued = context.continues.iter().map(|entry| (entry, true)).collect::<Vec<_>>();
                let entries = [continued, newest(&context.recaps, today)].concat();
                self.entries(topic, entries, sight.recaps, None, today)
            }
        }
    }

    fn single(&mut self, topic: Topic, text: String) -> usize {
        if text.is_empty() {
            return 0;
        }
        if self.is_legible(&text) {
            self.found.push(Piece::of_list(topic, 0, text));
        }
        1
    }

    /// Adds each text that can be told, whole: what is said first may be taken back in the end.
    fn items(&mut self, topic: Topic, texts: &[String]) -> usize {
        let (mut part, mut of, mut seen) = (0, 0, HashSet::new());
        for (at, text) in texts.iter().enumerate() {
            if part == MAX_PARTS || at >= MAX_TEXTS {
                of += 1;
                continue;
            }
            let text = marked(text, Lines::List);
            of += usize::from(!text.is_empty());
            // The same words in another topic say something else.
            if let Some(item) = item(&text).filter(|_| self.is_legible(&text) && seen.insert(text.to_lowercase())) {
                self.found.push(Piece::of_list(topic, part, item));
                part += 1;
            }
        }
        of
    }

    /// Adds the sentences of the first entries, each with whether it is of a call that goes on. Each entry that is not
    /// looked at counts as one.
    fn entries(
        &mut self,
        topic: Topic,
        entries: Vec<(&Entry, bool)>,
        most: usize,
        days: Option<u32>,
        today: Date,
    ) -> usize {
        let (mut told, mut of) = (0, 0);
        for (at, (entry, continues)) in entries.into_iter().enumerate() {
            let date = dated(entry, today);
            if told == most || at >= MAX_LOOKS || is_older(date, days, today) {
                of += 1;
                continue;
            }
            let text = marked(entry.text.expose(), Lines::Prose);
            let parts = sentences(&text);
            of += parts.len();
            let (mut part, mut after_gap) = (0, false);
            for sentence in parts {
                if part == MAX_PARTS || !self.may_tell(topic, sentence) {
                    after_gap = true;
                    continue;
                }
                let (when, text) = (when(date, today), sentence.to_owned());
                let follows = part > 0;
                self.found.push(Piece { topic, entry: at, part, continues, follows, after_gap, when, text });
                (part, after_gap) = (part + 1, false);
            }
            told += usize::from(part > 0);
        }
        of
    }

    /// Whether a sentence can be told as it was written, and is new.
    fn may_tell(&mut self, topic: Topic, sentence: &str) -> bool {
        let says = sentence.chars().any(char::is_alphanumeric) && self.is_legible(sentence);
        let whole = sentence.len() <= MAX_SENTENCE_BYTES && !sentence.contains(GAP) && in_pairs(sentence).is_some();
        let commands = if topic == Topic::Recaps { commands_model(sentence) } else { speaks_to_model(sentence) };
        says && whole && !commands && self.seen.insert(sentence.to_lowercase())
    }

    /// Whether it is in writing that the persona's models read.
    fn is_legible(&self, text: &str) -> bool {
        !self.latin || is_latin(text)
    }
}

/// The newest entries first; none of a call that goes on.
fn newest(entries: &[Entry], today: Date) -> Vec<(&Entry, bool)> {
    let mut newest: Vec<_> = entries.iter().map(|entry| (entry, false)).collect();
    newest.sort_by_key(|(entry, _)| Reverse(dated(entry, today)));
    newest
}

/// When it was written, if that can be.
fn dated(entry: &Entry, today: Date) -> Option<Date> {
    entry.date.filter(|date| !is_to_come(*date, today))
}

fn is_older(date: Option<Date>, days: Option<u32>, today: Date) -> bool {
    let age = date.and_then(|date| date.until((Unit::Day, today)).ok()).map(|span| i64::from(span.get_days()));
    days.zip(age).is_some_and(|(days, age)| age > i64::from(days))
}
