//! What is told of waits, tries, tests and trust, so that they can be counted.

use super::*;

fn seconds(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn every_wait_without_a_grant_is_told_once_with_its_end_and_its_length() {
    let mut desk = Desk::new(1);
    let first = desk.call("first");
    let [left, timed_out, served] = ["left", "timed out", "served"].map(|user| desk.call(user));
    let hasty = desk.ask(Ask { waits: false, ..ask_of("hasty") });
    assert_eq!(desk.refused[&hasty], NoSlot::Busy);
    desk.pass(seconds(10));
    desk.tell(Input::Leave(left));
    desk.tell(Input::Leave(left));
    desk.pass(seconds(5));
    desk.tell(Input::TimedOut(timed_out));
    desk.release(first);
    desk.tell(Input::TimedOut(served));
    let told: Vec<_> = desk.ended.iter().map(|(class, end, waited)| (*class, *end, waited.time)).collect();
    let expected = [
        (Class::New, WaitEnd::Refused(NoSlot::Busy), seconds(0)),
        (Class::New, WaitEnd::Left, seconds(10)),
        (Class::New, WaitEnd::TimedOut, seconds(15)),
    ];
    assert_eq!(told, expected, "who got a slot is counted when it is handed over, and cannot time out any more");
    assert_eq!(desk.granted[&served].2.time, seconds(15));
    assert_eq!(desk.granted[&first].2, Waited::default(), "nothing was promised to one who was served at once");
    let promised = desk.granted[&served].2.promised.unwrap();
    assert_eq!(Some(promised), desk.places[&served][0].eta, "the first estimate counts, not the last");
}

#[test]
fn a_promise_is_kept_or_broken_or_nobody_can_know() {
    let promised = Some(Eta { median: seconds(5), p90: seconds(9) });
    for (end, time, promised, kept) in [
        (WaitEnd::Granted, 9, promised, Some(true)),
        (WaitEnd::Granted, 10, promised, Some(false)),
        (WaitEnd::Left, 9, promised, None),
        (WaitEnd::Left, 10, promised, Some(false)),
        (WaitEnd::TimedOut, 300, promised, Some(false)),
        (WaitEnd::Refused(NoSlot::NoLedger), 1, promised, None),
        (WaitEnd::Granted, 9, None, None),
    ] {
        assert_eq!(Waited { time: seconds(time), promised }.kept(end), kept, "{end:?} after {time} s");
    }
}

#[test]
fn tries_are_told_with_what_the_budget_said() {
    let mut desk = Desk::new(1);
    let held = desk.call("held");
    for n in 0..5 {
        desk.ask(Ask { retry: true, class: Class::Failover, ..ask_of(&format!("r{n}")) });
    }
    assert_eq!(desk.retried, [true, true, true, false, false], "a quiet gateway has three");
    assert!(
        desk.ended
            .iter()
            .all(|(class, end, _)| { (*class, *end) == (Class::Failover, WaitEnd::Refused(NoSlot::RetriesSpent)) })
    );
    assert_eq!(desk.ended.len(), 2);
    desk.release(held);
}

#[test]
fn tests_of_slots_are_told_with_their_result_and_a_joining_server_is_no_change_of_trust() {
    let mut desk = Desk::new(1);
    assert_eq!(desk.trusts, []);
    let a = desk.call("a");
    let grant = desk.grant(a).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::Vanished));
    assert!(desk.rehearsed.is_empty(), "a call is no test");
    desk.pass(SECOND * 15);
    desk.tell(Input::Release(desk.rehearsals[0]));
    desk.pass(SECOND * 30);
    desk.tell(Input::Passed(desk.rehearsals[1]));
    desk.tell(Input::Quarantine(desk.rehearsals[1], QuarantineReason::NoCloseReply));
    desk.pass(SECOND * 60);
    desk.tell(Input::Passed(desk.rehearsals[2]));
    desk.tell(Input::Release(desk.rehearsals[2]));
    desk.tell(Input::Release(desk.rehearsals[2]));
    assert_eq!(desk.rehearsed, [false, false, true]);
    for user in ["x", "y", "z"] {
        let call = desk.call(user);
        desk.fail(call);
    }
    desk.pass(SECOND * 6);
    assert_eq!(desk.trusts, [(1, Trust::Open), (1, Trust::HalfOpen)]);
}
