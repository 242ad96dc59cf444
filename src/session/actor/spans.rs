//! A call's spans: they begin and end with what the machine hears and decides.

use std::{mem, time::Duration};

use crate::{
    pool::roster::{Place, WaitReason},
    protocol::ending::Ending,
    session::machine::{Effect, Input, Note, Prompt, UpstreamInput, millis},
    telemetry::span::{Attribute, Span, SpanName},
};

/// What a call waits for its own slot as, when it goes on with that: no class of the queue.
const KEPT: &str = "kept";

/// The spans of one call that have not ended.
#[derive(Default)]
pub(super) struct CallSpans {
    call: Span,
    building: Option<Span>,
    waiting: Option<Waiting>,
    opening: Vec<Opening>,
    window: Option<(u32, Span)>,
    had_window: bool,
}

struct Waiting {
    span: Span,
    is_placed: bool,
    is_for_wake: bool,
}

/// A model server that does not listen yet.
struct Opening {
    attempt: u32,
    upstream: String,
    span: Span,
}

impl CallSpans {
    /// Those of a call, which has begun.
    pub(super) fn of(call: Span) -> Self {
        Self { call, ..Self::default() }
    }

    /// Before the machine hears this.
    pub(super) fn hear(&mut self, input: &Input) {
        if !self.call.is_seen() {
            return;
        }
        match input {
            Input::Prepared(_) => self.building = None,
            Input::Unprepared => self.end_building(),
            Input::Queued(place) => self.stand(*place),
            Input::Leased(_) => self.end_wait("granted"),
            Input::NoSlot(why) => self.fail_wait(why.code()),
            Input::NoAnswer => self.fail_wait("no_answer"),
            Input::Upstream(attempt, input) => self.hear_upstream(*attempt, input),
            _ => {}
        }
    }

    /// Before the actor does this.
    pub(super) fn perform(&mut self, effect: &Effect) {
        if !self.call.is_seen() {
            return;
        }
        match effect {
            Effect::LoadContext => self.building = Some(self.call.child(SpanName::ContextBuild)),
            Effect::Acquire { class, .. } => self.wait(class.code()),
            Effect::KeepLease(attempt) => {
                self.close(*attempt);
                self.wait(KEPT);
            }
            Effect::Withdraw => self.end_wait("withdrawn"),
            Effect::CloseUpstream(attempt) => self.close(*attempt),
            Effect::Note(note) => self.note(*note),
            _ => {}
        }
    }

    /// A socket to this server is asked for.
    pub(super) fn open(&mut self, attempt: u32, prompt: Prompt, upstream: &str) {
        if !self.call.is_seen() {
            return;
        }
        let mut span = self.child_at(SpanName::UpstreamConnect, attempt, upstream);
        span.set(Attribute::Prompt(match prompt {
            Prompt::Persona => "persona",
            Prompt::Memory => "memory",
            Prompt::Continuation => "continuation",
        }));
        self.opening.push(Opening { attempt, upstream: upstream.to_owned(), span });
    }

    /// The server that is heard now, with its name.
    pub(super) fn stage(&mut self, on_stage: Option<u32>, upstream: &str) {
        if !self.call.is_seen() || self.window.as_ref().map(|(attempt, _)| *attempt) == on_stage {
            return;
        }
        // Ended first: one window follows the other.
        self.window = None;
        if let Some(attempt) = on_stage {
            let mut window = self.child_at(SpanName::SessionWindow, attempt, upstream);
            if !mem::replace(&mut self.had_window, true) {
                window.set(Attribute::Reason("first"));
            }
            self.window = Some((attempt, window));
        }
    }

    /// The call is over. Whatever had not ended ends with it; a caller who left is no error.
    pub(super) fn end(&mut self, ending: Ending) {
        self.end_wait("withdrawn");
        let Self { mut call, building, waiting, opening, window, had_window: _ } = mem::take(self);
        drop((building, waiting, opening, window));
        call.set(Attribute::Ending(ending.code()));
        if ending.is_failure() {
            call.fail(ending.code());
        }
    }

    fn child_at(&self, name: SpanName, attempt: u32, upstream: &str) -> Span {
        let mut span = self.call.child(name);
        span.set(Attribute::Upstream(upstream));
        span.set(Attribute::Attempt(attempt));
        span
    }

    fn end_building(&mut self) {
        if let Some(mut building) = self.building.take() {
            building.fail("context_unavailable");
        }
    }

    fn wait(&mut self, class: &'static str) {
        self.end_wait("withdrawn");
        let mut span = self.call.child(SpanName::QueueWait);
        span.set(Attribute::Class(class));
        self.waiting = Some(Waiting { span, is_placed: false, is_for_wake: false });
    }

    /// The first place that the call is told, and from when on it waits for a machine.
    fn stand(&mut self, place: Place) {
        let Some(waiting) = &mut self.waiting else { return };
        if !mem::replace(&mut waiting.is_placed, true) {
            waiting.span.set(Attribute::Position(place.position));
        }
        let waking = place.reason == WaitReason::Waking;
        if waking && !mem::replace(&mut waiting.is_for_wake, true) {
            waiting.span.event("wake");
        }
    }

    fn end_wait(&mut self, outcome: &'static str) {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.span.set(Attribute::Outcome(outcome));
        }
    }

    fn fail_wait(&mut self, why: &'static str) {
        if let Some(waiting) = &mut self.waiting {
            waiting.span.fail(why);
        }
        self.end_wait(why);
    }

    fn hear_upstream(&mut self, attempt: u32, input: &UpstreamInput) {
        let Some(index) = self.opening.iter().position(|opening| opening.attempt == attempt) else { return };
        match input {
            UpstreamInput::Opened => {
                let upstream = self.opening[index].upstream.clone();
                self.opening[index].span = Span::default();
                self.opening[index].span = self.child_at(SpanName::UpstreamHandshake, attempt, &upstream);
            }
            UpstreamInput::Ready => drop(self.opening.swap_remove(index)),
            UpstreamInput::Ended(end) => self.opening.swap_remove(index).span.fail(end.code()),
            UpstreamInput::Audio(_) | UpstreamInput::Text(_) | UpstreamInput::Writable => {}
        }
    }

    /// Closed by us before it listened: nobody needs it any more.
    fn close(&mut self, attempt: u32) {
        if let Some(index) = self.opening.iter().position(|opening| opening.attempt == attempt) {
            self.opening.swap_remove(index).span.set(Attribute::Outcome("withdrawn"));
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            // What ended by itself has failed already. Of several that get ready only the last is given up as late.
            Note::AttemptFailed(None) => {
                if let Some(mut opening) = self.opening.pop() {
                    opening.span.fail("handshake_timeout");
                }
            }
            Note::Rotated { gap, .. } => self.say_window("rotation", gap),
            Note::Recovered { same: false, gap, .. } => self.say_window("failover", gap),
            Note::Recovering(_) => self.call.event("server lost"),
            Note::Detached => self.call.event("caller lost"),
            Note::Attached { .. } => self.call.event("caller back"),
            Note::FirstAudio(_) => self.call.event("first audio"),
            _ => {}
        }
    }

    fn say_window(&mut self, reason: &'static str, gap: Duration) {
        if let Some((_, window)) = &mut self.window {
            window.set(Attribute::Reason(reason));
            window.set(Attribute::GapMs(millis(gap)));
        }
    }
}
