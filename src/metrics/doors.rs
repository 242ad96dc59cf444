//! What is counted at the doors.

use super::{Kind, Metrics, Series, series};

pub(super) const ADMISSION: Series = series(
    "tandem_admission_total",
    Kind::Counter,
    &["result", "reason"],
    "Attempts to start a call: immediate or rejected, and why.",
);
pub(super) const AUTH: Series = series(
    "tandem_auth_total",
    Kind::Counter,
    &["result", "reason"],
    "Credentials that were looked at: ok or refused, and why.",
);
impl Metrics {
    pub(super) fn begin_doors(&self) {
        for (row, result) in [(&ADMISSION, "immediate"), (&AUTH, "ok")] {
            self.counter(row, &[result.into(), "ok".into()]).increment(0);
        }
    }

    /// One credential was looked at; `refused` names what was wrong with it.
    pub fn auth(&self, refused: Option<&'static str>) {
        let result = if refused.is_some() { "refused" } else { "ok" };
        self.counter(&AUTH, &[result.into(), refused.unwrap_or("ok").into()]).increment(1);
    }

    /// Somebody asked for a call; `rejected` names why it was refused.
    pub fn admission(&self, rejected: Option<&'static str>) {
        let result = if rejected.is_some() { "rejected" } else { "immediate" };
        self.counter(&ADMISSION, &[result.into(), rejected.unwrap_or("ok").into()]).increment(1);
    }
}
