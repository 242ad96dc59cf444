//! Whether an upstream keeps up with real time, as its calls measured it, and when it may try again (pure).
//!
//! ```text
//!            a call finds it slow                     the pause is over
//!   In time -----------------------> Resting ------------------------------> May try (one call)
//!      ^                                ^                                        |
//!      |                                +----------------------------------------+
//!      |                                |  found slow again: a pause twice as long
//!      |                                |  not measured: the same pause again
//!      +--- a call keeps up, anywhere ---
//! ```
//!
//! A server that nobody talks to cannot be measured (personaplex.md 2.6), so time alone never makes it fast again: it
//! only gives it a chance.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use serde::Deserialize;

/// The first pause of a slow upstream.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2 * 60);
/// The longest pause: a server that was repaired is tried again after so long at the latest.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// What becomes of an upstream that is slower than real time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Realtime {
    /// It gets no new calls while another upstream is usable.
    #[default]
    Required,
    /// It gets new calls when no faster one is free.
    Warn,
}

/// What a call measured of the upstream that it talks to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Whether the upstream is slower than real time; the call's guard decides it, with its own hysteresis.
    pub slow: bool,
    /// Seconds of audio for each second of time; 1 is real time.
    pub realtime_factor: f64,
}

/// How willingly an upstream is used, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nobody found it slow.
    InTime,
    /// It was slow and has rested: the next call measures it.
    MayTry,
    /// It was slow a short while ago.
    Resting,
}

/// What is known of one upstream's pace.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    realtime_factor: Option<f64>,
    slow: Option<Slow>,
}

#[derive(Clone, Debug)]
struct Slow {
    /// The generation of the grant that measured it last.
    found_by: u64,
    pause: Duration,
    rests_until: Instant,
}

impl Pace {
    /// Takes what the call of this generation measured. Says whether the upstream became slow, or fast again.
    pub(super) fn measured(&mut self, measured: Measured, generation: u64, now: Instant) -> bool {
        self.realtime_factor = Some(measured.realtime_factor);
        let was_slow = self.is_slow();
        self.slow = measured.slow.then(|| {
            let pause = match &self.slow {
                None => FIRST_PAUSE,
                Some(slow) if slow.found_by == generation => slow.pause,
                Some(slow) => (slow.pause * 2).min(LONGEST_PAUSE),
            };
            Slow { found_by: generation, pause, rests_until: now + pause }
        });
        was_slow != self.is_slow()
    }

    /// A call ends: one that did not measure anything is no reason for a second try before another pause.
    pub(super) fn rest(&mut self, now: Instant) {
        if let Some(slow) = &mut self.slow {
            slow.rests_until = now + slow.pause;
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match &self.slow {
            None => Standing::InTime,
            Some(slow) if now >= slow.rests_until => Standing::MayTry,
            Some(_) => Standing::Resting,
        }
    }

    /// When it may try again, if it rests.
    pub(super) fn tries_at(&self) -> Option<Instant> {
        self.slow.as_ref().map(|slow| slow.rests_until)
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// Of two slow ones the faster comes first; others are alike.
    pub(super) fn faster_first(&self, other: &Self) -> Ordering {
        match (&self.slow, &other.slow) {
            (Some(_), Some(_)) => {
                let factor = |pace: &Self| pace.realtime_factor.unwrap_or_default();
                factor(other).total_cmp(&factor(self))
            }
            _ => Ordering::Equal,
        }
    }

    /// What was measured last, if anything was.
    pub(super) fn realtime_factor(&self) -> Option<f64> {
        self.realtime_factor
    }
}
