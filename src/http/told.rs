//! Records as they are told: JSON of everything that is kept of a call, and of a user besides its calls.

use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value, json};

use crate::{
    context::user::{Context, Entry, Health},
    store::{
        details::Details,
        record::{Line, Record},
    },
};

/// A call; with its transcript where that was read. Operators are told whose it is, on which servers it was, and what it
/// cost: none of that is its user's business.
pub fn call(record: &Record, for_operator: bool, with_transcript: bool) -> Value {
    let mut told = Map::new();
    let mut say = |name: &str, value: Value| told.insert(name.to_owned(), value);
    say("session_id", json!(record.session));
    if for_operator {
        say("user", json!(record.user.expose()));
    }
    say("persona", json!(record.persona));
    say("began", time(record.began_ms));
    if let Some(ended) = &record.ended {
        say("ended", time(ended.at_ms));
        say("ending", json!(ended.ending.code()));
        say("talked_ms", json!(ended.talked_ms));
        say("recap", json!(ended.recap.expose()));
        if ended.sealed {
            say("sealed", json!(true));
        }
        say("details", details(&ended.details, for_operator));
        if with_transcript {
            say("transcript", ended.transcript.iter().map(line).collect());
        }
    }
    Value::Object(told)
}

fn details(details: &Details, for_operator: bool) -> Value {
    let mut told = json!(details);
    if let Some(fields) = told.as_object_mut().filter(|_| !for_operator) {
        ["upstreams", "cost_millionths"].into_iter().for_each(|field| drop(fields.remove(field)));
    }
    told
}

/// What is known of a user besides its calls, as `tandem import` reads it.
pub fn profile(user: &str, context: &Context) -> Value {
    let Health { conditions, medication, sleep, mood, goals, allergies } = &context.health;
    json!({
        "id": user,
        "name": context.name.expose(),
        "pronouns": context.pronouns.expose(),
        "healthInfo": {
            "conditions": conditions.expose(),
            "medication": medication.expose(),
            "sleep": sleep.expose(),
            "mood": mood.expose(),
            "goals": goals.expose(),
            "allergies": allergies.expose(),
        },
        "journal": context.journal.iter().map(entry).collect::<Value>(),
        "recaps": context.recaps.iter().map(entry).collect::<Value>(),
    })
}

/// A moment by universal time, such as `2026-11-23T12:00:00Z`; `null` for one that no calendar has.
pub fn time(at_ms: i64) -> Value {
    Timestamp::from_millisecond(at_ms).map_or(Value::Null, |at| json!(at.to_string()))
}

fn line(line: &Line) -> Value {
    json!({ "speaker": line.speaker.name(), "at_ms": line.at_ms, "text": line.text.expose() })
}

fn entry(entry: &Entry) -> Value {
    let date = entry.date.as_ref().map(Date::to_string);
    match date {
        Some(date) => json!({ "date": date, "text": entry.text.expose() }),
        None => json!({ "text": entry.text.expose() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::user::{User, Users};

    #[test]
    fn what_is_told_of_a_user_can_be_taken_in_again() {
        let file = json!({ "users": [{
            "id": "maria", "name": "Maria", "pronouns": "she/her",
            "healthInfo": { "conditions": ["asthma"], "sleep": ["five hours", "badly"] },
            "journal": [{ "date": "2026-11-22", "text": "\"Slept\"\nbadly." }, { "text": "undated" }],
            "recaps": [{ "date": "2026-11-16", "text": "You talked." }],
        }]});
        let read = Users::read(&file.to_string()).unwrap();
        let User { id, context } = &read.users[0];
        let again = Users::read(&json!({ "users": [profile(id, context)] }).to_string()).unwrap();
        assert_eq!((again.users, again.ignored.len()), (read.users, 0));
    }

    #[test]
    fn servers_and_costs_are_told_to_operators_alone() {
        let details =
            Details { upstreams: vec!["b200".into()], cost_millionths: Some(5), attempts: 1, ..Details::default() };
        let (user, operator) = (super::details(&details, false), super::details(&details, true));
        assert_eq!(
            (&user["upstreams"], &user["cost_millionths"], &user["attempts"]),
            (&Value::Null, &Value::Null, &json!(1))
        );
        assert_eq!((&operator["upstreams"][0], &operator["cost_millionths"]), (&json!("b200"), &json!(5)));
    }

    #[test]
    fn times_are_universal_and_impossible_ones_are_null() {
        assert_eq!(time(1_795_435_200_000), "2026-11-23T12:00:00Z");
        assert_eq!(time(1_795_435_200_007), "2026-11-23T12:00:00.007Z");
        assert_eq!((time(i64::MAX), time(i64::MIN)), (Value::Null, Value::Null));
    }
}
