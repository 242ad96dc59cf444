//! What is counted of calls that pass from one model server to another.

use std::time::Duration;

use super::{Buckets, Kind, Metrics, Series, Unit, series};

const GAP: Buckets = &[0.02, 0.08, 0.16, 0.32, 0.64, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0];

pub(super) const RECOVERIES: Series = series(
    "tandem_recoveries_total",
    Kind::Counter,
    Unit::Count,
    &["reason", "result"],
    "Model servers lost or silent in a call after which the assistant was heard again: the same one, or another.",
);
pub(super) const RECOVERY_GAP: Series = series(
    "tandem_recovery_gap_seconds",
    Kind::Histogram(GAP),
    Unit::Seconds,
    &[],
    "Sound that was due and did not come while a call recovered.",
);
pub(super) const ROTATIONS: Series = series(
    "tandem_rotations_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Windows of the model that were renewed in a call: on another slot, in place, or not at all.",
);
pub(super) const ROTATION_GAP: Series = series(
    "tandem_rotation_gap_seconds",
    Kind::Histogram(GAP),
    Unit::Seconds,
    &["result"],
    "Sound that was due and did not come while a window was renewed.",
);

const REASONS: [&str; 2] = ["lost", "silent"];
const PLACES: [&str; 2] = ["elsewhere", "in_place"];

impl Metrics {
    pub(super) fn begin_relay(&self) {
        for reason in REASONS {
            for result in ["other", "same"] {
                self.counter(&RECOVERIES, &[reason.into(), result.into()]).increment(0);
            }
        }
        for result in [PLACES[0], PLACES[1], "failed"] {
            self.counter(&ROTATIONS, &[result.into()]).increment(0);
        }
    }

    /// The assistant is heard again after its server was lost or silent.
    pub fn recovered(&self, reason: &'static str, same: bool, gap: Duration) {
        let result = if same { "same" } else { "other" };
        self.counter(&RECOVERIES, &[reason.into(), result.into()]).increment(1);
        self.histogram(&RECOVERY_GAP, &[]).record(gap.as_secs_f64());
    }

    /// A window was renewed, on another slot or in place.
    pub fn rotated(&self, in_place: bool, gap: Duration) {
        let result = PLACES[usize::from(in_place)];
        self.counter(&ROTATIONS, &[result.into()]).increment(1);
        self.histogram(&ROTATION_GAP, &[result.into()]).record(gap.as_secs_f64());
    }

    /// No other server got ready for another window.
    pub fn rotation_failed(&self) {
        self.counter(&ROTATIONS, &["failed".into()]).increment(1);
    }
}
