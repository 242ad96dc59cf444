//! Scripts of the roster; [`random`] has random sequences against a reference model.

mod blame;
mod care;
mod desk;
mod pace;
mod power;
mod promises;
mod random;
mod rotation;
mod tuning;
mod waits;
mod withheld;

use std::collections::HashMap;

use self::desk::Desk;
use super::*;
use crate::pool::endpoint::{Endpoint, Labels, Needs, Upstream};

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
fn origin() -> Instant {
    Instant::now()
}

fn upstream(name: u32, capacity: u16, model: Option<&str>) -> Upstream {
    let endpoint = Endpoint::plain(name.to_string(), "h", u16::try_from(name).unwrap());
    Upstream { endpoint, capacity, labels: Labels { model: model.map(str::to_owned), ..Labels::default() } }
}

fn ask_of(user: &str) -> Ask {
    let mut hash = [0; 32];
    hash[..user.len()].copy_from_slice(user.as_bytes());
    Ask::new(hash)
}

#[test]
fn a_slot_is_held_once_and_the_next_in_order_gets_it() {
    let mut desk = Desk::new(1);
    let [a, b, c] = ["a", "b", "c"].map(|user| desk.call(user));
    assert_eq!((desk.server(a), desk.server(b), desk.server(c)), (Some(1), None, None));
    assert_eq!((desk.places[&b][0].position, desk.places[&c][0].position), (1, 2));
    desk.pass(SECOND * 10);
    desk.release(a);
    desk.release(a);
    assert_eq!((desk.server(b), desk.server(c)), (Some(1), None), "a second release changes nothing");
    assert_eq!(desk.granted[&b].2.time, SECOND * 10);
    assert_eq!(desk.places[&c].last().unwrap().position, 1);
}

#[test]
fn who_waits_hears_of_it_every_two_seconds_and_who_leaves_frees_the_place_at_once() {
    let mut desk = Desk::new(1);
    let [_, b, c] = ["a", "b", "c"].map(|user| desk.call(user));
    desk.pass(SECOND * 20);
    assert!((10..=11).contains(&desk.places[&b].len()), "{}", desk.places[&b].len());
    assert!(desk.places[&c].iter().all(|place| place.eta.unwrap().p90 >= place.eta.unwrap().median));
    desk.tell(Input::Leave(b));
    assert_eq!(desk.places[&c].last().unwrap().position, 1);
}

#[test]
fn a_full_queue_and_callers_that_cannot_wait_are_told_so() {
    let mut desk = Desk::new(1);
    desk.call("a");
    let hasty = desk.ask(Ask { waits: false, ..ask_of("b") });
    assert_eq!(desk.refused[&hasty], NoSlot::Busy);
    for n in 0..20 {
        desk.call(&format!("w{n}"));
    }
    let late = desk.call("late");
    assert_eq!(desk.refused[&late], NoSlot::QueueFull);
    let live = desk.ask(Ask { class: Class::Failover, ..ask_of("live") });
    assert!(!desk.refused.contains_key(&live), "live calls are not counted among the new");
    let odd = desk.ask(Ask { needs: Needs { model: Some("x".into()), ..Needs::default() }, ..ask_of("odd") });
    assert_eq!(desk.refused[&odd], NoSlot::QueueFull, "a server without labels could take everybody");
    let lost = desk.ask(Ask { avoid: vec![UpstreamId(1)], ..ask_of("lost") });
    assert_eq!(desk.refused[&lost], NoSlot::NoFit);
}

#[test]
fn nobody_fills_the_front_of_the_queue_alone_and_nobody_is_passed_for_ever() {
    let mut desk = Desk::new(1);
    let first = desk.call("greedy");
    let [second, third] = [desk.call("greedy"), desk.call("greedy")];
    let modest = desk.call("modest");
    desk.release(first);
    assert_eq!((desk.server(modest), desk.server(second)), (Some(1), None));
    desk.pass(SECOND * 100);
    let late = desk.call("late");
    desk.release(modest);
    desk.release(second);
    assert_eq!((desk.server(third), desk.server(late)), (Some(1), None), "who waited long enough goes first");
}

#[test]
fn the_slot_that_ended_longest_ago_comes_first_and_a_grudge_comes_last() {
    let mut desk = Desk::new(2);
    let [a, b] = ["a", "b"].map(|user| desk.call(user));
    desk.release(b);
    desk.pass(SECOND);
    desk.fail(a);
    desk.pass(SECOND);
    let again = desk.call("a");
    assert_eq!(desk.server(again), desk.server(b));
    desk.release(again);
    let again = desk.call("a");
    assert_eq!(desk.server(again), desk.server(b), "server 1 ended longer ago, but it failed this user");
    let other = desk.call("x");
    assert_eq!(desk.server(other), desk.server(a));
    desk.release(other);
    desk.release(again);
    desk.pass(SECOND * 61);
    let [one, two] = [desk.call("a"), desk.call("a")];
    assert!(desk.server(one).is_some() && desk.server(two).is_some(), "a grudge passes, and never refuses");
}

#[test]
fn a_quarantine_ends_by_a_late_release_of_the_same_grant() {
    let mut desk = Desk::new(1);
    let a = desk.call("a");
    let grant = desk.grant(a).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    let b = desk.call("b");
    desk.tell(Input::Release(Grant { generation: grant.generation - 1, ..grant }));
    assert_eq!((desk.server(b), desk.labels()), (None, vec!["quarantined"]));
    desk.tell(Input::Release(grant));
    assert_eq!(desk.server(b), Some(1));
}

#[test]
fn a_quarantine_ends_by_a_rehearsal_that_reached_the_handshake_and_was_closed_in_order() {
    let mut desk = Desk::new(1);
    let a = desk.call("a");
    let grant = desk.grant(a).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::Vanished));
    let b = desk.call("b");
    desk.tell(Input::Probed(UpstreamId(1), Probed::Answered));
    desk.pass(SECOND * 14);
    assert_eq!((desk.rehearsals.len(), desk.server(b)), (0, None), "a probe proves nothing");
    desk.pass(SECOND);
    let first = desk.rehearsals[0];
    desk.tell(Input::Release(grant));
    assert_eq!(desk.server(b), None, "the first holder's grant is stale now");
    desk.tell(Input::Release(first));
    assert_eq!(desk.server(b), None, "closed, but it had not reached the handshake");
    desk.pass(SECOND * 30);
    let second = desk.rehearsals[1];
    desk.tell(Input::Passed(second));
    desk.tell(Input::Quarantine(second, QuarantineReason::NoCloseReply));
    assert_eq!(desk.server(b), None, "passed, but not closed in order");
    desk.pass(SECOND * 60);
    let third = desk.rehearsals[2];
    desk.tell(Input::Passed(third));
    desk.tell(Input::Release(third));
    assert_eq!((desk.server(b), desk.rehearsals.len()), (Some(1), 3));
    desk.release(b);
    assert_eq!(
        desk.cleared,
        [SECOND * 105],
        "once, for the whole time in doubt, and nothing for a call that ends well"
    );
}

#[test]
fn nobody_opens_a_second_socket_while_the_first_is_waited_for() {
    let mut desk = Desk::new(1);
    let a = desk.call("a");
    let grant = desk.grant(a).unwrap();
    desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    desk.pass(SECOND * 3_600);
    assert_eq!(desk.rehearsals.len(), 0);
    desk.tell(Input::Quarantine(grant, QuarantineReason::Vanished));
    desk.pass(SECOND * 15);
    assert_eq!(desk.rehearsals.len(), 1, "now nobody holds it any more");
}

#[test]
fn what_a_dead_process_left_open_is_quarantined_and_what_a_live_one_holds_is_out_of_reach() {
    let mut desk = Desk::new(2);
    desk.tell(Input::Orphaned(UpstreamId(1), 0));
    desk.tell(Input::HeldElsewhere(UpstreamId(2), 0, true));
    let a = desk.call("a");
    assert_eq!((desk.server(a), desk.labels()), (None, vec!["quarantined", "elsewhere"]));
    desk.tell(Input::HeldElsewhere(UpstreamId(2), 0, false));
    assert_eq!(desk.server(a), Some(2));
    desk.tell(Input::HeldElsewhere(UpstreamId(2), 0, false));
    assert_eq!(desk.labels(), ["quarantined", "leased"], "our own lease is not touched by what the ledger says");
}

#[test]
fn a_contested_grant_returns_its_waiter_to_its_place() {
    let mut desk = Desk::new(1);
    let a = desk.call("a");
    let b = desk.call("b");
    let (grant, waiter, _) = desk.granted.remove(&a).unwrap();
    desk.tell(Input::Contested(grant, Some(waiter)));
    assert_eq!((desk.server(a), desk.places[&a].last().unwrap().position), (None, 1));
    desk.tell(Input::HeldElsewhere(UpstreamId(1), 0, false));
    assert_eq!((desk.server(a), desk.server(b)), (Some(1), None));
}

#[test]
fn a_contested_grant_of_one_who_cannot_wait_is_a_refusal() {
    let mut desk = Desk::new(1);
    let a = desk.ask(Ask { waits: false, ..ask_of("a") });
    let (grant, waiter, _) = desk.granted.remove(&a).unwrap();
    desk.tell(Input::Contested(grant, Some(waiter)));
    assert_eq!(desk.refused[&a], NoSlot::Busy);
    let mut desk = Desk::new(2);
    let a = desk.ask(Ask { waits: false, ..ask_of("a") });
    let (grant, waiter, _) = desk.granted.remove(&a).unwrap();
    desk.tell(Input::Contested(grant, Some(waiter)));
    assert!(desk.server(a).is_some(), "the other one is free");
}

#[test]
fn a_server_that_fails_is_left_alone_until_one_trial_went_well() {
    let mut desk = Desk::new(3);
    for _ in 0..3 {
        // Held, so that the next call must go to server 1.
        let [x, y, z] = ["x", "y", "z"].map(|user| desk.call(user));
        for id in [x, y, z] {
            if desk.server(id) == Some(1) { desk.fail(id) } else { desk.release(id) }
        }
    }
    assert_eq!(desk.labels(), ["unhealthy", "free", "free"]);
    let [a, b, c] = ["a", "b", "c"].map(|user| desk.call(user));
    assert_eq!((desk.server(a).max(desk.server(b)), desk.server(c)), (Some(3), None));
    desk.pass(SECOND * 6);
    assert_eq!(desk.server(c), Some(1), "the trial");
    let grant = desk.grant(c).unwrap();
    desk.tell(Input::Judge(grant, Verdict::Ready { step: Duration::from_millis(40) }));
    desk.release(c);
    assert_eq!(desk.labels()[0], "free");
    assert_eq!(desk.roster.offer(UpstreamId(1)).step, Some(Duration::from_millis(40)));
}

#[test]
fn three_probes_without_an_answer_take_a_server_out_and_one_answer_brings_it_back() {
    let mut desk = Desk::new(2);
    let a = desk.call("a");
    assert_eq!(desk.roster.idle_endpoints().len(), 1, "a server with a call on it is not asked");
    desk.release(a);
    for _ in 0..2 {
        desk.tell(Input::Probed(UpstreamId(2), Probed::Silent));
    }
    assert_eq!(desk.labels(), ["free", "free"], "a server under load may leave some out");
    desk.tell(Input::Probed(UpstreamId(2), Probed::Silent));
    assert_eq!(desk.labels(), ["free", "unhealthy"]);
    let [b, c] = ["b", "c"].map(|user| desk.call(user));
    assert_eq!((desk.server(b), desk.server(c)), (Some(1), None));
    desk.tell(Input::Probed(UpstreamId(2), Probed::Answered));
    assert_eq!(desk.server(c), Some(2));
    desk.tell(Input::Power(UpstreamId(1), PowerNews::Off));
    desk.release(b);
    assert_eq!(desk.roster.idle_endpoints().len(), 0, "nor is a sleeper");
}

#[test]
fn when_nobody_can_be_trusted_some_door_stays_open_for_one_at_a_time() {
    let mut desk = Desk::new(1);
    for user in ["a", "b", "c"] {
        let call = desk.call(user);
        desk.fail(call);
    }
    assert_eq!(desk.labels(), ["unhealthy"]);
    let [d, e] = ["d", "e"].map(|user| desk.call(user));
    assert_eq!((desk.server(d), desk.server(e)), (None, None), "but not in the same breath");
    desk.pass(SECOND * 2);
    assert_eq!((desk.server(d), desk.server(e)), (Some(1), None));
    desk.fail(d);
    assert_eq!(desk.server(e), None);
    desk.pass(SECOND * 2);
    assert_eq!(desk.server(e), Some(1));
}

#[test]
fn a_verdict_that_comes_after_the_end_counts_all_the_same() {
    let mut desk = Desk::new(2);
    for _ in 0..3 {
        let [a, b] = ["a", "b"].map(|user| desk.call(user));
        let (one, two) = if desk.server(a) == Some(1) { (a, b) } else { (b, a) };
        let grant = desk.grant(one).unwrap();
        desk.release(one);
        desk.release(two);
        desk.tell(Input::Judge(grant, Verdict::Failed));
    }
    assert_eq!(desk.labels(), ["unhealthy", "free"]);
}

#[test]
fn retries_have_a_budget() {
    let mut desk = Desk::new(1);
    let refused = ["a", "b", "c", "d", "e"].into_iter().filter(|user| {
        let id = desk.ask(Ask { retry: true, ..ask_of(user) });
        let refused = desk.refused.get(&id) == Some(&NoSlot::RetriesSpent);
        if desk.grant(id).is_some() {
            desk.release(id)
        }
        refused
    });
    assert_eq!(refused.count(), 2);
}
