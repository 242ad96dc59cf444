//! Raw -> Settings: every rule that one value alone cannot break, all of them looked at before anything is said.

mod fleet;
mod quota;
mod recap;
mod store;
mod telemetry;
mod upstreams;

pub(super) use upstreams::{EXPOSED, has_machine_of};

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::authority::Authority;
use super::flaw::{Flaw, quoted};
use super::raw::{
    Answers, Enabled, Raw, RawAuth, RawBreaker, RawDoors, RawPersona, RawQueue, RawRetry, RawRotation, RawSession,
    RawSimulator, RawState, Where,
};
use super::settings::{
    AuthSettings, DoorSettings, DrainSettings, LedgerPlace, ListenSettings, LoggingSettings, MetricsSettings, Mode,
    QueueSettings, SessionSettings, Settings, SimulatorSettings, StateSettings, TurnSettings, UpstreamSettings,
};
use crate::auth::keys::{KeyError, check_strength};
use crate::auth::{TicketLimits, TokenRules};
use crate::context::cast::CastSettings;
use crate::pool::breaker::BreakerSettings;
use crate::pool::retry::RetrySettings;
use crate::session::machine::{Limits, Rotation};

/// The most bytes of a prompt once encoded for the query: servers take request lines of 8,190 bytes, and the rest of
/// the line needs some.
const MAX_ENCODED_PROMPT_BYTES: usize = 7500;

const NEEDS_SECRET: &str = "production, and every address that others can reach, need the secret of the back end that \
     signs the callers' tokens, at least 32 bytes; set JWT_SECRET";
const NEEDS_SERVER: &str = "production, and every address that others can reach, need a model server; set \
     PERSONAPLEX_SERVER_URL to its address, for example ws://10.0.0.7:8998 (or, for a trial in development, \
     TANDEM__SIMULATOR__ENABLED to true)";

/// Judges the settings as a whole. The result is good only if no flaw comes with it.
pub(super) fn judge(raw: Raw) -> (Settings, Vec<Flaw>) {
    let mut judge = Judge { mode: raw.mode, exposed: false, flaws: Vec::new(), warnings: Vec::new() };
    let listen = ListenSettings { host: judge.host(&raw.listen.host), port: raw.listen.port };
    judge.exposed = raw.mode == Mode::Production || !listen.host.is_loopback();
    let auth = judge.auth(raw.auth, raw.quota.tenant_calls > 0 || raw.quota.tenant_seconds > 0);
    let doors = judge.doors(raw.doors);
    let persona = judge.persona(raw.persona);
    let upstreams = judge.upstreams(raw.upstreams);
    let simulator = judge.simulator(&raw.simulator, &upstreams);
    let queue = judge.queue(&raw.queue, &raw.retry, &raw.breaker);
    let session = judge.session(&raw.session, &raw.rotation, &raw.queue, queue.retry);
    if raw.state.dir.is_empty() {
        judge.value("state.dir", "empty", "the path of a directory that can be written to");
    }
    let state = state(raw.state, !raw.store.mongodb_uri.is_empty());
    let store = judge.store(raw.store, &state.dir);
    let recap = judge.recap(raw.recap);
    judge.telling(&upstreams, store.mongodb.is_some());
    let fleet = judge.fleet(&raw.fleet, raw.providers, &upstreams, &state.dir);
    let settings = Settings {
        mode: raw.mode,
        listen,
        auth,
        doors,
        persona,
        upstreams,
        session,
        queue,
        quota: quota::judge(&raw.quota, &raw.session),
        turns: TurnSettings { share: raw.turns.share },
        drain: DrainSettings { deadline: Duration::from_secs(raw.drain.deadline_seconds) },
        logging: LoggingSettings { format: raw.logging.format, level: raw.logging.level },
        metrics: MetricsSettings { enabled: raw.metrics.enabled },
        telemetry: judge.telemetry(raw.telemetry),
        state,
        store,
        recap,
        simulator,
        fleet,
        warnings: judge.warnings,
        lines: Vec::new(),
    };
    (settings, judge.flaws)
}

fn state(raw: RawState, mongodb: bool) -> StateSettings {
    let dir = PathBuf::from(raw.dir);
    let ledger = match raw.ledger.as_str() {
        "off" => LedgerPlace::Off,
        "" if mongodb => LedgerPlace::MongoDb,
        "" => LedgerPlace::File(dir.join("tandem.sqlite")),
        path => LedgerPlace::File(path.into()),
    };
    StateSettings { dir, ledger }
}

/// Empty means not set.
fn set(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

struct Judge {
    mode: Mode,
    exposed: bool,
    flaws: Vec<Flaw>,
    warnings: Vec<String>,
}

impl Judge {
    fn value(&mut self, key: &'static str, shown: impl Into<String>, expected: impl Into<String>) {
        self.flaws.push(Flaw::Value { key, shown: shown.into(), expected: expected.into() });
    }

    fn host(&mut self, host: &str) -> IpAddr {
        match (host, self.mode) {
            ("", Mode::Development) | ("localhost", _) => Ipv4Addr::LOCALHOST.into(),
            ("", Mode::Production) => Ipv4Addr::UNSPECIFIED.into(),
            _ => host.trim_start_matches('[').trim_end_matches(']').parse().unwrap_or_else(|_| {
                self.value("listen.host", quoted(host), "an IP address such as 127.0.0.1, 0.0.0.0 or ::");
                Ipv4Addr::LOCALHOST.into()
            }),
        }
    }

    fn auth(&mut self, raw: RawAuth, tenants: bool) -> AuthSettings {
        let jwt_secret = set(raw.jwt_secret).map(SecretString::from);
        match &jwt_secret {
            None if self.exposed => self.flaws.push(Flaw::Missing { key: "auth.jwt_secret", reason: NEEDS_SECRET }),
            None => {}
            Some(secret) => self.secret(secret),
        }
        let operator_key = self.key("auth.operator_key", raw.operator_key, [jwt_secret.as_ref(), None]);
        AuthSettings {
            admin_token: self.key("auth.admin_token", raw.admin_token, [jwt_secret.as_ref(), operator_key.as_ref()]),
            operator_key,
            jwt_secret,
            rules: TokenRules {
                issuer: set(raw.issuer),
                audience: set(raw.audience),
                leeway: Duration::from_secs(raw.leeway_seconds),
                required_scope: set(raw.required_scope),
                // Without a limit for tenants nobody needs to know them.
                tenant_claim: set(raw.tenant_claim).filter(|_| tenants),
            },
            tickets: TicketLimits { ttl: Duration::from_secs(raw.ticket_ttl_seconds), ..TicketLimits::default() },
        }
    }

    /// A key that is sent as it is: never a short one, and never one that is good for something else.
    fn key(&mut self, path: &'static str, key: String, others: [Option<&SecretString>; 2]) -> Option<SecretString> {
        let key = set(key).map(SecretString::from)?;
        if let Err(error) = check_strength(&key) {
            let shown = match error {
                KeyError::TooShort { bytes } => format!("{bytes} bytes long"),
                _ => "made of a few characters".to_owned(),
            };
            self.value(path, shown, "at least 32 bytes, best random ones");
        }
        if others.into_iter().flatten().any(|other| other.expose_secret() == key.expose_secret()) {
            self.value(path, "what auth.jwt_secret or auth.operator_key is", "a secret of its own");
        }
        Some(key)
    }

    fn secret(&mut self, secret: &SecretString) {
        let text = secret.expose_secret();
        if text.trim().len() != text.len() {
            let warning = "auth.jwt_secret (JWT_SECRET) begins or ends with white space, which counts as part of it.";
            self.warnings.push(warning.to_owned());
        }
        match check_strength(secret) {
            Err(KeyError::TooShort { bytes }) if self.exposed => {
                self.value("auth.jwt_secret", format!("{bytes} bytes long"), "at least 32 bytes, best random ones");
            }
            Err(error) => self.warnings.push(format!("auth.jwt_secret (JWT_SECRET): {error}, outside development.")),
            Ok(()) => {}
        }
    }

    fn doors(&mut self, raw: RawDoors) -> DoorSettings {
        let development = self.mode == Mode::Development;
        let on = |place| place == Where::Always || (place == Where::Development && development);
        if raw.query_tokens == Where::Always && !development {
            let expected = "development or never: in production, tokens in URLs would end up in logs; use tickets";
            self.value("doors.query_tokens", "always", expected);
        }
        let allowed_origins = raw.allowed_origins.iter().filter_map(|written| self.origin(written)).collect();
        DoorSettings { allowed_origins, caller_prompts: on(raw.caller_prompts), query_tokens: on(raw.query_tokens) }
    }

    fn origin(&mut self, written: &str) -> Option<String> {
        let origin = written.trim().trim_end_matches('/').to_ascii_lowercase();
        let read = origin.split_once("://").and_then(|(scheme, rest)| Some((scheme, Authority::parse(rest).ok()?)));
        match read {
            // Browsers leave the scheme's own port out, so it is left out here too.
            Some((scheme @ "http", Authority { host, port: None | Some(80) })) => Some(format!("{scheme}://{host}")),
            Some((scheme @ "https", Authority { host, port: None | Some(443) })) => Some(format!("{scheme}://{host}")),
            Some(("http" | "https", Authority { port: Some(_), .. })) => Some(origin),
            _ => {
                let expected = "origins such as https://app.example.org, without a path";
                self.value("doors.allowed_origins", quoted(written), expected);
                None
            }
        }
    }

    /// Where personas come from; their files are read by those who need them.
    fn persona(&mut self, raw: RawPersona) -> CastSettings {
        let voice = set(raw.voice).and_then(|written| {
            let voice = written.parse().ok();
            if voice.is_none() {
                let expected = "one of NATF0 to NATF3, NATM0 to NATM3, VARF0 to VARF4 and VARM0 to VARM4";
                self.value("persona.voice", quoted(&written), expected);
            }
            voice
        });
        let prompt = raw.prompt.trim();
        let encoded_bytes: usize = form_urlencoded::byte_serialize(prompt.as_bytes()).map(str::len).sum();
        if prompt.is_empty() && !raw.prompt.is_empty() {
            self.value("persona.prompt", "empty", "at least a sentence: model servers hang up on an empty prompt");
        } else if encoded_bytes > MAX_ENCODED_PROMPT_BYTES {
            let shown = format!("{encoded_bytes} bytes long once encoded for a URL");
            self.value("persona.prompt", shown, format!("at most {MAX_ENCODED_PROMPT_BYTES}"));
        }
        if raw.default.is_empty() {
            self.value("persona.default", "empty", "the name of a persona, such as assistant");
        }
        let prompt = set(prompt.to_owned()).map(Into::into);
        CastSettings {
            default: raw.default,
            directory: set(raw.dir).map(Into::into),
            voice,
            prompt,
            tokenizer: set(raw.tokenizer).map(Into::into),
        }
    }

    fn simulator(&mut self, raw: &RawSimulator, upstreams: &UpstreamSettings) -> SimulatorSettings {
        let wrong_server = self.flaws.iter().any(|flaw| matches!(flaw, Flaw::Value { key: "upstreams.urls", .. }));
        let no_server = upstreams.urls.is_empty() && !wrong_server;
        let enabled = match raw.enabled {
            Enabled::True => true,
            Enabled::False => false,
            Enabled::Auto => no_server && !self.exposed,
        };
        match (enabled, self.mode) {
            (true, Mode::Production) => {
                self.value("simulator.enabled", "true", "auto or false in production: callers would talk to no model");
            }
            (true, _) if !upstreams.urls.is_empty() => {
                let expected = "auto or false while upstreams.urls (PERSONAPLEX_SERVER_URL) names real servers";
                self.value("simulator.enabled", "true", expected);
            }
            _ => {}
        }
        let served = enabled && self.mode == Mode::Development;
        if no_server && self.exposed && !served {
            self.flaws.push(Flaw::Missing { key: "upstreams.urls", reason: NEEDS_SERVER });
        } else if no_server && !enabled {
            let warning = "upstreams.urls (PERSONAPLEX_SERVER_URL) is not set and nothing is simulated: no call can be \
                 put through.";
            self.warnings.push(warning.to_owned());
        }
        SimulatorSettings {
            enabled,
            answers_after: (raw.answer == Answers::Converse).then(|| Duration::from_millis(raw.answer_delay_ms)),
            step: Duration::from_millis(raw.step_ms),
            voice_steps: raw.voice_steps,
            servers: raw.servers,
        }
    }

    fn queue(&mut self, queue: &RawQueue, retry: &RawRetry, breaker: &RawBreaker) -> QueueSettings {
        if retry.longest_pause_ms < retry.pause_ms {
            let expected = format!("at least {}, the pause_ms", retry.pause_ms);
            self.value("retry.longest_pause_ms", retry.longest_pause_ms.to_string(), expected);
        }
        if breaker.longest_pause_ms < breaker.pause_ms {
            let expected = format!("at least {}, the pause_ms", breaker.pause_ms);
            self.value("breaker.longest_pause_ms", breaker.longest_pause_ms.to_string(), expected);
        }
        QueueSettings {
            limit: queue.limit as usize,
            retry: RetrySettings {
                share: retry.share,
                floor: retry.floor,
                pause: Duration::from_millis(retry.pause_ms),
                longest_pause: Duration::from_millis(retry.longest_pause_ms),
                ..RetrySettings::default()
            },
            breaker: BreakerSettings {
                failures: breaker.failures,
                pause: Duration::from_millis(breaker.pause_ms),
                longest_pause: Duration::from_millis(breaker.longest_pause_ms),
            },
        }
    }

    fn session(
        &mut self,
        raw: &RawSession,
        rotation: &RawRotation,
        queue: &RawQueue,
        retry: RetrySettings,
    ) -> SessionSettings {
        let shortest = raw.max_duration_seconds.min(raw.idle_timeout_seconds);
        if raw.warning_seconds >= shortest {
            let expected =
                format!("less than {shortest}, the shorter of max_duration_seconds and idle_timeout_seconds");
            self.value("session.warning_seconds", raw.warning_seconds.to_string(), expected);
        }
        if raw.lost_after_ms <= raw.ping_interval_ms {
            let expected = format!("more than {}, the ping_interval_ms", raw.ping_interval_ms);
            self.value("session.lost_after_ms", raw.lost_after_ms.to_string(), expected);
        }
        if raw.max_sessions_per_user > raw.max_sessions {
            let expected = format!("at most {}, the max_sessions", raw.max_sessions);
            self.value("session.max_sessions_per_user", raw.max_sessions_per_user.to_string(), expected);
        }
        let limits = Limits {
            max_duration: Duration::from_secs(raw.max_duration_seconds),
            idle_timeout: Duration::from_secs(raw.idle_timeout_seconds),
            warning: Duration::from_secs(raw.warning_seconds),
            ping_interval: Duration::from_millis(raw.ping_interval_ms),
            lost_after: Duration::from_millis(raw.lost_after_ms),
            recovery: Duration::from_secs(raw.recovery_seconds),
            rotation: Rotation { window_steps: rotation.window_steps, without_slot: rotation.without_slot },
            resume_grace: Duration::from_secs(raw.resume_grace_seconds),
            too_slow_after: Duration::from_millis(raw.too_slow_after_ms),
            client_queue: Duration::from_millis(raw.client_queue_ms),
            upstream_queue: Duration::from_millis(raw.upstream_queue_ms),
            queue_timeout: Duration::from_secs(queue.timeout_seconds),
            retry,
            ..Limits::default()
        };
        SessionSettings {
            limits,
            max_sessions: raw.max_sessions,
            attempts_per_minute_per_user: raw.attempts_per_minute_per_user,
        }
    }
}
