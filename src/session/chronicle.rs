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
    context::recap::{KEPT_TOKENS, kept},
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
            phase: "preparing",
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
            Note::Prepared { .. }
            | Note::PhaseOver(..)
            | Note::Opened(_)
            | Note::AttemptFailed(_)
            | Note::Passed(_)
            | Note::Pace { .. }
            | Note::Turn(_) => {}
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
        let transcript = self.lines.take();
        Ended {
            at_ms: began_ms.saturating_add(lasted),
            ending,
            talked_ms: i64::try_from(self.details.phases.talking_ms).unwrap_or(i64::MAX),
            recap: kept(transcript.iter().map(|line| line.text.expose().as_str()), KEPT_TOKENS),
            details: std::mem::take(&mut self.details),
            transcript,
            sealed: false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::native::RecoveryReason, session::machine::DropReason};

    const MS: Duration = Duration::from_millis(1);

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn lost() -> Note {
        Note::Recovering(RecoveryReason::Lost)
    }

    fn back(gap_ms: u32, same: bool) -> Note {
        Note::Recovered { reason: RecoveryReason::Lost, same, gap: gap_ms * MS }
    }

    #[test]
    fn phases_add_up_and_time_away_is_part_of_the_talk() {
        let origin = origin();
        let mut chronicle = Chronicle::new("moshi", origin);
        let moves = [
            (0, "preparing", false),
            (10, "leasing", false),
            (30, "handshaking", false),
            (40, "pausing", false),
            (45, "handshaking", false),
            (60, "streaming", false),
            (100, "streaming", true),
            (150, "streaming", false),
            (200, "closing", false),
        ];
        for (ms, phase, detached) in moves {
            // Half milliseconds are not lost, however often it is asked.
            for half in [0, 500] {
                chronicle.enter(phase, detached, origin + ms * MS + Duration::from_micros(half));
            }
        }
        let ended = chronicle.end(Ending::TooSlow, 1_000, origin + 220 * MS);
        let phases = ended.details.phases;
        assert_eq!((phases.preparing_ms, phases.waiting_ms, phases.handshaking_ms), (10, 25, 25));
        assert_eq!((phases.talking_ms, phases.detached_ms, phases.closing_ms), (140, 50, 20));
        assert_eq!((ended.at_ms, ended.talked_ms, ended.ending), (1_220, 140, Ending::TooSlow));
        assert_eq!(ended.details.protocol, "moshi");
    }

    #[test]
    fn each_loss_is_told_with_what_came_of_it_and_the_list_has_an_end() {
        let origin = origin();
        let mut chronicle = Chronicle::new("native", origin);
        let mut note = |note: Note, ms: u32| chronicle.note(&note, origin + ms * MS);
        note(lost(), 5);
        note(back(700, false), 800);
        // It had been silent all the while: nothing was told of it before.
        note(back(9, true), 900);
        for ms in 0..40 {
            note(lost(), 1_000 + ms);
        }
        note(back(1, true), 2_000);
        note(Note::Dropped(Direction::Up, DropReason::Backlog, 3), 2_000);
        note(Note::Dropped(Direction::Down, DropReason::Backlog, 4), 2_000);
        note(Note::Filled(20 * MS), 2_000);
        let details = chronicle.end(Ending::ClientLeft, 0, origin + 3_000 * MS).details;
        assert_eq!((details.failovers, details.failover_list.len()), (41, MAX_NAMED));
        let first = Failover { reason: "lost".into(), at_ms: 5, gap_ms: Some(700), same: false };
        assert_eq!(details.failover_list[0], first);
        assert!(details.failover_list[1..].iter().all(|failover| failover.gap_ms.is_none()));
        assert_eq!((details.audio.dropped_up, details.audio.dropped_down, details.audio.filled_ms), (3, 4, 20));
    }

    #[test]
    fn words_belong_to_the_server_that_says_them_and_do_not_print() {
        let origin = origin();
        let mut chronicle = Chronicle::new("native", origin);
        for (attempt, words) in [(1, " My sister"), (2, " Where were we?")] {
            chronicle.granted(&Offer { model: Some(format!("model {attempt}")), ..Offer::default() });
            chronicle.opened(attempt, &format!("server {attempt}"), origin);
            chronicle.on_stage(Some(attempt), &format!("server {attempt}"));
            chronicle.on_stage(Some(attempt), &format!("server {attempt}"));
            chronicle.words(words, origin + 100 * MS);
        }
        assert!(!format!("{chronicle:?}").contains("sister"));
        let ended = chronicle.end(Ending::ClientLeft, 0, origin + 200 * MS);
        let lines: Vec<&str> = ended.transcript.iter().map(|line| line.text.expose().as_str()).collect();
        assert_eq!(lines, ["My sister", "Where were we?"]);
        assert_eq!((ended.details.upstreams.len(), ended.details.model.as_str()), (2, "model 2"));
    }
}
