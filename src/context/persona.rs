//! A persona: who the assistant is in a call, and what it is told of its caller.
//!
//! It comes as a TOML file; docs/personas.md says how to write one.

mod file;
mod flaw;
mod lint;

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{
    plain::frame_sign,
    recap::ROLE_TOKENS,
    role::shortened,
    template::{Facts, Template},
    tokens::Tokens,
    topic::Topic,
    work::looked_at,
};
use crate::protocol::moshi::{Voice, encoded_bytes};

pub use file::{MAX_FILE_BYTES, MAX_NAME_BYTES, MAX_RECAPS};
pub use flaw::{Advice, PersonaFlaw};

/// How much a prompt may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes, once encoded for a request line.
    pub bytes: usize,
    /// Tokens, those of the frame included.
    pub tokens: u32,
    /// What counts or guesses them.
    pub counter: Tokens,
}

impl Budget {
    /// Whether a prompt is within it.
    pub fn holds(&self, prompt: &str) -> bool {
        encoded_bytes(prompt) <= self.bytes && self.counter.of(prompt) <= self.tokens
    }
}

/// What a persona is told of its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The topics.
    pub topics: Vec<Topic>,
    /// Entries of the journal, the newest ones.
    pub journal_entries: usize,
    /// Entries of the journal that are older are not told, in days.
    pub journal_days: u32,
    /// Recaps of calls, the newest ones.
    pub recaps: usize,
    /// Whether a call without its caller's context is no call.
    pub required: bool,
}

/// Limits of a call in which a persona speaks, where they are shorter than everybody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallLimits {
    /// The longest call.
    pub max_duration: Option<Duration>,
    /// The longest time without speech of the caller.
    pub idle_timeout: Option<Duration>,
}

/// Who the assistant is. Its `Debug` shows no prompt.
#[derive(Clone)]
pub struct Persona {
    /// Its name, by which callers choose it.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// The voice.
    pub voice: Voice,
    /// The model that it was written for; none: any.
    pub model: Option<String>,
    /// What it speaks, as codes such as `en`.
    pub languages: Vec<String>,
    /// The scope that callers need; none: everybody may call it.
    pub scope: Option<String>,
    /// How much its prompts may have.
    pub budget: Budget,
    /// Limits of its calls.
    pub limits: CallLimits,
    /// What it is told of its caller.
    pub sight: Sight,
    role: Role,
    /// Its prompt where nothing is known of the caller.
    bare: SecretString,
    /// Who it is, in few words.
    short: SecretString,
}

#[derive(Clone)]
enum Role {
    Template(Box<Template>),
    Fixed,
}

impl fmt::Debug for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persona").field("name", &self.name).field("voice", &self.voice).finish_non_exhaustive()
    }
}

impl Persona {
    /// Reads a persona's file and holds it against every rule. `stem` is the file's name without its ending.
    pub fn read(stem: &str, text: &str, counter: &Tokens) -> Result<(Persona, Vec<Advice>), Vec<PersonaFlaw>> {
        file::read(stem, text, counter)
    }

    /// This persona, with a prompt that is the same for everybody in place of its template.
    #[must_use]
    pub fn with_prompt(self, prompt: SecretString) -> Persona {
        let budget = Budget { bytes: usize::MAX, tokens: u32::MAX, counter: self.budget.counter };
        let short = shortened(prompt.expose_secret(), ROLE_TOKENS).into();
        Persona { role: Role::Fixed, bare: prompt, short, sight: Sight::default(), budget, ..self }
    }

    /// Who it is, in few words that say nothing of the caller, for a server that goes on with a call: not empty.
    pub fn short(&self) -> &SecretString {
        &self.short
    }

    /// Its prompt where nothing is known of the caller; not empty.
    pub fn bare(&self) -> &SecretString {
        &self.bare
    }

    /// Whether it is told anything of its caller.
    pub fn sees_context(&self) -> bool {
        !self.sight.topics.is_empty()
    }

    /// Whether somebody with these scopes may call it.
    pub fn is_open_to(&self, scopes: &[String]) -> bool {
        self.scope.as_ref().is_none_or(|scope| scopes.contains(scope))
    }

    /// Its prompt with these facts; none if the template does not take them, or makes something else than a prompt of them.
    pub(super) fn fill(&self, facts: &Facts) -> Option<String> {
        looked_at(facts.about.len() + facts.journal.len() + facts.recaps.len());
        match &self.role {
            Role::Template(template) => template.fill(facts).ok().filter(|prompt| frame_sign(prompt).is_none()),
            Role::Fixed => Some(self.bare.expose_secret().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
