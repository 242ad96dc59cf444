//! Before anything else: a call whose persona knows its caller waits for what is known.

use std::time::{Duration, Instant};

use super::{Effect, HandshakeTerms, Machine, state::Phase};
use crate::{
    pool::roster::Class,
    protocol::{
        ending::Ending,
        native::{ServerEvent, WarningCode},
    },
};

/// Whether a call's prompts wait for its caller's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextNeed {
    /// The persona knows nothing of its caller.
    #[default]
    Nothing,
    /// It is told what is known; where nothing can be had in time it goes on alone.
    Wanted,
    /// Without it there is no call.
    Required,
}

impl Machine {
    /// Begins: with the context if the persona wants it, else with the slot.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.terms.context == ContextNeed::Nothing {
            return self.begin_leasing();
        }
        self.phase = Phase::Preparing { until: now + self.limits.context_timeout };
        self.effects.push_back(Effect::LoadContext);
    }

    /// The call's prompts are there, and take so long to be read.
    pub(super) fn prepared(&mut self, terms: HandshakeTerms) {
        if self.is_preparing() {
            self.terms.handshake = terms;
            self.begin_leasing();
        }
    }

    /// There is no context, and none will come.
    pub(super) fn unprepared(&mut self, now: Instant) {
        match (self.is_preparing(), self.terms.context) {
            (true, ContextNeed::Required) => self.end(Ending::ContextUnavailable, now),
            (true, _) => {
                let code = WarningCode::ContextUnavailable;
                self.say(ServerEvent::Warning { code, message: code.sentence().to_owned() }, now);
                self.begin_leasing();
            }
            (false, _) => {}
        }
    }

    /// Goes on without a context that does not come.
    pub(super) fn preparing_over(&mut self, now: Instant) {
        if self.preparing_until().is_some_and(|until| now >= until) {
            self.unprepared(now);
        }
    }

    /// Whether the call waits for its caller's context.
    pub fn is_preparing(&self) -> bool {
        self.preparing_until().is_some()
    }

    /// When the wait for the context is over, if there is one.
    pub(super) fn preparing_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Preparing { until } => Some(until),
            _ => None,
        }
    }

    fn begin_leasing(&mut self) {
        self.phase = Phase::Leasing;
        self.effects.push_back(Effect::Acquire { class: Class::New, elsewhere: false, retry: false });
    }
}

/// The longest wait for a context.
pub(super) const CONTEXT_TIMEOUT: Duration = crate::context::source::CONTEXT_TIMEOUT;
