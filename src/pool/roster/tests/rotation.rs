//! Calls that take a second slot for a while, and what the roster makes of calls that go from slot to slot.

use super::*;

/// A call that is under way, and its grant.
fn talking(desk: &mut Desk, user: &str) -> (WaiterId, Ongoing) {
    let (id, since) = (desk.call(user), desk.now);
    (id, Ongoing { since, holds: desk.grant(id).expect("it has a slot") })
}

fn rotation(user: &str, ongoing: Ongoing) -> Ask {
    Ask { class: Class::Rotation, ongoing: Some(ongoing), ..ask_of(user) }
}

#[test]
fn live_calls_come_first_and_only_one_rotates_at_a_time() {
    let mut desk = Desk::new(2);
    let ((a, of_a), (b, of_b)) = (talking(&mut desk, "a"), talking(&mut desk, "b"));
    let new = desk.call("c");
    let first = desk.ask(rotation("a", of_a));
    let other = desk.ask(rotation("b", of_b));
    let failover = desk.ask(Ask { class: Class::Failover, ..ask_of("d") });
    desk.release(b);
    assert_eq!((desk.server(failover), desk.server(first), desk.server(new)), (Some(2), None, None));
    desk.release(failover);
    assert_eq!((desk.server(first), desk.server(new)), (Some(2), None));
    assert_eq!(desk.server(other), None);
    desk.release(a);
    assert_eq!(desk.server(other), Some(1), "the first one has one slot again");
}

/// However the old slot is lost, the one that is left is no second one any more.
#[test]
fn a_rotation_is_over_with_the_old_slot_whatever_becomes_of_that() {
    let ends: [fn(Grant) -> Input; 2] =
        [Input::Release, |grant| Input::Quarantine(grant, QuarantineReason::NoCloseReply)];
    for end in ends {
        let mut desk = Desk::new(3);
        let ((_, of_a), (_, of_b)) = (talking(&mut desk, "a"), talking(&mut desk, "b"));
        let first = desk.ask(rotation("a", of_a));
        let other = desk.ask(rotation("b", of_b));
        assert_eq!((desk.server(first), desk.server(other)), (Some(3), None));
        desk.tell(end(of_a.holds));
        let barred = matches!(end(of_a.holds), Input::Quarantine(..));
        assert_eq!(desk.server(other), (!barred).then_some(1));
        desk.tell(Input::Join(UpstreamId(4), upstream(4, 1, None)));
        assert_eq!(desk.server(other), Some(if barred { 4 } else { 1 }), "another may rotate");
    }
}

#[test]
fn where_slots_are_plenty_several_rotate_and_leave_more_than_they_take() {
    let mut desk = Desk::new(9);
    let calls: Vec<Ongoing> = (0..4).map(|n| talking(&mut desk, &n.to_string()).1).collect();
    let asked: Vec<WaiterId> =
        calls.iter().enumerate().map(|(n, ongoing)| desk.ask(rotation(&n.to_string(), *ongoing))).collect();
    // Of five free slots three are taken: the first, one where four are left, one where three are left.
    let granted = |desk: &Desk| asked.iter().filter(|id| desk.server(**id).is_some()).count();
    assert_eq!(granted(&desk), 3);
    let new = desk.call("new");
    assert!(desk.server(new).is_some(), "there is room for one who comes");
    desk.tell(Input::Release(calls[0].holds));
    assert_eq!(granted(&desk), 3, "two rotate and one slot and the one that came back are free");
    desk.tell(Input::Release(calls[1].holds));
    assert_eq!(granted(&desk), 4);
}

#[test]
fn a_call_counts_once_and_for_as_long_as_it_was_however_many_slots_it_held() {
    let minute = SECOND * 60;
    let mut desk = Desk::new(2);
    let (_, first) = talking(&mut desk, "a");
    desk.pass(minute * 3);
    let next = desk.ask(rotation("a", first));
    desk.tell(Input::Release(first.holds));
    assert_eq!(desk.roster.history.known().len(), 0, "it goes on");
    desk.pass(minute * 3);
    // Its server dies: nobody knows yet whether that is its end.
    let holds = desk.grant(next).unwrap();
    desk.release(next);
    assert_eq!(desk.roster.history.known(), [minute * 6]);
    let last = desk.ask(Ask { class: Class::Failover, ongoing: Some(Ongoing { holds, ..first }), ..ask_of("a") });
    assert_eq!(desk.roster.history.known().len(), 0, "it was not");
    desk.pass(minute);
    desk.release(last);
    assert_eq!(desk.roster.history.known(), [minute * 7]);
}

#[test]
fn who_waits_behind_a_rotation_is_told_of_a_slot_that_comes_back() {
    let etas = [true, false].map(|rotates| {
        let mut desk = Desk::new(0);
        desk.roster = Roster::new(RosterSettings { play_throughs: 1_000, ..RosterSettings::default() });
        desk.tell(Input::Join(UpstreamId(1), upstream(1, 1, None)));
        let (_, ongoing) = talking(&mut desk, "a");
        if rotates {
            desk.ask(rotation("a", ongoing));
        }
        let new = desk.call("b");
        desk.places[&new][0].eta.unwrap().median
    });
    assert!(etas[0] < etas[1] * 3 / 2, "{etas:?}");
}
