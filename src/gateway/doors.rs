//! What the doors share, made from the settings.

use std::{num::NonZeroU32, sync::Arc};

use super::{
    records::{Desk, Records},
    storage::Storage,
};

use crate::{
    auth::{OperatorKey, TicketBox, Tokens},
    config::Settings,
    context::{cast::Cast, source::ContextSource},
    fleet::control::Control,
    http::{
        admin::steward::Steward,
        doors::{Doors, Throttle},
        orders::Orders,
        reload::Reloads,
        rules::{DoorPolicy, RuleBook, Rules},
    },
    metrics::Metrics,
    session::{leg::upstream::connect::UpstreamConnector, script::HandshakeBudget, switchboard::Switchboard},
    telemetry::span::Tracer,
};

/// What the doors lead to.
pub(super) struct House {
    pub(super) tokens: Tokens,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) connector: UpstreamConnector,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
    pub(super) cast: Cast,
    pub(super) fleet: Control,
    pub(super) contexts: Arc<dyn ContextSource>,
    pub(super) records: Arc<Records>,
    pub(super) storage: Storage,
    pub(super) steward: Arc<dyn Steward>,
}

/// What the settings say of calls that begin, with these personas.
pub(super) fn rules(settings: &Settings, cast: Cast) -> Rules {
    Rules {
        policy: DoorPolicy {
            allowed_origins: settings.doors.allowed_origins.clone(),
            caller_prompts: settings.doors.caller_prompts,
            query_tokens: settings.doors.query_tokens,
            metrics: settings.metrics.enabled,
        },
        cast,
        handshake: HandshakeBudget {
            base: settings.upstreams.handshake_base,
            step: settings.upstreams.handshake_step,
            voice_steps: settings.upstreams.voice_steps,
        },
        limits: settings.session.limits.clone(),
        turn_share: settings.turns.share,
        ticket_hold: settings.fleet.ticket_hold,
    }
}

/// How often one user may try to call in a minute.
pub(super) fn attempts(settings: &Settings) -> NonZeroU32 {
    NonZeroU32::new(settings.session.attempts_per_minute_per_user).unwrap_or(NonZeroU32::MIN)
}

/// The doors of this house.
pub(super) fn open(settings: &Settings, house: House) -> Doors {
    let House { tokens, switchboard, connector, metrics, tracer, cast, fleet, contexts, records, storage, steward } =
        house;
    Doors {
        tokens,
        operator_key: settings.auth.operator_key.as_ref().map(OperatorKey::new),
        admin_token: settings.auth.admin_token.as_ref().map(OperatorKey::new),
        steward,
        orders: Orders::default(),
        tickets: TicketBox::new(settings.auth.tickets),
        rules: RuleBook::new(rules(settings, cast)),
        contexts,
        archive: storage.archive,
        registrar: Arc::new(Desk(records)),
        switchboard,
        connector,
        metrics,
        tracer,
        fleet,
        throttle: Throttle::new(attempts(settings)),
        reloads: Reloads::default(),
    }
}
