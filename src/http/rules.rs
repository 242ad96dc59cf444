//! What holds for whoever comes: a reload puts other rules in place of these, and a call keeps those that it began with.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crate::{
    context::cast::Cast,
    session::{machine::Limits, script::HandshakeBudget},
};

/// What is let in.
#[derive(Clone, Debug)]
pub struct DoorPolicy {
    /// The browser origins that may call; empty means any.
    pub allowed_origins: Vec<String>,
    /// Whether callers may choose voice and prompt.
    pub caller_prompts: bool,
    /// Whether tokens are accepted in the query.
    pub query_tokens: bool,
    /// Whether metrics are shown.
    pub metrics: bool,
}

/// What holds for calls that begin now.
pub struct Rules {
    /// What is let in.
    pub policy: DoorPolicy,
    /// Who may speak.
    pub cast: Cast,
    /// How long a model server may take.
    pub handshake: HandshakeBudget,
    /// The limits of a call.
    pub limits: Limits,
    /// The share of the calls in which it is measured who speaks when, 0 to 1.
    pub turn_share: f64,
    /// How long a ticket keeps a machine awake; none: tickets wake nothing.
    pub ticket_hold: Option<Duration>,
}

/// The rules of this moment.
pub struct RuleBook(RwLock<Arc<Rules>>);

impl RuleBook {
    /// One with these rules.
    pub fn new(rules: Rules) -> Self {
        Self(RwLock::new(Arc::new(rules)))
    }

    /// The rules as they are now. Who looks at several of them looks once.
    pub fn now(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// These hold from now on.
    pub fn replace(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
