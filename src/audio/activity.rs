//! One side's activity: from its packets to the times at which it speaks, is silent or is absent (pure).
//!
//! A detector makes up its mind late: it takes some 50 ms of a voice to believe in it, and 300 ms of silence to be
//! sure that a word was the last. None of that is in the times: a stretch of speech begins with its first loud 8 ms
//! and ends with its last. What is not decided yet is simply not told yet.

mod clock;
mod voice;

pub use clock::{CaptureClock, PlayoutClock};
pub use voice::{VoiceDetector, VoiceError};

use std::collections::VecDeque;
use std::time::Duration;

use super::packet::OpusPacket;
pub(super) use voice::GRAIN;
use voice::{Frame, GRAINS};

/// A pause that is shorter belongs to the speech around it, and a stretch without sound that is shorter to the state
/// before it.
pub const BRIDGE: Duration = Duration::from_millis(300);

/// The likeness with a voice at which speech begins. White noise was seen to reach 0.65, speech stays above 0.8.
const BEGINS_AT: f32 = 0.7;
/// The likeness from which on loud sound goes on to be speech.
pub(super) const GOES_ON_AT: f32 = 0.35;
/// Loud sound that is like a voice, before it counts: a click is no word.
const CONFIRM: Duration = Duration::from_millis(96);
/// Loud sound right before it that belongs to it: what the detector takes to rise.
const ONSET: Duration = Duration::from_millis(120);
/// A pause in which a beginning is given up.
const STUTTER: Duration = Duration::from_millis(48);
/// Times that differ less than this touch each other.
const SEAM: Duration = Duration::from_millis(16);
/// The longest packet that holds no sound: the encoder found nothing to say (RFC 6716, section 2.1.9).
const EMPTY_PACKET_BYTES: usize = 2;

/// What a side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A voice is heard.
    Speaking,
    /// There is sound, and no voice in it.
    Silent,
    /// There is no sound.
    Absent,
}

/// What a side did from the end of the span before it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it did.
    pub state: State,
    /// Until when.
    pub until: Duration,
}

/// A beginning that may become speech.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    start: Duration,
    voiced: Duration,
    quiet: Duration,
}

/// Listens to one side. Times are its caller's, and only ever grow.
#[derive(Debug)]
pub struct Activity {
    detector: VoiceDetector,
    state: State,
    /// The end of what is told.
    decided: Duration,
    /// The end of what was heard or was missing.
    heard: Duration,
    /// In speech: the silence since its last loud sound.
    quiet: Duration,
    beginning: Option<Beginning>,
    spans: VecDeque<Span>,
}

impl Activity {
    /// A side that is absent, and of which nothing was heard before `from`.
    pub fn new(from: Duration) -> Result<Activity, VoiceError> {
        Ok(Activity {
            detector: VoiceDetector::new()?,
            state: State::Absent,
            decided: from,
            heard: from,
            quiet: Duration::ZERO,
            beginning: None,
            spans: VecDeque::new(),
        })
    }

    /// Whether a packet holds no sound at all, by its length: an encoder that found nothing to say, or a filled gap.
    pub fn is_empty(packet: &OpusPacket) -> bool {
        packet.bytes().len() <= EMPTY_PACKET_BYTES
    }

    /// Hears a packet whose last sample is at `end`.
    pub fn hear(&mut self, packet: &OpusPacket, end: Duration) {
        let start = end.saturating_sub(packet.duration());
        if start > self.heard + SEAM {
            self.detector.cut();
            self.miss(start);
        }
        self.heard = self.heard.max(end);
        if self.state == State::Absent {
            self.state = State::Silent;
        }
        // A packet that cannot be decoded has no sound either.
        let frames = if Self::is_empty(packet) { None } else { self.detector.hear(packet).ok() };
        match frames {
            None => {
                self.detector.cut();
                self.take_quiet(packet.duration(), end);
            }
            Some(frames) => {
                let waiting = self.detector.waiting() + VoiceDetector::DELAY;
                let total = GRAIN * (frames.len() * GRAINS) as u32;
                let mut at = end.saturating_sub(waiting).saturating_sub(total);
                for frame in frames {
                    at = self.take(frame, at);
                }
            }
        }
    }

    /// Time passes until `until`; what was not heard by then is missing.
    pub fn pass(&mut self, until: Duration) {
        if until >= self.heard + BRIDGE {
            self.miss(until);
        }
    }

    /// What is decided and was not told yet, the oldest first.
    pub fn next_span(&mut self) -> Option<Span> {
        self.spans.pop_front()
    }

    /// The present state, as far as it is decided.
    pub fn state(&self) -> State {
        self.state
    }

    fn take(&mut self, frame: Frame, mut at: Duration) -> Duration {
        for loud in frame.loud {
            at += GRAIN;
            match self.state {
                State::Speaking if loud && frame.likeness >= GOES_ON_AT => {
                    self.quiet = Duration::ZERO;
                    self.tell(State::Speaking, at);
                }
                State::Speaking => self.pause(GRAIN, at),
                _ => self.begin(loud, loud && frame.likeness >= BEGINS_AT, at),
            }
        }
        at
    }

    fn take_quiet(&mut self, duration: Duration, end: Duration) {
        match self.state {
            State::Speaking => self.pause(duration, end),
            _ => {
                self.beginning = None;
                self.tell(State::Silent, end);
            }
        }
    }

    /// Silence within speech: it becomes silence when it has lasted.
    fn pause(&mut self, duration: Duration, end: Duration) {
        self.quiet += duration;
        if self.quiet >= BRIDGE {
            (self.state, self.quiet) = (State::Silent, Duration::ZERO);
            self.tell(State::Silent, end);
        }
    }

    /// A grain outside of speech, loud or not, and like a voice or not.
    fn begin(&mut self, loud: bool, voiced: bool, end: Duration) {
        let Some(mut beginning) = self.beginning.take() else {
            if loud {
                let start = end.saturating_sub(GRAIN);
                self.tell(State::Silent, start);
                let voiced = if voiced { GRAIN } else { Duration::ZERO };
                self.beginning = Some(Beginning { start, voiced, quiet: Duration::ZERO });
            } else {
                self.tell(State::Silent, end);
            }
            return;
        };
        if voiced {
            beginning.voiced += GRAIN;
        }
        beginning.quiet = if loud { Duration::ZERO } else { beginning.quiet + GRAIN };
        if beginning.quiet >= STUTTER {
            self.tell(State::Silent, end);
            return;
        }
        if beginning.voiced.is_zero() {
            // Loud, but no voice so far: it is waited for no longer than a detector needs.
            beginning.start = beginning.start.max(end.saturating_sub(ONSET));
            self.tell(State::Silent, beginning.start);
        }
        if beginning.voiced >= CONFIRM {
            self.tell(State::Silent, beginning.start);
            (self.state, self.quiet) = (State::Speaking, beginning.quiet);
            self.tell(State::Speaking, end.saturating_sub(beginning.quiet));
        } else {
            self.beginning = Some(beginning);
        }
    }

    /// There is no sound until `end`: briefly, and then what was goes on; or longer, and then the side is absent.
    fn miss(&mut self, end: Duration) {
        let gap = end.saturating_sub(self.heard);
        if gap < BRIDGE {
            match self.state {
                State::Speaking if self.quiet.is_zero() => self.tell(State::Speaking, end),
                State::Silent if self.beginning.is_none() => self.tell(State::Silent, end),
                _ => {}
            }
        } else {
            if self.state != State::Absent {
                self.tell(State::Silent, self.heard);
            }
            (self.state, self.quiet, self.beginning) = (State::Absent, Duration::ZERO, None);
            self.tell(State::Absent, end);
        }
        self.heard = end;
    }

    fn tell(&mut self, state: State, until: Duration) {
        if until <= self.decided {
            return;
        }
        self.decided = until;
        match self.spans.back_mut() {
            Some(last) if last.state == state => last.until = until,
            _ => self.spans.push_back(Span { state, until }),
        }
    }
}
