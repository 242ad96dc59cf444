//! Machines that are tried out, that move, and that are stuck.

use super::{
    town::{Town, all_free},
    *,
};

#[actix::test]
async fn stuck_machines_begin_anew_one_at_a_time_and_the_next_call_talks() {
    let town = Town::new(3).await;
    town.get_stuck(3).await;
    let since = Instant::now();
    let lease = town.call(9).await;
    let waited = since.elapsed();
    assert!((SECOND * 290..SECOND * 400).contains(&waited), "{waited:?}");
    drop(lease);
    town.until(all_free).await;
    assert_eq!([1, 2, 3].map(|n| town.with(n, |server| server.restarts)), [1, 1, 1]);
    assert_eq!(town.record.rows(), Vec::<String>::new(), "nothing is left of the old calls");
}

#[actix::test]
async fn a_machine_is_not_restarted_while_a_call_is_on_another_of_its_slots_or_tests_pass() {
    let town = Town::new(1).await;
    town.get_stuck(1).await;
    town.with(1, |server| server.stuck = false);
    town.until(all_free).await;
    town.pass(SECOND * 600).await;
    assert_eq!(town.with(1, |server| server.restarts), 0, "it came back by itself");
}

#[actix::test]
async fn an_operator_restarts_what_nobody_uses_and_is_told_why_not() {
    let town = Town::new(2).await;
    town.until(all_free).await;
    assert_eq!(town.restart("9").await, RestartAnswer::Unknown);
    let lease = town.call(1).await;
    let (used, other) = if lease.endpoint().name == "1" { ("1", "2") } else { ("2", "1") };
    assert_eq!(town.restart(used).await, RestartAnswer::InUse);
    assert_eq!(town.restart(other).await, RestartAnswer::Begins);
    assert_eq!(town.restart(other).await, RestartAnswer::OneAtATime);
    assert_eq!(town.restart(used).await, RestartAnswer::OneAtATime);
    let states: Vec<_> = town.fleet.send(Machines).await.unwrap().iter().map(|machine| machine.state).collect();
    assert!(
        states.contains(&"ready") && states.iter().any(|state| matches!(*state, "restarting" | "warming")),
        "{states:?}"
    );
    drop(lease);
    town.until(all_free).await;
    assert_eq!([1, 2].map(|n| town.with(n, |server| server.restarts)).iter().sum::<u32>(), 1);
    town.fleet.send(FallAsleep { upstream: "1".into() }).await.unwrap();
    town.until(|labels| labels[0] == SlotLabel::Asleep).await;
    assert_eq!(town.restart("1").await, RestartAnswer::NotAwake);
}

#[actix::test]
async fn a_restart_that_fails_leaves_the_turn_to_others() {
    let town = Town::new(2).await;
    town.with(1, |server| server.refuses = Some(ProviderError::Auth));
    town.get_stuck(2).await;
    town.until(|labels| labels[1] == SlotLabel::Free).await;
    // Again and again, but not for ever.
    town.until(|_| town.with(1, |server| server.restarts) == 3).await;
    town.pass(SECOND * 1_800).await;
    assert_eq!(town.with(1, |server| server.restarts), 3);
    assert_eq!(town.fleet.send(Machines).await.unwrap()[0].state, "failed");
    assert_eq!(town.with(2, |server| server.restarts), 1);
}

#[actix::test]
async fn a_wake_ends_with_a_call_without_a_caller_that_others_can_see() {
    let town = Town::of(1, |server| server.running = false).await;
    town.until(|labels| labels[0] == SlotLabel::Asleep).await;
    town.with(1, |server| server.stuck = true);
    let mut wait = town.pool.send(Acquire(Ask::new([1; 32]))).await.unwrap();
    town.pass(SECOND * 10).await;
    town.with(1, |server| server.stuck = true);
    town.until(|_| town.with(1, |server| server.rehearsed.len()) > 1).await;
    assert_eq!(town.record.rows(), ["h:1"], "it is written down like any lease");
    town.with(1, |server| server.stuck = false);
    town.until(|labels| labels[0] == SlotLabel::Leased).await;
    let Outcome::Granted(lease, _) = outcome(&mut wait).await else { panic!("it is served") };
    drop(lease);
    town.until(all_free).await;
    assert_eq!((town.with(1, |server| server.starts), town.record.rows()), (1, vec![]));
}

#[actix::test]
async fn probes_tests_grants_and_the_record_follow_a_server_to_where_it_is() {
    let town = Town::of(1, |server| server.port = Some(40_001)).await;
    town.until(all_free).await;
    assert_eq!(town.with(1, |server| server.probed.clone()), [40_001], "never at the address that is written");
    let mut lease = town.call(1).await;
    assert_eq!(
        (lease.endpoint().address(), town.record.rows()),
        ("203.0.113.9:40001".into(), vec!["203.0.113.9:40001".into()])
    );
    lease.opening();
    // Somebody restarts it under the call; its old process is gone, and what was open there with it.
    town.with(1, |server| (server.port, server.answers_at) = (Some(40_002), Some(Instant::now() + SECOND * 90)));
    town.until(|_| town.with(1, |server| server.probed.contains(&40_002))).await;
    drop(lease);
    town.until(all_free).await;
    assert_eq!(town.record.rows(), Vec::<String>::new(), "the old row went with the call");
    let lease = town.call(2).await;
    assert_eq!(lease.endpoint().address(), "203.0.113.9:40002");
    drop(lease);
    // A new list with the same entry changes nothing.
    let entry = Upstream {
        endpoint: Endpoint::plain("", "h", 1),
        capacity: 1,
        labels: Labels { machine: Some("memory".into()), ..Labels::default() },
    };
    town.pool.send(crate::pool::actor::Configure(vec![entry.into()])).await.unwrap();
    assert_eq!(town.call(3).await.endpoint().address(), "203.0.113.9:40002");
    assert_eq!(town.with(1, |server| (server.starts, server.restarts)), (0, 0));
}

#[actix::test]
async fn no_server_is_followed_to_where_another_one_is() {
    let town = Town::of(2, |server| server.port = Some(40_001)).await;
    town.until(|labels| labels.contains(&SlotLabel::Free)).await;
    town.pass(SECOND * 120).await;
    let (a, b) = (town.call(1).await, town.call(2).await);
    assert_ne!(a.endpoint().address(), b.endpoint().address(), "two calls on one server would hear each other");
}

#[actix::test]
async fn what_was_left_open_at_a_process_that_is_gone_is_struck_from_the_record() {
    let town = Town::new(1).await;
    town.get_stuck(1).await;
    assert_eq!(town.record.rows(), ["h:1"]);
    town.with(1, |server| server.port = Some(40_001));
    town.until(all_free).await;
    assert_eq!(town.record.rows(), Vec::<String>::new(), "it is another process");
    town.get_stuck(1).await;
    assert_eq!(town.record.rows(), ["203.0.113.9:40001"]);
    town.fleet.send(FallAsleep { upstream: "1".into() }).await.unwrap();
    town.until(|labels| labels[0] == SlotLabel::Asleep).await;
    assert_eq!(town.record.rows(), Vec::<String>::new(), "it is off");
}

#[actix::test]
async fn what_may_be_a_strangers_by_now_is_not_asked() {
    let town = Town::of(1, |server| server.port = Some(40_001)).await;
    town.until(all_free).await;
    town.fleet.send(FallAsleep { upstream: "1".into() }).await.unwrap();
    town.until(|labels| labels[0] == SlotLabel::Asleep).await;
    town.with(1, |server| {
        (server.port, server.tells_at) = (Some(40_002), Some(Instant::now() + SECOND * 60));
        server.probed.clear();
    });
    assert_eq!(town.call(1).await.endpoint().address(), "203.0.113.9:40002");
    assert!(town.with(1, |server| server.probed.iter().all(|port| *port == 40_002)), "its address is waited for");
}
