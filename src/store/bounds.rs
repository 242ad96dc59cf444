//! How much of a user is read for a call (pure): a prompt has room for little, and a call waits for all of it.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::context::{
    persona::MAX_RECAPS,
    plain::GAP,
    private::Private,
    user::{Context, Entry},
};

/// The newest entries of a journal that are read.
pub const JOURNAL_ENTRIES: usize = 50;
/// The newest recaps of earlier calls that are read.
pub const RECAPS: usize = MAX_RECAPS;
/// The beginning of an entry, a recap or another text that is read, in bytes.
pub const TEXT_BYTES: usize = 4096;
/// The most texts of one field of a user's health.
pub const HEALTH_TEXTS: usize = 50;

/// The beginning of a text, cut between two characters. A mark stands for the rest, so that the sentence that was cut is
/// not taken for a whole one.
pub fn clipped(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES - GAP.len_utf8()));
        text.push(GAP);
    }
    text
}

/// The newest `most` entries, each cut to its beginning; of equal dates, the order stays. Entries without a date are old.
pub fn newest(mut entries: Vec<Entry>, most: usize) -> Vec<Entry> {
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.date));
    entries.truncate(most);
    entries.into_iter().map(|Entry { date, text }| Entry { date, text: clip(&text) }).collect()
}

/// A context within the bounds.
pub fn bounded(context: Context) -> Context {
    let Context { name, pronouns, mut health, journal, recaps, continues } = context;
    for field in [
        &mut health.conditions,
        &mut health.medication,
        &mut health.sleep,
        &mut health.mood,
        &mut health.goals,
        &mut health.allergies,
    ] {
        let texts = field.expose().iter().take(HEALTH_TEXTS).cloned().map(clipped);
        *field = Private::new(texts.collect());
    }
    Context {
        name: clip(&name),
        pronouns: clip(&pronouns),
        health,
        journal: newest(journal, JOURNAL_ENTRIES),
        recaps: newest(recaps, RECAPS),
        continues,
    }
}

/// The day of a moment, in UTC.
pub fn day_of(at_ms: i64) -> Option<Date> {
    Some(TimeZone::UTC.to_datetime(Timestamp::from_millisecond(at_ms).ok()?).date())
}

fn clip(text: &Private<String>) -> Private<String> {
    clipped(text.expose().clone()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_taken_and_texts_are_cut_between_characters() {
        let entry =
            |date: Option<&str>, text: String| Entry { date: date.map(|d| d.parse().unwrap()), text: text.into() };
        let long = "€".repeat(TEXT_BYTES);
        let entries = vec![
            entry(None, "undated".into()),
            entry(Some("2026-01-01"), "old".into()),
            entry(Some("2026-11-02"), long),
            entry(Some("2026-11-02"), "same day".into()),
        ];
        let texts: Vec<usize> = newest(entries, 3).iter().map(|entry| entry.text.expose().len()).collect();
        assert!(newest(vec![entry(None, "5".repeat(TEXT_BYTES + 1))], 1)[0].text.expose().ends_with("5\u{fffc}"));
        assert_eq!(clipped("5".repeat(TEXT_BYTES)), "5".repeat(TEXT_BYTES), "nothing is missing");
        assert_eq!(texts, [TEXT_BYTES - TEXT_BYTES % 3, 8, 3]);
        let mut context = Context { name: "n".repeat(TEXT_BYTES + 1).into(), ..Context::default() };
        context.health.mood = Private::new(vec!["low".to_owned(); HEALTH_TEXTS + 1]);
        let context = bounded(context);
        assert_eq!((context.name.expose().len(), context.health.mood.expose().len()), (TEXT_BYTES, HEALTH_TEXTS));
    }
}
