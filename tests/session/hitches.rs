//! What goes wrong while one model server takes over from another.

use std::time::Duration;

use tandem::{
    pool::{
        retry::RetrySettings,
        roster::{Class, NoSlot},
    },
    protocol::native::ClientEvent,
    session::machine::{ClientInput, Input, Limits, UpstreamEnd},
};

use super::{
    relay::{ALONE, AT_ONCE, dies_after, hangs},
    role::Role,
    theatre::{MS, Pool, SECOND, Theatre},
};

fn endless() -> Role {
    Role { speaks: Some((Duration::ZERO, 9_000 * SECOND)), ..Role::GOOD }
}

#[test]
fn a_slot_begins_anew_where_lost_servers_are_not_replaced_too() {
    let limits = Limits { recovery: Duration::ZERO, ..Limits::default() };
    let mut call = Theatre::open(limits.clone(), &[Role::GOOD], ALONE);
    call.run(250 * SECOND);
    assert_eq!((call.count("rotating"), call.count("rotated")), (1, 1), "{:#?}", call.seen);
    call.refuse("ended");
    // But where that fails there is nothing else.
    let refuses = Role { handshake: None, ..Role::GOOD };
    let mut call = Theatre::open(limits, &[Role::GOOD, refuses], ALONE);
    call.run(250 * SECOND).at("ended upstream_lost");
}

#[test]
fn one_call_costs_four_servers_at_most_whatever_it_does_to_them() {
    // Each says a word before it dies.
    let mut call = Theatre::open(Limits::default(), &[dies_after(40 * SECOND), dies_after(SECOND)], AT_ONCE);
    for _ in 0..200 {
        call.run(500 * MS);
        if let Some(attempt) = call.machine.on_stage() {
            call.words(attempt, " Hi.");
        }
    }
    assert_eq!(call.count("OpenUpstream"), 4, "{:#?}", call.seen);
    let asked = |retry: bool| call.count(&format!("Acquire {{ class: Failover, elsewhere: true, retry: {retry}"));
    assert_eq!((asked(false), asked(true)), (2, 1), "the budget has a say from the second early loss on");
    call.at("ended upstream_lost");
}

#[test]
fn a_server_that_begins_late_after_a_restart_keeps_the_stage() {
    let slow = hangs(Duration::ZERO, 3 * SECOND);
    let mut call = Theatre::open(Limits::default(), &[Role::GOOD, slow, Role::GOOD], ALONE);
    call.run(300 * SECOND);
    call.at("recovering silent");
    assert_eq!((call.count("recovered"), call.count("rotated")), (1, 1), "{:#?}", call.seen);
    assert_eq!(call.machine.on_stage(), Some(2));
    call.refuse("Judge(2, Failed)");
}

#[test]
fn a_pool_that_does_not_answer_costs_no_call() {
    let never: Pool = |class, _| Ok(if class == Class::New { 10 * MS } else { 100_000 * SECOND });
    let mut call = Theatre::open(Limits::default(), &[endless()], never);
    call.run(195 * SECOND).at("Acquire { class: Rotation");
    call.no_answer();
    call.run(5 * SECOND).refuse("ended");
    // With an empty stage it is asked again.
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND), Role::GOOD], never);
    call.run(30 * SECOND);
    for _ in 0..3 {
        call.no_answer();
        call.run(8 * SECOND);
    }
    assert_eq!(call.count("Acquire { class: Failover"), 4, "{:#?}", call.seen);
    call.refuse("ended");
}

#[test]
fn what_failed_with_other_prompts_counts_for_nothing() {
    let refuses = Role { handshake: None, ..Role::GOOD };
    // The first is silent for 4 s, the second hangs up meanwhile; a rotation comes much later.
    let cast = [hangs(20 * SECOND, 24 * SECOND), refuses.clone(), Role::GOOD];
    let mut call = Theatre::open(Limits::default(), &cast, AT_ONCE);
    call.run(220 * SECOND);
    call.at("Judge(2, Suspect)");
    call.refuse("Judge(3, Guilty)");
    call.at("Acquire { class: Rotation, elsewhere: false, retry: false }");
    call.at("rotated");
    // A persona that one server refused at first, and another in its first rotation.
    let cast = [refuses.clone(), Role::GOOD, refuses, Role::GOOD];
    let mut call = Theatre::open(Limits::default(), &cast, AT_ONCE);
    call.run(220 * SECOND).at("rotated");
    assert_eq!(call.machine.on_stage(), Some(4), "{:#?}", call.seen);
}

#[test]
fn no_sound_is_due_to_a_caller_who_is_away() {
    let mut call = Theatre::open(Limits::default(), &[dies_after(21 * SECOND), Role::GOOD], AT_ONCE);
    call.run(25 * SECOND);
    call.caller_speaks = false;
    call.input(Input::Client(ClientInput::Closed { clean: false }));
    call.run(18 * SECOND);
    call.input(Input::Attached(super::detached::resume_terms()));
    call.caller_speaks = true;
    call.run(5 * SECOND);
    let (_, told) = call.seen.iter().find(|(_, line)| line.starts_with("recovered")).expect("it is back");
    let gap_ms: u64 = told.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(gap_ms < 7_000, "5 s of handshake, not 18 s of absence: {told}");
}

#[test]
fn a_caller_who_is_away_does_not_hold_two_slots() {
    // The next one listens from 194 s on, and the one on stage speaks on and on.
    let mut call = Theatre::open(Limits::default(), &[endless()], AT_ONCE);
    call.run(190 * SECOND);
    call.caller_speaks = false;
    call.input(Input::Client(ClientInput::Closed { clean: false }));
    call.run(15 * SECOND);
    assert_eq!((call.open_servers(), call.machine.on_stage()), (1, Some(2)), "{:#?}", call.seen);
}

#[test]
fn a_restart_that_becomes_a_failover_is_told_as_one() {
    let refuses = Role { handshake: None, ..Role::GOOD };
    let mut call = Theatre::open(Limits::default(), &[Role::GOOD, refuses, Role::GOOD], ALONE);
    call.run(260 * SECOND);
    let told = ["rotating", "recovering lost", "recovered"].map(|line| call.at(line));
    assert!(told.is_sorted(), "{told:?}");
    call.refuse("rotated");
}

#[test]
fn a_caller_told_of_a_slow_server_is_told_that_the_next_one_is_better() {
    let slow = Role { slow: true, ..Role::GOOD };
    let mut call = Theatre::open(Limits::default(), &[slow, Role::GOOD], AT_ONCE);
    call.run(400 * SECOND);
    let (degraded, restored) = (call.at("degraded"), call.at("restored"));
    assert!(degraded < call.at("rotated") && restored > call.at("rotated"), "{degraded} and {restored}");
    assert_eq!(call.count("restored"), 1);
}

#[test]
fn a_caller_who_is_muted_is_pausing() {
    let mut call = Theatre::open(Limits::default(), &[Role::GOOD], ALONE);
    call.caller_speaks = false;
    call.run(250 * SECOND);
    let rotating = call.at("rotating");
    assert!((226_900..227_700).contains(&rotating), "in the first pause, not when the window is full: {rotating}");
}

#[test]
fn nothing_is_prepared_for_a_window_that_the_call_does_not_fill() {
    let short = Limits { max_duration: 236 * SECOND, ..Limits::default() };
    let mut call = Theatre::open(short, &[Role::GOOD], AT_ONCE);
    call.run(240 * SECOND).refuse("Acquire { class: Rotation");
    call.refuse("expiring Persona");
    // A drain that begins while the next server listens.
    let mut call = Theatre::open(Limits::default(), &[endless()], AT_ONCE);
    call.run(200 * SECOND);
    assert_eq!(call.open_servers(), 2);
    call.input(Input::Drain(call.now + 20 * SECOND));
    assert_eq!((call.open_servers(), call.machine.on_stage()), (1, Some(1)));
    call.run(15 * SECOND).refuse("ended");
    // A restart costs 6 s of the 11 s that are left.
    let short = Limits { max_duration: 238 * SECOND, ..Limits::default() };
    let mut call = Theatre::open(short, &[Role::GOOD], ALONE);
    call.run(250 * SECOND).refuse("rotating");
}

#[test]
fn a_server_that_is_silent_again_and_again_leaves_the_stage() {
    let mut call = Theatre::open(Limits::default(), &[Role { stutters: true, ..Role::GOOD }, Role::GOOD], AT_ONCE);
    call.run(90 * SECOND);
    call.at("Judge(1, Failed)");
    assert_eq!(call.machine.on_stage(), Some(3), "the second look for another server is not broken off");
    assert_eq!((call.count("recovering"), call.count("recovered")), (2, 2), "{:#?}", call.seen);
    assert_eq!(
        call.at("Acquire { class: Failover, elsewhere: true, retry: true }"),
        call.seen.iter().filter(|(_, line)| line.starts_with("recovering")).nth(1).unwrap().0
    );
}

#[test]
fn a_slot_that_is_refused_for_now_is_asked_for_again() {
    let spent: Pool = |class, retry| match (class, retry) {
        (Class::Failover, true) => Err(NoSlot::RetriesSpent),
        _ => Ok(10 * MS),
    };
    let cast = [dies_after(40 * SECOND), Role { dies: Some((2 * SECOND, UpstreamEnd::HungUp)), ..Role::GOOD }];
    let mut call = Theatre::open(Limits::default(), &cast, spent);
    call.run(51 * SECOND);
    call.words(2, " Hi.");
    call.run(60 * SECOND);
    assert!(call.count("Acquire { class: Failover, elsewhere: true, retry: true") > 3, "{:#?}", call.seen);
    call.run(60 * SECOND).at("ended upstream_lost");
}

#[test]
fn servers_that_fall_silent_one_after_the_other_are_counted_like_those_that_die() {
    // Each has its say for 8 s, and gives way to the next one.
    let mut call = Theatre::open(Limits::default(), &[hangs(8 * SECOND, 900 * SECOND)], AT_ONCE);
    for _ in 0..400 {
        call.run(500 * MS);
        if let Some(attempt) = call.machine.on_stage() {
            call.words(attempt, " Hi.");
        }
    }
    // Nobody is looked for whose turn would not come.
    assert_eq!(call.count("OpenUpstream"), 3, "{:#?}", call.seen);
    call.at("ended upstream_lost");
    assert_eq!(call.open_servers(), 0);
}

#[test]
fn good_service_forgives_earlier_losses() {
    // Two die early; the third serves to the end of its window, and the fourth dies early again.
    let cast = [dies_after(5 * SECOND), dies_after(6 * SECOND), Role::GOOD, dies_after(5 * SECOND), Role::GOOD];
    let mut call = Theatre::open(Limits::default(), &cast, AT_ONCE);
    for _ in 0..600 {
        call.run(500 * MS);
        if let Some(attempt) = call.machine.on_stage() {
            call.words(attempt, " Hi.");
        }
    }
    assert_eq!(call.machine.on_stage(), Some(5), "{:#?}", call.seen);
    call.refuse("ended");
}

#[test]
fn what_is_asked_in_vain_is_not_asked_again_at_once_whatever_is_set() {
    let never: Pool = |class, retry| if retry { Err(NoSlot::RetriesSpent) } else { AT_ONCE(class, retry) };
    let retry = RetrySettings { pause: Duration::ZERO, longest_pause: Duration::ZERO, ..RetrySettings::default() };
    let limits = Limits { retry, ..Limits::default() };
    let refuses = Role { handshake: None, ..Role::GOOD };
    let mut call = Theatre::open(limits, &[dies_after(40 * SECOND), refuses], never);
    call.run(120 * SECOND).at("ended upstream_lost");
    let asked = call.count("Acquire { class: Failover");
    assert!((100..310).contains(&asked), "at most five times a second for a minute: {asked}");
}

#[test]
fn a_server_that_is_gone_when_its_slot_begins_anew_is_waited_for() {
    let gone = Role { unreachable: true, ..Role::GOOD };
    let mut call = Theatre::open(Limits::default(), &[Role::GOOD, gone.clone(), gone.clone(), gone, Role::GOOD], ALONE);
    call.run(300 * SECOND);
    assert_eq!(call.machine.on_stage(), Some(5), "{:#?}", call.seen);
    call.refuse("ended");
}

#[test]
fn a_call_that_ends_while_it_tells_of_a_loss_asks_for_nothing_more() {
    let (mut ended_by_the_loss, mut asked) = (0, 0);
    for events in 240..260 {
        let mut call = Theatre::open(Limits::default(), &[dies_after(40 * SECOND), Role::GOOD], AT_ONCE);
        call.run(44_500 * MS);
        // A caller who reads nothing, and whose queue is nearly full of what may not be dropped.
        call.reads = false;
        for n in 0..events {
            call.input(Input::Client(ClientInput::Event(ClientEvent::Ping { id: n.to_string() })));
        }
        let before = call.machine.phase_name();
        call.run(600 * MS);
        if (before, call.machine.phase_name()) == ("streaming", "closing") {
            ended_by_the_loss += 1;
            call.run(30 * SECOND).at("server 1 dies");
            assert_eq!(call.open_servers(), 0, "{:#?}", call.seen);
            asked += call.count("Acquire { class: Failover");
        }
    }
    // With room for that one event it asks, and ends with the next.
    assert!(ended_by_the_loss > asked, "{ended_by_the_loss}, {asked}");
}

#[test]
fn a_third_server_that_is_silent_for_a_while_may_go_on() {
    let cast = [dies_after(5 * SECOND), dies_after(5 * SECOND), hangs(8 * SECOND, 12 * SECOND)];
    let mut call = Theatre::open(Limits::default(), &cast, AT_ONCE);
    for _ in 0..160 {
        call.run(500 * MS);
        if let Some(attempt) = call.machine.on_stage() {
            call.words(attempt, " Hi.");
        }
    }
    assert_eq!((call.machine.on_stage(), call.count("OpenUpstream")), (Some(3), 3), "{:#?}", call.seen);
    assert_eq!((call.count("recovering"), call.count("recovered")), (3, 3));
}

#[test]
fn who_is_looked_for_in_vain_is_not_looked_for_for_ever() {
    // Silent twice within 30 s while no slot is free, and well ever after.
    let stutters = Role { stutters_until: Some(36 * SECOND), ..Role::GOOD };
    let never: Pool = |class, _| Ok(if class == Class::New { 10 * MS } else { 100_000 * SECOND });
    let mut call = Theatre::open(Limits::default(), &[stutters], never);
    call.run(150 * SECOND);
    assert_eq!((call.count("recovering"), call.count("recovered")), (2, 2), "{:#?}", call.seen);
    let last = call.seen.iter().rfind(|(_, line)| line.starts_with("recovered")).unwrap().0;
    assert!(
        (last + 29_000..last + 31_000).contains(&call.seen.iter().rfind(|(_, line)| line == "Withdraw").unwrap().0)
    );
    assert_eq!(call.machine.on_stage(), Some(1));
}

#[test]
fn a_quota_that_is_booked_by_the_minute_delays_no_rotation() {
    let mut call = Theatre::with_quota(60 * SECOND, Limits::default(), &[Role::GOOD], AT_ONCE);
    call.run(700 * SECOND);
    let prepared = call.at("Acquire { class: Rotation");
    assert!((5_000 + 182_000 - 500..5_000 + 182_000 + 500).contains(&prepared), "as without one: {prepared}");
    assert_eq!(call.count("rotated"), 3, "{:#?}", call.seen);
    call.refuse("ended");
}
