//! What is counted of administration.

use super::{Kind, Metrics, Series, Unit, series};

pub(super) const ORDERS: Series = series(
    "tandem_admin_orders_total",
    Kind::Counter,
    Unit::Count,
    &["action", "result"],
    "What was ordered at /admin by whoever was let in, and whether it was done (ok) or refused.",
);

pub(super) const REQUESTS: Series = series(
    "tandem_admin_requests_total",
    Kind::Counter,
    Unit::Count,
    &["result"],
    "Requests for /admin: let in (ok), without the admin token (wrong_token), or with it too many at a time (too_many).",
);

/// Whether a request for /admin was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admittance {
    /// It was.
    Ok,
    /// The admin token was not with it.
    WrongToken,
    /// With the token, but too many at a time.
    TooMany,
}

impl Admittance {
    const ALL: [Self; 3] = [Self::Ok, Self::WrongToken, Self::TooMany];

    const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::WrongToken => "wrong_token",
            Self::TooMany => "too_many",
        }
    }
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAction {
    /// A call is ended.
    EndSession,
    /// A model server is added.
    AddUpstream,
    /// A model server is removed.
    RemoveUpstream,
    /// Calls are kept away from a model server.
    Quarantine,
    /// Calls may come to a model server again.
    Release,
    /// A machine is woken.
    Wake,
    /// A machine is put to sleep.
    Sleep,
    /// The configuration is read again.
    Reload,
    /// The process takes no more calls, and ends.
    Drain,
}

impl AdminAction {
    /// Every action, for tables and metrics.
    pub const ALL: [Self; 9] = [
        Self::EndSession,
        Self::AddUpstream,
        Self::RemoveUpstream,
        Self::Quarantine,
        Self::Release,
        Self::Wake,
        Self::Sleep,
        Self::Reload,
        Self::Drain,
    ];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EndSession => "end_session",
            Self::AddUpstream => "add_upstream",
            Self::RemoveUpstream => "remove_upstream",
            Self::Quarantine => "quarantine",
            Self::Release => "release",
            Self::Wake => "wake",
            Self::Sleep => "sleep",
            Self::Reload => "reload",
            Self::Drain => "drain",
        }
    }
}

impl Metrics {
    pub(super) fn begin_admin(&self) {
        for admittance in Admittance::ALL {
            self.counter(&REQUESTS, &[admittance.code().into()]).increment(0);
        }
        for action in AdminAction::ALL {
            for result in ["ok", "refused"] {
                self.counter(&ORDERS, &[action.code().into(), result.into()]).increment(0);
            }
        }
    }

    /// Somebody asked for /admin.
    pub fn administered(&self, admittance: Admittance) {
        self.counter(&REQUESTS, &[admittance.code().into()]).increment(1);
    }

    /// Something was ordered, and done or refused.
    pub fn ordered(&self, action: AdminAction, done: bool) {
        let result = if done { "ok" } else { "refused" };
        self.counter(&ORDERS, &[action.code().into(), result.into()]).increment(1);
    }
}
