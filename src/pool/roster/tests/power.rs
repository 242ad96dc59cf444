//! Machines that sleep: who is woken for whom, and which are let go of.

use super::*;

const ETA: Eta = Eta { median: Duration::from_secs(40), p90: Duration::from_secs(90) };

fn sleeper(desk: &mut Desk, n: u32) {
    desk.tell(Input::Power(UpstreamId(n), PowerNews::Off));
}

#[test]
fn sleepers_are_woken_once_and_waited_for_and_leavers_finish_first() {
    let mut desk = Desk::new(1);
    sleeper(&mut desk, 1);
    let a = desk.call("a");
    assert_eq!((desk.places[&a][0].reason, desk.labels()), (WaitReason::Waking, vec!["asleep"]));
    assert_eq!((desk.woken.clone(), desk.used.clone()), (vec![1], vec![(1, true)]));
    assert!(desk.leased.is_empty(), "who waits has no slot");
    desk.call("b");
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Waking(ETA)));
    desk.pass(SECOND * 4);
    let eta = desk.places[&a].last().unwrap().eta.unwrap();
    assert!((SECOND * 25..=SECOND * 45).contains(&eta.median) && eta.p90 > eta.median, "{eta:?}");
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Awake));
    assert_eq!((desk.server(a), desk.woken.len()), (Some(1), 1), "one request for both");
    assert_eq!(desk.leased, [(1, true)]);
    desk.tell(Input::Part(UpstreamId(1)));
    desk.release(a);
    assert_eq!(desk.gone, [UpstreamId(1)]);
}

#[test]
fn as_many_are_woken_as_those_who_wait_need_the_cheapest_first() {
    let mut desk = Desk::new(0);
    for (n, price) in [(1, Some("0.9")), (2, None), (3, Some("0.4")), (4, Some("0.7"))] {
        let mut upstream = upstream(n, if n == 3 { 2 } else { 1 }, None);
        upstream.labels.price = price.map(|price| price.parse().unwrap());
        desk.tell(Input::Join(UpstreamId(n), upstream));
        sleeper(&mut desk, n);
    }
    for (user, woken) in
        [("a", vec![3]), ("b", vec![3]), ("c", vec![3, 4]), ("d", vec![3, 4, 1]), ("e", vec![3, 4, 1, 2])]
    {
        desk.call(user);
        assert_eq!(desk.woken, woken, "{user}");
    }
    desk.call("f");
    assert_eq!(desk.woken.len(), 4, "there are no more");
}

#[test]
fn a_machine_is_let_go_of_only_in_the_step_in_which_nobody_needs_it() {
    let mut desk = Desk::new(2);
    let a = desk.call("a");
    desk.tell(Input::Retire(UpstreamId(1)));
    desk.tell(Input::Retire(UpstreamId(2)));
    assert_eq!(desk.retired, [(1, false), (2, true)]);
    assert_eq!(desk.labels(), ["leased", "asleep"]);
    let b = desk.call("b");
    assert_eq!(
        (desk.server(b), desk.woken.clone()),
        (None, vec![2]),
        "no call gets to it any more, and it is woken again"
    );
    desk.release(a);
    assert_eq!(desk.server(b), Some(1), "whoever is quicker");
    desk.tell(Input::Power(UpstreamId(2), PowerNews::Awake));
    let c = desk.call("c");
    assert_eq!(desk.server(c), Some(2));
    assert_eq!(desk.used.last(), Some(&(2, true)));
    desk.release(c);
    assert_eq!(desk.used.last(), Some(&(2, false)));
    assert_eq!(
        desk.leased,
        [(1, true), (2, true), (2, false)],
        "a slot that goes from one call to the next stays leased"
    );
}

#[test]
fn whom_no_machine_can_serve_is_told_so_and_goes_elsewhere_where_there_is_one() {
    let mut desk = Desk::new(2);
    sleeper(&mut desk, 1);
    sleeper(&mut desk, 2);
    let a = desk.call("a");
    assert_eq!(desk.woken, [1]);
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Failed(SECOND * 60)));
    assert_eq!(desk.woken, [1, 2], "another machine is tried");
    desk.tell(Input::Power(UpstreamId(2), PowerNews::Failed(SECOND * 60)));
    assert_eq!(desk.refused[&a], NoSlot::WakeFailed);
    let b = desk.call("b");
    assert_eq!(desk.refused[&b], NoSlot::WakeFailed, "not tried again at once");
    desk.pass(SECOND * 61);
    desk.call("c");
    assert_eq!(desk.woken, [1, 2, 1], "but after a while");
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Failed(SECOND * 60)));
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Off));
    desk.tell(Input::Power(UpstreamId(2), PowerNews::Failed(SECOND * 60)));
    let d = desk.call("d");
    assert_eq!(desk.refused[&d], NoSlot::WakeFailed, "that it is off is no hope");
}

#[test]
fn others_are_woken_in_the_place_of_a_machine_that_is_not_started_for_now() {
    let mut desk = Desk::new(2);
    sleeper(&mut desk, 1);
    sleeper(&mut desk, 2);
    let a = desk.call("a");
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Waking(ETA)));
    assert_eq!(desk.woken, [1]);
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Delayed));
    assert_eq!(desk.woken, [1, 2]);
    assert_eq!(desk.places[&a].last().unwrap().reason, WaitReason::Waking, "nobody gives up");
    desk.tell(Input::Power(UpstreamId(2), PowerNews::Delayed));
    assert_eq!((desk.woken.len(), desk.refused.len()), (2, 0), "each is asked once, and there is hope");
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Waking(ETA)));
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Awake));
    assert_eq!(desk.server(a), Some(1), "whoever is quicker");
}

#[test]
fn a_machine_that_was_off_has_no_open_socket_of_ours() {
    let mut desk = Desk::new(1);
    let a = desk.call("a");
    let grant = desk.grant(a).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::Vanished));
    assert_eq!(desk.labels(), ["quarantined"]);
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Away));
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Awake));
    assert_eq!(desk.labels(), ["quarantined"], "nobody says that it was off");
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Off));
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Awake));
    let b = desk.call("b");
    assert_eq!(desk.server(b), Some(1));
    desk.tell(Input::Release(grant));
    assert_eq!(desk.labels(), ["leased"], "what is said of the old grant is stale");
}
