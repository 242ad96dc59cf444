//! What is wrong with a configuration, in sentences that say what to do.

use std::fmt;

use super::schema::label;

/// The most characters of a value that a sentence repeats.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong. Secret values are never in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The file cannot be read.
    #[error("{file} cannot be read ({reason}); check the path and its permissions.")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// The file is not TOML. The line itself is not repeated: it may hold a secret.
    #[error("{file} is not valid TOML{place}; see config/default.toml for how settings are written.")]
    NotToml {
        /// Its name.
        file: String,
        /// ` at line 3, column 5`, if known.
        place: String,
    },
    /// A key or variable that means nothing.
    #[error("{name} in {place} names no setting; {known}.")]
    Unknown {
        /// The name as it was written.
        name: String,
        /// The file's name, or "the environment".
        place: String,
        /// Which names there are.
        known: String,
    },
    /// A value that a key does not take.
    #[error("{} is {shown}; expected {expected}.", label(key))]
    Value {
        /// The key's path.
        key: &'static str,
        /// The value as it may be shown, and where it was set.
        shown: String,
        /// What would be right.
        expected: String,
    },
    /// A key that must be set.
    #[error("{} is not set; {reason}.", label(key))]
    Missing {
        /// The key's path.
        key: &'static str,
        /// Why it is needed, and what to set.
        reason: &'static str,
    },
    /// The defaults that are compiled in do not fit the program: a fault of our own.
    #[error("the built-in defaults cannot be read; this is a fault of Tandem, please report it.")]
    Defaults,
}

/// A value in quotes, shortened, with nothing in it that a terminal would obey.
pub fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub flaws: Vec<Flaw>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.flaws.iter().try_for_each(|flaw| write!(f, "\n- {flaw}"))
    }
}

impl std::error::Error for ConfigError {}

impl From<Flaw> for ConfigError {
    fn from(flaw: Flaw) -> ConfigError {
        ConfigError { flaws: vec![flaw] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_short_and_tame() {
        assert_eq!(quoted("a\n\u{1b}[31m\"b\""), r#""a\n\u{1b}[31m\"b\"""#);
        assert_eq!(quoted(&"é".repeat(81)), format!("\"{}…\"", "é".repeat(80)));
    }
}
