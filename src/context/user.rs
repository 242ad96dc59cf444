//! What is known of a user, and the file in which users come.
//!
//! `{"users": [{"id", "name", "pronouns", "healthInfo": {"conditions", "medication", "sleep", "mood", "goals",
//! "allergies"}, "journal": [{"date", "text"}], "recaps": [{"date", "text"}]}]}`: only `id` and `text` must be there.
//! What is in `healthInfo` is a text or a list of texts; a date begins with `YYYY-MM-DD`.

use std::collections::{BTreeSet, HashSet};

use jiff::civil::Date;
use serde_json::{Map, Value};

use super::private::Private;

/// The longest file of users that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a prompt may be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// What the user is called; may be empty.
    pub name: Private<String>,
    /// Such as `she/her`; may be empty.
    pub pronouns: Private<String>,
    /// What the user said of its health.
    pub health: Health,
    /// What the user wrote down, in any order.
    pub journal: Vec<Entry>,
    /// What earlier calls were about, in any order.
    pub recaps: Vec<Entry>,
    /// What the call was about that this one continues, if it continues one: told before all other recaps.
    pub continues: Option<Entry>,
}

/// What a user said of its health: for each field no, one or several texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are all there is to say")]
pub struct Health {
    pub conditions: Private<Vec<String>>,
    pub medication: Private<Vec<String>>,
    pub sleep: Private<Vec<String>>,
    pub mood: Private<Vec<String>>,
    pub goals: Private<Vec<String>>,
    pub allergies: Private<Vec<String>>,
}

/// A dated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The writer's own day.
    pub date: Option<Date>,
    /// What was written.
    pub text: Private<String>,
}

/// One user of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As tokens name the user.
    pub id: String,
    /// What is known of it.
    pub context: Context,
}

/// A file of users, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Each once.
    pub users: Vec<User>,
    /// Fields that mean nothing here, by their paths without numbers.
    pub ignored: BTreeSet<String>,
}

/// Why a file of users is not taken. It repeats nothing of the file but the names of fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// No JSON.
    #[error("the file of users is not JSON at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A field of another kind than expected.
    #[error("{path} in the file of users is not {expected}")]
    Kind {
        /// Such as `users[3].journal[0].date`.
        path: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Two users with one id.
    #[error("users[{at}].id in the file of users was there before; each user comes once")]
    Twice {
        /// From 0.
        at: usize,
    },
}

impl Users {
    /// Reads a file of users.
    pub fn read(json: &str) -> Result<Users, UsersError> {
        // Some editors put a mark of the encoding first.
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        let value: Value = serde_json::from_str(json)
            .map_err(|error| UsersError::NotJson { line: error.line(), column: error.column() })?;
        let mut users = Users::default();
        let top = Place("");
        let fields = top.object(&value)?;
        users.note(fields, "", &["users"]);
        let mut ids = HashSet::new();
        for (at, value) in top.list(fields, "users")?.iter().enumerate() {
            let user = users.user(value, &format!("users[{at}]"))?;
            if !ids.insert(user.id.clone()) {
                return Err(UsersError::Twice { at });
            }
            users.users.push(user);
        }
        Ok(users)
    }

    /// Reads one user, as it would be in the list of a file.
    pub fn read_one(json: &str) -> Result<Users, UsersError> {
        let value: Value = serde_json::from_str(json)
            .map_err(|error| UsersError::NotJson { line: error.line(), column: error.column() })?;
        let mut users = Users::default();
        let user = users.user(&value, "user")?;
        users.users.push(user);
        Ok(users)
    }

    /// The user of this id.
    pub fn find(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    fn user(&mut self, value: &Value, path: &str) -> Result<User, UsersError> {
        let place = Place(path);
        let fields = place.object(value)?;
        self.note(fields, "users.", &["id", "name", "pronouns", "healthInfo", "journal", "recaps"]);
        let id = match fields.get("id") {
            Some(Value::Number(number)) => number.to_string(),
            _ => place.text(fields, "id")?,
        };
        if id.is_empty() {
            return Err(place.wrong("id", "a text or a number"));
        }
        let context = Context {
            name: place.text(fields, "name")?.into(),
            pronouns: place.text(fields, "pronouns")?.into(),
            health: self.health(fields.get("healthInfo"), &format!("{path}.healthInfo"))?,
            journal: self.entries(&place, fields, "journal")?,
            recaps: self.entries(&place, fields, "recaps")?,
            continues: None,
        };
        Ok(User { id, context })
    }

    fn health(&mut self, value: Option<&Value>, path: &str) -> Result<Health, UsersError> {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(Health::default()) };
        let place = Place(path);
        let fields = place.object(value)?;
        let known = ["conditions", "medication", "sleep", "mood", "goals", "allergies"];
        self.note(fields, "users.healthInfo.", &known);
        let texts = |name| place.texts(fields, name).map(Private::new);
        Ok(Health {
            conditions: texts("conditions")?,
            medication: texts("medication")?,
            sleep: texts("sleep")?,
            mood: texts("mood")?,
            goals: texts("goals")?,
            allergies: texts("allergies")?,
        })
    }

    fn entries(
        &mut self,
        place: &Place<'_>,
        fields: &Map<String, Value>,
        name: &str,
    ) -> Result<Vec<Entry>, UsersError> {
        let mut entries = Vec::new();
        for (at, value) in place.list(fields, name)?.iter().enumerate() {
            let path = format!("{}.{name}[{at}]", place.0);
            let place = Place(&path);
            let fields = place.object(value)?;
            self.note(fields, &format!("users.{name}."), &["date", "text"]);
            let date = place.text(fields, "date")?;
            let day = date.get(..10).unwrap_or(&date);
            let date = if day.is_empty() { None } else { Some(day.parse()) };
            let date = date.transpose().map_err(|_| place.wrong("date", "a date such as 2026-11-23"))?;
            if !fields.contains_key("text") {
                return Err(place.wrong("text", "there"));
            }
            entries.push(Entry { date, text: place.text(fields, "text")?.into() });
        }
        Ok(entries)
    }

    fn note(&mut self, fields: &Map<String, Value>, path: &str, known: &[&str]) {
        let unknown = fields.keys().filter(|name| !known.contains(&name.as_str()));
        self.ignored.extend(unknown.map(|name| format!("{path}{name}")));
    }
}

/// Where in the file something is.
struct Place<'a>(&'a str);

impl Place<'_> {
    fn wrong(&self, name: &str, expected: &'static str) -> UsersError {
        let path = match (self.0, name) {
            ("", "") => "the whole".to_owned(),
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        };
        UsersError::Kind { path, expected }
    }

    fn object<'v>(&self, value: &'v Value) -> Result<&'v Map<String, Value>, UsersError> {
        value.as_object().ok_or_else(|| self.wrong("", "an object"))
    }

    /// A list; what is missing or null is an empty one.
    fn list<'v>(&self, fields: &'v Map<String, Value>, name: &str) -> Result<&'v [Value], UsersError> {
        match fields.get(name) {
            Some(Value::Array(items)) => Ok(items),
            None if self.0.is_empty() => Err(self.wrong(name, "there")),
            None | Some(Value::Null) => Ok(&[]),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }

    /// A text; what is missing or null is an empty one.
    fn text(&self, fields: &Map<String, Value>, name: &str) -> Result<String, UsersError> {
        match fields.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            None | Some(Value::Null) => Ok(String::new()),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    fn texts(&self, fields: &Map<String, Value>, name: &str) -> Result<Vec<String>, UsersError> {
        let wrong = || self.wrong(name, "a text or a list of texts");
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(wrong()),
        };
        match fields.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(text).collect(),
            Some(value) => Ok(vec![text(value)?]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_whole_and_one_with_nothing_is_empty() {
        let users = Users::read(
            r#"{"users": [{"id": "u1", "name": "Maria", "pronouns": "she/her", "email": "m@example.org",
                "healthInfo": {"conditions": ["asthma"], "sleep": "bad", "mood": null, "weight": 70},
                "journal": [{"date": "2026-11-22T21:04:00Z", "text": "Hi."}, {"text": "No date."}],
                "recaps": null}, {"id": 7}]}"#,
        );
        let users = users.unwrap();
        let maria = &users.find("u1").unwrap().context;
        assert_eq!(maria.name.expose(), "Maria");
        assert_eq!(maria.health.conditions.expose(), &["asthma"]);
        assert_eq!(maria.health.sleep.expose(), &["bad"]);
        assert_eq!(maria.journal[0].date, Some("2026-11-22".parse().unwrap()));
        assert_eq!((maria.journal[1].date, maria.recaps.len()), (None, 0));
        assert_eq!(users.find("7").unwrap().context, Context::default());
        assert_eq!(users.ignored, ["users.email".to_owned(), "users.healthInfo.weight".into()].into());
        assert_eq!(Users::read("\u{feff}{\"users\": []}"), Ok(Users::default()));
        assert!(!format!("{users:?}").contains("Maria") && !format!("{users:?}").contains("asthma"));
    }

    #[test]
    fn one_user_is_read_as_in_a_file_and_never_two() {
        let users = Users::read_one(r#"{"id": "u1", "healthInfo": {"mood": "low"}, "x": 1}"#).unwrap();
        assert_eq!(users.find("u1").unwrap().context.health.mood.expose(), &["low"]);
        assert_eq!((users.users.len(), users.ignored), (1, ["users.x".to_owned()].into()));
        for wrong in ["", "[]", r#"{"users": []}"#, r#"{"id": ""}"#, r#"{"id": "a"}, {"id": "b"}"#] {
            assert!(Users::read_one(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place_and_not_repeated() {
        for (json, told) in [
            ("{", "the file of users is not JSON at line 1, column 1"),
            ("[]", "the whole in the file of users is not an object"),
            ("{}", "users in the file of users is not there"),
            (r#"{"users": ["secret"]}"#, "users[0] in the file of users is not an object"),
            (r#"{"users": [{}]}"#, "users[0].id in the file of users is not a text or a number"),
            (r#"{"users": [{"id": "a", "name": 5}]}"#, "users[0].name in the file of users is not a text"),
            (
                r#"{"users": [{"id": "a", "healthInfo": {"mood": {"secret": 1}}}]}"#,
                "users[0].healthInfo.mood in the file of users is not a text or a list of texts",
            ),
            (
                r#"{"users": [{"id": "a", "journal": [{"date": "secret", "text": ""}]}]}"#,
                "users[0].journal[0].date in the file of users is not a date such as 2026-11-23",
            ),
            (
                r#"{"users": [{"id": "a", "journal": [{}]}]}"#,
                "users[0].journal[0].text in the file of users is not there",
            ),
            (
                r#"{"users": [{"id": "secret"}, {"id": "secret"}]}"#,
                "users[1].id in the file of users was there before; each user comes once",
            ),
        ] {
            assert_eq!(Users::read(json).unwrap_err().to_string(), told, "{json}");
        }
    }
}
