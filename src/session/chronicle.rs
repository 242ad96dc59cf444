//! What a call's record will say: gathered while the call goes on (pure).
//!
//! Its bounds are those of a record. Words are kept as lines, each a sentence or what was said until a pause.

mod costs;
mod lines;
mod spread;

use std::{fmt, time::Duration, time::Instant};

use self::{costs::Costs, lines::Lines, spread::Samples};
use super::machine::{Direction, Note, Summary, millis};
use crate::{
    audio::turns::Tally,
    pool::{endpoint::Price, roster::Offer},
    protocol::ending::Ending,
    store::{
        details::{Audio, ContextUse, Details, Failover, MAX_NAMED, Turns},
        record::{Ended, Line},
    },
};

/// What is known of a call so far. Its `Debug` shows no words.
pub struct Chronicle {
    began: Instant,
    /// Up to when the phases are counted, and which one it is.
    until: Instant,
    phase: &'static str,
    detached: bool,
    stage: Option<u32>,
    details: Details,
    lag: Samples,
    costs: Costs,
    lines: Lines,
}

impl fmt::Debug for Chronicle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chronicle").field("phase", &self.phase).field("details", &self.details).finish_non_exhaustive()
    }
}

impl Chronicle {
    /// A call that begins now, on this wire.
    pub fn new(protocol: &str, now: Instant) -> Self {
        Self {
            began: now,
            until: now,
            phase: "",
            detached: false,
            stage: None,
            details: Details { protocol: protocol.to_owned(), ..Details::default() },
            lag: Samples::default(),
            costs: Costs::default(),
            lines: Lines::default(),
        }
    }

    /// Where the call is from now on, as [`Machine::phase_name`](super::machine::Machine::phase_name) says it.
    pub fn enter(&mut self, phase: &'static str, detached: bool, now: Instant) {
        let passed = millis(now.saturating_duration_since(self.until));
        // Whole milliseconds only: what is left counts with the next stretch.
        self.until += Duration::from_millis(passed);
        let phases = &mut self.details.phases;
        match self.phase {
            "preparing" => phases.preparing_ms += passed,
            "leasing" | "pausing" => phases.waiting_ms += passed,
            "handshaking" => phases.handshaking_ms += passed,
            "streaming" => phases.talking_ms += passed,
            "closing" => phases.closing_ms += passed,
            _ => {}
        }
        if self.detached {
            phases.detached_ms += passed;
        }
        (self.phase, self.detached) = (phase, detached);
    }

    /// What was said of the server of the slot that is granted now.
    pub fn granted(&mut self, offer: &Offer) {
        self.costs.offered(offer.model.clone(), offer.price);
    }

    /// A server was opened.
    pub fn opened(&mut self, attempt: u32, name: &str, now: Instant) {
        self.details.attempts += 1;
        self.costs.opened(attempt, name, now);
    }

    /// The slots of these attempts are held, and no others.
    pub fn holds(&mut self, held: impl Fn(u32) -> bool, now: Instant) {
        self.costs.holds(held, now);
    }

    /// The caller hears the server of this attempt.
    pub fn on_stage(&mut self, attempt: Option<u32>, name: &str) {
        if self.stage == attempt {
            return;
        }
        self.stage = attempt;
        self.lines.close();
        let Some(attempt) = attempt else { return };
        self.details.model = self.costs.model(attempt).unwrap_or_default().to_owned();
        if self.details.upstreams.len() < MAX_NAMED {
            self.details.upstreams.push(name.to_owned());
        }
    }

    /// Whether the prompt tells of the caller.
    pub fn context(&mut self, context: ContextUse) {
        self.details.context = context;
    }

    /// Words of the assistant.
    pub fn words(&mut self, text: &str, now: Instant) {
        self.lines.push(text, now.saturating_duration_since(self.began));
    }

    /// What the machine noticed.
    pub fn note(&mut self, note: &Note, now: Instant) {
        let details = &mut self.details;
        match note {
            Note::Ready { setup, .. } => details.setup_ms = details.setup_ms.or(Some(millis(*setup))),
            Note::FirstAudio(since_start) => details.first_audio_ms = Some(millis(*since_start)),
            Note::Recovering(reason) => {
                details.failovers += 1;
                if details.failover_list.len() < MAX_NAMED {
                    let at_ms = millis(now.saturating_duration_since(self.began));
                    let failover = Failover { reason: reason.code().to_owned(), at_ms, ..Failover::default() };
                    details.failover_list.push(failover);
                }
            }
            Note::Recovered { same, gap, .. } => {
                // One that is not in the list any more has nothing to be said of it.
                let named = details.failovers as usize == details.failover_list.len();
                if let Some(last) = details.failover_list.last_mut().filter(|last| named && last.gap_ms.is_none()) {
                    (last.gap_ms, last.same) = (Some(millis(*gap)), *same);
                }
            }
            Note::Rotated { .. } => details.rotations += 1,
            Note::RotationFailed => details.rotations_failed += 1,
            Note::Detached => details.detachments += 1,
            Note::Attached { .. } => details.resumes += 1,
            Note::Filled(silence) => details.audio.filled_ms += millis(*silence),
            Note::Dropped(Direction::Up, _, packets) => details.audio.dropped_up += packets,
            Note::Dropped(Direction::Down, _, packets) => details.audio.dropped_down += packets,
            Note::Second { lag, .. } => self.lag.add(*lag),
            Note::Prepared { .. } | Note::AttemptFailed(_) | Note::Passed(_) | Note::Pace { .. } | Note::Turn(_) => {}
        }
    }

    /// What the machine sums up at the end.
    pub fn sum_up(&mut self, summary: &Summary) {
        let audio = &mut self.details.audio;
        *audio = Audio { up_ms: millis(summary.audio_in), down_ms: millis(summary.audio_out), ..*audio };
        self.details.turns = summary.turns.as_deref().map(turns);
    }

    /// The call is over. `began_ms` is when it began, since 1970.
    pub fn end(&mut self, ending: Ending, began_ms: i64, now: Instant) -> Ended {
        self.enter("", false, now);
        self.costs.holds(|_| false, now);
        self.details.lag = self.lag.spread();
        self.details.cost_millionths = self.costs.millionths();
        let lasted = signed(now.saturating_duration_since(self.began));
        Ended {
            at_ms: began_ms.saturating_add(lasted),
            ending,
            talked_ms: i64::try_from(self.details.phases.talking_ms).unwrap_or(i64::MAX),
            recap: String::new().into(),
            details: std::mem::take(&mut self.details),
            transcript: self.lines.take(),
        }
    }
}

fn turns(tally: &Tally) -> Turns {
    Turns {
        caller: tally.caller_turns,
        assistant: tally.assistant_turns,
        caller_speech_ms: millis(tally.caller_speech),
        assistant_speech_ms: millis(tally.assistant_speech),
        overlap_ms: millis(tally.overlap),
        answered: tally.responses.count(),
        latency: spread::of(&tally.responses),
        missed: tally.missed,
        interruptions: tally.stops.count() + tally.ignored,
        interruptions_stopped: tally.stops.count(),
        backchannels: tally.backchannels,
    }
}

fn signed(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
