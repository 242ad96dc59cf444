//! One setting as people are shown it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
};

/// One setting as `tandem check` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingLine {
    /// Its path, for example `listen.port`.
    pub key: &'static str,
    /// Its value; `(set)` or `(not set)` for secrets.
    pub value: String,
    /// Where it comes from: "default", a file's name, or a variable's.
    pub source: String,
    /// Tells two secrets apart without being one: a hash whose key nobody but this process has.
    mark: u64,
}

impl SettingLine {
    /// A line that shows `shown` for `value`.
    pub(super) fn new(key: &'static str, shown: String, source: String, value: &str) -> Self {
        static KEYED: OnceLock<RandomState> = OnceLock::new();
        let mark = KEYED.get_or_init(RandomState::new).hash_one(value);
        Self { key, value: shown, source, mark }
    }

    /// Whether both say the same of one setting, wherever they have it from.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        (self.key, self.mark, &self.value) == (other.key, other.mark, &other.value)
    }
}
