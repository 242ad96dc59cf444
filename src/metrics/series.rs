//! One row of the table of metrics: what it is called, what it counts, in what, and by what.

/// What a series counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows, by whole numbers; its name ends in `_total`.
    Counter,
    /// Only ever grows, by seconds that need not be whole; its name ends in `_seconds_total`.
    Time,
    /// Goes up and down.
    Gauge,
    /// Values in these buckets.
    Histogram(Buckets),
    /// Always 1; its labels say what runs.
    Info,
}

impl Kind {
    /// The word for it in the text format, which knows no other kinds.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Counter | Self::Time => "counter",
            Self::Gauge | Self::Info => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Upper bounds of a histogram's buckets, in the unit of its row.
pub type Buckets = &'static [f64];

/// In what a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, or seconds since 1970 where the name says timestamp or time.
    Seconds,
    /// Bytes.
    Bytes,
    /// How many times real time.
    Factor,
    /// The currency in which prices are configured.
    Currency,
    /// Things: calls, packets, servers.
    Count,
    /// No amount: a state by its number, or 1 for what is the case.
    State,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 6] = [Self::Seconds, Self::Bytes, Self::Factor, Self::Currency, Self::Count, Self::State];

    /// The word for it on the page of metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Factor => "factor",
            Self::Currency => "currency",
            Self::Count => "count",
            Self::State => "state",
        }
    }

    /// How names end that count in it, before a `_total`; none where names do not say it.
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Seconds | Self::Bytes | Self::Factor => Some(self.code()),
            Self::Currency | Self::Count | Self::State => None,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// The exported name.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// In what.
    pub unit: Unit,
    /// The names of its labels; every value comes from a closed set.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
}

pub(super) const fn series(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Series {
    Series { name, kind, unit, labels, help }
}
