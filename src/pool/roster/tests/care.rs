//! The care of machines: calls without a caller, servers that move, and servers that are stuck.

use super::*;

const ETA: Eta = Eta { median: Duration::from_secs(40), p90: Duration::from_secs(90) };
const ONE: UpstreamId = UpstreamId(1);

/// One machine with so many slots, which runs.
fn machine(capacity: u16) -> Desk {
    let mut desk = Desk::new(0);
    let mut machine = upstream(1, capacity, None);
    machine.labels.machine = Some("command:1".into());
    desk.tell(Input::Join(ONE, machine));
    desk.tell(Input::Power(ONE, PowerNews::Awake));
    desk
}

/// One that wakes for a caller.
fn waking() -> (Desk, WaiterId) {
    let mut desk = machine(1);
    desk.tell(Input::Power(ONE, PowerNews::Off));
    let ann = desk.call("ann");
    desk.tell(Input::Power(ONE, PowerNews::Waking(ETA)));
    (desk, ann)
}

/// Fails every test of a quarantined slot until this time is over.
fn fail_tests(desk: &mut Desk, time: Duration) {
    let end = desk.now + time;
    while desk.now < end {
        desk.pass(SECOND);
        for grant in desk.rehearsals.drain(..).collect::<Vec<_>>() {
            desk.tell(Input::Release(grant));
        }
    }
}

fn quarantine(desk: &mut Desk, user: &str, reason: QuarantineReason) -> Grant {
    let call = desk.call(user);
    let grant = desk.grant(call).expect("a slot is free");
    desk.tell(Input::Quarantine(grant, reason));
    grant
}

#[test]
fn callers_wait_for_the_call_without_a_caller_and_nothing_else_is_in_its_way() {
    let (mut desk, ann) = waking();
    let before = desk.used.clone();
    desk.tell(Input::WarmUp(ONE));
    let grant = desk.warm_ups[0];
    assert_eq!((desk.labels(), desk.server(ann)), (vec!["leased"], None));
    desk.pass(SECOND * 5);
    let told = desk.places[&ann].last().unwrap();
    assert!(told.reason == WaitReason::Waking && told.eta.is_some_and(|eta| eta.median <= SECOND * 40), "{told:?}");
    desk.tell(Input::Passed(grant));
    assert!(desk.warmed_up.is_empty(), "the server has not let go yet");
    desk.tell(Input::Release(grant));
    assert_eq!((desk.warmed_up.clone(), desk.server(ann)), (vec![(1, true)], None));
    assert_eq!(desk.used, before, "it is nobody's use");
    desk.tell(Input::Power(ONE, PowerNews::Awake));
    assert_eq!(desk.server(ann), Some(1));
    desk.release(ann);
    assert_eq!(desk.warmed_up.len(), 1, "told once");
}

#[test]
fn a_call_without_a_caller_that_does_not_go_well_is_told_and_its_slot_kept_if_in_doubt() {
    let (mut desk, _) = waking();
    desk.tell(Input::WarmUp(ONE));
    desk.tell(Input::Release(desk.warm_ups[0]));
    assert_eq!((desk.warmed_up.clone(), desk.labels()), (vec![(1, false)], vec!["waking"]), "it was refused");
    desk.tell(Input::WarmUp(ONE));
    desk.tell(Input::Passed(desk.warm_ups[1]));
    desk.tell(Input::Quarantine(desk.warm_ups[1], QuarantineReason::Vanished));
    assert_eq!((desk.warmed_up.last(), desk.labels()), (Some(&(1, false)), vec!["quarantined"]));
    desk.tell(Input::WarmUp(ONE));
    let test = desk.rehearsals.pop().expect("the slot in doubt is the one that is tried");
    desk.tell(Input::Passed(test));
    desk.tell(Input::Release(test));
    assert_eq!((desk.warmed_up.last(), desk.labels()), (Some(&(1, true)), vec!["waking"]));
    // Where somebody waits for an answer, another socket would be one too many.
    let mut desk = machine(1);
    quarantine(&mut desk, "a", QuarantineReason::NoCloseReply);
    desk.tell(Input::WarmUp(ONE));
    assert_eq!((desk.warmed_up.clone(), desk.rehearsals.len()), (vec![(1, false)], 0));
}

#[test]
fn a_machine_on_which_somebody_talks_is_warm() {
    let (mut desk, _) = waking();
    desk.tell(Input::WarmUp(ONE));
    desk.tell(Input::Contested(desk.warm_ups[0], None));
    assert_eq!((desk.warmed_up.clone(), desk.labels()), (vec![(1, true)], vec!["elsewhere"]), "says the ledger");
    desk.tell(Input::WarmUp(ONE));
    assert_eq!((desk.warmed_up.len(), desk.warm_ups.len()), (2, 1));
}

#[test]
fn a_server_that_moves_takes_its_next_calls_with_it_and_leaves_its_doubts() {
    let mut desk = machine(2);
    let a = desk.call("a");
    let doubt = quarantine(&mut desk, "b", QuarantineReason::Vanished);
    let known = desk.roster.endpoint(doubt).unwrap().clone();
    let moved = known.at("203.0.113.9", 40_001).unwrap();
    desk.tell(Input::Moved(ONE, moved.clone()));
    desk.tell(Input::Moved(ONE, moved.clone()));
    let a_grant = desk.grant(a).unwrap();
    assert_eq!(desk.roster.endpoint(a_grant), Some(&known), "whoever talks stays");
    assert_eq!(desk.labels(), ["leased", "free"], "nobody has a socket of ours at another process");
    let c = desk.call("c");
    assert_eq!(desk.roster.endpoint(desk.grant(c).unwrap()), Some(&moved));
    let keys: Vec<_> = desk.roster.slot_keys().into_iter().map(|(.., key)| key.upstream).collect();
    assert_eq!(keys, ["203.0.113.9:40001", "203.0.113.9:40001"]);
    desk.tell(Input::Quarantine(a_grant, QuarantineReason::NoCloseReply));
    assert_eq!(desk.labels(), ["free", "leased"], "the old process is gone, whatever it did not say");
    desk.tell(Input::Release(a_grant));
    let d = desk.call("d");
    assert_eq!(desk.roster.endpoint(desk.grant(d).unwrap()), Some(&moved));
    desk.tell(Input::Release(a_grant));
    assert_eq!(desk.labels(), ["leased", "leased"], "what is said of the old grant is stale");
}

#[test]
fn a_server_on_which_nothing_helps_is_told_and_told_again() {
    let mut desk = machine(2);
    quarantine(&mut desk, "a", QuarantineReason::Vanished);
    fail_tests(&mut desk, SECOND * 100);
    quarantine(&mut desk, "b", QuarantineReason::NoCloseReply);
    desk.call("waits");
    fail_tests(&mut desk, SECOND * 298);
    assert!(desk.stuck.is_empty(), "not for long enough");
    fail_tests(&mut desk, SECOND * 3);
    assert_eq!(desk.stuck, [1]);
    fail_tests(&mut desk, SECOND * 60);
    assert_eq!(desk.stuck.len(), 3, "as long as it is so");
    desk.tell(Input::Vacate(ONE, true));
    assert_eq!(desk.retired, [(1, true)], "whoever waits");
    let woken = desk.woken.clone();
    desk.tell(Input::Power(ONE, PowerNews::Waking(ETA)));
    fail_tests(&mut desk, SECOND * 600);
    assert_eq!((desk.stuck.len(), desk.rehearsals.len()), (3, 0), "it is being seen to");
    desk.tell(Input::Power(ONE, PowerNews::Anew));
    assert_eq!((desk.labels(), desk.woken.clone()), (vec!["free", "leased"], woken), "and serves who waited");
    fail_tests(&mut desk, SECOND * 600);
    assert_eq!(desk.stuck.len(), 3);
}

#[test]
fn a_server_is_not_stuck_while_anything_else_may_help_or_somebody_is_there() {
    // Tests that pass, or that nobody makes.
    let mut desk = machine(1);
    quarantine(&mut desk, "a", QuarantineReason::Vanished);
    desk.pass(SECOND * 3_600);
    assert_eq!((desk.rehearsals.len(), desk.stuck.len()), (1, 0), "a test is under way");
    // One that another process has.
    let mut desk = machine(2);
    quarantine(&mut desk, "a", QuarantineReason::Vanished);
    desk.tell(Input::HeldElsewhere(ONE, 1, true));
    fail_tests(&mut desk, SECOND * 3_600);
    assert!(desk.stuck.is_empty());
    desk.tell(Input::Vacate(ONE, false));
    assert_eq!(desk.retired, [(1, false)], "and an operator cuts nobody either");
    // Not a machine of ours.
    let mut desk = Desk::new(1);
    quarantine(&mut desk, "a", QuarantineReason::Vanished);
    fail_tests(&mut desk, SECOND * 3_600);
    assert!(desk.stuck.is_empty());
    // One that came back a moment ago.
    let mut desk = machine(1);
    let grant = quarantine(&mut desk, "a", QuarantineReason::NoCloseReply);
    desk.pass(SECOND * 400);
    assert_eq!(desk.stuck.len(), 4, "every half minute, without any test");
    desk.tell(Input::Release(grant));
    desk.tell(Input::Vacate(ONE, true));
    assert_eq!((desk.retired.clone(), desk.labels()), (vec![(1, false)], vec!["free"]));
    desk.tell(Input::Vacate(ONE, false));
    assert_eq!((desk.retired[1], desk.labels()), ((1, true), vec!["waking"]), "an operator may");
}

#[test]
fn restarts_of_what_is_stuck_can_be_left_out() {
    let mut desk = machine(1);
    desk.roster.settings.restart_stuck = Duration::ZERO;
    quarantine(&mut desk, "a", QuarantineReason::NoCloseReply);
    desk.pass(SECOND * 3_600);
    assert!(desk.stuck.is_empty());
}
