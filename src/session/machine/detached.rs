//! A caller whose connection broke without a goodbye: the call waits for it, and the model's clock stops.
//!
//! The model server stays, and is fed silence until the assistant's sentence ends, so that nothing is cut off in its
//! middle. What is said meanwhile waits in the caller's queue under the queue's own bounds.

use std::time::{Duration, Instant};

use super::{
    Direction, Dropped, Effect, Machine, Note,
    state::{Phase, millis},
};
use crate::protocol::{
    ending::Ending,
    native::{ResumeTerms, ServerEvent},
};

/// The longest that a model is fed for a caller who is away.
const LAST_SENTENCE: Duration = Duration::from_secs(5);

/// So much longer the clock runs to complete a frame: half of one would join the first words of the caller who is back.
const LAST_FRAME: Duration = Duration::from_secs(1);

/// Since when the caller is away, and what it misses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detached {
    since: Instant,
    /// When the call ends unless the caller is back.
    until: Instant,
    /// The assistant's newest sound.
    sounded_at: Instant,
    missed: Duration,
    /// Since when the model's clock stands still.
    stopped_at: Option<Instant>,
}

impl Machine {
    /// Whether a caller may come back to this call now, or take it over from another socket of its own.
    pub fn can_attach(&self) -> bool {
        self.terms.resume.is_some() && !self.is_ending()
    }

    /// Whether the caller is away and may come back.
    pub fn is_detached(&self) -> bool {
        self.detached.is_some()
    }

    /// Whether the model's clock stands still.
    pub(super) fn is_clock_stopped(&self) -> bool {
        self.detached.is_some_and(|away| away.stopped_at.is_some())
    }

    /// When a caller who is away has been so for too long.
    pub(super) fn detached_until(&self) -> Option<Instant> {
        self.detached.map(|away| away.until)
    }

    /// Whether the call waits for a caller who is lost now.
    pub(super) fn can_wait(&self) -> bool {
        self.phase == Phase::Streaming && self.terms.resume.is_some() && !self.is_detached()
    }

    /// The caller's connection broke or fell silent: the call waits for it, or ends.
    pub(super) fn lose_client(&mut self, now: Instant) {
        if !self.can_wait() {
            self.end(Ending::ClientLost, now);
            return;
        }
        self.client_open = false;
        self.detached = Some(Detached {
            since: now,
            until: now + self.limits.resume_grace,
            sounded_at: now,
            missed: Duration::ZERO,
            stopped_at: None,
        });
        self.effects.push_back(Effect::LetClientGo);
        self.effects.push_back(Effect::Note(Note::Detached));
    }

    /// The caller is back on a new socket, whether its old one was known to be gone or not.
    pub(super) fn attach(&mut self, resume: ResumeTerms, now: Instant) {
        if !self.can_attach() {
            return;
        }
        let away = self.detached.take();
        self.client_open = true;
        let fresh = away.map_or(self.limits.client_queue, |away| {
            self.limits.client_queue.saturating_sub(now.saturating_duration_since(away.sounded_at))
        });
        let dropped = self.to_client.reconnect(fresh, now);
        let words = self.flight.unconfirmed_words();
        let repeats_from_ms = words.first().map(|delta| delta.audio_ms);
        for delta in words.into_iter().rev() {
            self.to_client.push_front(super::ClientOutput::Event(ServerEvent::Transcript(delta)), now);
        }
        self.flight.renew(self.limits.client_queue);
        let missed = dropped.duration + away.map_or(Duration::ZERO, |away| away.missed);
        self.note_dropped(Direction::Down, super::DropReason::Backlog, dropped);
        let session_id = self.terms.session_id.clone();
        let event = ServerEvent::Resumed { session_id, missed_audio_ms: millis(missed), repeats_from_ms, resume };
        self.to_client.push_front(super::ClientOutput::Event(event), now);
        self.watch.attached(away.map(|away| away.since), &self.limits, now);
        if let Some(stopped_at) = away.and_then(|away| away.stopped_at) {
            self.no_sound_was_due(now.saturating_duration_since(stopped_at));
            let servers = self.server.as_mut().into_iter().chain(self.relay.backstage());
            servers.for_each(|server| server.restart(now));
        }
        self.effects.push_back(Effect::Note(Note::Attached { taken_over: away.is_none() }));
    }

    /// The assistant makes sound for nobody.
    pub(super) fn sounded(&mut self, now: Instant) {
        if let Some(away) = &mut self.detached {
            away.sounded_at = now;
        }
    }

    /// So much of the assistant's sound was dropped.
    pub(super) fn missed(&mut self, dropped: Dropped) {
        if let Some(away) = &mut self.detached {
            away.missed += dropped.duration;
        }
    }

    /// Stops the model's clock once the assistant has said its sentence to a caller who is away.
    pub(super) fn stop_clock(&mut self, now: Instant) {
        let silent_at = self.ears.wordless_at();
        let part =
            self.server.as_ref().is_some_and(|server| server.is_mid_frame() || server.queue.oldest_audio().is_some());
        if let Some(away) = &mut self.detached {
            let at = silent_at.min(away.since + LAST_SENTENCE).max(away.since);
            if now >= at && (!part || now >= at + LAST_FRAME) {
                away.stopped_at.get_or_insert(now);
            }
        }
    }

    /// Why a call ends whose queue for the caller is full of what may not be dropped, and was not made so by the caller.
    ///
    /// At two pieces a model frame it takes 10 s to fill: what is filled faster is flooded by its server.
    pub(super) fn full_of_words(&self, now: Instant) -> Ending {
        if self.is_detached() {
            Ending::ClientLost
        } else if self.to_client.oldest_age(now) >= self.limits.too_slow_after {
            Ending::TooSlow
        } else {
            Ending::UpstreamLost
        }
    }
}
