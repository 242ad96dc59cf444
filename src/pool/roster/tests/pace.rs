//! Scripts of servers that are slower than real time.

use super::*;
use crate::pool::pace::Realtime;

const SLOW: Measured = Measured { slow: true, realtime_factor: 0.8 };
const FAST: Measured = Measured { slow: false, realtime_factor: 1.0 };

/// Two servers, of which the first was found slow; both are free again.
fn one_is_slow(realtime: Realtime) -> Desk {
    let mut desk = Desk::new(2);
    desk.roster.settings.policy.realtime = realtime;
    let [slow, other] = ["a", "b"].map(|user| desk.call(user));
    let grant = desk.grant(slow).unwrap();
    desk.tell(Input::Measured(grant, SLOW));
    desk.release(slow);
    desk.release(other);
    assert_eq!(desk.roster.snapshot(desk.now).iter().map(|slot| slot.slow).collect::<Vec<_>>(), [true, false]);
    desk
}

#[test]
fn a_slow_server_gets_no_new_call_while_another_is_usable() {
    let mut desk = one_is_slow(Realtime::Required);
    let [first, second] = ["c", "d"].map(|user| desk.call(user));
    assert_eq!((desk.server(first), desk.server(second)), (Some(2), None), "waits, although a slow one is free");
    let failed = desk.ask(Ask { avoid: vec![UpstreamId(2)], ..ask_of("e") });
    assert_eq!(desk.server(failed), Some(1), "the other one has just failed this call");
}

#[test]
fn the_last_usable_server_is_never_taken_out() {
    let mut desk = one_is_slow(Realtime::Required);
    let [fast, waiting] = ["c", "d"].map(|user| desk.call(user));
    let grant = desk.grant(fast).unwrap();
    desk.tell(Input::Measured(grant, Measured { realtime_factor: 0.5, ..SLOW }));
    assert_eq!(desk.server(waiting), Some(1), "all are slow: the fastest first");
    let mut desk = one_is_slow(Realtime::Required);
    let [fast, waiting] = ["c", "d"].map(|user| desk.call(user));
    let grant = desk.grant(fast).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    assert_eq!(desk.server(waiting), Some(1), "nobody can count on a quarantined one");
}

#[test]
fn who_failed_its_last_call_or_may_have_no_more_is_no_reason_to_keep_a_slow_server_from_callers() {
    for failures in 1..=3 {
        let mut desk = one_is_slow(Realtime::Required);
        // Each by another caller: nobody holds it against the server but the server's own record.
        for user in ["f", "g", "h"].iter().take(failures) {
            let call = desk.call(user);
            assert_eq!(desk.server(call), Some(2));
            desk.fail(call);
        }
        let [first, second] = ["c", "d"].map(|user| desk.call(user));
        let mut servers = [desk.server(first), desk.server(second)];
        servers.sort_unstable();
        let expected = if failures < 3 { [Some(1), Some(2)] } else { [None, Some(1)] };
        assert_eq!(servers, expected, "after {failures} failures");
        if failures < 3 {
            let proven = if desk.server(first) == Some(2) { first } else { second };
            let grant = desk.grant(proven).unwrap();
            desk.tell(Input::Judge(grant, Verdict::Ready { step: Duration::from_millis(40) }));
            desk.release(first);
            desk.release(second);
            let [third, fourth] = ["i", "k"].map(|user| desk.call(user));
            assert_eq!((desk.server(third), desk.server(fourth)), (Some(2), None), "it has proven itself again");
        }
    }
}

#[test]
fn where_the_only_trusted_server_is_quarantined_another_may_be_tried_at_once() {
    let mut desk = Desk::new(2);
    for user in ["x", "y", "z"] {
        let [one, other] = [desk.call(user), desk.call(user)];
        let bad = if desk.server(one) == Some(1) { one } else { other };
        desk.fail(bad);
        desk.release(if bad == one { other } else { one });
    }
    assert_eq!(desk.labels(), ["unhealthy", "free"]);
    let good = desk.call("good");
    let waiting = desk.call("waiting");
    assert_eq!((desk.server(good), desk.server(waiting)), (Some(2), None));
    let grant = desk.grant(good).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    desk.pass(SECOND);
    assert_eq!(desk.server(waiting), Some(1), "nobody else is left");
}

#[test]
fn where_a_warning_is_enough_a_slow_server_comes_last() {
    let mut desk = one_is_slow(Realtime::Warn);
    let [first, second] = ["c", "d"].map(|user| desk.call(user));
    assert_eq!((desk.server(first), desk.server(second)), (Some(2), Some(1)));
}

#[test]
fn a_call_that_measures_real_time_again_brings_its_server_back() {
    let mut desk = Desk::new(2);
    let [slow, _other] = ["a", "b"].map(|user| desk.call(user));
    let grant = desk.grant(slow).unwrap();
    desk.tell(Input::Measured(grant, SLOW));
    desk.tell(Input::Measured(grant, FAST));
    desk.release(slow);
    desk.tell(Input::Measured(grant, SLOW));
    let next = desk.call("c");
    assert_eq!(desk.server(next), Some(1), "what a call says that is over does not count");
}

#[test]
fn a_slow_server_is_tried_by_one_call_after_ever_longer_pauses() {
    let mut desk = one_is_slow(Realtime::Required);
    let _busy = desk.call("busy");
    for minutes in [2, 4, 8, 16, 30, 30] {
        let trial = desk.call("trial");
        let since = desk.now;
        while desk.server(trial).is_none() {
            desk.pass(SECOND);
        }
        let waited = (desk.now - since).as_secs();
        assert!((minutes * 60..=minutes * 60 + 1).contains(&waited), "{waited} s, not {minutes} min");
        let grant = desk.grant(trial).unwrap();
        desk.tell(Input::Measured(grant, SLOW));
        desk.release(trial);
    }
}
