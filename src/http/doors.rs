//! What every door shares: who may come in, on what terms, and where calls go.

use std::{
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use secrecy::SecretString;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    admin::steward::Steward,
    operator::Operator,
    orders::Orders,
    problem::{Problem, Refusal},
    reload::Reloads,
    rules::RuleBook,
};
use crate::{
    auth::{OperatorKey, TicketBox, Tokens},
    context::source::ContextSource,
    fleet::control::Control,
    metrics::Metrics,
    protocol::moshi::Voice,
    session::{
        leg::upstream::connect::UpstreamConnector,
        registrar::Registrar,
        switchboard::{Switchboard, UserHash},
    },
    store::archive::Archive,
    telemetry::{parent::TraceParent, span::Tracer},
};

/// Refusals a second that are told on an upgraded socket; the rest get their HTTP status alone.
const SOCKET_REFUSALS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// What one operator may ask in a second, and at once: a person's hurry, or an autoscaler's round.
const OPERATIONS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const OPERATIONS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);

/// What may be asked of `/admin` in a second, and at once: a few screens that look once a second.
const ADMIN_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
const ADMIN_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

/// Wrong admin tokens in a minute that are answered as such, and logged.
const ADMIN_FAILURES_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// How often one user may ask for its records in a second, and at once: a person who scrolls through a list.
const LOOKS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
const LOOKS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// The persona, voice, prompt and earlier call that a caller asked for.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// A persona by its name.
    pub persona: Option<String>,
    /// One of the known voices.
    pub voice: Option<Voice>,
    /// A prompt of the caller's own.
    pub prompt: Option<SecretString>,
    /// The call that this one continues.
    pub continue_from: Option<Uuid>,
    /// The trace in which a ticket was asked for.
    pub trace: Option<TraceParent>,
}

impl Wishes {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.persona.is_none() && self.voice.is_none() && self.prompt.is_none() && self.continue_from.is_none()
    }
}

/// Everything that a door needs.
pub struct Doors {
    /// Verifies tokens.
    pub tokens: Tokens,
    /// What operators may send in place of a token.
    pub operator_key: Option<OperatorKey>,
    /// What opens `/admin`; without it `/admin` is shut.
    pub admin_token: Option<OperatorKey>,
    /// Looks after the process, for `/admin`.
    pub steward: Arc<dyn Steward>,
    /// What operators ordered lately.
    pub orders: Orders,
    /// One-use tickets and what they were minted for.
    pub tickets: TicketBox<Wishes>,
    /// What holds for whoever comes now.
    pub rules: RuleBook,
    /// What knows the callers.
    pub contexts: Arc<dyn ContextSource>,
    /// The records of calls.
    pub archive: Arc<Archive>,
    /// Where the records of new calls go.
    pub registrar: Arc<dyn Registrar>,
    /// The live calls.
    pub switchboard: Arc<Switchboard>,
    /// Opens upstream sockets.
    pub connector: UpstreamConnector,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Starts spans.
    pub tracer: Tracer,
    /// Who tries too often.
    pub throttle: Throttle,
    /// Where the configuration is asked to be read again.
    pub reloads: Reloads,
    /// The machines that are started and stopped.
    pub fleet: Control,
}

impl Doors {
    /// The time that tickets live by.
    pub fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// How often things may be tried.
pub struct Throttle {
    attempts: RwLock<(NonZeroU32, DefaultKeyedRateLimiter<UserHash>)>,
    looks: DefaultKeyedRateLimiter<UserHash>,
    operations: DefaultKeyedRateLimiter<Operator>,
    administrations: DefaultDirectRateLimiter,
    admin_failures: DefaultDirectRateLimiter,
    socket_refusals: DefaultDirectRateLimiter,
}

impl Throttle {
    /// So many attempts in a minute for each user.
    pub fn new(attempts_per_minute: NonZeroU32) -> Self {
        Self {
            attempts: RwLock::new(attempts(attempts_per_minute)),
            looks: RateLimiter::keyed(Quota::per_second(LOOKS_PER_SECOND).allow_burst(LOOKS_AT_ONCE)),
            operations: RateLimiter::keyed(Quota::per_second(OPERATIONS_PER_SECOND).allow_burst(OPERATIONS_AT_ONCE)),
            administrations: RateLimiter::direct(Quota::per_second(ADMIN_PER_SECOND).allow_burst(ADMIN_AT_ONCE)),
            admin_failures: RateLimiter::direct(Quota::per_minute(ADMIN_FAILURES_PER_MINUTE)),
            socket_refusals: RateLimiter::direct(Quota::per_second(SOCKET_REFUSALS_PER_SECOND)),
        }
    }

    /// Another number of attempts in a minute: what was tried before is forgotten, unless it is the same number.
    pub fn limit(&self, attempts_per_minute: NonZeroU32) {
        let mut limit = self.attempts.write().unwrap_or_else(PoisonError::into_inner);
        if limit.0 != attempts_per_minute {
            *limit = attempts(attempts_per_minute);
        }
    }

    /// Counts one attempt of a user, and refuses the one that is too many.
    pub fn attempt(&self, user: UserHash) -> Result<(), Refusal> {
        let attempts = &self.attempts.read().unwrap_or_else(PoisonError::into_inner).1;
        attempts.check_key(&user).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(attempts.clock().now());
            Problem::TooManyAttempts.retry_after(wait)
        })
    }

    /// Counts what a user asks of its records, and refuses what is too much.
    pub fn look(&self, user: UserHash) -> Result<(), Refusal> {
        self.looks.check_key(&user).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.looks.clock().now());
            Problem::TooManyAttempts.retry_after(wait)
        })
    }

    /// Counts what an operator asks, and refuses what is too much.
    pub fn operate(&self, operator: Operator) -> Result<(), Refusal> {
        self.operations.check_key(&operator).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.operations.clock().now());
            Problem::TooManyAttempts.retry_after(wait)
        })
    }

    /// Counts what is asked of `/admin` with the token, and refuses what is too much.
    pub fn administer(&self) -> Result<(), Refusal> {
        check(&self.administrations)
    }

    /// Counts what is asked of `/admin` without the token, and refuses what is too much.
    pub fn fail_to_administer(&self) -> Result<(), Refusal> {
        check(&self.admin_failures)
    }

    /// Whether one more refusal may be told on a socket just now.
    pub fn may_refuse_on_socket(&self) -> bool {
        self.socket_refusals.check().is_ok()
    }

    /// Forgets users who have not tried for a while; to be called every now and then.
    pub fn upkeep(&self) {
        self.attempts.read().unwrap_or_else(PoisonError::into_inner).1.retain_recent();
        self.looks.retain_recent();
        self.operations.retain_recent();
    }
}

fn attempts(in_a_minute: NonZeroU32) -> (NonZeroU32, DefaultKeyedRateLimiter<UserHash>) {
    (in_a_minute, RateLimiter::keyed(Quota::per_minute(in_a_minute)))
}

fn check(limiter: &DefaultDirectRateLimiter) -> Result<(), Refusal> {
    limiter
        .check()
        .map_err(|not_yet| Problem::TooManyAttempts.retry_after(not_yet.wait_time_from(limiter.clock().now())))
}
