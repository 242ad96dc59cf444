//! What is counted of turns, in the calls that are measured.

use std::time::Duration;

use metrics::{Counter, Histogram};

use super::{Buckets, Kind, Metrics, Series, Time, Unit, series};

// People take 0.2 s; Full-Duplex-Bench finds 0.17 to 1.5 s.
const RESPONSE: Buckets = &[0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0];

pub(super) const RESPONSE_LATENCY: Series = series(
    "tandem_response_latency_seconds",
    Kind::Histogram(RESPONSE),
    Unit::Seconds,
    &[],
    "From the caller's last sound to the assistant's first, of measured calls.",
);
pub(super) const TURNS: Series =
    series("tandem_turns_total", Kind::Counter, Unit::Count, &["speaker"], "Stretches of speech, of measured calls.");
pub(super) const TAKE_OVERS: Series = series(
    "tandem_take_overs_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "What callers said that was answered (taken) or not (missed), of measured calls.",
);
pub(super) const INTERRUPTIONS: Series = series(
    "tandem_interruptions_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Callers who began while the assistant spoke and were heard (stopped) or not (ignored), of measured calls.",
);
pub(super) const INTERRUPTION_STOP: Series = series(
    "tandem_interruption_stop_seconds",
    Kind::Histogram(RESPONSE),
    Unit::Seconds,
    &[],
    "From the caller's first sound to the assistant's last, of interruptions that stopped it.",
);
pub(super) const BACKCHANNELS: Series = series(
    "tandem_backchannels_total",
    Kind::Counter,
    Unit::Count,
    &[],
    "Short things that the assistant said while the caller went on, of measured calls.",
);
pub(super) const TALK: Series = series(
    "tandem_talk_seconds_total",
    Kind::Time,
    Unit::Seconds,
    &["kind"],
    "Time of measured calls that are over: caller and assistant spoke, both were present, overlapped, were silent.",
);

/// The sides, as labels.
const SPEAKERS: [&str; 2] = ["caller", "assistant"];
/// Whether the caller was answered.
const TAKEN: &str = "taken";
const MISSED: &str = "missed";
/// Whether the assistant was stopped.
const STOPPED: &str = "stopped";
const IGNORED: &str = "ignored";
/// Whose time it was.
const TALKS: [&str; 5] = ["caller", "assistant", "present", "overlap", "silence"];

/// The time of one call, by what happened in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// The caller spoke.
    pub caller: Duration,
    /// The assistant spoke.
    pub assistant: Duration,
    /// Both were there.
    pub present: Duration,
    /// Both spoke.
    pub overlap: Duration,
    /// Both were there and nobody spoke.
    pub silence: Duration,
}

/// Handles that one call holds.
pub struct TurnMetrics {
    turns: [Counter; SPEAKERS.len()],
    taken: Counter,
    missed: Counter,
    response_latency: Histogram,
    stopped: Counter,
    ignored: Counter,
    stop: Histogram,
    backchannels: Counter,
    talk: [Time; TALKS.len()],
}

impl TurnMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            turns: SPEAKERS.map(|speaker| metrics.counter(&TURNS, &[speaker.into()])),
            taken: metrics.counter(&TAKE_OVERS, &[TAKEN.into()]),
            missed: metrics.counter(&TAKE_OVERS, &[MISSED.into()]),
            response_latency: metrics.histogram(&RESPONSE_LATENCY, &[]),
            stopped: metrics.counter(&INTERRUPTIONS, &[STOPPED.into()]),
            ignored: metrics.counter(&INTERRUPTIONS, &[IGNORED.into()]),
            stop: metrics.histogram(&INTERRUPTION_STOP, &[]),
            backchannels: metrics.counter(&BACKCHANNELS, &[]),
            talk: TALKS.map(|talk| metrics.time(&TALK, &[talk.into()])),
        }
    }

    /// Every label exists from the start: a rate needs the zero before the first event.
    pub(super) fn begin_at_zero(&self) {
        let single = [&self.taken, &self.missed, &self.stopped, &self.ignored, &self.backchannels];
        for counter in self.turns.iter().chain(single) {
            counter.increment(0);
        }
    }

    /// The caller, or the assistant, has spoken.
    pub fn spoken(&self, by_caller: bool) {
        let [caller, assistant] = &self.turns;
        if by_caller { caller } else { assistant }.increment(1);
    }

    /// The assistant took over.
    pub fn answered(&self, latency: Duration) {
        self.taken.increment(1);
        self.response_latency.record(latency);
    }

    /// The caller got no answer.
    pub fn missed(&self) {
        self.missed.increment(1);
    }

    /// The caller interrupted the assistant, which stopped after this time, or did not.
    pub fn interrupted(&self, stopped_after: Option<Duration>) {
        match stopped_after {
            Some(after) => {
                self.stopped.increment(1);
                self.stop.record(after);
            }
            None => self.ignored.increment(1),
        }
    }

    /// The assistant said something short meanwhile.
    pub fn backchannel(&self) {
        self.backchannels.increment(1);
    }

    /// The call is over.
    pub fn talked(&self, talk: &Talk) {
        let times = [talk.caller, talk.assistant, talk.present, talk.overlap, talk.silence];
        for (counter, time) in self.talk.iter().zip(times) {
            counter.add(time);
        }
    }
}
