//! The session's machine as scripts of the domain: what happens, and what the machine decides. No clock, no socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use tandem::{
    audio::packet::OpusPacket,
    pool::{
        quota::Allowance,
        roster::{NoSlot, Offer},
    },
    protocol::{
        ending::Ending,
        moshi::TextPiece,
        native::{AudioTerms, ClientEvent, ResumeTerms, ServerEvent},
    },
    session::machine::{
        ClientInput, ClientOutput, Complaint, ContextNeed, Effect, HandshakeTerms, Input, LEG_CREDIT, Limits, Machine,
        Note, Rotation, Terms, UpstreamEnd, UpstreamInput, WithoutSlot,
    },
};

mod detached;
mod flight;
mod hitches;
mod lag;
mod pace;
mod preparing;
mod relay;
mod role;
mod rules;
mod scripts;
mod sound;
mod talk;
mod theatre;
mod turns;

use rules::Event;

const FRAME: Duration = Duration::from_millis(80);

fn frame() -> OpusPacket {
    OpusPacket::silence_80ms()
}

/// A call under test: the machine, its time, and what it has just decided, as lines.
struct Call {
    machine: Machine,
    now: Instant,
    effects: Vec<String>,
    attempt: u32,
    hold_client: bool,
    hold_upstream: bool,
    client_held: usize,
    upstream_held: usize,
    /// Whether the server gives 80 ms for every 80 ms that it is fed, at once.
    answers: bool,
    fed: Duration,
    /// Everything that the server was ever fed, and whether its last packet left a part of a frame with the leg.
    fed_in_all: Duration,
    mid_frame: bool,
    /// What more is left of its quota, once.
    more: Duration,
}

impl Call {
    fn new() -> Call {
        Call::with(alone(), false)
    }

    /// A call on a wire that lets callers come back, or not.
    fn on(resume: Option<ResumeTerms>) -> Call {
        Call::of(alone(), false, resume)
    }

    fn with(limits: Limits, sampled: bool) -> Call {
        Call::of(limits, sampled, None)
    }

    fn of(limits: Limits, sampled: bool, resume: Option<ResumeTerms>) -> Call {
        Call::allowed(None, limits, sampled, resume)
    }

    /// A call whose quota leaves it so much time, or all.
    fn allowed(allowance: Option<Duration>, limits: Limits, sampled: bool, resume: Option<ResumeTerms>) -> Call {
        let mut call = Call::begun(ContextNeed::Nothing, allowance, limits, sampled, resume);
        call.expect("created").expect("Acquire { class: New, elsewhere: false");
        call
    }

    /// A call whose persona knows its caller, or not, right after its beginning.
    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn begun(
        context: ContextNeed,
        allowance: Option<Duration>,
        limits: Limits,
        sampled: bool,
        resume: Option<ResumeTerms>,
    ) -> Call {
        let terms = Terms {
            session_id: "s".into(),
            audio: AudioTerms { format: "opus".into(), sample_rate: 48_000, channels: 1 },
            handshake: short_prompts(),
            context,
            jitter: 0.0,
            player_lead: None,
            resume,
            allowance: allowance.map(|left| Allowance { booked: left, left }),
            sampled,
        };
        let now = Instant::now();
        let mut call = Call {
            machine: Machine::new(terms, limits, now),
            now,
            effects: Vec::new(),
            attempt: 0,
            hold_client: false,
            hold_upstream: false,
            client_held: 0,
            upstream_held: 0,
            answers: false,
            fed: Duration::ZERO,
            fed_in_all: Duration::ZERO,
            mid_frame: false,
            more: Duration::ZERO,
        };
        call.settle();
        call
    }

    fn talking() -> Call {
        Call::under(alone(), false)
    }

    /// A conversation under these limits, measured or not.
    fn under(limits: Limits, sampled: bool) -> Call {
        Call::with(limits, sampled).answered()
    }

    fn answered(mut self) -> Call {
        self.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).up(UpstreamInput::Ready).expect("ready");
        self.answers = true;
        self
    }

    fn input(&mut self, input: Input) -> &mut Call {
        self.effects.clear();
        self.machine.handle(input, self.now);
        self.settle();
        self
    }

    fn client(&mut self, input: ClientInput) -> &mut Call {
        self.input(Input::Client(input))
    }

    fn up(&mut self, input: UpstreamInput) -> &mut Call {
        self.input(Input::Upstream(self.attempt, input))
    }

    /// Lets time pass; the machine is woken at each of its deadlines, as the actor does.
    fn advance(&mut self, time: Duration) -> &mut Call {
        let end = self.now + time;
        let mut seen = Vec::new();
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.input(Input::Tick);
            seen.append(&mut self.effects);
        }
        self.now = end;
        self.input(Input::Tick);
        self.effects.splice(0..0, seen);
        self
    }

    /// Time passes for a caller who answers pings and says nothing.
    fn stay(&mut self, time: Duration) -> &mut Call {
        self.pass(time.as_secs(), Duration::from_secs(1), |call| {
            call.client(ClientInput::Alive);
        })
    }

    /// The caller says these packets of 20 ms in real time.
    fn say(&mut self, packets: &[OpusPacket]) -> &mut Call {
        let mut seen = Vec::new();
        for packet in packets {
            self.client(ClientInput::Audio(packet.clone()));
            seen.append(&mut self.effects);
            self.advance(Duration::from_millis(20));
            seen.append(&mut self.effects);
        }
        self.effects = seen;
        self
    }

    fn pass(&mut self, steps: u64, step: Duration, each: impl Fn(&mut Call)) -> &mut Call {
        let mut seen = Vec::new();
        for _ in 0..steps {
            each(self);
            seen.append(&mut self.effects);
            self.advance(step);
            seen.append(&mut self.effects);
        }
        self.effects = seen;
        self
    }

    #[track_caller]
    fn expect(&mut self, line: &str) -> &mut Call {
        assert!(self.effects.iter().any(|effect| effect.starts_with(line)), "no {line:?} in {:#?}", self.effects);
        self
    }

    #[track_caller]
    fn refuse(&mut self, line: &str) -> &mut Call {
        assert!(!self.effects.iter().any(|effect| effect.starts_with(line)), "{line:?} in {:#?}", self.effects);
        self
    }

    /// Drains the effects; the legs write at once unless they are held.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.machine.poll_effect() {
                match &effect {
                    Effect::OpenUpstream(attempt, _) => {
                        self.attempt = *attempt;
                        self.upstream_held = 0;
                    }
                    Effect::LetClientGo => self.client_held = 0,
                    Effect::BookMore => {
                        self.machine.handle(Input::Booked(std::mem::take(&mut self.more)), self.now);
                    }
                    Effect::SendClient(_) => self.client_held += 1,
                    Effect::SendUpstream(_, packet) => {
                        self.upstream_held += 1;
                        self.fed += packet.duration();
                        let frames = self.fed_in_all.as_micros() / FRAME.as_micros();
                        self.fed_in_all += packet.duration();
                        self.mid_frame = self.fed_in_all.as_micros() / FRAME.as_micros() == frames;
                    }
                    _ => {}
                }
                self.effects.extend(line(effect));
            }
            if self.client_held > 0 && !self.hold_client {
                self.client_held -= 1;
                // What the legs write is no sign of life and no event of the script.
                self.machine.handle(Input::Client(ClientInput::Writable), self.now);
            } else if self.upstream_held > 0 && !self.hold_upstream {
                self.upstream_held -= 1;
                self.machine.handle(Input::Upstream(self.attempt, UpstreamInput::Writable), self.now);
            } else if self.answers && self.fed >= FRAME {
                self.fed -= FRAME;
                let answer = UpstreamInput::Audio(frame());
                self.machine.handle(Input::Upstream(self.attempt, answer), self.now);
            } else {
                return;
            }
        }
    }

    fn play(&mut self, event: Event) {
        let attempt = |call: &Call, current: bool| if current { call.attempt } else { call.attempt.wrapping_sub(1) };
        match event {
            Event::Leased => self.input(Input::Leased(Offer::default())),
            Event::NoSlot => self.input(Input::NoSlot(NoSlot::Busy)),
            Event::Client(what) => match what {
                0..=5 => self.client(ClientInput::Audio(frame())),
                6 => self.client(ClientInput::Alive),
                7 => self.client(ClientInput::Complaint(Complaint { code: "c", message: "m".into() })),
                8 => self.client(ClientInput::Event(ClientEvent::Ping { id: String::new() })),
                9 => {
                    self.hold_client = !self.hold_client;
                    self.input(Input::Tick)
                }
                10 => {
                    self.hold_upstream = !self.hold_upstream;
                    self.input(Input::Tick)
                }
                11 => self.client(ClientInput::Closed { clean: true }),
                12 => self.client(ClientInput::Closed { clean: false }),
                _ => {
                    self.client_held = 0;
                    self.input(Input::Attached(detached::resume_terms()))
                }
            },
            Event::Upstream(current, what) => {
                let input = match what {
                    0 => UpstreamInput::Opened,
                    1 => UpstreamInput::Ready,
                    2 => UpstreamInput::Ended(UpstreamEnd::HungUp),
                    3 => UpstreamInput::Text(TextPiece::new("<0xE2>")),
                    4 => UpstreamInput::Text(TextPiece::new(" word")),
                    _ => UpstreamInput::Audio(frame()),
                };
                self.input(Input::Upstream(attempt(self, current), input))
            }
            Event::Wait(ms) => self.advance(Duration::from_millis(u64::from(ms))),
            Event::Drain => self.input(Input::Drain(self.now + Duration::from_secs(5))),
            Event::End => self.input(Input::End(Ending::Admin)),
        };
    }
}

/// 20 s for prompts of any length.
fn short_prompts() -> HandshakeTerms {
    let base = Duration::from_secs(20);
    HandshakeTerms { base, step: Duration::ZERO, steps: 0, continuation_steps: 0, memory_steps: 0 }
}

/// Limits under which a call has one server and one window.
fn alone() -> Limits {
    Limits {
        recovery: Duration::ZERO,
        rotation: Rotation { window_steps: 0, without_slot: WithoutSlot::Off },
        ..Limits::default()
    }
}

/// An effect as a line of a script.
fn line(effect: Effect) -> Option<String> {
    Some(match effect {
        Effect::SendUpstream(..) => "-> upstream audio".into(),
        Effect::SendClient(ClientOutput::Audio(_)) => "-> client audio".into(),
        Effect::SendClient(ClientOutput::Ping) => "ping".into(),
        Effect::SendClient(ClientOutput::Event(event)) => match event {
            ServerEvent::Created { .. } => "created".into(),
            ServerEvent::Resumed { missed_audio_ms, repeats_from_ms, .. } => match repeats_from_ms {
                Some(from_ms) => format!("resumed {missed_audio_ms} from {from_ms}"),
                None => format!("resumed {missed_audio_ms}"),
            },
            ServerEvent::Queued { position, .. } => format!("queued {position}"),
            ServerEvent::Connecting { .. } => "connecting".into(),
            ServerEvent::Ready { .. } => "ready".into(),
            ServerEvent::Transcript(delta) => format!("transcript {}", delta.text),
            ServerEvent::Expiring { reason, in_ms } => format!("expiring {reason:?} {in_ms}"),
            ServerEvent::Recovering { reason } => format!("recovering {}", reason.code()),
            ServerEvent::Recovered { gap_ms } => format!("recovered {gap_ms}"),
            ServerEvent::Rotating { eta_ms } => format!("rotating {eta_ms}"),
            ServerEvent::Rotated { gap_ms } => format!("rotated {gap_ms}"),
            ServerEvent::Degraded { realtime_factor } => format!("degraded {realtime_factor}"),
            ServerEvent::Restored {} => "restored".into(),
            ServerEvent::Warning { code, .. } => format!("warning {}", code.code()),
            ServerEvent::Ended(report) => format!("ended {}", report.ending.code()),
            ServerEvent::Error(error) => format!("error {}", error.code),
            ServerEvent::TurnStarted { speaker, .. } => format!("started {}", speaker.code()),
            ServerEvent::TurnEnded { speaker, duration_ms, .. } => format!("stopped {} {duration_ms}", speaker.code()),
            ServerEvent::TurnResponse { latency_ms, .. } => format!("response {latency_ms}"),
            ServerEvent::TurnMissed { .. } => "missed".into(),
            ServerEvent::TurnInterrupted { stopped_after_ms, .. } => format!("interrupted {stopped_after_ms:?}"),
            ServerEvent::TurnBackchannel { duration_ms, .. } => format!("backchannel {duration_ms}"),
            ServerEvent::Pong { .. } => "pong".into(),
        },
        Effect::Note(Note::Passed(_) | Note::Filled(_) | Note::Second { .. } | Note::Turn(_)) => return None,
        Effect::Note(Note::Ready { .. }) => "listening".into(),
        Effect::Note(note) => format!("{note:?}"),
        Effect::Done(summary) => format!("Done({:?})", summary.ending),
        other => format!("{other:?}"),
    })
}
