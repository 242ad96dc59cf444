//! Scripts of quotas, and random sequences against a model that remembers every call.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const STEP: Duration = HOUR;

const A: Payer = Payer { user: [1; 32], tenant: [9; 32] };
const B: Payer = Payer { user: [2; 32], tenant: [9; 32] };
const C: Payer = Payer { user: [3; 32], tenant: [8; 32] };

#[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
fn origin() -> Instant {
    Instant::now()
}

/// Two calls a user, no other limit, calls of 30 minutes, a day.
const OPEN: QuotaSettings = QuotaSettings {
    user_calls: 2,
    tenant_calls: 0,
    user_time: Duration::ZERO,
    tenant_time: Duration::ZERO,
    window: Duration::from_secs(24 * 3_600),
    longest: Duration::from_secs(30 * 60),
};

fn quotas(settings: QuotaSettings) -> (Quotas, Instant) {
    let now = origin();
    (Quotas::new(settings, now), now)
}

fn limit(outcome: Result<Booking, Exceeded>) -> Option<Limit> {
    outcome.err().map(|exceeded| exceeded.limit)
}

#[test]
fn calls_at_the_same_time_are_counted_for_the_user_and_for_the_tenant() {
    let (mut quotas, now) = quotas(QuotaSettings { tenant_calls: 3, ..OPEN });
    let first = quotas.begin(A, now).unwrap();
    let _second = quotas.begin(A, now).unwrap();
    assert_eq!(limit(quotas.begin(A, now)), Some(Limit::UserCalls));
    let _third = quotas.begin(B, now).unwrap();
    assert_eq!(
        quotas.begin(B, now).unwrap_err(),
        Exceeded { limit: Limit::TenantCalls, value: 3, window: None, later: None }
    );
    assert!(quotas.begin(C, now).is_ok(), "another tenant's");
    let _ = quotas.end(first, MINUTE, now);
    assert!(quotas.begin(A, now).is_ok());
}

#[test]
fn without_limits_of_time_nothing_is_remembered_of_who_has_hung_up() {
    let (mut quotas, now) = quotas(OPEN);
    let call = quotas.begin(A, now).unwrap();
    assert_eq!(call.allowance(), None, "the longest call is the only limit");
    let _ = quotas.end(call, MINUTE, now + MINUTE);
    assert_eq!((quotas.users.len(), quotas.tenants.len()), (0, 0));
}

#[test]
fn two_calls_that_begin_at_once_cannot_both_have_what_is_left_once() {
    let (mut quotas, now) = quotas(QuotaSettings { user_time: MINUTE * 40, ..OPEN });
    let [first, second] = [quotas.begin(A, now).unwrap(), quotas.begin(A, now).unwrap()];
    assert_eq!(first.allowance(), Some(Allowance { booked: SLICE, left: OPEN.longest }));
    assert_eq!(second.allowance(), Some(Allowance { booked: SLICE, left: OPEN.longest }));
    let mut calls = [first, second];
    for n in 0..38 {
        assert_eq!(quotas.extend(&mut calls[n % 2], now + SECOND * 30), SLICE);
    }
    assert_eq!(quotas.extend(&mut calls[0], now), Duration::ZERO, "forty minutes are booked");
    let [first, mut second] = calls;
    let _ = quotas.end(first, MINUTE, now + MINUTE);
    assert_eq!(quotas.extend(&mut second, now), SLICE, "what was booked and not needed comes back to who talks still");
    let third = quotas.begin(A, now + MINUTE).unwrap();
    assert_eq!(third.allowance(), Some(Allowance { booked: SLICE, left: MINUTE * 18 }));
    let _ = quotas.end(second, MINUTE * 21 + SECOND, now + MINUTE * 21);
    let mut third = third;
    while !quotas.extend(&mut third, now).is_zero() {}
    let _ = quotas.end(third, MINUTE * 18, now + MINUTE * 29);
    assert_eq!(limit(quotas.begin(A, now + MINUTE * 30)), Some(Limit::UserTime));
    assert!(quotas.begin(B, now + MINUTE * 30).is_ok(), "one user's time is not another's");
}

/// A call that books all that is left.
fn whole(quotas: &mut Quotas, payer: Payer, now: Instant) -> Booking {
    let mut call = quotas.begin(payer, now).unwrap();
    while !quotas.extend(&mut call, now).is_zero() {}
    call
}

#[test]
fn what_is_used_comes_back_when_the_window_has_passed_and_not_before() {
    let (mut quotas, start) = quotas(QuotaSettings { user_time: MINUTE * 20, ..OPEN });
    let call = whole(&mut quotas, A, start);
    let end = start + MINUTE * 20;
    let _ = quotas.end(call, MINUTE * 20, end);
    let refused = quotas.begin(A, end).unwrap_err();
    assert_eq!((refused.limit, refused.value, refused.window), (Limit::UserTime, 1_200, Some(OPEN.window)));
    let later = refused.later.unwrap();
    assert!((OPEN.window..=OPEN.window + STEP).contains(&later), "{later:?}");
    assert_eq!(limit(quotas.begin(A, end + later - SECOND)), Some(Limit::UserTime));
    assert!(quotas.begin(A, end + later).is_ok(), "it says when to come back, and keeps its word");
}

#[test]
fn a_tenants_users_share_its_time_and_are_told_to_try_while_one_of_them_may_give_some_back() {
    let (mut quotas, now) = quotas(QuotaSettings { tenant_time: MINUTE * 2, ..OPEN });
    let [first, second] = [quotas.begin(A, now).unwrap(), quotas.begin(B, now).unwrap()];
    assert_eq!(second.allowance(), Some(Allowance { booked: SLICE, left: MINUTE }));
    let refused = quotas.begin(A, now).unwrap_err();
    assert_eq!((refused.limit, refused.later), (Limit::TenantTime, Some(WHILE_BOOKED)));
    assert!(quotas.begin(C, now).is_ok());
    let _ = quotas.end(second, SECOND, now);
    let rest = quotas.begin(A, now).unwrap();
    assert_eq!(rest.allowance().map(|allowance| allowance.left), Some(MINUTE - SECOND));
    let _ = quotas.end(first, SECOND, now);
}

#[test]
fn less_than_the_least_is_nothing_unless_the_whole_limit_is_less() {
    let (mut quotas, now) = quotas(QuotaSettings { user_time: MINUTE, ..OPEN });
    let call = quotas.begin(A, now).unwrap();
    let _ = quotas.end(call, MINUTE - LEAST + SECOND, now);
    assert_eq!(limit(quotas.begin(A, now)), Some(Limit::UserTime));
    let (mut tiny, now) = self::quotas(QuotaSettings { user_time: SECOND, ..OPEN });
    assert_eq!(tiny.begin(A, now).unwrap().allowance(), Some(Allowance { booked: SECOND, left: SECOND }));
}

#[test]
fn of_too_many_users_those_are_forgotten_who_have_been_away_for_longest_and_never_one_in_a_call() {
    let now = origin();
    let clock = Clock::new(OPEN.window, now);
    let mut accounts = Accounts::new(80);
    let key = |n: u8| [n; 32];
    accounts.book(key(200), MINUTE);
    let mut forgotten = 0;
    for n in 0..81 {
        accounts.book(key(n), MINUTE);
        forgotten += accounts.settle(key(n), MINUTE, SECOND, &clock, now + HOUR * u32::from(n / 20));
    }
    assert_eq!(forgotten, 10, "it is told");
    assert_eq!(accounts.len(), 1 + 81 - 10, "an eighth at once: looking for them costs something");
    let later = now + HOUR * 4;
    let known: Vec<u8> = (0..81).filter(|n| !accounts.spent(&key(*n), &clock, later).is_zero()).collect();
    assert_eq!(known.iter().filter(|n| **n < 20).count(), 10, "of the first hour, half");
    assert_eq!(known.iter().filter(|n| **n >= 20).count(), 61);
    assert_eq!(accounts.calls(&key(200)), 1);
}

/// Remembers every call.
#[derive(Default)]
struct Naive {
    over: Vec<(Payer, Instant, Duration)>,
    live: Vec<(Payer, Duration)>,
}

impl Naive {
    fn used(&self, of: impl Fn(&Payer) -> bool, window: Duration, now: Instant) -> Duration {
        let counts = |at: &Instant| now.saturating_duration_since(*at) < window;
        self.over.iter().filter(|(payer, at, _)| of(payer) && counts(at)).map(|(.., used)| *used).sum()
    }

    fn booked(&self, of: impl Fn(&Payer) -> bool) -> Duration {
        self.live.iter().filter(|(payer, _)| of(payer)).map(|(_, booked)| *booked).sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    /// The call of this place, after this share of what it booked.
    End(usize, u8),
    /// The call of this place books more.
    Extend(usize),
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..3_usize).prop_map(Step::Begin),
        (any::<usize>(), 0..=100_u8).prop_map(|(at, share)| Step::End(at, share)),
        any::<usize>().prop_map(Step::Extend),
        (0..20_000_u16).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn never_more_than_the_limit_and_never_a_refusal_without_reason(
        steps in steps(),
        user_minutes in 1..120_u32,
        tenant_minutes in 0..120_u32,
        tenant_calls in 0..4_usize,
    ) {
        let settings = QuotaSettings {
            tenant_calls,
            user_time: MINUTE * user_minutes,
            tenant_time: MINUTE * tenant_minutes,
            ..OPEN
        };
        let (mut quotas, mut now) = quotas(settings);
        let (mut naive, mut bookings) = (Naive::default(), Vec::new());
        for step in steps {
            match step {
                Step::Pass(seconds) => now += SECOND * u32::from(seconds),
                Step::End(at, share) if !bookings.is_empty() => {
                    let booking: Booking = bookings.remove(at % bookings.len());
                    let (payer, booked) = naive.live.remove(at % naive.live.len());
                    prop_assert_eq!((booking.payer, booking.time), (payer, booked));
                    let talked = booked * u32::from(share) / 100;
                    let _ = quotas.end(booking, talked, now);
                    naive.over.push((payer, now, talked));
                }
                Step::Extend(at) if !bookings.is_empty() => {
                    let at = at % bookings.len();
                    let (payer, _) = naive.live[at];
                    let left = |total: Duration, taken: Duration| total.saturating_sub(taken);
                    let is_user = |other: &Payer| other.user == payer.user;
                    let is_tenant = |other: &Payer| other.tenant == payer.tenant;
                    let taken = |window| (
                        naive.used(is_user, window, now) + naive.booked(is_user),
                        naive.used(is_tenant, window, now) + naive.booked(is_tenant),
                    );
                    let free = |(user, tenant): (Duration, Duration)| {
                        let tenant = if tenant_minutes == 0 { SLICE } else { left(settings.tenant_time, tenant) };
                        SLICE.min(left(settings.user_time, user)).min(tenant)
                    };
                    let more = quotas.extend(&mut bookings[at], now);
                    let (most, least) = (free(taken(settings.window)), free(taken(settings.window + STEP)));
                    prop_assert!(more <= most && (more >= least || least < LEAST), "{:?} of {:?} to {:?}", more, least, most);
                    naive.live[at].1 += more;
                }
                Step::End(..) | Step::Extend(_) => {}
                Step::Begin(who) => {
                    let payer = [A, B, C][who];
                    let is_user = |other: &Payer| other.user == payer.user;
                    let is_tenant = |other: &Payer| other.tenant == payer.tenant;
                    let calls = |of: &dyn Fn(&Payer) -> bool| naive.live.iter().filter(|(payer, _)| of(payer)).count();
                    // What is surely used, and what may count still.
                    let surely = |of: &dyn Fn(&Payer) -> bool| naive.used(of, settings.window, now) + naive.booked(of);
                    let maybe = |of: &dyn Fn(&Payer) -> bool| naive.used(of, settings.window + STEP, now) + naive.booked(of);
                    match quotas.begin(payer, now) {
                        Ok(booking) => {
                            prop_assert!(calls(&is_user) < 2 && (tenant_calls == 0 || calls(&is_tenant) < tenant_calls));
                            prop_assert!(surely(&is_user) + booking.time <= settings.user_time);
                            prop_assert!(tenant_minutes == 0 || surely(&is_tenant) + booking.time <= settings.tenant_time);
                            let most = SLICE.min(settings.user_time.saturating_sub(maybe(&is_user)));
                            let most = if tenant_minutes == 0 { most } else {
                                most.min(settings.tenant_time.saturating_sub(maybe(&is_tenant)))
                            };
                            prop_assert!(booking.time >= most, "no less than what is left for sure");
                            let allowance = booking.allowance().unwrap();
                            prop_assert!(allowance.booked == booking.time && allowance.left >= booking.time);
                            naive.live.push((payer, booking.time));
                            bookings.push(booking);
                        }
                        Err(Exceeded { limit: Limit::UserCalls, .. }) => prop_assert_eq!(calls(&is_user), 2),
                        Err(Exceeded { limit: Limit::TenantCalls, .. }) => prop_assert_eq!(calls(&is_tenant), tenant_calls),
                        Err(refused) => {
                            let (total, taken, live) = if refused.limit == Limit::UserTime {
                                (settings.user_time, maybe(&is_user), naive.booked(is_user))
                            } else {
                                (settings.tenant_time, maybe(&is_tenant), naive.booked(is_tenant))
                            };
                            prop_assert!(taken + LEAST > total, "{:?}: {:?} of {:?}", refused.limit, taken, total);
                            let later = now + refused.later.unwrap();
                            prop_assert!(later > now);
                            if live.is_zero() {
                                // Nothing else changes: at that time this limit lets a call in.
                                let again = quotas.begin(payer, later);
                                prop_assert!(limit_of(&again) != Some(refused.limit), "{:?}", again);
                                if let Ok(booking) = again {
                                    let _ = quotas.end(booking, Duration::ZERO, later);
                                }
                                now = later;
                            }
                        }
                    }
                }
            }
        }
    }
}

fn limit_of(outcome: &Result<Booking, Exceeded>) -> Option<Limit> {
    outcome.as_ref().err().map(|exceeded| exceeded.limit)
}

#[test]
fn other_limits_hold_for_calls_that_begin_and_a_call_books_by_those_of_its_beginning() {
    let (mut quotas, now) = quotas(QuotaSettings { user_time: HOUR, ..OPEN });
    let mut live = quotas.begin(A, now).unwrap();
    quotas.limit(QuotaSettings { user_time: MINUTE, window: HOUR, ..OPEN });
    assert_eq!(quotas.extend(&mut live, now), SLICE, "it began with an hour");
    assert_eq!(quotas.begin(A, now).unwrap_err().limit, Limit::UserTime, "it has booked more than there is now");
    let refused = quotas.begin(A, now).unwrap_err();
    assert_eq!(refused.window, Some(OPEN.window), "the window is that of the beginning");
    let _ = quotas.end(live, MINUTE, now);
    assert_eq!(quotas.begin(A, now).unwrap_err().value, 60, "what it used counts");
    quotas.limit(OPEN);
    assert_eq!(quotas.begin(A, now).unwrap().allowance(), None, "there is no limit any more");
}
