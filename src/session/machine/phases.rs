//! How long a call is in each phase before its model listens.

use std::time::Instant;

use super::{Effect, Machine, Note};

/// The phase that runs, as far as it was told.
#[derive(Debug)]
pub(super) struct Phases {
    name: &'static str,
    since: Instant,
}

impl Phases {
    pub(super) fn new(name: &'static str, now: Instant) -> Self {
        Self { name, since: now }
    }
}

impl Machine {
    /// Notes the phase that has ended, if one has. What comes after them has measures of its own.
    pub(super) fn note_phase(&mut self, now: Instant) {
        let next = Phases::new(self.phase_name(), now);
        if next.name == self.phases.name {
            return;
        }
        let Phases { name, since } = std::mem::replace(&mut self.phases, next);
        if !matches!(name, "streaming" | "closing") {
            self.effects.push_back(Effect::Note(Note::PhaseOver(name, now.saturating_duration_since(since))));
        }
    }
}
