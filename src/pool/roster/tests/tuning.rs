//! Settings that are exchanged while calls are in progress and callers wait.

use super::*;

fn tuning() -> Tuning {
    Tuning::from(&RosterSettings::default())
}

#[test]
fn a_shorter_queue_keeps_who_waits_and_refuses_who_comes() {
    let mut desk = Desk::new(1);
    let [live, waits] = ["a", "b"].map(|user| desk.call(user));
    desk.tell(Input::Tune(Tuning { queue_limit: 1, ..tuning() }));
    let late = desk.call("c");
    assert_eq!(desk.refused.get(&late), Some(&NoSlot::QueueFull));
    assert!(!desk.refused.contains_key(&waits));
    desk.release(live);
    assert_eq!(desk.server(waits), Some(1));
    desk.tell(Input::Tune(tuning()));
    let later = desk.call("d");
    assert!(!desk.refused.contains_key(&later), "there is room again");
}

#[test]
fn a_stricter_breaker_counts_what_has_failed_before() {
    let mut desk = Desk::new(1);
    let first = desk.call("a");
    desk.fail(first);
    assert_eq!(desk.labels(), ["free"]);
    desk.tell(Input::Tune(Tuning { breaker: BreakerSettings { failures: 2, ..tuning().breaker }, ..tuning() }));
    let second = desk.call("b");
    desk.fail(second);
    assert_eq!(desk.labels(), ["unhealthy"]);
}

#[test]
fn a_budget_without_retries_allows_none_from_then_on() {
    let mut desk = Desk::new(2);
    let mut retry = |retry: RetrySettings| {
        desk.tell(Input::Tune(Tuning { retry, ..tuning() }));
        desk.ask(Ask { retry: true, ..ask_of("a") });
        desk.retried.last().copied()
    };
    assert_eq!(retry(RetrySettings { share: 0.0, floor: 0, ..RetrySettings::default() }), Some(false));
    assert_eq!(retry(RetrySettings::default()), Some(true));
}
