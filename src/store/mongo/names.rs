//! Where an app keeps what is known of its users: collections, and the paths of fields, with dots in between.

use mongodb::bson::{Document, doc};

/// Collections and paths. [`Names::default`] is what mongoose makes of models `User` and `JournalEntry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The collection of users.
    pub users: String,
    /// A user's own id, as tokens name it: an ObjectId, a text or a number.
    pub user_id: String,
    /// What the user is called.
    pub name: String,
    /// Such as `she/her`.
    pub pronouns: String,
    /// An object with `conditions`, `medication`, `sleep`, `mood`, `goals` and `allergies`.
    pub health: String,
    /// The collection of journal entries.
    pub journal: String,
    /// Whose entry it is, like `user_id`.
    pub journal_user: String,
    /// When it was written: a date, or a text that begins with `YYYY-MM-DD`.
    pub journal_date: String,
    /// What was written.
    pub journal_text: String,
}

impl Default for Names {
    fn default() -> Self {
        let own = |name: &str| name.to_owned();
        Self {
            users: own("users"),
            user_id: own("_id"),
            name: own("name"),
            pronouns: own("pronouns"),
            health: own("healthInfo"),
            journal: own("journalentries"),
            journal_user: own("userId"),
            journal_date: own("createdAt"),
            journal_text: own("content"),
        }
    }
}

impl Names {
    /// The fields of a user that are read: a path below another one is part of it.
    pub(super) fn projection(&self) -> Document {
        let paths = [&self.name, &self.pronouns, &self.health];
        let below = |path: &str, other: &str| path.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'));
        let mut projection = doc! { "_id": 0 };
        for path in paths {
            if !paths.iter().any(|other| below(path, other)) {
                projection.insert(path.clone(), 1);
            }
        }
        projection
    }
}

/// Whether a text can be a path: parts of letters, digits, `_` and `-` with dots in between.
pub fn is_path(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
    };
    text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_and_no_path_is_asked_for_twice() {
        for good in ["name", "profile.first-name", "_id", "größe.x1"] {
            assert!(is_path(good), "{good}");
        }
        for wrong in ["", "$where", "a..b", ".a", "a.", "a b", "a\0"] {
            assert!(!is_path(wrong), "{wrong}");
        }
        let names = Names { name: "profile.name".into(), health: "profile".into(), ..Names::default() };
        assert_eq!(names.projection(), doc! { "_id": 0, "pronouns": 1, "profile": 1 });
        let same = Names { name: "names".into(), pronouns: "name".into(), health: "name".into(), ..Names::default() };
        assert_eq!(same.projection(), doc! { "_id": 0, "names": 1, "name": 1 });
    }
}
