//! A live call as operators may look at it from any thread: what it is, and where it is just now. No words are in it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A live call. What it is does not change; where it is does.
#[derive(Debug)]
pub struct Glance {
    /// Which persona answers.
    pub persona: String,
    /// The wire.
    pub protocol: &'static str,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    moment: Mutex<Moment>,
}

/// Where a call is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// As [`Machine::phase_name`](super::machine::Machine::phase_name) says it; empty before it has begun.
    pub phase: &'static str,
    /// Its caller's connection broke, and it waits for the caller.
    pub detached: bool,
    /// The model server that is heard, or else the one that gets ready.
    pub upstream: Option<String>,
    /// How far behind real time the caller hears the model, as of the last second.
    pub lag: Option<Duration>,
}

impl Glance {
    /// A call that begins.
    pub fn new(persona: String, protocol: &'static str, began_ms: i64) -> Self {
        Self { persona, protocol, began_ms, moment: Mutex::default() }
    }

    /// Where the call is from now on.
    pub fn enter(&self, phase: &'static str, detached: bool, upstream: Option<&str>) {
        let mut moment = self.lock();
        (moment.phase, moment.detached) = (phase, detached);
        // Told for every packet: the name is copied when it is another one.
        if moment.upstream.as_deref() != upstream {
            moment.upstream = upstream.map(str::to_owned);
            moment.lag = None;
        }
    }

    /// How far behind the call is.
    pub fn lags(&self, lag: Duration) {
        self.lock().lag = Some(lag);
    }

    /// Where the call is.
    pub fn moment(&self) -> Moment {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Moment> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_seen_where_it_is_now_and_its_lag_is_that_of_the_server_it_has() {
        let glance = Glance::new("listener".to_owned(), "native", 7);
        assert_eq!(glance.moment(), Moment::default());
        glance.enter("streaming", false, Some("1"));
        glance.lags(Duration::from_millis(80));
        glance.enter("streaming", true, Some("1"));
        let there = Moment {
            phase: "streaming",
            detached: true,
            upstream: Some("1".to_owned()),
            lag: Some(Duration::from_millis(80)),
        };
        assert_eq!(glance.moment(), there);
        glance.enter("leasing", false, None);
        assert_eq!(glance.moment(), Moment { phase: "leasing", ..Moment::default() });
    }
}
