//! Who has the floor: answers, interruptions and backchannels, from beginnings and ends in the order of time.
//!
//! The definitions follow Full-Duplex-Bench where it has them (arXiv 2503.04721, section III, and its `evaluation/`):
//!
//! - The caller's *contribution* is all that it says until it is answered; a pause under [`PAUSE`] belongs to it.
//! - The assistant *takes over* when it has spoken for [`TAKE_OVER`] or more than [`TAKE_OVER_WORDS`] words, pauses under
//!   a second included. The latency is from the caller's last sound to its first, and zero if it began before.
//! - A contribution that is not taken over within [`ANSWER_WITHIN`], or before the next one, is *missed*.
//! - What the assistant says that is shorter is a *backchannel* if the caller speaks meanwhile, or goes on after it.
//! - The caller *interrupts* when it begins while the assistant speaks and goes on for [`MIN_INTERRUPTION`], or the
//!   assistant stops before that. A caller who only goes on after a pause, while the assistant has not yet taken over,
//!   interrupts nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Happening, Speaker};

/// What the assistant says for so long is an answer (`turn_duration_threshold` of Full-Duplex-Bench).
pub const TAKE_OVER: Duration = Duration::from_secs(1);
/// More words than these are an answer, however short (`turn_num_words_threshold` of Full-Duplex-Bench).
pub const TAKE_OVER_WORDS: u32 = 3;
/// What the caller says for so long into the assistant's speech is no mere "mhm".
pub const MIN_INTERRUPTION: Duration = Duration::from_millis(500);
/// An assistant that goes on for longer has not been stopped by the interruption.
pub const STOP_WITHIN: Duration = Duration::from_secs(3);
/// A caller who goes on after less has not made a new contribution.
pub const PAUSE: Duration = Duration::from_secs(2);
/// What the assistant says later is no answer any more.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A pause of the assistant that is shorter is within its answer; words come at most so far ahead of their sound.
const REPLY_PAUSE: Duration = Duration::from_secs(1);
/// Words that wait for a beginning.
const MAX_EARLY_WORDS: usize = 32;

/// What the caller said and was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Contribution {
    /// None while the caller speaks.
    ended: Option<Duration>,
}

/// What the assistant says, until it is known what it is.
#[derive(Clone, Copy, Debug)]
struct Reply {
    started: Duration,
    /// None while the assistant speaks.
    ended: Option<Duration>,
    words: u32,
    taken: bool,
}

#[derive(Clone, Copy, Debug)]
struct Interruption {
    at: Duration,
    counted: bool,
}

/// The floor of one call.
#[derive(Debug, Default)]
pub struct Floor {
    caller_speaks: bool,
    assistant_speaks: bool,
    contribution: Option<Contribution>,
    reply: Option<Reply>,
    interruption: Option<Interruption>,
    early_words: VecDeque<Duration>,
    happenings: VecDeque<Happening>,
}

impl Floor {
    /// What has happened and was not told yet.
    pub fn next_happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    /// When [`Floor::pass`] has something to say, if nobody begins or ends before.
    pub fn timer(&self) -> Option<Duration> {
        let counts = self.interruption.filter(|cut| !cut.counted).map(|cut| cut.at + MIN_INTERRUPTION);
        let ignored = self.interruption.filter(|cut| cut.counted).map(|cut| cut.at + STOP_WITHIN);
        let takes = self.reply.filter(|reply| reply.ended.is_none() && !reply.taken);
        let takes = takes.map(|reply| reply.started + TAKE_OVER);
        let waiting = self.contribution.filter(|_| !self.assistant_speaks).and_then(|said| said.ended);
        let missed = waiting.map(|ended| ended + ANSWER_WITHIN);
        [counts, ignored, takes, missed].into_iter().flatten().min()
    }

    /// It is `now`, and everything until then is known.
    pub fn pass(&mut self, now: Duration) {
        while let Some(at) = self.timer().filter(|at| *at <= now) {
            match self.interruption {
                Some(cut) if !cut.counted && cut.at + MIN_INTERRUPTION == at => self.count_interruption(),
                Some(cut) if cut.counted && cut.at + STOP_WITHIN == at => self.stopped(None),
                _ if self.reply.is_some_and(|reply| reply.ended.is_none() && reply.started + TAKE_OVER == at) => {
                    self.take_over();
                }
                _ => self.miss(),
            }
        }
    }

    /// Somebody begins.
    pub fn start(&mut self, speaker: Speaker, now: Duration) {
        match speaker {
            Speaker::Caller => self.caller_starts(now),
            Speaker::Assistant => self.assistant_starts(now),
        }
    }

    /// Somebody ends, or is lost.
    pub fn stop(&mut self, speaker: Speaker, now: Duration, lost: bool) {
        match speaker {
            Speaker::Caller => self.caller_ends(now),
            Speaker::Assistant => self.assistant_ends(now, lost),
        }
    }

    /// The assistant says a word.
    pub fn word(&mut self, now: Duration) {
        match &mut self.reply {
            Some(reply) if reply.ended.is_none() => {
                reply.words += 1;
                if reply.words > TAKE_OVER_WORDS {
                    self.take_over();
                }
            }
            _ => {
                if self.early_words.len() == MAX_EARLY_WORDS {
                    self.early_words.pop_front();
                }
                self.early_words.push_back(now);
            }
        }
    }

    fn caller_starts(&mut self, now: Duration) {
        self.caller_speaks = true;
        let goes_on = self.contribution.and_then(|said| said.ended).is_some_and(|ended| now - ended < PAUSE);
        let pending = self.reply.filter(|reply| !reply.taken);
        match (self.assistant_speaks, goes_on) {
            // The assistant spoke up in a pause: whether it is a backchannel shows when it ends.
            (true, true) if pending.is_some() => self.contribution = Some(Contribution { ended: None }),
            (true, _) => {
                let cut = self.interruption.get_or_insert(Interruption { at: now, counted: false });
                if cut.counted {
                    self.contribution = Some(Contribution { ended: None });
                }
            }
            (false, true) => {
                self.contribution = Some(Contribution { ended: None });
                self.end_backchannel();
            }
            (false, false) => {
                self.miss();
                self.contribution = Some(Contribution { ended: None });
                self.reply = None;
            }
        }
    }

    fn caller_ends(&mut self, now: Duration) {
        self.caller_speaks = false;
        if self.interruption.is_some_and(|cut| !cut.counted) {
            // A word into the assistant's speech, which went on: neither an interruption nor in want of an answer.
            self.interruption = None;
            return;
        }
        if let Some(said) = &mut self.contribution {
            said.ended = Some(now);
        }
        if self.reply.is_some_and(|reply| reply.taken) {
            self.answer();
        }
    }

    fn assistant_starts(&mut self, now: Duration) {
        self.assistant_speaks = true;
        match &mut self.reply {
            Some(Reply { taken: false, ended: ended @ Some(_), .. })
                if ended.is_some_and(|ended| now - ended < REPLY_PAUSE) =>
            {
                *ended = None;
            }
            reply => *reply = Some(Reply { started: now, ended: None, words: 0, taken: false }),
        }
        let early = std::mem::take(&mut self.early_words);
        for _ in early.into_iter().filter(|at| now - *at < REPLY_PAUSE) {
            self.word(now);
        }
    }

    fn assistant_ends(&mut self, now: Duration, lost: bool) {
        self.assistant_speaks = false;
        match self.interruption {
            // That it was lost says nothing about the assistant's manners.
            Some(_) if lost => self.interruption = None,
            Some(cut) => {
                if !cut.counted {
                    self.count_interruption();
                }
                self.stopped(Some(now - cut.at));
            }
            None => {}
        }
        let Some(reply) = &mut self.reply else { return };
        reply.ended = Some(now);
        if reply.taken {
            // Answered, or the caller has talked it down.
            self.reply = None;
        } else if self.caller_speaks {
            self.end_backchannel();
        }
    }

    /// A short reply is over, and the caller speaks on.
    fn end_backchannel(&mut self) {
        if let Some(Reply { started, ended: Some(ended), taken: false, .. }) = self.reply.take() {
            self.happenings.push_back(Happening::Backchannel { at: started, duration: ended - started });
        }
    }

    fn take_over(&mut self) {
        let Some(reply) = &mut self.reply else { return };
        if !std::mem::replace(&mut reply.taken, true) {
            self.answer();
        }
    }

    /// The assistant has taken over; it is an answer as soon as the caller has ended.
    fn answer(&mut self) {
        if let (Some(reply), Some(Contribution { ended: Some(ended) })) = (self.reply, self.contribution) {
            self.contribution = None;
            let latency = reply.started.saturating_sub(ended);
            self.happenings.push_back(Happening::Answered { at: reply.started, latency });
        }
    }

    fn miss(&mut self) {
        if let Some(Contribution { ended: Some(at) }) = self.contribution.take() {
            self.happenings.push_back(Happening::Missed { at });
        }
    }

    /// The caller has the floor: what it says now wants an answer, and what the assistant still says is none.
    fn count_interruption(&mut self) {
        if let Some(cut) = &mut self.interruption {
            cut.counted = true;
        }
        self.miss();
        self.contribution = Some(Contribution { ended: None });
        self.reply = None;
    }

    fn stopped(&mut self, stopped_after: Option<Duration>) {
        if let Some(cut) = self.interruption.take() {
            self.happenings.push_back(Happening::Interrupted { at: cut.at, stopped_after });
        }
    }
}
