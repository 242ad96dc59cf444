//! The model server's side of the machine: attempts, the handshake, and what comes from the one that is on stage.

use std::time::{Duration, Instant};

use super::{
    ClientOutput, Direction, DropReason, Dropped, Effect, Judgement, Machine, Note, Prompt, UpstreamEnd, UpstreamInput,
    server::{PromptCost, Server},
    state::{Phase, millis},
};
use crate::{
    audio::{pacer::Fed, packet::OpusPacket},
    pool::{retry::RetrySettings, roster::Offer},
    protocol::{
        ending::Ending,
        moshi::TextPiece,
        native::{ServerEvent, TranscriptDelta},
    },
};

/// The least pause before what could not be reached is tried again, whatever is set.
const BREATH: Duration = Duration::from_millis(200);

/// What is known of the attempts. At most one leg is being opened at a time.
#[derive(Debug)]
pub(super) struct Upstream {
    attempt: u32,
    opening: Option<Opening>,
    asked_at: Instant,
    queued: Duration,
    ready: bool,
    heard_audio: bool,
    hangups: u32,
    failure: Option<Ending>,
    /// Failures since a server took the prompts that are tried.
    failures: u32,
    /// Tries in the same time that came to no server at all.
    unreached: u32,
    /// The prompts that were tried last.
    tried: Prompt,
}

/// A leg on its way to its handshake.
#[derive(Clone, Copy, Debug)]
struct Opening {
    opened: bool,
    at: Instant,
    until: Instant,
    steps: u32,
    step: Duration,
    window: u32,
}

impl Upstream {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            attempt: 0,
            opening: None,
            asked_at: now,
            queued: Duration::ZERO,
            ready: false,
            heard_audio: false,
            hangups: 0,
            failure: None,
            failures: 0,
            unreached: 0,
            tried: Prompt::Persona,
        }
    }

    /// The prompts that were tried last.
    pub(super) fn tried(&self) -> Prompt {
        self.tried
    }

    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether this is the leg that is being opened.
    pub(super) fn is_opening(&self, attempt: u32) -> bool {
        self.opening.is_some() && attempt == self.attempt
    }

    /// Until when the leg that is being opened must have its handshake.
    pub(super) fn handshake_until(&self) -> Option<Instant> {
        self.opening.map(|opening| opening.until)
    }

    /// Why the last attempt failed, if one did.
    pub(super) fn failure(&self) -> Option<Ending> {
        self.failure
    }

    /// Failures since a server took the prompts that are tried.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Other prompts are tried from now on: what failed with the last ones says nothing of them.
    pub(super) fn tries_other_prompts(&mut self) {
        (self.failures, self.unreached, self.hangups) = (0, 0, 0);
    }

    /// A server failed with the prompts that are tried.
    pub(super) fn failed(&mut self) {
        self.failures += 1;
    }

    /// No server was reached: that says nothing of the prompts.
    pub(super) fn not_reached(&mut self) {
        self.unreached += 1;
    }

    /// The pause before the next try. Servers that are not there are given time to come back.
    pub(super) fn pause(&self, retry: &RetrySettings, jitter: f64) -> Duration {
        if self.unreached == 0 {
            return retry.pause_before(self.tries(), jitter);
        }
        retry.pause_before(self.tries(), jitter.mul_add(0.5, 0.5)).max(BREATH)
    }

    /// Tries that failed since a server took the prompts.
    pub(super) fn tries(&self) -> u32 {
        self.failures.saturating_add(self.unreached)
    }

    /// A slot is asked for.
    pub(super) fn asks(&mut self, now: Instant) {
        self.asked_at = now;
    }

    /// How long the call waited for its slots.
    pub(super) fn queued(&self) -> Duration {
        self.queued
    }

    pub(super) fn was_ready(&self) -> bool {
        self.ready
    }

    /// Leaves the leg that is being opened, if there is one, and says which.
    pub(super) fn leave(&mut self) -> Option<u32> {
        self.opening.take().map(|_| self.attempt)
    }
}

impl Machine {
    /// A slot was granted to whoever asked. The call may have ended while the pool answered: then the unused lease frees
    /// its slot by itself.
    pub(super) fn leased(&mut self, offer: Offer, now: Instant) {
        if self.phase == Phase::Leasing {
            self.phase = Phase::Handshaking;
            self.upstream.queued += now.saturating_duration_since(self.upstream.asked_at);
            self.waited(now);
            self.open(Prompt::Persona, self.terms.handshake.steps, offer, now);
        } else {
            self.understudy_leased(offer, now);
        }
    }

    /// Opens a leg under the lease that was just granted, and says so unless it is nobody's business.
    pub(super) fn open(&mut self, prompt: Prompt, steps: u32, offer: Offer, now: Instant) {
        let limit = self.handshake_limit(steps, offer.step);
        self.upstream.attempt += 1;
        self.upstream.tried = prompt;
        let attempt = self.upstream.attempt;
        let step = offer.step.unwrap_or(self.terms.handshake.step);
        let window = offer.window_steps.unwrap_or(self.limits.rotation.window_steps);
        self.upstream.opening = Some(Opening { opened: false, at: now, until: now + limit, steps, step, window });
        // Told afterwards: a caller who reads nothing ends the call with that, and the leg is closed again.
        self.effects.push_back(Effect::OpenUpstream(attempt, prompt));
        if prompt != Prompt::Memory {
            self.say(ServerEvent::Connecting { attempt, deadline_ms: millis(limit) }, now);
        }
    }

    /// What a leg says; one that is closed says nothing that matters.
    pub(super) fn model(&mut self, attempt: u32, input: UpstreamInput, now: Instant) {
        if self.is_ending() {
            return;
        }
        if self.upstream.is_opening(attempt) {
            self.handshake(input, now);
        } else if self.server.as_ref().is_some_and(|server| server.attempt() == attempt) {
            self.stage(input, now);
        } else if self.relay.is_backstage(attempt) {
            self.backstage(input, now);
        }
    }

    /// What the leg says that is being opened.
    fn handshake(&mut self, input: UpstreamInput, now: Instant) {
        match input {
            UpstreamInput::Opened => {
                if let Some(opening) = &mut self.upstream.opening {
                    opening.opened = true;
                    let took = now.saturating_duration_since(opening.at);
                    self.effects.push_back(Effect::Note(Note::Opened(took)));
                }
            }
            UpstreamInput::Ready => self.ready(now),
            UpstreamInput::Ended(end) => self.not_ready(end, now),
            // Sound before the handshake belongs to nothing.
            UpstreamInput::Audio(_) | UpstreamInput::Text(_) | UpstreamInput::Writable => {}
        }
    }

    fn ready(&mut self, now: Instant) {
        let Some(Opening { at, steps, step, window, .. }) = self.upstream.opening.take() else { return };
        let attempt = self.upstream.attempt;
        if std::mem::take(&mut self.upstream.hangups) > 0 {
            self.effects.push_back(Effect::Judge(attempt, Judgement::Guilty));
        }
        let handshake = now.saturating_duration_since(at);
        self.effects.push_back(Effect::Judge(attempt, Judgement::Ready { step: handshake / steps.max(1) }));
        let step = if steps > 0 { handshake / steps } else { step };
        let server = Server::new(attempt, PromptCost { steps, step }, window, self.limits.upstream_queue, now);
        if self.phase != Phase::Handshaking {
            self.understudy_ready(server, handshake, now);
            return;
        }
        self.phase = Phase::Streaming;
        self.upstream.ready = true;
        self.upstream.tries_other_prompts();
        self.server = Some(server);
        self.watch.listening(self.terms.allowance, now);
        self.ears.open(now);
        let setup = now.saturating_duration_since(self.started);
        self.effects.push_back(Effect::Note(Note::Ready { setup, handshake }));
        let queued_ms = millis(self.upstream.queued);
        self.say(ServerEvent::Ready { setup_ms: millis(setup), queued_ms }, now);
    }

    /// What the server says that is on stage.
    fn stage(&mut self, input: UpstreamInput, now: Instant) {
        match input {
            UpstreamInput::Opened | UpstreamInput::Ready => {}
            UpstreamInput::Audio(packet) => self.assistant_audio(packet, now),
            UpstreamInput::Text(piece) => self.assistant_text(&piece, now),
            UpstreamInput::Writable => {
                if let Some(server) = &mut self.server {
                    server.queue.writable(now);
                }
            }
            UpstreamInput::Ended(_) => {
                let server = self.clear_stage(now);
                self.server_lost(server.as_ref(), now);
            }
        }
    }

    fn assistant_audio(&mut self, packet: OpusPacket, now: Instant) {
        let Some(server) = &mut self.server else { return };
        let duration = packet.duration();
        server.gave(&packet, now);
        self.sounded(now);
        if !std::mem::replace(&mut self.upstream.heard_audio, true) {
            let since_start = now.saturating_duration_since(self.started);
            self.effects.push_back(Effect::Note(Note::FirstAudio(since_start)));
        }
        self.heard_on_stage(&packet, now);
        self.totals.audio_out += duration;
        self.effects.push_back(Effect::Note(Note::Passed(Direction::Down)));
        let mut dropped = self.shorten_silence(now);
        dropped += self.to_client.push_audio(ClientOutput::Audio(packet), duration, now);
        self.note_dropped(Direction::Down, DropReason::Backlog, dropped);
        self.shed_for_caller();
    }

    /// What a burst left waiting would be delay for the rest of the call: it is given up where nobody speaks.
    fn shorten_silence(&mut self, now: Instant) -> Dropped {
        let silent = self.ears.is_wordless(now);
        match self.to_client.next_audio() {
            Some(duration) if silent && self.smoother.leaves_at(duration, now).is_some() => {
                self.to_client.drop_oldest_audio()
            }
            _ => Dropped::default(),
        }
    }

    fn assistant_text(&mut self, piece: &TextPiece, now: Instant) {
        self.ears.hear_words(&piece.expose(), now);
        if let Some(text) = self.transcript.push(&piece.expose()) {
            self.relay.said.push(&text);
            self.relay.spoke = true;
            let audio_ms = millis(self.totals.audio_out);
            let delta = TranscriptDelta { text, audio_ms };
            self.effects.push_back(Effect::Remember(delta.clone()));
            let event = ServerEvent::Transcript(delta);
            if self.to_client.push(ClientOutput::Event(event), now).is_err() {
                self.end(self.full_of_words(now), now);
            }
        }
    }

    /// Turns the clocks of the servers that listen.
    pub(super) fn feed(&mut self, now: Instant) {
        self.stop_clock(now);
        if self.phase != Phase::Streaming || self.is_clock_stopped() {
            return;
        }
        if let Some(server) = &mut self.server {
            let dropped = server.turn(now);
            self.note_dropped(Direction::Up, DropReason::Backlog, dropped);
        }
        if let Some(server) = self.relay.backstage() {
            // What it misses, the server on stage may well have heard: nothing of it is lost.
            server.turn(now);
        }
    }

    /// Gives the legs of the servers what their credit allows.
    pub(super) fn pump_upstream(&mut self, now: Instant) {
        if self.phase != Phase::Streaming {
            return;
        }
        if let Some(server) = &mut self.server {
            while let Some(fed) = server.next(now) {
                let (packet, note) = match fed {
                    Fed::Caller(packet) => (packet, Note::Passed(Direction::Up)),
                    Fed::Synthetic(packet) => {
                        let note = Note::Filled(packet.duration());
                        (packet, note)
                    }
                };
                self.effects.push_back(Effect::Note(note));
                self.effects.push_back(Effect::SendUpstream(server.attempt(), packet));
            }
            server.queue.note_blocked(now);
        }
        if let Some(server) = self.relay.backstage() {
            while let Some(fed) = server.next(now) {
                let (Fed::Caller(packet) | Fed::Synthetic(packet)) = fed;
                self.effects.push_back(Effect::SendUpstream(server.attempt(), packet));
            }
            server.queue.note_blocked(now);
        }
    }

    fn not_ready(&mut self, end: UpstreamEnd, now: Instant) {
        // Start-up errors of the real server are a 101 and then the end of the stream (personaplex.md 4).
        let opened = self.upstream.opening.is_some_and(|opening| opening.opened);
        if end.is_over_prompts(opened) {
            self.upstream.hangups += 1;
            self.effects.push_back(Effect::Judge(self.upstream.attempt, Judgement::Suspect));
        }
        let ending = match end {
            UpstreamEnd::UpgradeTimeout => Ending::HandshakeTimeout,
            _ => Ending::UpstreamLost,
        };
        self.attempt_failed(ending, Some(end), now);
    }

    /// The server did not get ready: one more is tried, then the call ends, or goes on with what it has.
    pub(super) fn attempt_failed(&mut self, ending: Ending, end: Option<UpstreamEnd>, now: Instant) {
        self.effects.push_back(Effect::Note(Note::AttemptFailed(end)));
        if let Some(attempt) = self.upstream.leave()
            && end.is_none()
        {
            self.effects.push_back(Effect::Judge(attempt, Judgement::Late));
            self.effects.push_back(Effect::CloseUpstream(attempt));
        }
        let ending = if self.upstream.hangups > 1 { Ending::PromptRejected } else { ending };
        self.upstream.failure = Some(ending);
        if end == Some(UpstreamEnd::ConnectFailed) && self.is_stage_waiting() {
            self.upstream.not_reached();
        } else {
            self.upstream.failed();
        }
        // A third server would only suffer from the same prompts.
        let spent = self.upstream.failures >= self.limits.attempts || self.upstream.hangups > 1;
        match (self.phase, spent) {
            (Phase::Handshaking, true) => self.end(ending, now),
            (Phase::Handshaking, false) => self.try_elsewhere(now),
            (_, spent) => self.understudy_failed(spent, ending, now),
        }
    }
}
