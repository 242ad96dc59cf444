//! Finds out whether a server that owes audio and is silent will ever give it.
//!
//! Servers answer in order and frame by frame. One that lost some frames for good owes them for ever; with five of them
//! it would never be fed again. It cannot be told from one that stalls by waiting, so it is given one frame more: a
//! server that answers this and nothing else within a second has nothing older left. One that only stalled answers what
//! it owes, too.
//!
//! A server that needs more than three seconds for a frame could be mistaken: so no call writes off more than
//! [`MAX_WRITTEN_OFF`].

use std::time::{Duration, Instant};

/// Silence of a server after which it is asked: longer than a frame takes at a tenth of real time, and than most stalls.
const SILENCE: Duration = Duration::from_secs(3);
/// What is answered later than this behind the frame that asked was not waiting in front of it.
const SETTLED: Duration = Duration::from_secs(1);
/// The most that one call gives up: twice what may be unanswered.
const MAX_WRITTEN_OFF: Duration = Duration::from_millis(800);

/// The question and what is known of the answer.
#[derive(Debug)]
pub(super) struct Probe {
    answered_at: Instant,
    asked: Option<Asked>,
    written_off: Duration,
}

/// A frame that was fed to see whether it is answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// What was unanswered before it.
    before: Duration,
    /// When exactly this frame had been answered.
    answered_at: Option<Instant>,
}

impl Probe {
    pub(super) fn new(now: Instant) -> Self {
        Self { answered_at: now, asked: None, written_off: Duration::ZERO }
    }

    /// The server's silence begins now.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.answered_at, self.asked) = (now, None);
    }

    /// The server answered, and so much is unanswered now.
    pub(super) fn answered(&mut self, outstanding: Duration, now: Instant) {
        self.answered_at = now;
        self.asked = match self.asked {
            Some(Asked { before, answered_at: None }) if outstanding >= before => {
                Some(Asked { before, answered_at: (outstanding == before).then_some(now) })
            }
            // It gives more than it was asked for: it only stalled.
            _ => None,
        };
    }

    /// Whether it is time to ask a server that is not fed.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.asked.is_none() && self.may_ask() && now >= self.answered_at + SILENCE
    }

    /// The frame is fed; so much was unanswered before.
    pub(super) fn asked(&mut self, before: Duration) {
        self.asked = Some(Asked { before, answered_at: None });
    }

    /// How much will never be answered, once that is known.
    pub(super) fn written_off(&mut self, now: Instant) -> Option<Duration> {
        let lost = self.asked.filter(|asked| asked.answered_at.is_some_and(|at| now >= at + SETTLED))?.before;
        self.asked = None;
        self.written_off += lost;
        Some(lost)
    }

    /// When there is something to ask or to say, if the server stays silent.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.asked {
            Some(asked) => Some(asked.answered_at? + SETTLED),
            None => self.may_ask().then_some(self.answered_at + SILENCE),
        }
    }

    fn may_ask(&self) -> bool {
        self.written_off < MAX_WRITTEN_OFF
    }
}
