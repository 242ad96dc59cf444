//! One conversation in virtual time, with a caller, a network, a model and a player.

use std::{collections::VecDeque, ops::Range, time::Duration, time::Instant};

use bytes::Bytes;
use tandem::{
    audio::packet::OpusPacket,
    protocol::{
        moshi::TextPiece,
        native::{AudioTerms, ServerEvent},
    },
    session::machine::{
        ClientInput, ClientOutput, ContextNeed, Effect, HandshakeTerms, Input, Limits, Machine, Note, Terms,
        UpstreamInput,
    },
};

use crate::{alone, detached::resume_terms, short_prompts};

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);
pub const FRAME: Duration = Duration::from_millis(80);
/// What the stock player of the Moshi wire keeps; the rest it drops.
pub const PLAYER: Duration = Duration::from_millis(240);

/// What the model made of 80 ms of input: when it was done, and when the oldest word in it was spoken.
pub struct Made {
    pub spoken: Option<Duration>,
}

/// One conversation; all times count from the model's handshake.
pub struct Talk {
    pub machine: Machine,
    pub start: Instant,
    pub now: Duration,
    pub next_sign: Duration,
    /// What the caller says: when it arrives and when it was spoken.
    pub speech: VecDeque<(Duration, Duration)>,
    pub spoken: Vec<Duration>,
    pub step: Duration,
    pub stalled: Range<Duration>,
    /// When the socket to the server takes nothing, and what the leg holds then.
    pub stuck: Range<Duration>,
    pub unwritten: u32,
    /// What the server has not worked on: when it was spoken, if the caller spoke it, and its length.
    pub inside: VecDeque<(Option<Duration>, Duration)>,
    pub done_at: Option<Duration>,
    pub frames: Vec<Made>,
    pub fed: Duration,
    pub fed_from: (Duration, Duration),
    pub feed_error: Duration,
    pub synthetic: Duration,
    pub dropped: u64,
    /// How often the server heard the caller skip something.
    pub joins: u32,
    pub last_taken: Duration,
    /// When each frame left for the caller, and how old its oldest word was.
    pub heard: Vec<(Duration, Option<Duration>)>,
    pub player_ends: Duration,
    pub fullest_player: Duration,
    pub heard_number: usize,
    pub lost_frames: usize,
    pub words_end: Duration,
    pub words: usize,
    pub word_at: Duration,
    pub latest_word: Duration,
    pub goodbye: bool,
    /// Whether the caller's connection is broken: nothing that it says arrives.
    pub away: bool,
    /// What the machine said of the server's pace, to the caller and to the actor, and when.
    pub pace: Vec<(Duration, String)>,
    /// How far the model was behind the caller, second by second.
    pub lags: Vec<Duration>,
}

impl Talk {
    pub fn with_step(step_ms: u32) -> Talk {
        Talk::new(None, step_ms)
    }

    pub fn new(player_lead: Option<Duration>, step_ms: u32) -> Talk {
        Talk::within(alone(), player_lead, step_ms)
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    pub fn within(limits: Limits, player_lead: Option<Duration>, step_ms: u32) -> Talk {
        let audio = AudioTerms { format: "opus".into(), sample_rate: 48_000, channels: 1 };
        let terms = Terms {
            session_id: "s".into(),
            audio,
            handshake: HandshakeTerms { step: SECOND, ..short_prompts() },
            context: ContextNeed::Nothing,
            jitter: 0.0,
            player_lead,
            resume: Some(resume_terms()),
            allowance: None,
            sampled: false,
        };
        let start = Instant::now();
        // Nobody is listened to: what is in the packets does not matter here.
        let limits = Limits { max_duration: 7_200 * SECOND, idle_timeout: 28_800 * SECOND, ..limits };
        let mut talk = Talk {
            machine: Machine::new(terms, limits, start),
            start,
            now: Duration::ZERO,
            next_sign: SECOND,
            speech: VecDeque::new(),
            spoken: Vec::new(),
            step: step_ms * MS,
            stalled: Duration::ZERO..Duration::ZERO,
            stuck: Duration::ZERO..Duration::ZERO,
            unwritten: 0,
            inside: VecDeque::new(),
            done_at: None,
            frames: Vec::new(),
            fed: Duration::ZERO,
            fed_from: (Duration::ZERO, Duration::ZERO),
            feed_error: Duration::ZERO,
            synthetic: Duration::ZERO,
            dropped: 0,
            joins: 0,
            last_taken: Duration::ZERO,
            heard: Vec::new(),
            player_ends: Duration::ZERO,
            fullest_player: Duration::ZERO,
            heard_number: 0,
            lost_frames: 0,
            words_end: Duration::MAX,
            words: 0,
            word_at: Duration::ZERO,
            latest_word: Duration::ZERO,
            goodbye: false,
            away: false,
            pace: Vec::new(),
            lags: Vec::new(),
        };
        for input in [
            Input::Leased(tandem::pool::roster::Offer::default()),
            Input::Upstream(1, UpstreamInput::Opened),
            Input::Upstream(1, UpstreamInput::Ready),
        ] {
            talk.give(input);
        }
        talk
    }

    /// The caller speaks from one second to another, in packets of 20 ms by a clock of its own; `network` says when
    /// each arrives.
    pub fn speak(&mut self, seconds: Range<u64>, period_us: u64, network: impl Fn(u64, Duration) -> Option<Duration>) {
        let begin = Duration::from_secs(seconds.start);
        for n in 0.. {
            let spoken = begin + Duration::from_micros(n * period_us);
            if spoken >= Duration::from_secs(seconds.end) {
                return;
            }
            self.speech.extend(network(n, spoken).map(|arrives| (arrives, spoken)));
        }
    }

    /// The caller's connection breaks for so long, and then the caller comes back.
    pub fn lose_caller(&mut self, away: Duration) {
        self.away = true;
        self.give(Input::Client(ClientInput::Closed { clean: false }));
        self.until(self.now + away);
        self.away = false;
        self.give(Input::Attached(resume_terms()));
    }

    pub fn run(&mut self, to_second: u64) {
        self.until(Duration::from_secs(to_second));
    }

    /// Lets time pass from event to event.
    pub fn until(&mut self, end: Duration) {
        loop {
            let arrives = self.speech.front().map(|(arrives, _)| *arrives);
            let deadline = self.machine.deadline().map(|at| at.saturating_duration_since(self.start));
            let unstuck = (self.unwritten > 0).then_some(self.stuck.end);
            let next = [arrives, deadline, self.done_at, unstuck, Some(self.next_sign)].into_iter().flatten().min();
            let next = next.filter(|next| *next <= end).unwrap_or(end);
            self.now = next.max(self.now);
            self.note_feed();
            if arrives == Some(next) {
                let (_, spoken) = self.speech.pop_front().unwrap();
                if !self.away {
                    let packet = self.caller_packet(spoken);
                    self.give(Input::Client(ClientInput::Audio(packet)));
                }
            } else if self.done_at == Some(next) {
                self.done_at = None;
                self.answer();
            } else if unstuck == Some(next) {
                self.unwritten -= 1;
                self.give(Input::Upstream(1, UpstreamInput::Writable));
            } else if self.next_sign == next {
                self.next_sign += SECOND;
                if !self.away {
                    self.give(Input::Client(ClientInput::Alive));
                }
            } else {
                self.give(Input::Tick);
                if next == end {
                    break;
                }
            }
            assert!(!self.machine.is_closed(), "the call ended at {:?}", self.now);
        }
    }

    /// 20 ms of the caller that can be told from others.
    pub fn caller_packet(&mut self, spoken: Duration) -> OpusPacket {
        let number = self.spoken.len() as u32;
        self.spoken.push(spoken);
        OpusPacket::parse(Bytes::from([&[0x48][..], &number.to_be_bytes()].concat())).unwrap()
    }

    /// The server has worked on the oldest 80 ms: a word, then the sound.
    pub fn answer(&mut self) {
        let (mut left, mut oldest) = (FRAME, None);
        while !left.is_zero() {
            let (spoken, length) = self.inside.front_mut().unwrap();
            let taken = left.min(*length);
            oldest = oldest.or(*spoken);
            *length -= taken;
            left -= taken;
            if length.is_zero() {
                self.inside.pop_front();
            }
        }
        let number = self.frames.len() as u32;
        self.frames.push(Made { spoken: oldest });
        if self.now < self.words_end {
            self.word_at = self.now;
            self.give(Input::Upstream(1, UpstreamInput::Text(TextPiece::new(" word"))));
        }
        let frame = OpusPacket::parse(Bytes::from([&[0x4b, 4][..], &number.to_be_bytes()].concat())).unwrap();
        self.give(Input::Upstream(1, UpstreamInput::Audio(frame)));
        self.work();
    }

    pub fn work(&mut self) {
        let waiting: Duration = self.inside.iter().map(|(_, length)| *length).sum();
        if self.done_at.is_none() && waiting >= FRAME {
            let begins = if self.stalled.contains(&self.now) { self.stalled.end } else { self.now };
            self.done_at = Some(begins + self.step);
        }
    }

    /// One input, and everything that follows from it; the legs write at once.
    pub fn give(&mut self, input: Input) {
        self.machine.handle(input, self.start + self.now);
        while let Some(effect) = self.machine.poll_effect() {
            let written = match effect {
                Effect::SendUpstream(_, packet) if self.stuck.contains(&self.now) => {
                    self.take(&packet);
                    self.unwritten += 1;
                    None
                }
                Effect::SendUpstream(_, packet) => {
                    self.take(&packet);
                    Some(Input::Upstream(1, UpstreamInput::Writable))
                }
                Effect::SendClient(output) => {
                    self.hear(output);
                    Some(Input::Client(ClientInput::Writable))
                }
                Effect::Note(Note::Dropped(.., packets)) => {
                    self.dropped += packets;
                    None
                }
                Effect::Note(Note::Second { lag, .. }) => {
                    self.lags.push(lag);
                    None
                }
                Effect::Note(note @ Note::Pace { .. }) => {
                    self.pace.push((self.now, format!("{note:?}")));
                    None
                }
                _ => None,
            };
            if let Some(written) = written {
                // What was decided before stands in front of what follows from the write.
                self.machine.handle(written, self.start + self.now);
            }
        }
        self.note_feed();
        self.work();
    }

    pub fn take(&mut self, packet: &OpusPacket) {
        let spoken = match packet.bytes()[..] {
            [0x48, a, b, c, d] => Some(self.spoken[u32::from_be_bytes([a, b, c, d]) as usize]),
            _ => None,
        };
        if spoken.is_none() {
            self.synthetic += packet.duration();
        }
        if let Some(at) = spoken {
            self.joins += u32::from(at > self.last_taken + 25 * MS);
            self.last_taken = at;
        }
        self.fed += packet.duration();
        self.inside.push_back((spoken, packet.duration()));
    }

    pub fn hear(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::Audio(packet) => {
                let bytes = packet.bytes();
                let number = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
                assert!(number >= self.heard_number, "in order");
                self.lost_frames += number - self.heard_number;
                self.heard_number = number + 1;
                self.heard.push((self.now, self.frames[number].spoken.map(|spoken| self.now - spoken)));
                self.player_ends = self.player_ends.max(self.now) + FRAME;
                self.fullest_player = self.fullest_player.max(self.player_ends - self.now);
            }
            ClientOutput::Event(ServerEvent::Transcript(_)) => {
                self.words += 1;
                self.latest_word = self.latest_word.max(self.now - self.word_at);
            }
            ClientOutput::Event(ServerEvent::Ended(_)) => self.goodbye = true,
            ClientOutput::Event(ServerEvent::Degraded { realtime_factor }) => {
                self.pace.push((self.now, format!("degraded {realtime_factor}")));
            }
            ClientOutput::Event(ServerEvent::Restored {}) => self.pace.push((self.now, "restored".into())),
            ClientOutput::Event(_) | ClientOutput::Ping => {}
        }
    }

    /// From now on it is measured how far the fed audio is from real time.
    pub fn watch_feed(&mut self) {
        self.fed_from = (self.fed, self.now);
        self.feed_error = Duration::ZERO;
    }

    pub fn note_feed(&mut self) {
        let (fed, since) = self.fed_from;
        self.feed_error = self.feed_error.max((self.fed - fed).abs_diff(self.now - since));
    }

    /// From here on the answer comes in less than half a second, counted from the oldest word in it.
    #[track_caller]
    pub fn is_live(&self, from_ms: u32) {
        assert!(self.words_end < self.now || self.lost_frames == 0, "{} frames of speech", self.lost_frames);
        let lag = self.worst_lag(from_ms);
        assert!(!lag.is_zero() && lag <= 500 * MS, "{lag:?}");
    }

    pub fn worst_lag(&self, from_ms: u32) -> Duration {
        let later = self.heard.iter().filter(|(at, _)| *at >= from_ms * MS);
        later.filter_map(|(_, lag)| *lag).max().unwrap_or_default()
    }

    pub fn longest_pause(&self) -> Duration {
        self.heard.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default()
    }
}
