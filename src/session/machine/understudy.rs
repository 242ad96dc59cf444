//! The understudy: another model server that gets ready while the call goes on, to take the stage.
//!
//! It is called for by a [failover](super::failover) or a [rotation](super::rotation). There is at most one, it has at
//! most one leg, and it asks for at most one slot.

use std::time::{Duration, Instant};

use super::{
    Effect, Judgement, Machine, Note, Prompt, UpstreamInput,
    failover::Recovering,
    rotation::{Hushes, Window},
    server::Server,
};
use crate::{
    context::recap::Said,
    pool::roster::{Class, NoSlot, Offer},
    protocol::ending::Ending,
};

/// Why a server is wanted beside, or in place of, the one on stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The one on stage died or fell silent.
    Failover,
    /// Its window is nearly full, and another slot takes over.
    Rotation,
    /// Its window is nearly full, and the same slot begins anew.
    Restart,
}

impl Purpose {
    fn prompt(self) -> Prompt {
        match self {
            Self::Rotation => Prompt::Memory,
            Self::Failover | Self::Restart => Prompt::Continuation,
        }
    }
}

/// How far it is.
#[derive(Debug)]
enum State {
    Asking,
    Pausing { until: Instant },
    Opening,
    Listening(Box<Server>),
}

/// A server that gets ready.
#[derive(Debug)]
pub(super) struct Understudy {
    pub(super) purpose: Purpose,
    state: State,
}

/// What passes from server to server.
#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) understudy: Option<Understudy>,
    pub(super) recovering: Option<Recovering>,
    /// Since when no server is on stage.
    pub(super) empty_since: Option<Instant>,
    pub(super) window: Window,
    pub(super) hushes: Option<Box<Hushes>>,
    pub(super) said: Said,
    /// Whether the server on stage was given a continuation.
    pub(super) continued: bool,
    /// Whether the server on stage has said a word.
    pub(super) spoke: bool,
    /// What is known of the server whose slot is kept.
    pub(super) kept: Option<Offer>,
    /// Another server has the stage since the last sound, for this purpose.
    pub(super) change: Option<Purpose>,
    /// The last sound for the caller.
    pub(super) sounded_at: Option<Instant>,
    /// What the caller was told last of the pace of the server that left the stage.
    pub(super) degraded: Option<f64>,
    /// When the stage was left empty, until another server takes it.
    pub(super) cleared_at: Option<Instant>,
    /// When the server on stage was silent last, and went on by itself.
    pub(super) stalled_at: Option<Instant>,
    /// Servers in a row that were lost soon after they had taken the stage.
    pub(super) quick_losses: u32,
}

impl Relay {
    /// The server that listens and is not heard.
    pub(super) fn backstage(&mut self) -> Option<&mut Server> {
        match self.understudy.as_mut().map(|understudy| &mut understudy.state) {
            Some(State::Listening(server)) => Some(server),
            _ => None,
        }
    }

    /// Takes it from there, with its purpose.
    pub(super) fn take_backstage(&mut self) -> Option<(Server, Purpose)> {
        self.backstage()?;
        match self.understudy.take()? {
            Understudy { purpose, state: State::Listening(server) } => Some((*server, purpose)),
            _ => None,
        }
    }

    /// Whether this is the leg of the server that listens and is not heard.
    pub(super) fn is_backstage(&self, attempt: u32) -> bool {
        match self.understudy.as_ref().map(|understudy| &understudy.state) {
            Some(State::Listening(server)) => server.attempt() == attempt,
            _ => false,
        }
    }

    /// Whether a slot is waited for.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.understudy, Some(Understudy { state: State::Asking, .. }))
    }

    /// Whether another server is looked for because the one on stage failed.
    pub(super) fn is_failing_over(&self) -> bool {
        matches!(self.understudy, Some(Understudy { purpose: Purpose::Failover, .. }))
    }

    /// Whether another server is looked for because the window is nearly full.
    pub(super) fn is_rotating(&self) -> bool {
        matches!(self.understudy, Some(Understudy { purpose: Purpose::Rotation, .. }))
    }

    /// Whether nothing is on its way yet: at best a slot is waited for.
    pub(super) fn is_unserved(&self) -> bool {
        matches!(&self.understudy, None | Some(Understudy { state: State::Asking | State::Pausing { .. }, .. }))
    }

    /// When the pause before another try is over, if there is one.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        match self.understudy.as_ref().map(|understudy| &understudy.state) {
            Some(State::Pausing { until }) => Some(*until),
            _ => None,
        }
    }

    /// When the server backstage is fed next without further input.
    pub(super) fn next_feed(&self) -> Option<Instant> {
        match self.understudy.as_ref().map(|understudy| &understudy.state) {
            Some(State::Listening(server)) => server.pacer.deadline(),
            _ => None,
        }
    }

    /// Since when the server backstage owes sound.
    pub(super) fn backstage_stuck_since(&self) -> Option<Instant> {
        match self.understudy.as_ref().map(|understudy| &understudy.state) {
            Some(State::Listening(server)) => server.stuck_since(),
            _ => None,
        }
    }
}

impl Machine {
    /// What the assistant has said so far, for the prompts of the next server.
    pub fn said(&self) -> &Said {
        &self.relay.said
    }

    /// Calls for a server, unless that is the one whose slot is kept.
    pub(super) fn call_understudy(&mut self, purpose: Purpose, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.relay.understudy = Some(Understudy { purpose, state: State::Asking });
        self.ask_for_understudy(purpose, now);
    }

    fn ask_for_understudy(&mut self, purpose: Purpose, now: Instant) {
        let class = match purpose {
            Purpose::Failover => Class::Failover,
            Purpose::Rotation => Class::Rotation,
            // Its lease is on its way back from the leg.
            Purpose::Restart => return,
        };
        if self.upstream.tried() != purpose.prompt() {
            // What failed with other prompts says nothing of these.
            self.upstream.tries_other_prompts();
        }
        let failover = class == Class::Failover;
        let again = failover && (self.loses_again(now) || self.has_stalled(now));
        let retry = self.upstream.tries() > 0 || again;
        self.effects.push_back(Effect::Acquire { class, elsewhere: failover || retry, retry });
    }

    /// A slot was granted, or came back.
    pub(super) fn understudy_leased(&mut self, offer: Offer, now: Instant) {
        if self.is_ending() {
            return;
        }
        let Some(Understudy { purpose, state: state @ State::Asking }) = &mut self.relay.understudy else { return };
        *state = State::Opening;
        let purpose = *purpose;
        let handshake = &self.terms.handshake;
        let offer = self.relay.kept.take().unwrap_or(offer);
        let steps = if purpose == Purpose::Rotation { handshake.memory_steps } else { handshake.continuation_steps };
        self.open(purpose.prompt(), steps, offer, now);
    }

    /// There is no slot for it.
    pub(super) fn understudy_refused(&mut self, why: NoSlot, now: Instant) {
        let Some(Understudy { purpose, state: State::Asking }) = self.relay.understudy else { return };
        self.relay.understudy = None;
        match purpose {
            // The kept slot was lost on the way: another one, then.
            Purpose::Restart => {
                self.relay.kept = None;
                if self.restart_failed(now) {
                    self.call_understudy(Purpose::Failover, now);
                }
            }
            Purpose::Rotation => self.relay.window.given_up = true,
            Purpose::Failover if self.server.is_some() => {}
            // Others try as well: there will be a turn.
            Purpose::Failover if why == NoSlot::RetriesSpent => {
                self.upstream.not_reached();
                self.pause_understudy(Purpose::Failover, now);
            }
            Purpose::Failover => {
                self.end(if why == NoSlot::NoLedger { Ending::Internal } else { Ending::UpstreamLost }, now);
            }
        }
    }

    /// Nobody answered whether there is a slot for it.
    pub(super) fn understudy_unanswered(&mut self, now: Instant) {
        match &self.relay.understudy {
            Some(Understudy { purpose: Purpose::Failover, state: State::Asking }) => {
                self.upstream.not_reached();
                self.pause_understudy(Purpose::Failover, now);
            }
            _ => self.understudy_refused(NoSlot::Busy, now),
        }
    }

    /// It has read its prompts and listens.
    pub(super) fn understudy_ready(&mut self, server: Server, handshake: Duration, now: Instant) {
        self.effects.push_back(Effect::Note(Note::Prepared { handshake }));
        let Some(understudy) = &mut self.relay.understudy else { return };
        match understudy.purpose {
            Purpose::Rotation => {
                understudy.state = State::Listening(Box::new(server));
                self.relay.hushes = Hushes::new(now);
            }
            Purpose::Failover | Purpose::Restart => self.step_in(server, now),
        }
    }

    /// It did not get ready, or did not stay so; `spent`: as many servers failed with these prompts as may.
    pub(super) fn understudy_failed(&mut self, spent: bool, ending: Ending, now: Instant) {
        let Some(understudy) = &mut self.relay.understudy else { return };
        if understudy.purpose == Purpose::Restart {
            understudy.purpose = Purpose::Failover;
            if !self.restart_failed(now) {
                return;
            }
        }
        let Some(Understudy { purpose, .. }) = self.relay.understudy else { return };
        // One that was called for a rotation has read other prompts than the next will.
        if !spent || self.upstream.tried() != purpose.prompt() {
            return self.pause_understudy(purpose, now);
        }
        (self.relay.understudy, self.relay.hushes) = (None, None);
        match purpose {
            Purpose::Rotation => {
                self.relay.window.given_up = true;
                self.upstream.tries_other_prompts();
                self.effects.push_back(Effect::Note(Note::RotationFailed));
            }
            Purpose::Failover | Purpose::Restart if self.server.is_none() => self.end(ending, now),
            Purpose::Failover | Purpose::Restart => {}
        }
    }

    fn pause_understudy(&mut self, purpose: Purpose, now: Instant) {
        let until = now + self.upstream.pause(&self.limits.retry, self.terms.jitter);
        self.relay.understudy = Some(Understudy { purpose, state: State::Pausing { until } });
        self.understudy_pause_over(now);
    }

    /// Asks again, if the pause is over.
    pub(super) fn understudy_pause_over(&mut self, now: Instant) {
        if self.relay.pause_until().is_some_and(|until| now >= until)
            && let Some(understudy) = &mut self.relay.understudy
        {
            understudy.state = State::Asking;
            let purpose = understudy.purpose;
            self.ask_for_understudy(purpose, now);
        }
    }

    /// What the server says that is not heard.
    pub(super) fn backstage(&mut self, input: UpstreamInput, now: Instant) {
        let Some(server) = self.relay.backstage() else { return };
        match input {
            UpstreamInput::Audio(packet) => {
                server.gave(&packet, now);
                if let Some(hushes) = &mut self.relay.hushes {
                    hushes.next.hear(&packet);
                }
            }
            UpstreamInput::Writable => server.queue.writable(now),
            UpstreamInput::Ended(end) => {
                self.effects.push_back(Effect::Note(Note::AttemptFailed(Some(end))));
                self.upstream.failed();
                let spent = self.upstream.failures() >= self.limits.attempts;
                self.understudy_failed(spent, Ending::UpstreamLost, now);
            }
            UpstreamInput::Opened | UpstreamInput::Ready | UpstreamInput::Text(_) => {}
        }
    }

    /// A server backstage that falls silent is no help.
    pub(super) fn watch_backstage(&mut self, now: Instant) {
        let stuck = self.relay.backstage_stuck_since();
        if stuck.is_some_and(|at| now >= at + self.limits.silent_after)
            && let Some(attempt) = self.relay.backstage().map(|server| server.attempt())
        {
            self.effects.push_back(Effect::Judge(attempt, Judgement::Failed));
            self.effects.push_back(Effect::CloseUpstream(attempt));
            self.backstage(UpstreamInput::Ended(super::UpstreamEnd::HungUp), now);
        }
    }

    /// Nobody needs it any more.
    pub(super) fn dismiss_understudy(&mut self) {
        match self.relay.understudy.take().map(|understudy| understudy.state) {
            Some(State::Asking) => self.effects.push_back(Effect::Withdraw),
            Some(State::Opening) => {
                if let Some(attempt) = self.upstream.leave() {
                    self.effects.push_back(Effect::CloseUpstream(attempt));
                }
            }
            Some(State::Listening(server)) => self.effects.push_back(Effect::CloseUpstream(server.attempt())),
            Some(State::Pausing { .. }) | None => {}
        }
    }

    /// It gets another purpose, or is called: the one on stage failed.
    pub(super) fn hurry_understudy(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        match self.relay.understudy.take() {
            None => self.call_understudy(Purpose::Failover, now),
            Some(Understudy { state: State::Listening(server), .. }) => self.take_over(*server, Purpose::Failover, now),
            Some(Understudy { purpose: Purpose::Rotation, state: State::Asking }) => {
                self.effects.push_back(Effect::Withdraw);
                self.call_understudy(Purpose::Failover, now);
            }
            Some(Understudy { state, .. }) => {
                self.relay.understudy = Some(Understudy { purpose: Purpose::Failover, state });
            }
        }
    }

    fn step_in(&mut self, server: Server, now: Instant) {
        if let Some(understudy) = self.relay.understudy.take() {
            self.take_over(server, understudy.purpose, now);
        }
    }
}
