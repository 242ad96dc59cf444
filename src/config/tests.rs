//! Scripts of configuration: what is written, and what comes of it.

mod fleet;
mod limits;
mod told;

use std::{path::Path, time::Duration};

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;
use crate::store::mongo::Names;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn environment<const N: usize>(variables: [(&str, &str); N]) -> Environment {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn file(text: &str) -> ConfigFile {
    ConfigFile { name: "tandem.toml".into(), text: text.into() }
}

fn with<const N: usize>(variables: [(&str, &str); N]) -> Result<Settings, ConfigError> {
    load(None, &environment(variables))
}

/// The sentences of everything that is wrong.
fn flaws(result: Result<Settings, ConfigError>) -> Vec<String> {
    result.map(|_| vec![]).unwrap_or_else(|error| error.flaws.iter().map(Flaw::to_string).collect())
}

fn line<'a>(settings: &'a Settings, key: &str) -> (&'a str, &'a str) {
    let line = settings.describe().iter().find(|line| line.key == key).unwrap();
    (&line.value, &line.source)
}

#[test]
fn without_any_configuration_development_works_on_loopback_with_a_simulated_server() {
    let settings = with([]).unwrap();
    assert_eq!(settings.mode, Mode::Development);
    assert_eq!(settings.listen.address().to_string(), "127.0.0.1:8080");
    assert!(settings.auth.jwt_secret.is_none() && !settings.is_exposed());
    assert_eq!(settings.auth.rules, crate::auth::TokenRules::default());
    assert_eq!(settings.auth.tickets, crate::auth::TicketLimits::default());
    assert!(settings.doors.allowed_origins.is_empty() && settings.doors.caller_prompts && settings.doors.query_tokens);
    assert_eq!(settings.persona.default, "assistant");
    assert!(
        settings.persona.directory.is_none() && settings.persona.voice.is_none() && settings.persona.prompt.is_none()
    );
    assert_eq!(settings.upstreams.handshake_step, Duration::from_millis(182));
    assert_eq!(settings.session.limits.max_duration, Duration::from_secs(1800));
    assert_eq!(settings.drain.deadline, Duration::from_secs(30));
    assert_eq!((settings.logging.format, settings.logging.level), (LogFormat::Auto, LogLevel::Info));
    assert!(settings.metrics.enabled && settings.simulator.enabled);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn a_share_is_a_number_from_0_to_1() {
    assert_eq!(with([]).unwrap().turns.share, 1.0, "the default measures every call");
    for (written, share) in [("0", 0.0), ("0.25", 0.25), ("1", 1.0)] {
        assert_eq!(with([("TANDEM__TURNS__SHARE", written)]).unwrap().turns.share, share);
        let text = format!("[turns]\nshare = {written}");
        assert_eq!(load(Some(&file(&text)), &environment([])).unwrap().turns.share, share, "{text}");
    }
    for wrong in ["-0.1", "1.1", "nan", "half", "2"] {
        let told = flaws(with([("TANDEM__TURNS__SHARE", wrong)]));
        assert!(told.len() == 1 && told[0].contains("a number from 0 to 1"), "{wrong}: {told:?}");
    }
}

#[test]
fn the_queue_the_budget_of_retries_and_the_breaker_are_those_of_the_pool_unless_they_are_set() {
    let pool = crate::pool::roster::RosterSettings::default();
    let queue = with([]).unwrap().queue;
    assert_eq!((queue.limit, queue.retry, queue.breaker), (pool.queue_limit, pool.retry, pool.breaker));
    let text = "[queue]\nlimit = 0\ntimeout_seconds = 7\n[retry]\nshare = 1\nfloor = 0\npause_ms = 9\n[breaker]\n\
                failures = 1\npause_ms = 200\nlongest_pause_ms = 200\n";
    let settings = load(Some(&file(text)), &environment([])).unwrap();
    let (queue, limits) = (settings.queue, settings.session.limits);
    assert_eq!((queue.limit, limits.queue_timeout), (0, Duration::from_secs(7)));
    assert_eq!((queue.retry.share, queue.retry.floor, limits.retry), (1.0, 0, queue.retry));
    assert_eq!(limits.retry.pause, Duration::from_millis(9));
    assert_eq!((queue.breaker.failures, queue.breaker.longest_pause), (1, Duration::from_millis(200)));
    for (variable, value, told) in [
        ("TANDEM__RETRY__LONGEST_PAUSE_MS", "249", "retry.longest_pause_ms"),
        ("TANDEM__BREAKER__PAUSE_MS", "120001", "breaker.longest_pause_ms"),
    ] {
        let flaws = flaws(with([(variable, value)]));
        assert!(flaws.len() == 1 && flaws[0].starts_with(told) && flaws[0].contains("at least"), "{flaws:?}");
    }
}

#[test]
fn quotas_are_off_until_they_are_set_but_for_the_calls_of_a_user() {
    let quota = with([]).unwrap().quota;
    assert_eq!((quota.user_calls, quota.tenant_calls), (2, 0));
    assert_eq!((quota.user_time, quota.tenant_time), (Duration::ZERO, Duration::ZERO));
    let variables = [
        ("TANDEM__QUOTA__TENANT_CALLS", "40"),
        ("TANDEM__QUOTA__USER_SECONDS", "3600"),
        ("TANDEM__QUOTA__TENANT_SECONDS", "7200"),
        ("TANDEM__QUOTA__WINDOW_SECONDS", "60"),
        ("TANDEM__SESSION__MAX_DURATION_SECONDS", "600"),
        ("TANDEM__AUTH__TENANT_CLAIM", "org"),
    ];
    let settings = with(variables).unwrap();
    assert_eq!(settings.quota.tenant_calls, 40);
    assert_eq!([settings.quota.user_time, settings.quota.tenant_time].map(|time| time.as_secs()), [3_600, 7_200]);
    assert_eq!([settings.quota.window, settings.quota.longest].map(|time| time.as_secs()), [60, 600]);
    assert_eq!(settings.auth.rules.tenant_claim.as_deref(), Some("org"));
}

#[test]
fn a_simulated_server_answers_in_its_own_voice_if_it_is_told_to() {
    assert_eq!(with([]).unwrap().simulator.answers_after, None);
    let own = with([("TANDEM__SIMULATOR__ANSWER", "converse"), ("TANDEM__SIMULATOR__ANSWER_DELAY_MS", "240")]).unwrap();
    assert_eq!(own.simulator.answers_after, Some(Duration::from_millis(240)));
    assert_eq!(flaws(with([("TANDEM__SIMULATOR__ANSWER", "sing")])).len(), 1);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = file("[session]\nmax_sessions = 7\nmax_sessions_per_user = 3\n[listen]\nport = 1\n");
    let variables = [("TANDEM__SESSION__MAX_SESSIONS", "9"), ("PORT", "2"), ("TANDEM__DRAIN__DEADLINE_SECONDS", "")];
    let settings = load(Some(&file), &environment(variables)).unwrap();
    assert_eq!((settings.session.max_sessions, settings.quota.user_calls), (9, 3));
    assert_eq!((settings.listen.port, settings.session.attempts_per_minute_per_user), (2, 30));
    assert_eq!(line(&settings, "session.max_sessions"), ("9", "TANDEM__SESSION__MAX_SESSIONS"));
    assert_eq!(line(&settings, "session.max_sessions_per_user"), ("3", "tandem.toml"));
    assert_eq!(line(&settings, "drain.deadline_seconds"), ("30", "default"), "an empty variable is not set");
}

#[test]
fn the_short_variables_work_and_the_long_ones_win_over_them() {
    let settings = with([
        ("PERSONAPLEX_SERVER_URL", "ws://10.0.0.7:8998, wss://voice.example.org/one#personal_context ,"),
        ("JWT_SECRET", SECRET),
        ("TANDEM_MODE", "production"),
        ("PORT", "9000"),
        ("TANDEM__LISTEN__PORT", "9001"),
        ("MONGODB_URI", "mongodb://root:hush@db"),
        ("HOME", "/root"),
        ("TANDEM_SERVICE_HOST", "10.0.0.1"),
    ])
    .unwrap();
    let urls: Vec<_> = settings.upstreams.urls.iter().map(UpstreamUrl::to_string).collect();
    assert_eq!(urls, ["ws://10.0.0.7:8998", "wss://voice.example.org:443/one#personal_context"]);
    assert_eq!(settings.auth.jwt_secret.as_ref().unwrap().expose_secret(), SECRET);
    assert_eq!(settings.listen.address().to_string(), "0.0.0.0:9001");
    assert_eq!(settings.store.mongodb.as_ref().unwrap().uri.expose_secret(), "mongodb://root:hush@db");
    assert_eq!(settings.warnings, [""; 0]);
    assert!(!settings.doors.caller_prompts && !settings.doors.query_tokens && !settings.simulator.enabled);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let file = file(
        "mode = 5\ncolour = \"red\"\n[listen]\nport = 99999\nhots = \"x\"\n[auth]\njwt_secret = 5\nissuer = [\"a\"]\n",
    );
    let variables = [
        ("TANDEM__SESSION__MAX_SESIONS", "5"),
        ("TANDEM__NOWHERE", "5"),
        ("TANDEM__METRICS__ENABLED", "yes\u{1b}"),
        ("TANDEM__LISTEN__HOST", "voice.example.org"),
        ("TANDEM__PERSONA__VOICE", "NATF9"),
        ("TANDEM__PERSONA__PROMPT", " "),
        ("TANDEM__STATE__DIR", " "),
        ("TANDEM__SESSION__LOST_AFTER_MS", "5000"),
        ("TANDEM__SESSION__WARNING_SECONDS", "120"),
        ("TANDEM__SESSION__MAX_SESSIONS", "1"),
        ("TANDEM__DOORS__ALLOWED_ORIGINS", "https://a.example,b.example,https://c.example/d,null,*"),
        ("PERSONAPLEX_SERVER_URL", "ws://h:1,http://h:2,ws://u:hush@h:3,WS://H:1/api/chat"),
    ];
    let flaws = flaws(load(Some(&file), &environment(variables)));
    let begins = [
        "auth.issuer (TANDEM__AUTH__ISSUER) is a list in tandem.toml; expected text.",
        "auth.jwt_secret (JWT_SECRET or TANDEM__AUTH__JWT_SECRET) is a value that is not shown in tandem.toml; expected",
        "\"colour\" in tandem.toml names no setting; there are mode and the sections listen, auth, doors,",
        "\"listen.hots\" in tandem.toml names no setting; section listen has host, port.",
        "listen.port (PORT or TANDEM__LISTEN__PORT) is 99999 in tandem.toml; expected a whole number from 0 to 65535.",
        "mode (TANDEM_MODE or TANDEM__MODE) is 5 in tandem.toml; expected one of development, production.",
        "metrics.enabled (TANDEM__METRICS__ENABLED) is \"yes\\u{1b}\" in TANDEM__METRICS__ENABLED; expected true or",
        "\"TANDEM__NOWHERE\" in the environment names no setting; there are TANDEM__MODE and TANDEM__SECTION__KEY for",
        "\"TANDEM__SESSION__MAX_SESIONS\" in the environment names no setting; there are TANDEM__SESSION__MAX_DURATION_",
        "listen.host (TANDEM__LISTEN__HOST) is \"voice.example.org\"; expected an IP address such as 127.0.0.1,",
        "doors.allowed_origins (TANDEM__DOORS__ALLOWED_ORIGINS) is \"b.example\"; expected origins such as https:",
        "doors.allowed_origins (TANDEM__DOORS__ALLOWED_ORIGINS) is \"https://c.example/d\"; expected",
        "doors.allowed_origins (TANDEM__DOORS__ALLOWED_ORIGINS) is \"null\"; expected",
        "doors.allowed_origins (TANDEM__DOORS__ALLOWED_ORIGINS) is \"*\"; expected",
        "persona.voice (TANDEM__PERSONA__VOICE) is \"NATF9\"; expected one of NATF0 to NATF3,",
        "persona.prompt (TANDEM__PERSONA__PROMPT) is empty; expected at least a sentence",
        "upstreams.urls (PERSONAPLEX_SERVER_URL or TANDEM__UPSTREAMS__URLS) is wrong in its part 2; expected ws://",
        "upstreams.urls (PERSONAPLEX_SERVER_URL or TANDEM__UPSTREAMS__URLS) is wrong in its part 3; expected an address",
        "upstreams.urls (PERSONAPLEX_SERVER_URL or TANDEM__UPSTREAMS__URLS) is wrong in its part 4 (ws://h:1 again); exp",
        "session.warning_seconds (TANDEM__SESSION__WARNING_SECONDS) is 120; expected less than 120, the shorter of",
        "session.lost_after_ms (TANDEM__SESSION__LOST_AFTER_MS) is 5000; expected more than 5000, the ping_interval_ms.",
        "session.max_sessions_per_user (TANDEM__SESSION__MAX_SESSIONS_PER_USER) is 2; expected at most 1, the max_",
        "state.dir (TANDEM__STATE__DIR) is empty; expected the path of a directory that can be written to.",
    ];
    assert_eq!(flaws.len(), begins.len(), "{flaws:#?}");
    for (flaw, begin) in flaws.iter().zip(begins) {
        assert!(flaw.starts_with(begin) && flaw.ends_with('.'), "{flaw}\ndoes not begin with\n{begin}");
        assert!(!flaw.contains("hush"), "{flaw}");
    }
}

#[test]
fn whatever_others_can_reach_needs_a_secret_and_a_server() {
    let no_secret = "auth.jwt_secret (JWT_SECRET or TANDEM__AUTH__JWT_SECRET) is not set; production, and every";
    let no_server = "upstreams.urls (PERSONAPLEX_SERVER_URL or TANDEM__UPSTREAMS__URLS) is not set; production, and";
    let weak = "auth.jwt_secret (JWT_SECRET or TANDEM__AUTH__JWT_SECRET) is 31 bytes long; expected at least 32 bytes";
    for exposed in [("TANDEM_MODE", "production"), ("TANDEM__LISTEN__HOST", "::"), ("TANDEM__LISTEN__HOST", "10.0.0.1")]
    {
        let bare = flaws(with([exposed]));
        assert_eq!(bare.len(), 2, "{bare:?}");
        assert!(bare[0].starts_with(no_secret) && bare[1].starts_with(no_server), "{bare:?}");
        let server = ("PERSONAPLEX_SERVER_URL", "ws://10.0.0.7:8998");
        let short = flaws(with([exposed, server, ("JWT_SECRET", &SECRET[1..])]));
        assert!(short.len() == 1 && short[0].starts_with(weak) && !short[0].contains("abcdef"), "{short:?}");
        assert!(with([exposed, server, ("JWT_SECRET", SECRET)]).unwrap().is_exposed());
    }
    for host in ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost", ""] {
        assert!(!with([("TANDEM__LISTEN__HOST", host)]).unwrap().is_exposed(), "{host}");
    }
}

#[test]
fn a_weak_secret_is_a_warning_in_development() {
    let settings = with([("JWT_SECRET", "hush ")]).unwrap();
    assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    assert!(settings.warnings[0].contains("white space") && settings.warnings[1].contains("has 5 bytes"));
    assert_eq!(settings.auth.jwt_secret.unwrap().expose_secret(), "hush ", "it is used as it is");
}

#[test]
fn production_simulates_nothing_and_takes_no_tokens_from_urls() {
    let production =
        [("TANDEM_MODE", "production"), ("JWT_SECRET", SECRET), ("PERSONAPLEX_SERVER_URL", "ws://10.0.0.7:8998")];
    let [mode, secret, server] = production;
    assert_eq!(flaws(with(production)), Vec::<String>::new());
    let refused = flaws(with([mode, secret, server, ("TANDEM__SIMULATOR__ENABLED", "true")]));
    assert!(refused.len() == 1 && refused[0].contains("callers would talk to no model"), "{refused:?}");
    let refused = flaws(with([mode, secret, server, ("TANDEM__DOORS__QUERY_TOKENS", "always")]));
    assert!(refused.len() == 1 && refused[0].contains("use tickets"), "{refused:?}");
    assert!(with([mode, secret, server, ("TANDEM__DOORS__CALLER_PROMPTS", "always")]).unwrap().doors.caller_prompts);
    let settings = with([mode, secret, server, ("TANDEM__UPSTREAMS__INSECURE_TLS", "true")]).unwrap();
    assert!(settings.warnings.len() == 1 && settings.warnings[0].contains("listen in"), "{:?}", settings.warnings);
}

#[test]
fn a_server_whose_certificate_goes_unchecked_is_warned_of_anywhere_but_on_this_machine() {
    let warnings = |urls: &str| with([("PERSONAPLEX_SERVER_URL", urls)]).unwrap().warnings;
    let told = warnings("ws://a:1,wss://10.0.0.7:8998/x#insecure,wss://b:1#region=eu");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("its part 2 (wss://10.0.0.7:8998/x)") && told[0].contains("listen in"), "{told:?}");
    assert_eq!(warnings("wss://localhost:1#insecure"), Vec::<String>::new());
}

#[test]
fn what_is_said_of_a_server_is_judged_with_its_part_and_not_repeated() {
    let urls = "ws://h:1#region=eu,ws://h:2#hush,wss://h:3#pin=hush,ws://h:4#dns&dns,ws://H:1#capacity=2";
    let told = flaws(with([("PERSONAPLEX_SERVER_URL", urls)]));
    let begins = [
        "wrong in its part 2; expected after # only pin, ca, insecure, capacity, model, voices, region, price, window, dns, personal_context",
        "wrong in its part 3; expected pin=sha256: and 44 characters of base64, as tandem check prints it.",
        "wrong in its part 4; expected dns only once after #.",
        "wrong in its part 5 (ws://h:1 again); expected every server once.",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (flaw, begin) in told.iter().zip(begins) {
        assert!(flaw.contains(begin) && !flaw.contains("hush"), "{flaw}\ndoes not say\n{begin}");
    }
}

#[test]
fn simulated_servers_stand_in_only_where_no_real_one_is() {
    let server = ("PERSONAPLEX_SERVER_URL", "ws://10.0.0.7:8998");
    let simulator = |value| ("TANDEM__SIMULATOR__ENABLED", value);
    assert!(!with([server]).unwrap().simulator.enabled);
    assert!(flaws(with([server, simulator("true")]))[0].contains("names real servers"));
    assert!(with([simulator("false")]).unwrap().warnings[0].contains("no call can be put through"));
    let open = [("TANDEM__LISTEN__HOST", "0.0.0.0"), ("JWT_SECRET", SECRET), simulator("true")];
    assert!(with(open).unwrap().simulator.enabled, "a trial that others can reach must be asked for");
    assert!(load(Some(&file("[simulator]\nenabled = true\n")), &environment([])).unwrap().simulator.enabled);
}

#[test]
fn long_prompts_are_measured_as_they_travel() {
    let prompt = |text: &str| with([("TANDEM__PERSONA__PROMPT", text)]);
    assert!(prompt(&"word ".repeat(1499)).is_ok());
    assert_eq!(prompt("  Be kind.\n").unwrap().persona.prompt.unwrap().expose_secret(), "Be kind.");
    let long = flaws(prompt(&"é".repeat(1251)));
    assert!(long.len() == 1 && long[0].contains("is 7506 bytes long once encoded"), "{long:?}");
    assert_eq!(with([("TANDEM__PERSONA__VOICE", "VARM4.pt")]).unwrap().persona.voice.unwrap().name(), "VARM4");
}

#[test]
fn personas_come_from_a_directory_and_one_of_them_is_the_default() {
    let persona =
        with([("TANDEM__PERSONA__DEFAULT", "listener"), ("TANDEM__PERSONA__DIR", "personas")]).unwrap().persona;
    assert_eq!((persona.default.as_str(), persona.directory), ("listener", Some("personas".into())));
    let told = flaws(load(Some(&file("[persona]\ndefault = \"\"")), &environment([])));
    assert!(
        told.len() == 1 && told[0].starts_with("persona.default") && told[0].contains("such as assistant"),
        "{told:?}"
    );
}

#[test]
fn origins_are_kept_in_one_form() {
    let written = "HTTPS://App.Example.org/, http://localhost:5173, https://a.example:443, http://[::1]:80";
    let settings = with([("TANDEM__DOORS__ALLOWED_ORIGINS", written)]).unwrap();
    let kept = ["https://app.example.org", "http://localhost:5173", "https://a.example", "http://[::1]"];
    assert_eq!(settings.doors.allowed_origins, kept);
}

#[test]
fn a_broken_file_is_located_but_not_repeated() {
    let broken = flaws(load(Some(&file("[auth]\njwt_secret = \"hush\nport = 1\n")), &environment([])));
    assert_eq!(broken.len(), 1);
    assert!(broken[0].starts_with("tandem.toml is not valid TOML at line 2, column "), "{broken:?}");
    assert!(!broken[0].contains("hush"));
}

#[test]
fn users_and_leases_are_in_mongodb_if_there_is_one_and_else_in_files() {
    let settings = with([("TANDEM__STATE__DIR", "/srv"), ("TANDEM__STORE__RETENTION_DAYS", "30")]).unwrap();
    assert!(settings.store.mongodb.is_none());
    assert_eq!(settings.store.file, Path::new("/srv/users.sqlite"));
    assert_eq!(settings.store.retention, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(settings.state.ledger, LedgerPlace::File("/srv/tandem.sqlite".into()));
    let shared = [
        ("MONGODB_URI", "mongodb://db/app"),
        ("TANDEM__STORE__HEALTH_FIELD", "profile.health"),
        ("TANDEM__STORE__RETENTION_DAYS", "0"),
    ];
    let settings = with(shared).unwrap();
    let mongodb = settings.store.mongodb.unwrap();
    let names = Names { health: "profile.health".into(), ..Names::default() };
    assert_eq!((mongodb.names, mongodb.retention, mongodb.database), (names, None, None));
    assert_eq!(settings.state.ledger, LedgerPlace::MongoDb);
    let own_file = with([shared[0], ("TANDEM__STATE__LEDGER", "leases")]).unwrap();
    assert_eq!(own_file.state.ledger, LedgerPlace::File("leases".into()));
    let wrong = [
        ("MONGODB_URI", "http://root:hush@db"),
        ("TANDEM__STORE__MONGODB_DATABASE", "a.b"),
        ("TANDEM__STORE__NAME_FIELD", "$where"),
    ];
    let flaws = flaws(with(wrong));
    assert_eq!(flaws.len(), 3, "{flaws:?}");
    assert!(!flaws.join(" ").contains("hush"), "{flaws:?}");
}

#[test]
fn no_secret_is_printed() {
    let prompt = "A private prompt.";
    let variables =
        [("JWT_SECRET", SECRET), ("MONGODB_URI", "mongodb://root:hush@db"), ("TANDEM__PERSONA__PROMPT", prompt)];
    let settings = with(variables).unwrap();
    let printed = format!("{settings:?} {:?}", settings.describe());
    for secret in [SECRET, "hush", "private"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    for key in ["auth.jwt_secret", "persona.prompt", "store.mongodb_uri"] {
        assert_eq!(line(&settings, key).0, "(set)");
    }
    let settings = with([]).unwrap();
    assert_eq!(line(&settings, "auth.jwt_secret"), ("(not set)", "default"));
}

#[test]
fn every_setting_is_described_with_what_came_of_it() {
    let settings = with([("PERSONAPLEX_SERVER_URL", "ws://10.0.0.7:8998")]).unwrap();
    let keys: Vec<_> = settings.describe().iter().map(|line| line.key).collect();
    assert_eq!(keys, KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
    assert_eq!(line(&settings, "listen.host").0, "(not set) (so: 127.0.0.1)");
    assert_eq!(line(&settings, "simulator.enabled").0, "auto (so: false)");
    assert_eq!(line(&settings, "upstreams.urls"), ("ws://10.0.0.7:8998", "PERSONAPLEX_SERVER_URL"));
}
