//! Rotation: a model forgets its persona when its window is full, so another server takes over before.
//!
//! The window is counted in model steps: those of the prompts, and one for each frame that was fed (personaplex.md 6.5).
//! The next server hears the caller beside the one on stage, and takes over while neither speaks, or at the limit. No
//! old audio is ever played to it. Where no slot is free, the same slot may begin anew in a pause of the conversation.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{
    Effect, Machine,
    server::{FRAME, Server},
    state::millis,
    understudy::{Purpose, Relay},
};
use crate::{
    audio::{hush::Hush, packet::OpusPacket},
    protocol::native::{ExpiryReason, ServerEvent},
};

/// How a model's window is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The model's window where nothing else is said of a server, in steps of 80 ms; 0: it forgets nothing. PersonaPlex has 3,000 (personaplex.md 6.5).
    pub window_steps: u32,
    /// What is done where no other slot is free.
    pub without_slot: WithoutSlot,
}

/// What becomes of a call whose window is full while no other slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutSlot {
    /// The same slot begins anew in a pause of the conversation: a gap, and the persona is back.
    Restart,
    /// The call goes on, without its persona.
    Off,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { window_steps: 3_000, without_slot: WithoutSlot::Restart }
    }
}

/// Of the window this part is kept for getting the next server ready, and half of it for spreading rotations in time:
/// 500 and 250 steps of 3,000, which is 40 s and 20 s.
const MARGIN: u32 = 6;
/// In the last part of the window a pause is waited for in which the same slot begins anew: 125 steps of 3,000, or 10 s.
const LAST_CALL: u32 = 24;
/// The longest wait for a slot that is prepared for.
const MAX_WAIT: Duration = Duration::from_secs(40);
/// Nobody speaks if nobody was heard for so long.
const PAUSE: Duration = Duration::from_millis(240);

/// What was done about the window of the server on stage.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    warned: bool,
    pub(super) given_up: bool,
}

/// Who is silent while a moment to switch is looked for.
#[derive(Debug)]
pub(super) struct Hushes {
    pub(super) stage: Hush,
    pub(super) next: Hush,
    caller: Hush,
    /// When the caller sent its last packet.
    caller_at: Instant,
}

impl Hushes {
    /// Nothing is heard yet. Without ears, the switch comes at the limit.
    pub(super) fn new(now: Instant) -> Option<Box<Self>> {
        let (stage, next, caller) = (Hush::new().ok()?, Hush::new().ok()?, Hush::new().ok()?);
        Some(Box::new(Self { stage, next, caller, caller_at: now }))
    }

    /// For how long the caller was not heard. One who is muted sends nothing.
    fn caller_quiet(&self, now: Instant) -> Duration {
        self.caller.quiet().max(now.saturating_duration_since(self.caller_at))
    }
}

/// The model steps that pass in this time.
fn steps_in(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(FRAME.as_nanos())).unwrap_or(u32::MAX)
}

impl Relay {
    /// The caller's packet, while a pause is looked for.
    pub(super) fn hear_caller(&mut self, packet: &OpusPacket, now: Instant) {
        if let Some(hushes) = &mut self.hushes {
            hushes.caller.hear(packet);
            hushes.caller_at = now;
        }
    }
}

impl Machine {
    /// The used steps at which the next server is called for; none where its prompts alone would fill the window.
    fn prepares_at(&self, server: &Server) -> Option<u32> {
        let window = server.window;
        let margin = window / MARGIN;
        let handshake = steps_in(server.predicts(self.terms.handshake.memory_steps));
        let wait = steps_in(self.upstream.queued().min(MAX_WAIT));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the margin")]
        let spread = (f64::from(margin / 2) * self.terms.jitter.clamp(0.0, 1.0)) as u32;
        let ahead = margin.saturating_add(handshake).saturating_add(wait).saturating_add(spread);
        let earliest = self.terms.handshake.memory_steps.saturating_add(margin);
        (window > 0 && earliest < window).then(|| window.saturating_sub(ahead).max(earliest))
    }

    /// Turns the server on stage over when its window is nearly full.
    pub(super) fn watch_window(&mut self, now: Instant) {
        let Some(server) = self.server.as_ref().filter(|_| self.relay.recovering.is_none()) else { return };
        let (steps, window) = (server.steps(), server.window);
        let Some(prepares_at) = self.prepares_at(server).filter(|at| steps >= *at) else { return };
        debug_assert!(prepares_at <= window, "{prepares_at}");
        let left = window.saturating_sub(steps);
        if self.ends_at() <= now + FRAME * left {
            // The call ends before its window does.
            if self.relay.is_rotating() {
                self.dismiss_understudy();
            }
            return;
        }
        if !std::mem::replace(&mut self.relay.window.warned, true) {
            let in_ms = millis(FRAME * left);
            self.say(ServerEvent::Expiring { reason: ExpiryReason::Persona, in_ms }, now);
        }
        if self.relay.understudy.is_none() && !self.relay.window.given_up {
            self.call_understudy(Purpose::Rotation, now);
        }
        if self.relay.backstage().is_some() {
            // While nobody listens there is nothing to be heard of it.
            if left == 0 || self.is_hushed() || self.is_clock_stopped() {
                self.switch(now);
            }
        } else if self.limits.rotation.without_slot == WithoutSlot::Restart
            && left <= window / LAST_CALL
            && self.relay.is_unserved()
            && self.is_worth_restarting(now)
        {
            self.relay.hushes = self.relay.hushes.take().or_else(|| Hushes::new(now));
            if left == 0 || self.is_pause(now) {
                self.restart_server(now);
            }
        }
    }

    /// Whether neither server speaks.
    fn is_hushed(&self) -> bool {
        let hushes = self.relay.hushes.as_ref();
        hushes.is_some_and(|hushes| hushes.stage.quiet() >= PAUSE && hushes.next.quiet() >= PAUSE)
    }

    /// Whether neither the caller nor the assistant speaks.
    fn is_pause(&self, now: Instant) -> bool {
        let hushes = self.relay.hushes.as_ref();
        hushes.is_some_and(|hushes| hushes.stage.quiet() >= PAUSE && hushes.caller_quiet(now) >= PAUSE)
    }

    /// Whether the call has more time left than it costs to begin anew, twice.
    fn is_worth_restarting(&self, now: Instant) -> bool {
        let costs = self.server.as_ref().map(|server| server.predicts(self.terms.handshake.continuation_steps));
        costs.is_some_and(|costs| self.ends_at() > now + costs * 2)
    }

    /// The same slot begins anew: its leg closes in order and gives the lease back for the next one.
    fn restart_server(&mut self, now: Instant) {
        let Some(server) = self.clear_stage(now) else { return };
        self.dismiss_understudy();
        self.upstream.tries_other_prompts();
        self.relay.kept = Some(server.offer());
        let eta_ms = millis(server.predicts(self.terms.handshake.continuation_steps));
        self.say(ServerEvent::Rotating { eta_ms }, now);
        if self.is_ending() {
            return self.effects.push_back(Effect::CloseUpstream(server.attempt()));
        }
        self.effects.push_back(Effect::KeepLease(server.attempt()));
        self.call_understudy(Purpose::Restart, now);
    }
}
