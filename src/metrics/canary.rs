//! How late threads are: what every call on them feels.

use metrics::Histogram;

use super::{Buckets, Kind, Metrics, Series, Unit, series};

// The clock of the event loop has steps of 1 ms; a model frame is 80 ms.
const DELAY: Buckets = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12];

pub(super) const EVENT_LOOP_DELAY: Series = series(
    "tandem_event_loop_delay_seconds",
    Kind::Histogram(DELAY),
    Unit::Seconds,
    &["thread"],
    "How late timers of 100 ms ring on the threads that carry calls (worker) and on the one of the pool (main).",
);

/// Which threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// The one that the pool, the fleet and the gateway run on.
    Main,
    /// Those that requests and calls run on.
    Worker,
}

impl Thread {
    const fn code(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Worker => "worker",
        }
    }
}

impl Metrics {
    /// How late timers ring on threads of this kind.
    pub fn event_loop_delay(&self, thread: Thread) -> Histogram {
        self.histogram(&EVENT_LOOP_DELAY, &[thread.code().into()])
    }
}
