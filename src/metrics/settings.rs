//! What is told of the configuration: its limits, beside what they limit, and when it was read.

use super::{Kind, Metrics, Series, Unit, series};

pub(super) const SESSIONS_LIMIT: Series =
    series("tandem_sessions_limit", Kind::Gauge, Unit::Count, &[], "Calls that may be in progress at the same time.");
pub(super) const RELOADS: Series = series(
    "tandem_config_reload_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "How often the configuration was read again: taken over (ok), or not, because it is wrong or was refused.",
);
pub(super) const LAST_RELOAD: Series = series(
    "tandem_config_last_reload_timestamp_seconds",
    Kind::Gauge,
    Unit::Seconds,
    &[],
    "When a configuration was taken over last, at the start or later, in seconds since 1970.",
);

/// What came of reading the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It was taken over.
    Ok,
    /// It has flaws.
    Wrong,
    /// It is sound, and was not taken over all the same.
    Refused,
}

impl Reload {
    const ALL: [Self; 3] = [Self::Ok, Self::Wrong, Self::Refused];

    const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "wrong",
            Self::Refused => "refused",
        }
    }
}

impl Metrics {
    /// A process begins with these limits, at this time in seconds since 1970.
    pub fn configured(&self, max_sessions: usize, now_seconds: u64) {
        self.gauge(&SESSIONS_LIMIT, &[]).set(max_sessions as f64);
        self.gauge(&LAST_RELOAD, &[]).set(now_seconds as f64);
        for result in Reload::ALL {
            self.counter(&RELOADS, &[result.code().into()]).increment(0);
        }
    }

    /// These limits hold from now on.
    pub fn limited(&self, max_sessions: usize, queue_limit: usize) {
        self.gauge(&SESSIONS_LIMIT, &[]).set(max_sessions as f64);
        self.queue_limit(queue_limit);
    }

    /// The configuration was read again, at this time in seconds since 1970.
    pub fn reloaded(&self, result: Reload, now_seconds: u64) {
        self.counter(&RELOADS, &[result.code().into()]).increment(1);
        if result == Reload::Ok {
            self.gauge(&LAST_RELOAD, &[]).set(now_seconds as f64);
        }
    }
}
