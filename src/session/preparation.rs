//! What a call's prompts are made of: its persona, and its caller's context once that is there.

use std::{fmt, sync::Arc};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    machine::HandshakeTerms,
    script::{HandshakeBudget, Script},
};
use crate::{
    context::{
        persona::Persona,
        private::Private,
        prompt::{self, Built},
        source::ContextSource,
        user::{Context, Entry},
    },
    protocol::moshi::{TargetError, Voice},
};

/// What is needed to make a call's prompts of its caller's context. Its `Debug` shows no caller.
#[derive(Clone)]
pub struct Preparation {
    /// Who the assistant is.
    pub persona: Arc<Persona>,
    /// Its voice in this call.
    pub voice: Voice,
    /// What knows the caller.
    pub source: Arc<dyn ContextSource>,
    /// What the call was about that this one continues, if it continues one.
    pub continues: Option<Entry>,
    /// The caller, as the source names it.
    pub user: Private<String>,
    /// How long a model server may take to read a prompt.
    pub budget: HandshakeBudget,
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation").field("persona", &self.persona).finish_non_exhaustive()
    }
}

impl Preparation {
    /// The script of a call that begins today with this context, and the time that it takes to be read.
    pub fn script(&self, context: &Context) -> Result<(Script, HandshakeTerms), TargetError> {
        let Built { prompt, .. } = prompt::build(&self.persona, context, today());
        let script = Script::new(self.voice, prompt)?.continued_as(self.persona.short().clone());
        let terms = self.budget.terms(&script);
        Ok((script, terms))
    }
}

/// The day by universal time: where users are is not known.
pub fn today() -> Date {
    TimeZone::UTC.to_datetime(Timestamp::now()).date()
}
