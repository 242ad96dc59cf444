//! Whether this process has said of late that it lives, so that nobody takes its slots for a dead one's.
//!
//! A process can be stopped, for so long that another one takes over what it has. It goes on where it stopped and knows
//! nothing of that: so it looks at the clock before it opens a socket.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When this process said so last, by its own clock.
#[derive(Debug)]
pub struct Pulse {
    /// How long one beat counts.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    gaps: u64,
    /// After a gap others may have taken rows over, and cleared them.
    owed: bool,
}

impl Pulse {
    /// The pulse of a process that counts as dead after this time without a beat. Half of it is for what a look at the
    /// clock is followed by.
    pub fn new(expiry: Duration) -> Self {
        Self { patience: expiry / 2, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A beat that was sent then has arrived; `in_time` is what the record says of the one before.
    pub fn beat(&self, sent: Instant, in_time: bool) {
        let mut state = self.state();
        let late = state.last.is_some_and(|last| sent.saturating_duration_since(last) > self.patience);
        if late || !in_time {
            state.gaps += 1;
            state.owed = true;
        }
        // Of two that cross, the later one counts.
        state.last = state.last.max(Some(sent));
    }

    /// Whether nobody can take this process for dead now, nor soon.
    pub fn beats(&self, now: Instant) -> bool {
        self.state().last.is_some_and(|last| now.saturating_duration_since(last) <= self.patience)
    }

    /// How often it could not be said. What was granted before such a gap may be somebody else's by now.
    pub fn gaps(&self) -> u64 {
        self.state().gaps
    }

    /// Whether rows are to be opened again; whoever asks does it, or says that they still are ([`Pulse::owe`]).
    pub fn take_owed(&self) -> bool {
        std::mem::take(&mut self.state().owed)
    }

    /// Rows are to be opened again.
    pub fn owe(&self) {
        self.state().owed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_one_that_the_clock_or_the_record_sees_and_the_first_beat_is_none() {
        let (pulse, start) = (Pulse::new(Duration::from_secs(10)), tokio::time::Instant::now().into_std());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!pulse.beats(at(0)), "nobody knows of it yet");
        pulse.beat(at(0), true);
        assert!(pulse.beats(at(5)) && !pulse.beats(at(6)));
        pulse.beat(at(5), true);
        pulse.beat(at(3), true);
        assert!(pulse.beats(at(10)), "one that is overtaken takes nothing back");
        assert_eq!((pulse.gaps(), pulse.take_owed()), (0, false));
        pulse.beat(at(11), true);
        assert_eq!((pulse.gaps(), pulse.take_owed(), pulse.take_owed()), (1, true, false));
        pulse.beat(at(12), false);
        assert_eq!((pulse.gaps(), pulse.take_owed()), (2, true));
    }
}
