//! The settings as they are written: every key of default.toml, present and of its kind, but not yet judged.
//!
//! The fields' meanings are in default.toml. No type here prints: some fields are secret.

use serde::Deserialize;

use super::settings::{LogFormat, LogLevel, Mode, Telling};
use crate::{pool::pace::Realtime, session::machine::WithoutSlot};

macro_rules! raw {
    ($($name:ident { $($field:ident: $type:ty),+ $(,)? })+) => {
        $(
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct $name { $(pub(super) $field: $type),+ }
        )+
    };
}

raw! {
    Raw {
        mode: Mode,
        listen: RawListen,
        auth: RawAuth,
        doors: RawDoors,
        persona: RawPersona,
        upstreams: RawUpstreams,
        session: RawSession,
        rotation: RawRotation,
        queue: RawQueue,
        retry: RawRetry,
        breaker: RawBreaker,
        quota: RawQuota,
        turns: RawTurns,
        drain: RawDrain,
        logging: RawLogging,
        metrics: RawMetrics,
        telemetry: RawTelemetry,
        state: RawState,
        store: RawStore,
        recap: RawRecap,
        simulator: RawSimulator,
        fleet: RawFleet,
        providers: RawProviders,
    }
    RawListen { host: String, port: u16 }
    RawAuth {
        jwt_secret: String,
        issuer: String,
        audience: String,
        leeway_seconds: u64,
        required_scope: String,
        ticket_ttl_seconds: u64,
        tenant_claim: String,
        operator_key: String,
        admin_token: String,
    }
    RawDoors { allowed_origins: Vec<String>, caller_prompts: Where, query_tokens: Where }
    RawPersona { default: String, dir: String, voice: String, prompt: String, tokenizer: String }
    RawUpstreams {
        urls: Vec<String>,
        insecure_tls: bool,
        ca_file: String,
        connect_timeout_ms: u64,
        upgrade_timeout_ms: u64,
        close_timeout_ms: u64,
        handshake_base_ms: u64,
        handshake_step_ms: u64,
        voice_steps: u32,
        realtime: Realtime,
        personal_context: Telling,
    }
    RawSession {
        max_duration_seconds: u64,
        idle_timeout_seconds: u64,
        warning_seconds: u64,
        ping_interval_ms: u64,
        lost_after_ms: u64,
        resume_grace_seconds: u64,
        recovery_seconds: u64,
        too_slow_after_ms: u64,
        client_queue_ms: u64,
        upstream_queue_ms: u64,
        max_sessions: u32,
        max_sessions_per_user: u32,
        attempts_per_minute_per_user: u32,
    }
    RawRotation { window_steps: u32, without_slot: WithoutSlot }
    RawQueue { limit: u32, timeout_seconds: u64 }
    RawRetry { share: f64, floor: u32, pause_ms: u64, longest_pause_ms: u64 }
    RawBreaker { failures: u32, pause_ms: u64, longest_pause_ms: u64 }
    RawQuota { tenant_calls: u32, user_seconds: u64, tenant_seconds: u64, window_seconds: u64 }
    RawTurns { share: f64 }
    RawDrain { deadline_seconds: u64 }
    RawLogging { format: LogFormat, level: LogLevel }
    RawMetrics { enabled: bool }
    RawTelemetry { otlp_endpoint: String, otlp_headers: String, service_name: String, sample_ratio: f64 }
    RawState { dir: String, ledger: String }
    RawStore {
        mongodb_uri: String,
        mongodb_database: String,
        users_collection: String,
        user_id_field: String,
        name_field: String,
        pronouns_field: String,
        health_field: String,
        journal_collection: String,
        journal_user_field: String,
        journal_date_field: String,
        journal_text_field: String,
        retention_days: u64,
        encryption_key: String,
    }
    RawRecap { url: String, api_key: String, model: String, timeout_ms: u64, insecure: bool }
    RawSimulator {
        enabled: Enabled,
        answer: Answers,
        answer_delay_ms: u64,
        step_ms: u64,
        voice_steps: u32,
        servers: u32,
    }
    RawFleet {
        idle_seconds: u64,
        min_awake_seconds: u64,
        wake_timeout_seconds: u64,
        reconcile_seconds: u64,
        ticket_hold_seconds: u64,
        warm_up: bool,
        restart_stuck_seconds: u64,
        keep_warm: String,
    }
    RawProviders {
        runpod: RawCloud,
        vast: RawCloud,
        railway: RawRailway,
        docker: RawDocker,
        kubernetes: RawKubernetes,
        command: RawCommand, webhook: RawWebhook }
    RawCloud { api_key: String, base_url: String, port: u16 }
    RawRailway { project_token: String, account_token: String, base_url: String }
    RawDocker { daemon: String, grace_seconds: u64 }
    RawKubernetes { base_url: String, ca_file: String, token: String, token_file: String, replicas: u32 }
    RawCommand {
        start: String,
        environment: Vec<String>,
        directory: String,
        grace_seconds: u64,
        output: String,
        output_bytes: u64,
    }
    RawWebhook {
        start_url: String,
        stop_url: String,
        restart_url: String,
        status_url: String,
        state_pointer: String,
        address_pointer: String,
        secret: String,
        authorization: String,
    }
}

/// Where a relaxed rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Where {
    Development,
    Always,
    Never,
}

/// What simulated servers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answers {
    Echo,
    Converse,
}

/// A switch that may decide for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Enabled {
    Auto,
    True,
    False,
}
