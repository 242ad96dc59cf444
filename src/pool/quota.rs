//! How many calls a user and a tenant may be in, and for how long they may talk in a rolling window (pure).
//!
//! A call books a little time before it begins, books more before that is over, and gives back what it did not need: so
//! two calls cannot both have what is left once, and none holds what another could use. What it needed counts from its
//! end on, until the window has passed.
//!
//! **Invariants:** what is booked and what was used within the window are together never more than the limit; of users
//! and tenants without a call at most [`MAX_IDLE`] each are remembered, and if there are more, those whose last call is
//! longest ago are forgotten: that errs in the caller's favour.
//! **Choice:** the window moves in steps of a 24th of its length: an account is two dozen numbers, whatever it did.

mod account;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::account::{Accounts, Clock};
use super::roster::UserHash;

/// Who pays for a user's calls: the SHA-256 of the tenant's name.
pub type TenantHash = [u8; 32];

/// Less time than this is none: nothing can be said in it.
pub const LEAST: Duration = Duration::from_secs(5);
/// What a call books at a time, if so much is left.
pub const SLICE: Duration = Duration::from_secs(60);
/// Users, and tenants, without a call of which something is remembered.
pub const MAX_IDLE: usize = 50_000;
/// When to come back where a call that is going on may give back at any time what it has booked.
const WHILE_BOOKED: Duration = Duration::from_secs(60);

/// The limits. 0 is no limit where that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// Calls of one user at the same time.
    pub user_calls: usize,
    /// Calls of one tenant at the same time; 0: no limit.
    pub tenant_calls: usize,
    /// How long one user may talk within the window; zero: no limit.
    pub user_time: Duration,
    /// How long the users of one tenant may talk within the window, taken together; zero: no limit.
    pub tenant_time: Duration,
    /// The window.
    pub window: Duration,
    /// The longest call: no call begins with more.
    pub longest: Duration,
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Calls of one user at the same time.
    UserCalls,
    /// Calls of one tenant at the same time.
    TenantCalls,
    /// Time of one user.
    UserTime,
    /// Time of one tenant.
    TenantTime,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// What it is: calls, or seconds.
    pub value: u64,
    /// Within which time, if it is one of time.
    pub window: Option<Duration>,
    /// When another try makes sense, if that can be said.
    pub later: Option<Duration>,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    /// The user.
    pub user: UserHash,
    /// Whose user that is.
    pub tenant: TenantHash,
}

/// What one call has booked. To be given back with [`Quotas::end`], once.
#[derive(Debug)]
#[must_use]
pub struct Booking {
    payer: Payer,
    time: Duration,
    /// What held for the user's and the tenant's time as the call began: it holds until its end.
    limits: [Duration; 2],
    /// What was left when the call began, if there is a limit.
    left: Option<Duration>,
}

/// For how long a call may talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What it has booked; more may follow.
    pub booked: Duration,
    /// What it could have booked at the most when it began.
    pub left: Duration,
}

impl Booking {
    /// For how long the call may talk, where that is limited.
    pub fn allowance(&self) -> Option<Allowance> {
        self.left.map(|left| Allowance { booked: self.time, left })
    }
}

/// The accounts of all users and tenants.
#[derive(Debug)]
pub struct Quotas {
    settings: QuotaSettings,
    clock: Clock,
    users: Accounts,
    tenants: Accounts,
}

impl Quotas {
    /// Accounts in which nothing is used.
    pub fn new(settings: QuotaSettings, now: Instant) -> Self {
        let clock = Clock::new(settings.window, now);
        Self { settings, clock, users: Accounts::new(MAX_IDLE), tenants: Accounts::new(MAX_IDLE) }
    }

    /// Puts other limits in place of those before, for calls that begin from now on. What is booked and what was used
    /// stays, and so does the window: it is that of the beginning.
    pub fn limit(&mut self, settings: QuotaSettings) {
        self.settings = QuotaSettings { window: self.settings.window, ..settings };
    }

    /// Books a call, or says which limit is reached.
    pub fn begin(&mut self, payer: Payer, now: Instant) -> Result<Booking, Exceeded> {
        let QuotaSettings { user_calls, tenant_calls, user_time, tenant_time, window, longest } = self.settings;
        let full = |limit, calls: usize| {
            Err(Exceeded { limit, value: u64::try_from(calls).unwrap_or(u64::MAX), window: None, later: None })
        };
        if self.users.calls(&payer.user) >= user_calls {
            return full(Limit::UserCalls, user_calls);
        }
        if tenant_calls > 0 && self.tenants.calls(&payer.tenant) >= tenant_calls {
            return full(Limit::TenantCalls, tenant_calls);
        }
        let mut left = None;
        let accounts = [
            (Limit::UserTime, user_time, &mut self.users, &payer.user),
            (Limit::TenantTime, tenant_time, &mut self.tenants, &payer.tenant),
        ];
        for (limit, total, accounts, key) in accounts {
            if total.is_zero() {
                continue;
            }
            let least = LEAST.min(total).min(longest);
            let free = accounts.left(key, total, &self.clock, now);
            if free < least {
                let frees = accounts.frees_at(key, total, least, &self.clock, now);
                let booked = !accounts.booked(key).is_zero();
                let later = if booked {
                    frees.map_or(WHILE_BOOKED, |at| at.min(WHILE_BOOKED))
                } else {
                    frees.unwrap_or(window)
                };
                return Err(Exceeded { limit, value: total.as_secs(), window: Some(window), later: Some(later) });
            }
            left = Some(left.map_or(free, |left: Duration| left.min(free)));
        }
        let time = SLICE.min(longest).min(left.unwrap_or(Duration::MAX));
        self.users.book(payer.user, time);
        self.tenants.book(payer.tenant, time);
        let limits = [user_time, tenant_time];
        Ok(Booking { payer, time, limits, left: left.map(|left| left.min(longest)) })
    }

    /// Books more for a call that is going on, and says how much: nothing where less than [`LEAST`] is left.
    pub fn extend(&mut self, booking: &mut Booking, now: Instant) -> Duration {
        let Payer { user, tenant } = booking.payer;
        let [user_time, tenant_time] = booking.limits;
        let mut more = SLICE;
        for (total, accounts, key) in [(user_time, &mut self.users, &user), (tenant_time, &mut self.tenants, &tenant)] {
            if !total.is_zero() {
                more = more.min(accounts.left(key, total, &self.clock, now));
            }
        }
        if more < LEAST {
            return Duration::ZERO;
        }
        self.users.book_more(&user, more);
        self.tenants.book_more(&tenant, more);
        booking.time += more;
        more
    }

    /// A call is over, in which the model listened for so long. Says how many idle accounts were forgotten for want of room.
    pub fn end(&mut self, booking: Booking, talked: Duration, now: Instant) -> usize {
        let Booking { payer, time, .. } = booking;
        // Nobody pays for the moments between the end of the time and the end of the call.
        let talked = talked.min(time);
        let used = |total: Duration| if total.is_zero() { Duration::ZERO } else { talked };
        self.users.settle(payer.user, time, used(self.settings.user_time), &self.clock, now)
            + self.tenants.settle(payer.tenant, time, used(self.settings.tenant_time), &self.clock, now)
    }
}
