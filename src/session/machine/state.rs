//! The machine itself: its door, the caller's side, and how a call ends.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    ClientInput, ClientOutput, Complaint, Direction, DropReason, Dropped, Effect, Input, Judgement, Limits, Note,
    Outbox, Terms, detached::Detached, ears::Ears, flight::Flight, phases::Phases, server::Server, smoother::Smoother,
    understudy::Relay, upstream::Upstream, waiting::Waiting, watch::Watch,
};
use crate::{
    audio::{packet::OpusPacket, turns::Tally},
    protocol::{
        ending::Ending,
        native::{ClientEvent, EndReport, ErrorEvent, ExpiryReason, LimitTerms, ServerEvent},
    },
    session::transcript::Transcript,
};

/// Where a call is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for what is known of the caller.
    Preparing { until: Instant },
    /// Waiting for a slot.
    Leasing,
    /// An attempt failed, and the next one waits a moment.
    Pausing { until: Instant },
    /// A model server reads its prompts.
    Handshaking,
    /// Audio flows both ways.
    Streaming,
    /// The caller is being told how the call ended.
    Closing { ending: Ending, until: Instant },
    /// Both legs are let go.
    Closed,
}

/// What a call was, for its record and its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Why it ended.
    pub ending: Ending,
    /// Since the upgrade.
    pub duration: Duration,
    /// Whether the model ever listened.
    pub reached_model: bool,
    /// Model servers that were tried.
    pub attempts: u32,
    /// Audio of the caller.
    pub audio_in: Duration,
    /// Audio of the assistant.
    pub audio_out: Duration,
    /// Whether the caller's connection broke and it did not come back.
    pub abandoned: bool,
    /// Who spoke when, if the call was measured.
    pub turns: Option<Box<Tally>>,
}

/// One call. See the module for its states and invariants.
#[derive(Debug)]
pub struct Machine {
    pub(super) terms: Terms,
    pub(super) limits: Limits,
    pub(super) phase: Phase,
    pub(super) phases: Phases,
    pub(super) started: Instant,
    pub(super) upstream: Upstream,
    pub(super) waiting: Waiting,
    pub(super) watch: Watch,
    pub(super) to_client: Outbox<ClientOutput>,
    /// The model server on stage: the caller hears it.
    pub(super) server: Option<Server>,
    pub(super) relay: Relay,
    pub(super) smoother: Smoother,
    pub(super) flight: Flight,
    pub(super) effects: VecDeque<Effect>,
    pub(super) transcript: Transcript,
    pub(super) ears: Ears,
    pub(super) totals: Totals,
    pub(super) client_open: bool,
    pub(super) detached: Option<Detached>,
    complaints: u32,
}

/// Audio of the whole call.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) audio_in: Duration,
    pub(super) audio_out: Duration,
    pub(super) dropped: Duration,
}

impl Machine {
    /// A call whose upgrade has just been answered. It asks for its slot at once, or first for what is known of its
    /// caller.
    pub fn new(terms: Terms, limits: Limits, now: Instant) -> Self {
        let mut machine = Self {
            phase: Phase::Leasing,
            phases: Phases::new("", now),
            started: now,
            upstream: Upstream::new(now),
            waiting: Waiting::default(),
            watch: Watch::new(&limits, now),
            to_client: Outbox::new(limits.client_queue),
            server: None,
            relay: Relay::default(),
            flight: Flight::new(limits.client_queue),
            smoother: Smoother::new(terms.player_lead, now),
            effects: VecDeque::new(),
            transcript: Transcript::default(),
            ears: Ears::new(terms.sampled, limits.idle_timeout, now),
            totals: Totals::default(),
            client_open: true,
            detached: None,
            complaints: 0,
            terms,
            limits,
        };
        machine.say(machine.created(), now);
        machine.begin(now);
        machine.phases = Phases::new(machine.phase_name(), now);
        machine.pump(now);
        machine
    }

    /// The one door: takes what happened. Drain [`Machine::poll_effect`] before the next call.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.watch_pace(now);
        match input {
            Input::Prepared(terms) => self.prepared(terms),
            Input::Unprepared => self.unprepared(now),
            Input::Leased(offer) => self.leased(offer, now),
            Input::Queued(place) => self.queued(place, now),
            Input::NoSlot(why) => self.no_slot(why, now),
            Input::NoAnswer => self.no_answer(now),
            Input::Booked(more) => self.booked(more, now),
            Input::Client(input) => self.client(input, now),
            Input::Attached(resume) => self.attach(resume, now),
            Input::Upstream(attempt, input) => self.model(attempt, input, now),
            Input::Tick => {}
            Input::Drain(deadline) => self.drain(deadline, now),
            Input::End(ending) => self.end(ending, now),
        }
        self.attend(now);
        self.expire(now);
        self.watch_stage(now);
        self.watch_backstage(now);
        self.watch_window(now);
        self.feed(now);
        self.note_phase(now);
        self.pump(now);
    }

    /// The next thing to do, until there is nothing.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether the call is over and nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Why it ends, while the caller is told.
    pub fn ending(&self) -> Option<Ending> {
        if let Phase::Closing { ending, .. } = self.phase { Some(ending) } else { None }
    }

    /// Whether it ends because a slot was waited for in vain.
    pub fn is_out_of_patience(&self) -> bool {
        matches!(self.phase, Phase::Closing { ending: Ending::QueueTimeout | Ending::UpstreamLost, .. })
    }

    /// The name of the phase, for snapshots and logs.
    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Preparing { .. } => "preparing",
            Phase::Leasing => "leasing",
            Phase::Pausing { .. } => "pausing",
            Phase::Handshaking => "handshaking",
            Phase::Streaming => "streaming",
            Phase::Closing { .. } => "closing",
            Phase::Closed => "closed",
        }
    }

    fn created(&self) -> ServerEvent {
        let longest = self.limits.max_duration;
        ServerEvent::Created {
            session_id: self.terms.session_id.clone(),
            audio: self.terms.audio.clone(),
            limits: LimitTerms {
                max_duration_ms: millis(self.terms.allowance.map_or(longest, |allowance| allowance.left.min(longest))),
                idle_timeout_ms: millis(self.limits.idle_timeout),
            },
            resume: self.terms.resume.clone(),
        }
    }

    fn client(&mut self, input: ClientInput, now: Instant) {
        if !matches!(input, ClientInput::Writable) {
            self.watch.heard(now);
        }
        match input {
            ClientInput::Audio(packet) => self.caller_audio(packet, now),
            ClientInput::Event(ClientEvent::End {}) => self.end(Ending::ClientLeft, now),
            ClientInput::Event(ClientEvent::Ping { id }) => self.say(ServerEvent::Pong { id }, now),
            ClientInput::Alive => {}
            ClientInput::Confirmed(mark) => self.confirm(mark),
            ClientInput::Writable => self.to_client.writable(now),
            ClientInput::Complaint(complaint) => self.complain(complaint, now),
            ClientInput::Bad(complaint) => {
                self.say_error(complaint, now);
                self.end(Ending::BadInput, now);
            }
            ClientInput::Closed { clean } => {
                self.client_open = false;
                if clean {
                    self.end(Ending::ClientLeft, now);
                } else {
                    self.lose_client(now);
                }
            }
        }
    }

    fn caller_audio(&mut self, packet: OpusPacket, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.listen(&packet, now);
        let duration = packet.duration();
        self.totals.audio_in += duration;
        self.relay.hear_caller(&packet, now);
        if let Some(server) = self.relay.backstage() {
            server.pacer.push(packet.clone(), now);
        }
        match &mut self.server {
            Some(server) => server.pacer.push(packet, now),
            // Flushed later it would be lasting delay, so it is dropped now.
            None => self.note_dropped(Direction::Up, DropReason::PreHandshake, Dropped { packets: 1, duration }),
        }
    }

    fn complain(&mut self, complaint: Complaint, now: Instant) {
        self.complaints += 1;
        self.say_error(complaint, now);
        if self.complaints >= self.limits.complaints {
            self.end(Ending::BadInput, now);
        }
    }

    fn say_error(&mut self, complaint: Complaint, now: Instant) {
        let Complaint { code, message } = complaint;
        let error = ErrorEvent { code: code.into(), message, status: None, retry_after_seconds: None };
        self.say(ServerEvent::Error(error), now);
    }

    /// Queues an event for the caller. A queue full of events is a caller who does not read.
    pub(super) fn say(&mut self, event: ServerEvent, now: Instant) {
        // `session.ended` is the last word.
        let listens = (self.client_open || self.is_detached()) && !self.is_ending();
        if listens && self.to_client.push(ClientOutput::Event(event), now).is_err() {
            self.end(if self.is_detached() { Ending::ClientLost } else { Ending::TooSlow }, now);
        }
    }

    pub(super) fn note_dropped(&mut self, direction: Direction, reason: DropReason, dropped: Dropped) {
        if dropped.packets > 0 {
            self.totals.dropped += dropped.duration;
            if direction == Direction::Down {
                self.missed(dropped);
            }
            self.effects.push_back(Effect::Note(Note::Dropped(direction, reason, dropped.packets)));
        }
    }

    fn drain(&mut self, deadline: Instant, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.watch.drain_by(deadline);
        let in_ms = millis(deadline.saturating_duration_since(now));
        self.say(ServerEvent::Expiring { reason: ExpiryReason::Drain, in_ms }, now);
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. } | Phase::Closed)
    }

    /// Ends the call for this reason, unless it is ending already.
    pub(super) fn end(&mut self, ending: Ending, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.close_ears(now);
        if self.is_ending() {
            return;
        }
        if self.is_preparing() || self.phase == Phase::Leasing {
            self.effects.push_back(Effect::Withdraw);
        }
        self.phase = Phase::Closing { ending, until: now + self.limits.closing };
        self.dismiss_understudy();
        if let Some(attempt) = self.upstream.leave() {
            self.effects.push_back(Effect::CloseUpstream(attempt));
        }
        if let Some(server) = self.server.take() {
            if ending == Ending::UpstreamLost {
                self.effects.push_back(Effect::Judge(server.attempt(), Judgement::Failed));
            }
            self.effects.push_back(Effect::CloseUpstream(server.attempt()));
        }
        let report = ServerEvent::Ended(self.report(ending, now));
        // A queue that is full even for this one: the close code still says it.
        if self.client_open {
            let _ = self.to_client.push(ClientOutput::Event(report), now);
        }
    }

    fn report(&self, ending: Ending, now: Instant) -> EndReport {
        EndReport {
            ending,
            close_code: ending.row().close_code,
            message: ending.row().sentence.to_owned(),
            duration_ms: millis(now.saturating_duration_since(self.started)),
            audio_in_ms: millis(self.totals.audio_in),
            audio_out_ms: millis(self.totals.audio_out),
            dropped_ms: millis(self.totals.dropped),
            turns: self.turn_report(),
        }
    }

    /// Gives each leg what its credit allows, and closes what is finished.
    fn pump(&mut self, now: Instant) {
        while self.client_open
            && let Some((output, duration)) = self.to_client.pop(self.room_for_caller(now))
        {
            self.smoother.left(duration, now);
            if let ClientOutput::Audio(packet) = &output {
                self.ears.hear_assistant(packet, now);
            }
            self.depart(output, duration);
        }
        self.pump_upstream(now);
        self.to_client.note_blocked(now);
        self.note_held(now);
        if let Phase::Closing { ending, .. } = self.phase {
            if !self.client_open {
                self.finish(ending);
            } else if self.to_client.is_flushed() && !self.watch.closing_sent {
                self.watch.closing_sent = true;
                self.effects.push_back(Effect::CloseClient(ending));
            }
        }
    }

    /// How much audio may leave for the caller now. A call that ends has no time left to spread it.
    fn room_for_caller(&self, now: Instant) -> Duration {
        if self.is_ending() { Duration::MAX } else { self.smoother.room(now).min(self.flight.room()) }
    }

    /// Lets go of both legs, whatever they are doing.
    pub(super) fn finish(&mut self, ending: Ending) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.effects.push_back(Effect::Done(Summary {
            ending,
            duration: self.watch.last_input.saturating_duration_since(self.started),
            reached_model: self.upstream.was_ready(),
            attempts: self.upstream.attempt(),
            audio_in: self.totals.audio_in,
            audio_out: self.totals.audio_out,
            abandoned: self.is_detached(),
            turns: self.tally(),
        }));
    }
}

/// Whole milliseconds, as the wire counts them.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
