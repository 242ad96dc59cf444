//! What the machine hears of both sides: who speaks, for the idle limit and for the statistics of turns.
//!
//! In a call that is measured both sides are decoded all the time. In others the assistant's words are enough, until
//! the caller has not been heard for a quarter of the idle limit: then both are decoded until the caller speaks.
//!
//! The caller's sound counts when it comes, at the time at which it was said (`CaptureClock`): somebody who speaks is no
//! less there because a slow model server hears little of it. The assistant's counts when it leaves for the caller, at the
//! time at which it is heard (`PlayoutClock`).

use std::time::{Duration, Instant};

use super::{Effect, Machine, Note, state::millis};
use crate::{
    audio::{
        activity::{Activity, CaptureClock, PlayoutClock, State},
        packet::OpusPacket,
        turns::{Happening, Speaker, Tally, Turns},
    },
    protocol::native::{ServerEvent, TurnReport},
};

/// Events of turns are left out while so many messages wait: who does not read is not told who speaks.
const MAX_WAITING: usize = 64;

/// After so long without a word or a sound of it the assistant is silent: its words come ahead of their sound.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// A part of the idle limit: so long a caller who was heard is not listened to.
const UNHEARD_SHARE: u32 = 4;

/// Packets of the caller that come within this came together: a page of Ogg holds several.
const TOGETHER: Duration = Duration::from_millis(5);

/// How much more than real time of the caller is listened to: a flood costs no more than speech.
const MAX_AHEAD: Duration = Duration::from_secs(1);

/// One call's ears. They hear nothing before the model listens.
#[derive(Debug)]
pub(super) struct Ears {
    sampled: bool,
    idle_timeout: Duration,
    /// When the model began to listen: the zero of all times here.
    origin: Option<Instant>,
    caller: Option<Activity>,
    assistant: Option<Activity>,
    turns: Option<Turns>,
    capture: CaptureClock,
    playout: PlayoutClock,
    /// The caller's packets that came together, and when; the next may belong to them.
    arrived: Vec<OpusPacket>,
    arrived_at: Duration,
    /// Until when what was listened to would last if it had not come early.
    listened: Duration,
    /// When the caller was last known to speak.
    caller_spoke: Duration,
    /// When the assistant's last word came, or the call began.
    word_at: Instant,
    /// When the assistant's last word came, or its voice was last heard.
    assistant_spoke: Option<Instant>,
}

impl Ears {
    pub(super) fn new(sampled: bool, idle_timeout: Duration, now: Instant) -> Self {
        Self {
            sampled,
            idle_timeout,
            origin: None,
            caller: None,
            assistant: None,
            turns: None,
            capture: CaptureClock::default(),
            playout: PlayoutClock::default(),
            arrived: Vec::new(),
            arrived_at: Duration::ZERO,
            listened: Duration::ZERO,
            caller_spoke: Duration::ZERO,
            word_at: now,
            assistant_spoke: None,
        }
    }

    /// The model listens.
    pub(super) fn open(&mut self, now: Instant) {
        self.origin = Some(now);
        self.turns = self.sampled.then(Turns::new);
        self.listen_if_asked(now);
    }

    /// Until when the assistant counts as speaking.
    pub(super) fn assistant_speaks_until(&self) -> Option<Instant> {
        self.assistant_spoke.map(|at| at + SILENT_AFTER)
    }

    /// Whether the assistant has said no word for a while.
    pub(super) fn is_wordless(&self, now: Instant) -> bool {
        now >= self.wordless_at()
    }

    /// From when on that is so, unless it says another.
    pub(super) fn wordless_at(&self) -> Instant {
        self.word_at + SILENT_AFTER
    }

    /// Whether a caller's packet goes by unheard that may hold a word.
    pub(super) fn may_miss(&self, packet: &OpusPacket) -> bool {
        self.caller.is_none() && !Activity::is_empty(packet)
    }

    /// The caller's packet has come.
    pub(super) fn hear_caller(&mut self, packet: &OpusPacket, now: Instant) {
        let now = self.since_open(now);
        self.hear_arrived(now);
        let listened = self.listened.max(now);
        if self.origin.is_none() || self.caller.is_none() || listened > now + MAX_AHEAD {
            return;
        }
        self.listened = listened + packet.duration();
        if self.arrived.is_empty() {
            self.arrived_at = now;
        }
        self.arrived.push(packet.clone());
    }

    /// Hears what came together, unless more of it may come.
    fn hear_arrived(&mut self, now: Duration) {
        if self.arrived.is_empty() || now < self.arrived_at + TOGETHER {
            return;
        }
        let packets = std::mem::take(&mut self.arrived);
        let durations: Vec<Duration> = packets.iter().map(OpusPacket::duration).collect();
        let ends = self.capture.place(&durations, self.arrived_at);
        if let Some(caller) = &mut self.caller {
            packets.iter().zip(ends).for_each(|(packet, end)| caller.hear(packet, end));
        }
    }

    /// The assistant's packet leaves for the caller.
    pub(super) fn hear_assistant(&mut self, packet: &OpusPacket, now: Instant) {
        let now = self.since_open(now);
        let end = self.playout.place(packet.duration(), now);
        if let Some(assistant) = &mut self.assistant {
            assistant.hear(packet, end);
        }
    }

    /// The assistant's next words; their sound is yet to come.
    pub(super) fn hear_words(&mut self, text: &str, now: Instant) {
        (self.word_at, self.assistant_spoke) = (now, Some(now));
        let at = self.since_open(now).max(self.playout.end());
        let words = text.split(' ').skip(1).filter(|word| word.starts_with(char::is_alphanumeric)).count();
        if let Some(turns) = &mut self.turns {
            turns.words(words, at);
        }
    }

    /// Lets time pass, and says whether the caller was heard to speak.
    fn attend(&mut self, now: Instant) -> bool {
        if self.origin.is_none() {
            return false;
        }
        let passed = self.since_open(now);
        self.hear_arrived(passed);
        let caller = follow(Speaker::Caller, &mut self.caller, &mut self.turns, passed);
        if follow(Speaker::Assistant, &mut self.assistant, &mut self.turns, passed) {
            self.assistant_spoke = Some(now);
        }
        if caller {
            self.caller_spoke = passed;
            if !self.sampled {
                (self.caller, self.assistant) = (None, None);
            }
        }
        self.listen_if_asked(now);
        caller
    }

    fn listen_if_asked(&mut self, now: Instant) {
        let now = self.since_open(now);
        let asked = self.sampled || now >= self.caller_spoke + self.idle_timeout / UNHEARD_SHARE;
        if asked && self.caller.is_none() {
            // A detector cannot fail to be made; without one the call goes on unheard.
            self.caller = Activity::new(now).ok();
            self.assistant = Activity::new(now).ok();
        }
    }

    fn since_open(&self, now: Instant) -> Duration {
        self.origin.map_or(Duration::ZERO, |origin| now.saturating_duration_since(origin))
    }

    fn state(&self, speaker: Speaker, now: Instant) -> Option<State> {
        let heard = match speaker {
            Speaker::Caller => &self.caller,
            Speaker::Assistant => &self.assistant,
        };
        match (heard, speaker) {
            (Some(heard), _) => Some(heard.state()),
            (None, Speaker::Caller) => None,
            (None, Speaker::Assistant) => {
                let speaks = self.assistant_speaks_until().is_some_and(|until| now < until);
                Some(if speaks { State::Speaking } else { State::Silent })
            }
        }
    }
}

/// Hands on what is decided of one side, and says whether it spoke.
fn follow(speaker: Speaker, heard: &mut Option<Activity>, turns: &mut Option<Turns>, now: Duration) -> bool {
    let Some(activity) = heard else { return false };
    activity.pass(now);
    let mut spoke = false;
    while let Some(span) = activity.next_span() {
        spoke |= span.state == State::Speaking;
        if let Some(turns) = turns {
            turns.note(speaker, span);
        }
    }
    spoke
}

impl Machine {
    /// What a side is doing, as far as it is known: the caller of a call that is not measured is listened to only while
    /// something asks.
    pub fn activity(&self, speaker: Speaker) -> Option<State> {
        self.ears.state(speaker, self.watch.last_input)
    }

    /// The caller's packet has come: unheard, it may have been speech.
    pub(super) fn listen(&mut self, packet: &OpusPacket, now: Instant) {
        if self.ears.may_miss(packet) {
            self.watch.spoke(now);
        }
        self.ears.hear_caller(packet, now);
    }

    /// Tells what has come out about who speaks.
    pub(super) fn attend(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        if self.ears.attend(now) {
            self.watch.spoke(now);
        }
        while let Some(happening) = self.ears.turns.as_mut().and_then(Turns::next_happening) {
            self.effects.push_back(Effect::Note(Note::Turn(happening)));
            if self.to_client.waiting() < MAX_WAITING {
                self.say(event(happening), now);
            }
        }
    }

    /// The call ends: whoever speaks is cut off.
    pub(super) fn close_ears(&mut self, now: Instant) {
        self.ears.hear_arrived(Duration::MAX);
        self.attend(now);
        if let Some(turns) = &mut self.ears.turns {
            turns.finish();
        }
        self.attend(now);
    }

    /// The turns of the call so far, if it is measured.
    pub(super) fn tally(&self) -> Option<Box<Tally>> {
        self.ears.turns.as_ref().map(|turns| Box::new(turns.tally().clone()))
    }

    pub(super) fn turn_report(&self) -> Option<Box<TurnReport>> {
        self.ears.turns.as_ref().map(|turns| Box::new(turns.tally().into()))
    }
}

fn event(happening: Happening) -> ServerEvent {
    match happening {
        Happening::Started { speaker, at } => ServerEvent::TurnStarted { speaker, at_ms: millis(at) },
        Happening::Ended { speaker, at, duration } => {
            ServerEvent::TurnEnded { speaker, at_ms: millis(at), duration_ms: millis(duration) }
        }
        Happening::Answered { at, latency } => {
            ServerEvent::TurnResponse { at_ms: millis(at), latency_ms: millis(latency) }
        }
        Happening::Missed { at } => ServerEvent::TurnMissed { at_ms: millis(at) },
        Happening::Interrupted { at, stopped_after } => {
            ServerEvent::TurnInterrupted { at_ms: millis(at), stopped_after_ms: stopped_after.map(millis) }
        }
        Happening::Backchannel { at, duration } => {
            ServerEvent::TurnBackchannel { at_ms: millis(at), duration_ms: millis(duration) }
        }
    }
}
