//! What is counted at the doors.

use super::{Kind, Metrics, Series, Unit, series::series};

pub(super) const ADMISSION: Series = series(
    "tandem_admission_total",
    Kind::Counter,
    Unit::Count,
    &["result", "reason"],
    "Attempts to start a call: with a slot (immediate), with a place in the queue (queued), or rejected, and why.",
);
pub(super) const AUTH: Series = series(
    "tandem_auth_total",
    Kind::Counter,
    Unit::Count,
    &["result", "reason"],
    "Credentials that were looked at: ok or refused, and why.",
);
impl Metrics {
    pub(super) fn begin_doors(&self) {
        for (row, result) in [(&ADMISSION, "immediate"), (&ADMISSION, "queued"), (&AUTH, "ok")] {
            self.counter(row, &[result.into(), "ok".into()]).increment(0);
        }
    }

    /// One credential was looked at; `refused` names what was wrong with it.
    pub fn auth(&self, refused: Option<&'static str>) {
        let result = if refused.is_some() { "refused" } else { "ok" };
        self.counter(&AUTH, &[result.into(), refused.unwrap_or("ok").into()]).increment(1);
    }

    /// Somebody got a call, and with it a slot or (`waits`) a place in the queue.
    pub fn admitted(&self, waits: bool) {
        let result = if waits { "queued" } else { "immediate" };
        self.counter(&ADMISSION, &[result.into(), "ok".into()]).increment(1);
    }

    /// Somebody asked for a call and was refused; `why` names the reason.
    pub fn rejected(&self, why: &'static str) {
        self.counter(&ADMISSION, &["rejected".into(), why.into()]).increment(1);
    }
}
