//! The model server's side of the machine: attempts, the handshake, and what it owes.

use std::time::{Duration, Instant};

use super::{
    ClientOutput, Direction, DropReason, Dropped, Effect, Judgement, Machine, Note, UpstreamEnd,
    lag::LagGuard,
    state::{Phase, millis},
};
use crate::{
    audio::{
        pacer::{Fed, Pacer, PacerSettings},
        packet::OpusPacket,
    },
    protocol::{
        ending::Ending,
        moshi::TextPiece,
        native::{ServerEvent, TranscriptDelta},
    },
};

/// One model frame: the server gives this much sound for this much input (personaplex.md 2.6).
const FRAME: Duration = Duration::from_millis(80);

/// What is known of the attempts and of the server that is being talked to.
#[derive(Debug)]
pub(super) struct Upstream {
    attempt: u32,
    active: bool,
    opened: bool,
    asked_at: Instant,
    queued: Duration,
    opened_at: Instant,
    ready: bool,
    heard_audio: bool,
    hangups: u32,
    failure: Option<Ending>,
    fed: Duration,
    /// Whether the server has a part of a frame, which its leg keeps until it is whole.
    mid_frame: bool,
    received: Duration,
    owing_since: Option<Instant>,
}

impl Upstream {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            attempt: 0,
            active: false,
            opened: false,
            asked_at: now,
            queued: Duration::ZERO,
            opened_at: now,
            ready: false,
            heard_audio: false,
            hangups: 0,
            failure: None,
            fed: Duration::ZERO,
            mid_frame: false,
            received: Duration::ZERO,
            owing_since: None,
        }
    }

    pub(super) fn is_current(&self, attempt: u32) -> bool {
        self.active && attempt == self.attempt
    }

    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Why the last attempt failed, if one did.
    pub(super) fn failure(&self) -> Option<Ending> {
        self.failure
    }

    /// A slot is asked for.
    pub(super) fn asks(&mut self, now: Instant) {
        self.asked_at = now;
    }

    pub(super) fn was_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn opened(&mut self) {
        self.opened = true;
    }

    /// Leaves the current leg, if there is one, and says so.
    pub(super) fn leave(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Since when the server owes sound and gives none.
    pub(super) fn owing_since(&self) -> Option<Instant> {
        self.owing_since
    }

    /// The clock stood still: what the server owes counts from now on.
    pub(super) fn forgive_debt(&mut self, now: Instant) {
        self.owing_since = self.owes().then_some(now);
    }

    fn open_attempt(&mut self, now: Instant) {
        self.attempt += 1;
        self.active = true;
        self.opened = false;
        self.queued += now.saturating_duration_since(self.asked_at);
        self.opened_at = now;
    }

    /// Whether what was fed last does not complete a frame.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.mid_frame
    }

    fn feed(&mut self, duration: Duration, now: Instant) {
        let frames = |fed: Duration| fed.as_nanos() / FRAME.as_nanos();
        self.mid_frame = frames(self.fed) == frames(self.fed + duration);
        self.fed += duration;
        if self.owes() {
            self.owing_since.get_or_insert(now);
        }
    }

    /// One frame may be missing for good: Kyutai's servers skip the first (personaplex.md 11.1).
    fn owes(&self) -> bool {
        self.fed.saturating_sub(self.received) >= FRAME * 2
    }

    fn receive(&mut self, duration: Duration, now: Instant) {
        self.received += duration;
        self.owing_since = self.owes().then_some(now);
    }
}

impl Machine {
    pub(super) fn leased(&mut self, step: Option<Duration>, now: Instant) {
        if self.phase != Phase::Leasing {
            // The call ended while the pool answered: the unused lease frees its slot by itself.
            return;
        }
        self.upstream.open_attempt(now);
        self.waited(now);
        let limit = self.handshake_limit(step);
        self.phase = Phase::Handshaking { until: now + limit };
        let attempt = self.upstream.attempt;
        let deadline_ms = millis(limit);
        self.say(ServerEvent::Connecting { attempt, deadline_ms }, now);
        self.effects.push_back(Effect::OpenUpstream(attempt));
    }

    pub(super) fn ready(&mut self, now: Instant) {
        let Phase::Handshaking { .. } = self.phase else { return };
        self.phase = Phase::Streaming;
        self.upstream.ready = true;
        self.pacer = Some(Pacer::new(PacerSettings::default(), now));
        self.lag = Some(LagGuard::new(now));
        self.watch.listening(now);
        self.ears.open(now);
        let setup = now.saturating_duration_since(self.started);
        let handshake = now.saturating_duration_since(self.upstream.opened_at);
        if self.upstream.hangups > 0 {
            self.effects.push_back(Effect::Judge(Judgement::Guilty));
        }
        self.effects.push_back(Effect::Note(Note::Ready { setup, handshake }));
        let queued_ms = millis(self.upstream.queued);
        self.say(ServerEvent::Ready { setup_ms: millis(setup), queued_ms }, now);
    }

    pub(super) fn assistant_audio(&mut self, packet: OpusPacket, now: Instant) {
        if self.phase != Phase::Streaming {
            return;
        }
        let duration = packet.duration();
        self.sounded(now);
        self.upstream.receive(duration, now);
        if let Some(pacer) = &mut self.pacer {
            pacer.received(duration, now);
            if let Some(lag) = &mut self.lag {
                lag.received(duration, pacer.owed(now));
            }
        }
        if !std::mem::replace(&mut self.upstream.heard_audio, true) {
            let since_start = now.saturating_duration_since(self.started);
            self.effects.push_back(Effect::Note(Note::FirstAudio(since_start)));
        }
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

    pub(super) fn assistant_text(&mut self, piece: TextPiece, now: Instant) {
        if self.phase != Phase::Streaming {
            return;
        }
        self.ears.hear_words(&piece.expose(), now);
        if let Some(text) = self.transcript.push(&piece.expose()) {
            let audio_ms = millis(self.upstream.received);
            let event = ServerEvent::Transcript(TranscriptDelta { text, audio_ms });
            if self.to_client.push(ClientOutput::Event(event), now).is_err() {
                self.end(self.full_of_words(now), now);
            }
        }
    }

    /// Turns the model's clock: what is due now, of the caller or in its place, waits for the leg.
    pub(super) fn feed(&mut self, now: Instant) {
        self.stop_clock(now);
        if self.phase != Phase::Streaming || self.is_clock_stopped() {
            return;
        }
        let Some(pacer) = &mut self.pacer else { return };
        let mut dropped = Dropped::default();
        while let Some(fed) = pacer.poll(now) {
            let duration = fed.packet().duration();
            let pushed_out = self.to_upstream.push_audio(fed, duration, now);
            pacer.lost(pushed_out.duration);
            dropped += pushed_out;
        }
        let shed = pacer.take_shed();
        dropped += Dropped { packets: shed.packets, duration: shed.duration };
        self.note_dropped(Direction::Up, DropReason::Backlog, dropped);
    }

    pub(super) fn next_for_upstream(&mut self, now: Instant) -> Option<OpusPacket> {
        if self.phase != Phase::Streaming {
            return None;
        }
        let (fed, duration) = self.to_upstream.pop(Duration::MAX)?;
        self.upstream.feed(duration, now);
        let (packet, note) = match fed {
            Fed::Caller(packet) => (packet, Note::Passed(Direction::Up)),
            Fed::Synthetic(packet) => (packet, Note::Filled),
        };
        self.effects.push_back(Effect::Note(note));
        Some(packet)
    }

    pub(super) fn upstream_ended(&mut self, end: UpstreamEnd, now: Instant) {
        match self.phase {
            Phase::Handshaking { .. } => {
                // Start-up errors of the real server are a 101 and then the end of the stream (personaplex.md 4).
                let over_prompts = self.upstream.opened && matches!(end, UpstreamEnd::HungUp | UpstreamEnd::Closed);
                if over_prompts {
                    self.upstream.hangups += 1;
                    self.effects.push_back(Effect::Judge(Judgement::Suspect));
                }
                let ending = match end {
                    UpstreamEnd::UpgradeTimeout => Ending::HandshakeTimeout,
                    _ => Ending::UpstreamLost,
                };
                self.attempt_failed(ending, Some(end), now);
            }
            Phase::Streaming => {
                self.upstream.active = false;
                self.end(Ending::UpstreamLost, now);
            }
            Phase::Leasing | Phase::Pausing { .. } | Phase::Closing { .. } | Phase::Closed => {}
        }
    }

    /// The server did not get ready: one more is tried, then the call ends.
    pub(super) fn attempt_failed(&mut self, ending: Ending, end: Option<UpstreamEnd>, now: Instant) {
        self.effects.push_back(Effect::Note(Note::AttemptFailed(end)));
        if self.upstream.leave() && end.is_none() {
            self.effects.push_back(Effect::Judge(Judgement::Failed));
            self.effects.push_back(Effect::CloseUpstream);
        }
        let ending = if self.upstream.hangups > 1 { Ending::PromptRejected } else { ending };
        self.upstream.failure = Some(ending);
        if self.upstream.attempt >= self.limits.attempts {
            self.end(ending, now);
            return;
        }
        self.try_elsewhere(now);
    }
}
