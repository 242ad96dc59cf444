//! An app's own documents, read with patience: what is missing or of another kind than expected is left out (pure).

use jiff::civil::Date;
use mongodb::bson::{Bson, Document, oid::ObjectId};

use super::names::Names;
use crate::{
    context::{
        private::Private,
        user::{Context, Entry, Health},
    },
    store::bounds::day_of,
};

/// Objects in objects of which texts are made.
const DEPTH: u8 = 3;

/// The forms in which an app may write the id of one user: each model chooses its own.
pub(super) fn ids(user: &str) -> Vec<Bson> {
    let mut ids = vec![Bson::String(user.to_owned())];
    // Only as they are written: 007 is another user than 7, and 65F0 than 65f0. Two names of one user would have two
    // tombstones, and whoever was erased by one of them would still be known by the other.
    ids.extend(ObjectId::parse_str(user).ok().filter(|id| id.to_hex() == user).map(Bson::ObjectId));
    ids.extend(user.parse::<i64>().ok().filter(|number| number.to_string() == user).map(Bson::Int64));
    ids
}

/// What a user's document says.
pub(super) fn profile(user: &Document, names: &Names) -> Context {
    let text = |path: &str| field(user, path).and_then(|value| said(value, DEPTH)).unwrap_or_default().into();
    let health =
        |name: &str| Private::new(field(user, &format!("{}.{name}", names.health)).map(texts).unwrap_or_default());
    Context {
        name: text(&names.name),
        pronouns: text(&names.pronouns),
        health: Health {
            conditions: health("conditions"),
            medication: health("medication"),
            sleep: health("sleep"),
            mood: health("mood"),
            goals: health("goals"),
            allergies: health("allergies"),
        },
        ..Context::default()
    }
}

/// An entry of `date` and `text`; none if there is no text.
pub(super) fn entry(entry: &Document) -> Option<Entry> {
    let text = entry.get_str("text").ok().filter(|text| !text.trim().is_empty())?;
    Some(Entry { date: entry.get("date").and_then(day), text: text.into() })
}

/// What is at a path with dots in it.
pub(super) fn field<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((first, rest)) => field(document.get_document(first).ok()?, rest),
    }
}

/// The day of a date, or of a text that begins like one.
pub(super) fn day(value: &Bson) -> Option<Date> {
    match value {
        Bson::DateTime(at) => day_of(at.timestamp_millis()),
        Bson::String(text) => text.get(..10)?.parse().ok(),
        _ => None,
    }
}

fn texts(value: &Bson) -> Vec<String> {
    match value {
        Bson::Array(items) => items.iter().filter_map(|item| said(item, DEPTH)).collect(),
        value => said(value, DEPTH).into_iter().collect(),
    }
}

/// A value as a text: objects become what is in them, without the ids that mongoose adds.
fn said(value: &Bson, depth: u8) -> Option<String> {
    let joined = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(", "));
    match value {
        Bson::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Bson::Int32(number) => Some(number.to_string()),
        Bson::Int64(number) => Some(number.to_string()),
        Bson::Double(number) => Some(number.to_string()),
        Bson::DateTime(_) => Some(day(value)?.to_string()),
        Bson::Array(items) if depth > 0 => joined(items.iter().filter_map(|item| said(item, depth - 1)).collect()),
        Bson::Document(fields) if depth > 0 => {
            let fields = fields.iter().filter(|(name, _)| !name.starts_with('_'));
            joined(fields.filter_map(|(_, value)| said(value, depth - 1)).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;

    #[test]
    fn an_id_is_looked_for_in_every_form_that_it_may_have() {
        let hex = "65f0c0ffee65f0c0ffee65f0";
        assert_eq!(ids(hex), [Bson::from(hex), Bson::ObjectId(ObjectId::parse_str(hex).unwrap())]);
        assert_eq!(ids("42"), [Bson::from("42"), Bson::Int64(42)]);
        assert_eq!(ids("042"), [Bson::from("042")]);
        assert_eq!(ids(&hex.to_uppercase()), [Bson::from(hex.to_uppercase())], "that is another user");
        assert_eq!(ids("{\"$ne\": 1}"), [Bson::from("{\"$ne\": 1}")], "a text stays a text");
    }

    #[test]
    fn documents_of_many_shapes_become_texts() {
        let id = ObjectId::from_bytes([7; 12]);
        let at = DateTime::from_millis(1_763_900_000_000);
        let user = doc! {
            "profile": { "first": "Maria", "pronouns": Bson::Null },
            "care": { "healthInfo": {
                "conditions": ["asthma", "", 7, true],
                "medication": [{ "_id": id, "name": "metformin", "dose": { "mg": 500 }, "since": at }],
                "sleep": 6.5,
                "mood": "low",
                "goals": { "first": "walk", "then": ["run", "swim"] },
            } },
        };
        let names = Names {
            name: "profile.first".into(),
            pronouns: "profile.pronouns".into(),
            health: "care.healthInfo".into(),
            ..Names::default()
        };
        let context = profile(&user, &names);
        assert_eq!((context.name.expose().as_str(), context.pronouns.expose().as_str()), ("Maria", ""));
        let Health { conditions, medication, sleep, mood, goals, allergies } = context.health;
        assert_eq!(conditions.expose(), &["asthma", "7"]);
        assert_eq!(medication.expose(), &["metformin, 500, 2025-11-23"]);
        assert_eq!((sleep.expose(), mood.expose()), (&vec!["6.5".to_owned()], &vec!["low".to_owned()]));
        assert_eq!((goals.expose(), allergies.expose().len()), (&vec!["walk, run, swim".to_owned()], 0));
        assert_eq!(profile(&doc! { "name": ["a"], "healthInfo": "x" }, &Names::default()).health, Health::default());
    }

    #[test]
    fn entries_have_a_day_if_they_say_one() {
        let day = |date: Bson| entry(&doc! { "date": date, "text": "t" }).unwrap().date;
        assert_eq!(day(DateTime::from_millis(0).into()), Some("1970-01-01".parse().unwrap()));
        assert_eq!(day("2026-11-22T10:00:00Z".into()), Some("2026-11-22".parse().unwrap()));
        assert_eq!((day("yesterday".into()), day(Bson::Null), day("€€€€".into())), (None, None, None));
        assert_eq!((entry(&doc! { "text": " " }), entry(&doc! { "date": 1 })), (None, None));
    }
}
