//! When a changed setting is in force in a Tandem that runs.

use super::{line::SettingLine, schema::KEYS};

/// When a changed value is in force once the configuration was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
    /// Right away. Calls in progress keep what they began with all the same.
    AtOnce,
    /// For calls that begin from then on.
    NextCall,
    /// With the next start of the process.
    Restart,
}

use InForce::{AtOnce, NextCall, Restart};

/// Every section, or key, that a reload takes over. What is not here needs a restart.
///
/// The longest path counts: one key may differ from its section.
const RELOADED: &[(&str, InForce)] = &[
    ("doors", NextCall),
    ("persona", NextCall),
    ("upstreams.urls", AtOnce),
    ("upstreams.handshake_base_ms", NextCall),
    ("upstreams.handshake_step_ms", NextCall),
    ("upstreams.voice_steps", NextCall),
    ("upstreams.realtime", AtOnce),
    ("session", NextCall),
    ("rotation", NextCall),
    ("queue", NextCall),
    ("retry.share", AtOnce),
    ("retry.floor", AtOnce),
    ("retry.pause_ms", NextCall),
    ("retry.longest_pause_ms", NextCall),
    ("breaker", AtOnce),
    ("quota", NextCall),
    ("quota.window_seconds", Restart),
    ("turns", NextCall),
    ("drain", AtOnce),
    ("logging.level", AtOnce),
    ("metrics", AtOnce),
    ("fleet", AtOnce),
    ("fleet.ticket_hold_seconds", NextCall),
];

impl InForce {
    /// When a change of this key is.
    pub fn of(path: &str) -> Self {
        let is_of = |of: &str| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let rows = RELOADED.iter().filter(|(of, _)| is_of(of));
        rows.max_by_key(|(of, _)| of.len()).map_or(Restart, |(_, when)| *when)
    }

    /// The word for it, in config/default.toml, in `tandem check` and in the answer to whoever asked for a reload.
    pub const fn word(self) -> &'static str {
        match self {
            AtOnce => "at once",
            NextCall => "next call",
            Restart => "restart",
        }
    }
}

/// The keys of which two configurations say different things, in the order of default.toml.
pub fn changes(old: &[SettingLine], new: &[SettingLine]) -> Vec<(&'static str, InForce)> {
    let differs = |key: &'static str| {
        let line = |lines: &[SettingLine]| lines.iter().find(|line| line.key == key).cloned();
        match (line(old), line(new)) {
            (Some(old), Some(new)) => !old.says_the_same(&new),
            (old, new) => old.is_some() != new.is_some(),
        }
    };
    KEYS.iter().filter(|key| differs(key.path)).map(|key| (key.path, InForce::of(key.path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    fn lines(variables: &[(&str, &str)]) -> Vec<SettingLine> {
        let environment: Environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(None, &environment).unwrap().describe().to_vec()
    }

    #[test]
    fn the_table_names_sections_and_keys_that_exist() {
        for (of, _) in RELOADED {
            let section = format!("{of}.");
            assert!(KEYS.iter().any(|key| key.path == *of || key.path.starts_with(&section)), "{of}");
        }
        assert_eq!(InForce::of("queue.limit"), NextCall);
        assert_eq!(InForce::of("quota.window_seconds"), Restart, "the key, not its section");
        assert_eq!(InForce::of("queueing.limit"), Restart, "no prefix of a word");
    }

    #[test]
    fn what_differs_is_named_secrets_included_and_where_it_comes_from_is_no_difference() {
        let (secret, other) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        let old = lines(&[("JWT_SECRET", secret), ("TANDEM__QUEUE__LIMIT", "7"), ("PORT", "1")]);
        let new = lines(&[("JWT_SECRET", other), ("TANDEM__QUEUE__LIMIT", "8"), ("TANDEM__LISTEN__PORT", "1")]);
        assert_eq!(changes(&old, &new), [("auth.jwt_secret", Restart), ("queue.limit", NextCall)]);
        assert_eq!(changes(&new, &new), []);
        assert!(!format!("{new:?}").contains(other));
    }
}
