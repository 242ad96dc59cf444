//! Who speaks when: two sides' activities on one time line, and what follows from them (pure).
//!
//! The sides are decided at different times, each when its detector is sure. What is counted is counted in the order in
//! which it happened: only up to the time until which both are known.
//!
//! The statistics are those of Full-Duplex-Bench (arXiv 2503.04721 and 2507.23159), taken live; `floor` has their
//! definitions. A *turn* is a stretch of speech of one side, with pauses under [`BRIDGE`](super::activity::BRIDGE).
//! Time in which a side is absent is in none of the sums but the other side's speech.

mod floor;
mod latency;

pub use floor::{ANSWER_WITHIN, MIN_INTERRUPTION, PAUSE, STOP_WITHIN, TAKE_OVER, TAKE_OVER_WORDS};
pub use latency::Latencies;

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::activity::{Span, State};
use floor::Floor;

/// Words that may wait for the sound that they belong to.
const MAX_WORDS: usize = 256;

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The app's user.
    Caller,
    /// The model.
    Assistant,
}

impl Speaker {
    /// Both, for tables and metrics.
    pub const ALL: [Self; 2] = [Self::Caller, Self::Assistant];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Assistant => "assistant",
        }
    }
}

/// What happened. Times are those of the sides' spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody begins to speak.
    Started {
        /// Who.
        speaker: Speaker,
        /// When.
        at: Duration,
    },
    /// Somebody has spoken.
    Ended {
        /// Who.
        speaker: Speaker,
        /// When.
        at: Duration,
        /// For how long.
        duration: Duration,
    },
    /// The assistant took over after the caller: it spoke for [`TAKE_OVER`], or more than [`TAKE_OVER_WORDS`] words.
    Answered {
        /// When it began.
        at: Duration,
        /// From the caller's last sound to the assistant's first; zero if the assistant began before.
        latency: Duration,
    },
    /// The caller got no answer.
    Missed {
        /// When the caller had stopped.
        at: Duration,
    },
    /// The caller began to speak while the assistant spoke.
    Interrupted {
        /// When.
        at: Duration,
        /// How long the assistant went on; none if it was longer than [`STOP_WITHIN`].
        stopped_after: Option<Duration>,
    },
    /// The assistant said something short while the caller spoke or was about to go on.
    Backchannel {
        /// When it began.
        at: Duration,
        /// How long it was.
        duration: Duration,
    },
}

/// What a call's turns were, in sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stretches of the caller's speech.
    pub caller_turns: u64,
    /// Stretches of the assistant's speech.
    pub assistant_turns: u64,
    /// The time in which the caller spoke.
    pub caller_speech: Duration,
    /// The time in which the assistant spoke.
    pub assistant_speech: Duration,
    /// The time in which both were there.
    pub present: Duration,
    /// The part of it in which both spoke.
    pub overlap: Duration,
    /// The part of it in which nobody spoke.
    pub silence: Duration,
    /// From the caller's last sound to the assistant's first, of every take-over.
    pub responses: Latencies,
    /// How often the caller got no answer.
    pub missed: u64,
    /// From the caller's first sound to the assistant's last, of every interruption that stopped it.
    pub stops: Latencies,
    /// Interruptions that did not stop the assistant.
    pub ignored: u64,
    /// Short things that the assistant said meanwhile.
    pub backchannels: u64,
}

impl Tally {
    fn count(&mut self, happening: &Happening) {
        match *happening {
            Happening::Started { .. } => {}
            Happening::Ended { speaker: Speaker::Caller, .. } => self.caller_turns += 1,
            Happening::Ended { speaker: Speaker::Assistant, .. } => self.assistant_turns += 1,
            Happening::Answered { latency, .. } => self.responses.add(latency),
            Happening::Missed { .. } => self.missed += 1,
            Happening::Interrupted { stopped_after: Some(after), .. } => self.stops.add(after),
            Happening::Interrupted { stopped_after: None, .. } => self.ignored += 1,
            Happening::Backchannel { .. } => self.backchannels += 1,
        }
    }
}

/// One side's part of the time line.
#[derive(Debug)]
struct Track {
    state: State,
    since: Duration,
    known: Duration,
    spans: VecDeque<Span>,
}

impl Track {
    fn new() -> Self {
        Self { state: State::Absent, since: Duration::ZERO, known: Duration::ZERO, spans: VecDeque::new() }
    }

    /// What it does right after `now`.
    fn next_state(&mut self, now: Duration) -> State {
        while self.spans.front().is_some_and(|span| span.until <= now) {
            self.spans.pop_front();
        }
        self.spans.front().map_or(self.state, |span| span.state)
    }
}

/// Two sides on one time line, from zero on.
#[derive(Debug)]
pub struct Turns {
    now: Duration,
    caller: Track,
    assistant: Track,
    words: VecDeque<Duration>,
    floor: Floor,
    tally: Tally,
    happenings: VecDeque<Happening>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

impl Turns {
    /// A call in which nothing has happened.
    pub fn new() -> Self {
        Self {
            now: Duration::ZERO,
            caller: Track::new(),
            assistant: Track::new(),
            words: VecDeque::new(),
            floor: Floor::default(),
            tally: Tally::default(),
            happenings: VecDeque::new(),
        }
    }

    /// What one side did next.
    pub fn note(&mut self, speaker: Speaker, span: Span) {
        let track = self.track(speaker);
        if span.until > track.known {
            track.known = span.until;
            match track.spans.back_mut() {
                Some(last) if last.state == span.state => last.until = span.until,
                _ => track.spans.push_back(span),
            }
        }
        self.advance();
    }

    /// The assistant's next words, and when they are said: with the sound that comes now.
    pub fn words(&mut self, count: usize, at: Duration) {
        let room = MAX_WORDS.saturating_sub(self.words.len());
        let at = self.words.back().map_or(at, |last| at.max(*last));
        self.words.extend(std::iter::repeat_n(at, count.min(room)));
    }

    /// What has happened and was not told yet, the oldest first.
    pub fn next_happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    /// The sums so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Until when the time line is settled.
    pub fn settled(&self) -> Duration {
        self.now
    }

    /// Ends whatever is being said: the call is over.
    pub fn finish(&mut self) {
        for speaker in Speaker::ALL {
            let (now, track) = (self.now, self.track(speaker));
            if std::mem::replace(&mut track.state, State::Absent) == State::Speaking {
                let duration = now.saturating_sub(track.since);
                self.tell(Happening::Ended { speaker, at: now, duration });
            }
        }
    }

    fn track(&mut self, speaker: Speaker) -> &mut Track {
        match speaker {
            Speaker::Caller => &mut self.caller,
            Speaker::Assistant => &mut self.assistant,
        }
    }

    fn advance(&mut self) {
        let known = self.caller.known.min(self.assistant.known);
        while self.now < known {
            self.change();
            let end = |track: &Track| track.spans.front().map_or(known, |span| span.until);
            let sides = [end(&self.caller), end(&self.assistant)];
            let others = [self.words.front().copied(), self.floor.timer()];
            let others = others.into_iter().flatten().filter(|at| *at > self.now);
            let next = sides.into_iter().chain(others).fold(known, Duration::min);
            self.sum_up(next.saturating_sub(self.now));
            self.now = next;
            self.floor.pass(self.now);
            while self.words.front().is_some_and(|at| *at <= self.now) {
                self.words.pop_front();
                self.floor.word(self.now);
            }
            self.collect();
        }
    }

    /// Takes both sides to what they do from now on: ends come before beginnings.
    fn change(&mut self) {
        let now = self.now;
        for speaker in Speaker::ALL {
            let track = self.track(speaker);
            let next = track.next_state(now);
            if track.state == State::Speaking && next != State::Speaking {
                let duration = now.saturating_sub(track.since);
                (track.state, track.since) = (next, now);
                self.tell(Happening::Ended { speaker, at: now, duration });
                self.floor.stop(speaker, now, next == State::Absent);
                self.collect();
            }
        }
        for speaker in Speaker::ALL {
            let track = self.track(speaker);
            let next = track.next_state(now);
            if track.state != next {
                (track.state, track.since) = (next, now);
                if next == State::Speaking {
                    self.tell(Happening::Started { speaker, at: now });
                    self.floor.start(speaker, now);
                    self.collect();
                }
            }
        }
    }

    fn sum_up(&mut self, time: Duration) {
        let (caller, assistant) = (self.caller.state, self.assistant.state);
        let tally = &mut self.tally;
        if caller == State::Speaking {
            tally.caller_speech += time;
        }
        if assistant == State::Speaking {
            tally.assistant_speech += time;
        }
        if caller != State::Absent && assistant != State::Absent {
            tally.present += time;
        }
        match (caller, assistant) {
            (State::Speaking, State::Speaking) => tally.overlap += time,
            (State::Silent, State::Silent) => tally.silence += time,
            _ => {}
        }
    }

    fn collect(&mut self) {
        while let Some(happening) = self.floor.next_happening() {
            self.tell(happening);
        }
    }

    fn tell(&mut self, happening: Happening) {
        self.tally.count(&happening);
        self.happenings.push_back(happening);
    }
}
