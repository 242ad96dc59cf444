//! Servers that an operator keeps calls away from.

use super::*;

const ONE: UpstreamId = UpstreamId(1);

#[test]
fn a_server_that_is_withheld_keeps_its_call_and_gets_no_other_before_it_is_released() {
    let mut desk = Desk::new(2);
    let ann = desk.call("ann");
    assert_eq!(desk.server(ann), Some(1));
    desk.tell(Input::Withhold(ONE, true));
    assert_eq!(desk.labels(), ["leased", "free"], "the call goes on");
    let ben = desk.call("ben");
    assert_eq!(desk.server(ben), Some(2));
    desk.release(ann);
    assert_eq!(desk.labels(), ["withheld", "leased"]);
    let cid = desk.call("cid");
    assert_eq!(desk.server(cid), None);
    desk.tell(Input::Withhold(ONE, true));
    assert_eq!(desk.server(cid), None, "once more changes nothing");
    desk.tell(Input::Withhold(ONE, false));
    assert_eq!(desk.server(cid), Some(1), "who waits gets it at once");
    desk.tell(Input::Withhold(UpstreamId(9), true));
    assert_eq!(desk.labels(), ["leased", "leased"], "one that is not there is nobody's trouble");
}

#[test]
fn without_another_server_new_calls_are_refused_and_those_that_wait_go_on_waiting() {
    let mut desk = Desk::new(1);
    let [ann, ben] = ["ann", "ben"].map(|user| desk.call(user));
    desk.tell(Input::Withhold(ONE, true));
    let cid = desk.call("cid");
    assert_eq!(desk.refused.get(&cid), Some(&NoSlot::NoFit));
    desk.release(ann);
    desk.pass(SECOND * 30);
    assert_eq!(desk.server(ben), None);
    desk.tell(Input::Withhold(ONE, false));
    assert_eq!(desk.server(ben), Some(1));
}

#[test]
fn a_slot_in_doubt_is_tested_at_once_on_release_and_not_believed() {
    let mut desk = Desk::new(1);
    let ann = desk.call("ann");
    let grant = desk.grant(ann).unwrap();
    desk.tell(Input::Withhold(ONE, true));
    desk.tell(Input::Quarantine(grant, QuarantineReason::Vanished));
    desk.pass(SECOND);
    desk.tell(Input::Withhold(ONE, false));
    assert_eq!((desk.rehearsals.len(), desk.labels()), (1, vec!["quarantined"]));
    let test = desk.rehearsals[0];
    desk.tell(Input::Passed(test));
    desk.tell(Input::Release(test));
    assert_eq!(desk.labels(), ["free"]);
}

#[test]
fn a_slot_whose_holder_waits_for_its_server_is_not_tested_under_it() {
    let mut desk = Desk::new(1);
    let ann = desk.call("ann");
    let grant = desk.grant(ann).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    desk.tell(Input::Withhold(ONE, true));
    desk.tell(Input::Withhold(ONE, false));
    assert!(desk.rehearsals.is_empty(), "a second socket would be one too many");
    desk.tell(Input::Release(grant));
    assert_eq!(desk.labels(), ["free"]);
}

#[test]
fn a_machine_that_is_withheld_may_sleep_and_is_not_woken_for_callers() {
    let mut desk = Desk::new(0);
    let mut machine = upstream(1, 1, None);
    machine.labels.machine = Some("command:1".into());
    desk.tell(Input::Join(ONE, machine));
    desk.tell(Input::Join(UpstreamId(2), upstream(2, 1, None)));
    desk.tell(Input::Power(ONE, PowerNews::Awake));
    desk.tell(Input::Withhold(ONE, true));
    let [ann, ben] = ["ann", "ben"].map(|user| desk.call(user));
    assert_eq!((desk.server(ann), desk.server(ben)), (Some(2), None));
    desk.tell(Input::Retire(ONE));
    assert_eq!(desk.retired, [(1, true)], "nobody waits for it");
    desk.tell(Input::Power(ONE, PowerNews::Off));
    desk.pass(SECOND * 5);
    assert!(desk.woken.is_empty());
    desk.tell(Input::Withhold(ONE, false));
    assert_eq!(desk.woken, [1], "now it is wanted");
}

#[test]
fn everything_is_seen_as_it_is() {
    let mut desk = Desk::new(2);
    let [ann, _, cid] = ["ann", "ben", "cid"].map(|user| desk.call(user));
    desk.pass(SECOND * 10);
    desk.tell(Input::Part(UpstreamId(2)));
    desk.tell(Input::Withhold(ONE, true));
    let seen = desk.roster.overview(desk.now);
    let states: Vec<_> = seen.members.iter().map(MemberSnapshot::state).collect();
    assert_eq!(states, ["withheld", "leaving"]);
    assert_eq!(seen.members[0].slots[0].held, Some(SECOND * 10));
    let waiter = seen.waiters[0];
    assert_eq!((seen.waiters.len(), waiter.waited, waiter.place.unwrap().position), (1, SECOND * 10, 1));
    assert_eq!(seen.waiters[0].user, ask_of("cid").user);
    desk.tell(Input::Leave(cid));
    let grant = desk.grant(ann).unwrap();
    desk.tell(Input::Withhold(ONE, false));
    desk.tell(Input::Quarantine(grant, QuarantineReason::Abandoned));
    let seen = desk.roster.overview(desk.now);
    assert_eq!(seen.members[0].slots[0].reason(), Some("abandoned"));
    assert!(seen.waiters.is_empty());
}
