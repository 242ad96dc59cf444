//! What can be set: one table of keys, each with its kind, its bounds and its variables.

use std::ops::RangeInclusive;

/// The beginning of every variable that sets a key.
pub const PREFIX: &str = "TANDEM__";

/// What a key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text; empty means not set.
    Text,
    /// Any text, which is never shown.
    Secret,
    /// Texts; written with commas in a variable.
    List,
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds.
    Number(RangeInclusive<i64>),
    /// A part of a whole, 0 to 1.
    Share,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `section.key` or `section.section.key`, as in default.toml.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// A second, shorter variable.
    pub alias: Option<&'static str>,
}

impl Key {
    const fn new(path: &'static str, kind: Kind) -> Key {
        Key { path, kind, alias: None }
    }

    const fn number(path: &'static str, min: i64, max: i64) -> Key {
        Key::new(path, Kind::Number(min..=max))
    }

    const fn alias(self, alias: &'static str) -> Key {
        Key { alias: Some(alias), ..self }
    }

    /// Its variable, for example `TANDEM__LISTEN__PORT`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "__").to_uppercase())
    }

    /// What it takes, to go after "expected".
    pub fn expected(&self) -> String {
        match &self.kind {
            Kind::Text | Kind::Secret => "text".to_owned(),
            Kind::List => "a list of texts (in a variable: separated by commas)".to_owned(),
            Kind::Switch => "true or false".to_owned(),
            Kind::Number(bounds) => format!("a whole number from {} to {}", bounds.start(), bounds.end()),
            Kind::Share => "a number from 0 to 1".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// How a key is named to people: `listen.port (PORT or TANDEM__LISTEN__PORT)`.
pub fn label(path: &str) -> String {
    match find(path) {
        Some(key @ Key { alias: Some(alias), .. }) => format!("{path} ({alias} or {})", key.variable()),
        Some(key) => format!("{path} ({})", key.variable()),
        None => path.to_owned(),
    }
}

/// The key at a path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every key, in the order of default.toml.
pub static KEYS: &[Key] = &[
    Key::new("mode", Kind::Choice(&["development", "production"])).alias("TANDEM_MODE"),
    Key::new("listen.host", Kind::Text),
    Key::number("listen.port", 0, 65_535).alias("PORT"),
    Key::new("auth.jwt_secret", Kind::Secret).alias("JWT_SECRET"),
    Key::new("auth.issuer", Kind::Text),
    Key::new("auth.audience", Kind::Text),
    Key::number("auth.leeway_seconds", 0, 300),
    Key::new("auth.required_scope", Kind::Text),
    Key::number("auth.ticket_ttl_seconds", 5, 600),
    Key::new("auth.tenant_claim", Kind::Text),
    Key::new("auth.operator_key", Kind::Secret).alias("TANDEM_OPERATOR_KEY"),
    Key::new("auth.admin_token", Kind::Secret).alias("TANDEM_ADMIN_TOKEN"),
    Key::new("doors.allowed_origins", Kind::List),
    Key::new("doors.caller_prompts", Kind::Choice(&["development", "always", "never"])),
    Key::new("doors.query_tokens", Kind::Choice(&["development", "always", "never"])),
    Key::new("persona.default", Kind::Text),
    Key::new("persona.dir", Kind::Text),
    Key::new("persona.voice", Kind::Text),
    Key::new("persona.prompt", Kind::Secret),
    Key::new("persona.tokenizer", Kind::Text),
    Key::new("upstreams.urls", Kind::List).alias("PERSONAPLEX_SERVER_URL"),
    Key::new("upstreams.insecure_tls", Kind::Switch),
    Key::new("upstreams.ca_file", Kind::Text),
    Key::number("upstreams.connect_timeout_ms", 100, 60_000),
    Key::number("upstreams.upgrade_timeout_ms", 100, 60_000),
    Key::number("upstreams.close_timeout_ms", 100, 60_000),
    Key::number("upstreams.handshake_base_ms", 0, 600_000),
    Key::number("upstreams.handshake_step_ms", 1, 10_000),
    Key::number("upstreams.voice_steps", 1, 10_000),
    Key::new("upstreams.realtime", Kind::Choice(&["required", "warn"])),
    Key::new("upstreams.personal_context", Kind::Choice(&["marked", "all", "none"])),
    Key::number("session.max_duration_seconds", 1, 86_400),
    Key::number("session.idle_timeout_seconds", 1, 86_400),
    Key::number("session.warning_seconds", 0, 3_600),
    Key::number("session.ping_interval_ms", 100, 60_000),
    Key::number("session.lost_after_ms", 200, 600_000),
    Key::number("session.resume_grace_seconds", 0, 600),
    Key::number("session.recovery_seconds", 0, 600),
    Key::number("session.too_slow_after_ms", 100, 600_000),
    Key::number("session.client_queue_ms", 80, 60_000),
    Key::number("session.upstream_queue_ms", 80, 60_000),
    Key::number("session.max_sessions", 1, 100_000),
    Key::number("session.max_sessions_per_user", 1, 100_000),
    Key::number("session.attempts_per_minute_per_user", 1, 100_000),
    Key::number("rotation.window_steps", 0, 1_000_000),
    Key::new("rotation.without_slot", Kind::Choice(&["restart", "off"])),
    Key::number("queue.limit", 0, 10_000),
    Key::number("queue.timeout_seconds", 1, 86_400),
    Key::new("retry.share", Kind::Share),
    Key::number("retry.floor", 0, 1_000),
    Key::number("retry.pause_ms", 0, 60_000),
    Key::number("retry.longest_pause_ms", 0, 60_000),
    Key::number("breaker.failures", 1, 1_000),
    Key::number("breaker.pause_ms", 100, 3_600_000),
    Key::number("breaker.longest_pause_ms", 100, 3_600_000),
    Key::number("quota.tenant_calls", 0, 100_000),
    Key::number("quota.user_seconds", 0, 31_536_000),
    Key::number("quota.tenant_seconds", 0, 31_536_000),
    Key::number("quota.window_seconds", 60, 2_678_400),
    Key::new("turns.share", Kind::Share),
    Key::number("drain.deadline_seconds", 0, 3_600),
    Key::new("logging.format", Kind::Choice(&["auto", "pretty", "json"])),
    Key::new("logging.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"])),
    Key::new("metrics.enabled", Kind::Switch),
    Key::new("telemetry.otlp_endpoint", Kind::Text).alias("OTEL_EXPORTER_OTLP_ENDPOINT"),
    Key::new("telemetry.otlp_headers", Kind::Secret).alias("OTEL_EXPORTER_OTLP_HEADERS"),
    Key::new("telemetry.service_name", Kind::Text).alias("OTEL_SERVICE_NAME"),
    Key::new("telemetry.sample_ratio", Kind::Share),
    Key::new("state.dir", Kind::Text),
    Key::new("state.ledger", Kind::Text),
    Key::new("store.mongodb_uri", Kind::Secret).alias("MONGODB_URI"),
    Key::new("store.mongodb_database", Kind::Text),
    Key::new("store.users_collection", Kind::Text),
    Key::new("store.user_id_field", Kind::Text),
    Key::new("store.name_field", Kind::Text),
    Key::new("store.pronouns_field", Kind::Text),
    Key::new("store.health_field", Kind::Text),
    Key::new("store.journal_collection", Kind::Text),
    Key::new("store.journal_user_field", Kind::Text),
    Key::new("store.journal_date_field", Kind::Text),
    Key::new("store.journal_text_field", Kind::Text),
    Key::number("store.retention_days", 0, 36_500),
    Key::new("store.encryption_key", Kind::Secret).alias("TANDEM_ENCRYPTION_KEY"),
    Key::new("recap.url", Kind::Text),
    Key::new("recap.api_key", Kind::Secret),
    Key::new("recap.model", Kind::Text),
    Key::number("recap.timeout_ms", 1_000, 300_000),
    Key::new("recap.insecure", Kind::Switch),
    Key::new("simulator.enabled", Kind::Choice(&["auto", "true", "false"])),
    Key::new("simulator.answer", Kind::Choice(&["echo", "converse"])),
    Key::number("simulator.answer_delay_ms", 0, 10_000),
    Key::number("simulator.step_ms", 1, 1_000),
    Key::number("simulator.voice_steps", 1, 10_000),
    Key::number("simulator.servers", 1, 64),
    Key::number("fleet.idle_seconds", 0, 604_800),
    Key::number("fleet.min_awake_seconds", 0, 86_400),
    Key::number("fleet.wake_timeout_seconds", 10, 86_400),
    Key::number("fleet.reconcile_seconds", 5, 3_600),
    Key::number("fleet.ticket_hold_seconds", 0, 3_600),
    Key::new("fleet.warm_up", Kind::Switch),
    Key::number("fleet.restart_stuck_seconds", 0, 86_400),
    Key::new("fleet.keep_warm", Kind::Text),
    Key::new("providers.runpod.api_key", Kind::Secret).alias("RUNPOD_API_KEY"),
    Key::new("providers.runpod.base_url", Kind::Text),
    Key::number("providers.runpod.port", 0, 65_535),
    Key::new("providers.vast.api_key", Kind::Secret).alias("VAST_API_KEY"),
    Key::new("providers.vast.base_url", Kind::Text),
    Key::number("providers.vast.port", 0, 65_535),
    Key::new("providers.railway.project_token", Kind::Secret).alias("RAILWAY_TOKEN"),
    Key::new("providers.railway.account_token", Kind::Secret).alias("RAILWAY_API_TOKEN"),
    Key::new("providers.railway.base_url", Kind::Text),
    Key::new("providers.docker.daemon", Kind::Text),
    Key::number("providers.docker.grace_seconds", 0, 600),
    Key::new("providers.kubernetes.base_url", Kind::Text),
    Key::new("providers.kubernetes.ca_file", Kind::Text),
    Key::new("providers.kubernetes.token", Kind::Secret),
    Key::new("providers.kubernetes.token_file", Kind::Text),
    Key::number("providers.kubernetes.replicas", 1, 100),
    Key::new("providers.command.start", Kind::Text),
    Key::new("providers.command.environment", Kind::List),
    Key::new("providers.command.directory", Kind::Text),
    Key::number("providers.command.grace_seconds", 0, 600),
    Key::new("providers.command.output", Kind::Text),
    Key::number("providers.command.output_bytes", 65_536, 1_073_741_824),
    Key::new("providers.webhook.start_url", Kind::Secret),
    Key::new("providers.webhook.stop_url", Kind::Secret),
    Key::new("providers.webhook.restart_url", Kind::Secret),
    Key::new("providers.webhook.status_url", Kind::Secret),
    Key::new("providers.webhook.state_pointer", Kind::Text),
    Key::new("providers.webhook.address_pointer", Kind::Text),
    Key::new("providers.webhook.secret", Kind::Secret),
    Key::new("providers.webhook.authorization", Kind::Secret),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{DEFAULTS, InForce};
    use super::*;

    /// The keys of default.toml, each with the comment right above it.
    fn documented() -> BTreeMap<String, String> {
        let (mut section, mut comment, mut keys) = (String::new(), String::new(), BTreeMap::new());
        for line in DEFAULTS.lines() {
            if let Some(text) = line.strip_prefix('#') {
                comment += text;
            } else if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned() + ".";
            } else if let Some((name, _)) = line.split_once(" = ") {
                keys.insert(format!("{section}{name}"), std::mem::take(&mut comment));
            } else {
                comment.clear();
            }
        }
        keys
    }

    #[test]
    fn default_toml_has_every_key_with_its_meaning_bounds_and_variables_and_when_a_change_counts_and_no_other() {
        let mut documented = documented();
        for key in KEYS {
            let comment = documented.remove(key.path).unwrap_or_else(|| panic!("{} is not in default.toml", key.path));
            let (meaning, rest) = comment.split_once(" Environment: ").unwrap_or_else(|| panic!("{}", key.path));
            let (variables, reload) = rest.split_once(" Reload: ").unwrap_or_else(|| panic!("{}", key.path));
            assert_eq!(reload, InForce::of(key.path).word(), "{}", key.path);
            assert!(meaning.len() > 30, "{} is not explained", key.path);
            let expected = key.alias.map_or(key.variable(), |alias| format!("{} or {alias}", key.variable()));
            assert_eq!(variables, expected, "{}", key.path);
            let bounds = match &key.kind {
                Kind::Share => vec![" 0 to 1".to_owned()],
                Kind::Number(bounds) => vec![format!(" {} to {}", bounds.start(), bounds.end())],
                Kind::Choice(words) => words.iter().map(|word| format!("\"{word}\"")).collect(),
                _ => vec![],
            };
            for bound in bounds {
                assert!(comment.contains(&bound), "{}: {bound} is not in the comment", key.path);
            }
        }
        assert_eq!(documented, BTreeMap::new(), "default.toml has keys that the table does not know");
    }

    #[test]
    fn no_variable_sets_two_keys() {
        let mut variables: Vec<_> =
            KEYS.iter().flat_map(|key| [Some(key.variable()), key.alias.map(str::to_owned)]).flatten().collect();
        let all = variables.len();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), all);
        assert_eq!(label("listen.port"), "listen.port (PORT or TANDEM__LISTEN__PORT)");
    }
}
