//! Wakes that are broken off, tries without a caller, restarts and moves.

use super::{world::*, *};

#[test]
fn a_start_that_is_not_answered_yet_is_not_overtaken_by_the_stop_that_takes_it_back() {
    let mut world = World::asleep();
    world.answers_in = SECOND * 5;
    world.tell(Input::Wake(MINUTE * 30));
    world.pass(SECOND);
    world.tell(Input::Sleep);
    assert_eq!(world.life.state(), State::FallingAsleep);
    world.pass(SECOND * 3);
    assert_eq!((world.count(|effect| *effect == Effect::Stop), world.starts), (0, 0), "the answer is waited for");
    world.pass(MINUTE);
    assert_eq!((world.life.state(), world.power(), world.starts), (State::Asleep, PowerState::Stopped, 1));
}

fn warming_up() -> World {
    World::new(PowerState::Stopped, Policy { warm_up: true, ..policy() })
}

/// How long the first wake took.
fn took(world: &World) -> Option<u64> {
    let woke =
        world.seen.iter().find_map(|(_, effect)| if let Effect::Woke(took) = effect { Some(*took) } else { None });
    woke.map(|took| took.as_secs())
}

#[test]
fn a_wake_of_ours_ends_with_a_call_without_a_caller() {
    let mut world = warming_up();
    world.tell(Input::Used(true));
    world.stuck = true;
    world.pass(MINUTE * 2);
    assert!(!world.serves && world.rehearsals > 3, "it is not over when the server answers: {:#?}", world.seen);
    assert!(world.life.eta(world.now).is_some(), "and callers are told how long it takes");
    world.stuck = false;
    world.pass(SECOND * 10);
    assert!(world.serves && took(&world).is_some_and(|took| took >= 120), "{:?}", took(&world));
    let mut world = warming_up();
    (world.stuck, world.boots) = (true, SECOND);
    world.tell(Input::Wake(SECOND));
    world.pass(MINUTE * 9);
    assert!(!world.serves && world.power == PowerState::Stopped, "what does not get ready is stopped again");
    assert_eq!(world.count(|effect| matches!(effect, Effect::Fails(WakeFailure::Deadline, _))), 1);
}

#[test]
fn nobody_is_disturbed_by_a_warm_up_that_is_not_of_a_wake_of_ours() {
    let world = World::new(PowerState::Running, Policy { warm_up: true, ..policy() });
    assert!(world.serves && world.rehearsals == 0, "found running: somebody may talk there");
    let mut world = warming_up();
    (world.boots, world.loads) = (SECOND, SECOND);
    world.answers_in = SECOND * 3;
    world.tell(Input::Wake(MINUTE));
    world.pass(SECOND * 20);
    // A process that was killed in the middle begins with what it sees.
    world.asked.clear();
    world.life = Lifecycle::new(Policy { warm_up: true, ..policy() }, world.now);
    world.rehearsals = 0;
    world.settle();
    world.pass(SECOND * 20);
    assert!(world.serves && world.rehearsals == 0 && world.starts == 1, "{:#?}", world.seen);
}

#[test]
fn a_wake_that_nobody_wants_any_more_waits_for_its_call_without_a_caller() {
    let mut world = warming_up();
    (world.boots, world.loads, world.answers_in) = (SECOND, SECOND, SECOND * 4);
    world.tell(Input::Wake(MINUTE * 30));
    for _ in 0..60 {
        if !world.asked.iter().any(|(_, effect)| *effect == Effect::Rehearse) {
            world.pass(SECOND);
        }
    }
    assert_eq!(world.life.state().code(), "warming", "{:#?}", world.seen);
    world.tell(Input::Sleep);
    world.pass(SECOND);
    assert_eq!((world.life.state(), world.stops), (State::FallingAsleep, 0));
    world.pass(SECOND * 30);
    assert_eq!((world.life.state(), world.stops, world.serves), (State::Asleep, 1, false));
}

#[test]
fn a_machine_whose_server_is_stuck_begins_anew_and_not_under_a_call() {
    let mut world = World::awake();
    world.tell(Input::Stuck);
    assert!(world.serves && world.restarts == 0, "it was not as the pool said");
    world.stuck = true;
    world.used = true;
    world.tell(Input::Stuck);
    assert!(world.serves && world.restarts == 0, "somebody uses it");
    world.used = false;
    world.tell(Input::Stuck);
    assert_eq!((world.life.state().code(), world.restarts, world.serves), ("restarting", 1, false));
    assert!(world.life.is_restarting(world.now) && world.life.eta(world.now).is_some());
    world.tell(Input::Stuck);
    world.pass(MINUTE);
    assert!(world.serves && world.restarts == 1 && !world.life.is_restarting(world.now), "{:#?}", world.seen);
    assert_eq!((world.count(|effect| *effect == Effect::ServesAnew), world.stops), (1, 0));
    assert_eq!(world.rehearsals, 1, "that it began anew is proven, whatever the settings say of warming up");
}

#[test]
fn what_is_stuck_again_and_again_is_given_up_for_a_while() {
    let mut world = World::awake();
    world.used = false;
    world.tell(Input::KeepWarm(true));
    for restarts in 1..=3 {
        world.stuck = true;
        world.tell(Input::Stuck);
        assert_eq!(world.restarts, restarts);
        world.pass(SECOND * 55);
        assert!(world.serves, "{:#?}", world.seen);
        world.stuck = true;
        if restarts > 1 {
            world.tell(Input::Stuck);
            assert_eq!(world.restarts, restarts, "not at once");
        }
        world.pass(MINUTE * 5);
    }
    world.tell(Input::Stuck);
    let State::Failed { why: WakeFailure::Stuck, .. } = world.life.state() else { panic!("{:#?}", world.seen) };
    assert_eq!((world.restarts, world.serves), (3, false));
    world.pass(MINUTE * 59);
    assert!(!world.serves);
    world.tell(Input::Restart);
    world.pass(MINUTE);
    assert!(world.serves && world.restarts == 4, "an operator may try it at any time");
    for _ in 0..4 {
        world.pass(MINUTE * 61);
        world.stuck = true;
        world.tell(Input::Stuck);
    }
    assert_eq!(world.restarts, 8, "what was long ago does not count");
}

#[test]
fn a_provider_that_cannot_restart_stops_and_starts() {
    let mut world = World::awake();
    world.stuck = true;
    world.trouble = Some(Trouble::Unsupported);
    world.tell(Input::Stuck);
    world.trouble = None;
    world.pass(MINUTE * 2);
    assert!(world.serves, "{:#?}", world.seen);
    assert_eq!((world.restarts, world.stops, world.starts), (1, 2, 2), "it was told twice to stop");
    let off = world.seen.iter().rposition(|(_, effect)| *effect == Effect::Off);
    let anew = world.seen.iter().position(|(_, effect)| *effect == Effect::ServesAnew);
    assert!(off.is_some() && off < anew, "{:#?}", world.seen);
    // One that refuses, or does not manage.
    for (trouble, loads, why) in [
        (Some(Trouble::Auth), SECOND, WakeFailure::Auth),
        (Some(Trouble::Passing), SECOND, WakeFailure::Deadline),
        (None, MINUTE * 60, WakeFailure::Deadline),
    ] {
        let mut world = World::awake();
        (world.stuck, world.trouble, world.loads) = (true, trouble, loads);
        world.tell(Input::Stuck);
        world.pass(MINUTE * 9);
        let failed =
            world.seen.iter().find(|(_, effect)| matches!(effect, Effect::RestartFails(found, _) if *found == why));
        assert!(failed.is_some() && !world.life.is_restarting(world.now), "{trouble:?} {:#?}", world.seen);
        (world.trouble, world.loads) = (None, SECOND);
        world.tell(Input::Used(true));
        world.pass(MINUTE * 5);
        assert!(world.serves, "{trouble:?} {:#?}", world.seen);
    }
}

#[test]
fn an_operator_restarts_what_nobody_uses() {
    let mut world = World::asleep();
    world.tell(Input::Restart);
    assert_eq!(world.seen.last().unwrap().1, Effect::Restarts(false), "nothing runs there");
    let mut world = World::awake();
    world.tell(Input::Used(true));
    world.tell(Input::Restart);
    assert!(world.serves && world.count(|effect| *effect == Effect::Restarts(false)) == 1, "no call is cut");
    world.tell(Input::Used(false));
    world.tell(Input::Restart);
    world.pass(MINUTE);
    assert!(world.serves && world.restarts == 1 && world.count(|effect| *effect == Effect::Restarts(true)) == 1);
}

#[test]
fn a_server_that_is_elsewhere_or_gone_is_asked_anew() {
    let mut world = World::awake();
    (world.answers_at, world.serves) = (Some(world.now + SECOND * 20), false);
    world.tell(Input::Moved);
    assert_eq!(world.life.state().code(), "warming", "another process, which may load its model still");
    world.pass(SECOND * 30);
    assert!(world.serves && world.starts == 1, "{:#?}", world.seen);
    // It ends by itself, before its server answers and after that.
    let mut world = World::asleep();
    world.tell(Input::Used(true));
    world.pass(SECOND * 40);
    (world.power, world.answers_at) = (PowerState::Failed, None);
    world.pass(MINUTE * 3);
    assert!(world.serves && world.starts == 2, "{:#?}", world.seen);
    (world.power, world.answers_at) = (PowerState::Failed, None);
    world.used = false;
    world.tell(Input::Used(true));
    world.pass(MINUTE * 4);
    assert!(world.serves && world.starts == 3, "{:#?}", world.seen);
}
