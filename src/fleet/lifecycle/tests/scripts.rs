//! What becomes of a machine, as scripts of the domain.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{world::*, *};

#[test]
fn a_machine_wakes_for_a_call_with_one_request_however_many_ask() {
    let mut world = World::asleep();
    world.tell(Input::Used(true));
    for _ in 0..20 {
        world.tell(Input::Wake(SECOND));
        world.pass(SECOND);
    }
    world.pass(SECOND * 40);
    assert!(world.serves && matches!(world.life.state(), State::Ready { .. }), "{:#?}", world.seen);
    assert_eq!(world.starts, 1);
    let woke = world.seen.iter().find_map(|(_, effect)| match effect {
        Effect::Woke(took) => Some(took.as_secs()),
        _ => None,
    });
    assert!((50..60).contains(&woke.unwrap()), "30 s to boot and 20 s to load: {woke:?}");
}

#[test]
fn it_sleeps_when_it_was_idle_for_long_enough_and_not_before() {
    let mut world = World::awake();
    world.tell(Input::Used(true));
    world.pass(MINUTE * 60);
    assert!(world.serves, "never under a call");
    world.tell(Input::Used(false));
    world.pass(MINUTE * 10 - SECOND);
    assert!(world.serves);
    world.pass(SECOND * 20);
    assert_eq!((world.power, world.stops, world.life.state()), (PowerState::Stopped, 1, State::Asleep));
}

#[test]
fn other_idle_times_hold_for_the_machine_that_is_idle_already() {
    let mut world = World::awake();
    world.pass(MINUTE * 6);
    assert!(world.serves, "ten minutes are not over");
    world.tell(Input::Tune(Policy { idle: MINUTE * 20, ..policy() }));
    world.pass(MINUTE * 12);
    assert!(world.serves, "nor are twenty");
    world.tell(Input::Tune(Policy { idle: MINUTE, ..policy() }));
    world.pass(SECOND * 20);
    assert_eq!((world.stops, world.life.state()), (1, State::Asleep), "one is");
}

#[test]
fn it_stays_awake_for_its_least_time_for_a_hold_and_in_its_hours() {
    let mut world = World::new(PowerState::Running, Policy { idle: SECOND * 30, ..policy() });
    assert!(world.serves, "found running, and adopted");
    world.pass(MINUTE * 5 - SECOND * 10);
    assert!(world.serves, "the least time");
    world.tell(Input::Wake(MINUTE * 3));
    world.pass(MINUTE * 3 - SECOND * 10);
    assert!(world.serves, "the hold");
    world.tell(Input::KeepWarm(true));
    world.pass(MINUTE * 600);
    assert!(world.serves, "its hours");
    world.tell(Input::KeepWarm(false));
    world.pass(MINUTE);
    assert_eq!(world.life.state(), State::Asleep);
    world.tell(Input::KeepWarm(true));
    world.pass(MINUTE * 2);
    assert!(world.serves, "and wakes for them");
    world.tell(Input::KeepWarm(false));
    world.pass(MINUTE * 5);
    world.tell(Input::Wake(MINUTE * 60));
    world.tell(Input::Sleep);
    world.pass(SECOND * 10);
    assert_eq!(world.life.state(), State::Asleep, "an operator's word ends a hold");
    let mut world = World::awake();
    world.tell(Input::Used(true));
    world.tell(Input::Sleep);
    world.pass(MINUTE * 30);
    assert!(world.serves, "but no call");
    world.tell(Input::Used(false));
    world.pass(SECOND * 10);
    assert_eq!(world.life.state(), State::Asleep, "and then it is not waited for");
}

#[test]
fn a_call_that_comes_as_it_falls_asleep_is_quicker_or_wakes_it_again() {
    // The pool has the last word.
    let mut world = World::awake();
    world.used = true;
    world.pass(MINUTE * 30);
    assert!(world.serves && world.stops == 0, "the pool did not let go");
    let mut world = World::awake();
    world.trouble = Some(Trouble::Passing);
    world.pass(MINUTE * 12);
    assert_eq!(world.life.state(), State::FallingAsleep, "the provider does not answer");
    world.tell(Input::Used(true));
    world.trouble = None;
    world.pass(MINUTE * 3);
    assert!(world.serves, "stopped first, and started again: {:#?}", world.seen);
    assert_eq!(world.power(), PowerState::Running);
}

#[test]
fn refusals_of_a_provider_are_told_apart() {
    for (trouble, why, starts) in [
        (Trouble::Auth, WakeFailure::Auth, 1..=1),
        (Trouble::NotFound, WakeFailure::NotFound, 1..=1),
        (Trouble::Refused, WakeFailure::Refused, 1..=1),
        // Until the deadline of 8 minutes, with pauses of 2 s to a minute; or as the provider asks.
        (Trouble::Capacity(None), WakeFailure::Capacity, 10..=15),
        (Trouble::Capacity(Some(SECOND * 30)), WakeFailure::Capacity, 15..=17),
        (Trouble::RateLimited(Some(SECOND * 60)), WakeFailure::Deadline, 8..=9),
        (Trouble::Passing, WakeFailure::Deadline, 10..=15),
    ] {
        let mut world = World::asleep();
        world.trouble = Some(trouble);
        world.tell(Input::Used(true));
        world.pass(MINUTE * 8 + SECOND * 30);
        let first =
            world.seen.iter().position(|(_, effect)| matches!(effect, Effect::Fails(found, _) if *found == why));
        let first = first.unwrap_or_else(|| panic!("{trouble:?} {:#?}", world.seen));
        let before = world.seen[..first].iter().filter(|(_, effect)| *effect == Effect::Start).count();
        assert!(starts.contains(&u32::try_from(before).unwrap()), "{trouble:?}: {before}");
        assert_eq!(world.stops, 0, "nothing was started");
        let delayed = world.seen[..first].iter().filter(|(_, effect)| *effect == Effect::Delayed).count();
        let passes = matches!(trouble, Trouble::Capacity(_) | Trouble::RateLimited(_) | Trouble::Passing);
        assert_eq!(delayed, usize::from(passes), "{trouble:?}: others are called meanwhile");
        // It is tried again after a while, as long as somebody waits.
        world.trouble = None;
        world.pass(MINUTE * 4);
        assert!(world.serves, "{trouble:?} {:#?}", world.seen);
    }
}

#[test]
fn a_machine_that_starts_and_never_gets_ready_is_stopped_again() {
    let mut world = World::asleep();
    world.loads = MINUTE * 600;
    world.tell(Input::Wake(SECOND));
    world.pass(MINUTE * 9);
    assert_eq!(world.count(|effect| matches!(effect, Effect::Fails(WakeFailure::Deadline, _))), 1);
    assert_eq!(
        (world.power, world.stops),
        (PowerState::Stopped, 1),
        "what does not get ready is paid for all the same"
    );
}

#[test]
fn what_others_do_to_the_machine_is_seen() {
    let mut world = World::awake();
    (world.power, world.answers_at) = (PowerState::Stopped, None);
    world.pass(MINUTE * 2);
    assert_eq!((world.life.state(), world.starts), (State::Asleep, 1), "somebody stopped it, and nobody needs it");
    (world.power, world.answers_at) = (PowerState::Running, Some(world.now));
    world.pass(MINUTE * 2);
    assert!(world.serves, "somebody started it");
    world.pass(MINUTE * 20);
    assert_eq!(world.life.state(), State::Asleep, "it is not left running for nobody");
    // A restart of the process finds it in any state.
    for power in [PowerState::Stopped, PowerState::Running, PowerState::Starting, PowerState::Stopping] {
        let mut world = World::new(power, policy());
        world.on_at = Some(world.now + SECOND * 5);
        world.answers_at = Some(world.now + SECOND * 20);
        world.pass(MINUTE);
        if power == PowerState::Stopping {
            assert_eq!(world.life.state(), State::FallingAsleep);
            world.power = PowerState::Stopped;
            world.pass(SECOND * 10);
        }
        let up = matches!(power, PowerState::Running | PowerState::Starting);
        assert_eq!((world.serves, world.starts, world.stops), (up, 0, 0), "{power:?} {:#?}", world.seen);
        assert!(up || world.life.state() == State::Asleep);
    }
}

#[test]
fn a_provider_that_is_not_heard_at_the_start_costs_no_call_where_the_server_answers() {
    let mut world = World::new(PowerState::Running, policy());
    // As if it had begun so.
    world.trouble = Some(Trouble::Passing);
    world.life = Lifecycle::new(policy(), world.now);
    world.serves = false;
    world.settle();
    world.pass(SECOND * 10);
    assert!(world.serves, "{:#?}", world.seen);
    world.pass(MINUTE * 11);
    assert_eq!(world.life.state(), State::FallingAsleep, "and it is stopped as soon as the provider is heard");
    world.trouble = None;
    world.pass(MINUTE * 2);
    assert_eq!((world.life.state(), world.power), (State::Asleep, PowerState::Stopped));
}

/// A day of calls: never asleep under a call, never idle for longer than allowed, one request a wake.
#[test]
fn a_day_of_calls_keeps_the_rules_and_saves_the_night() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut world = World::asleep();
    let (mut awake, mut used) = (Duration::ZERO, Duration::ZERO);
    for minute in 0..24 * 60_u32 {
        // Calls by day, some in the evening, none at night.
        let chance = match minute / 60 {
            9..17 => 20,
            17..22 => 3,
            _ => 0,
        };
        if world.used {
            world.tell(Input::Used(rng.random_ratio(9, 10)));
        } else if rng.random_ratio(chance, 100) {
            world.tell(Input::Used(true));
        }
        for _ in 0..60 {
            world.pass(SECOND);
            awake += SECOND * u32::from(world.power() != PowerState::Stopped);
            used += SECOND * u32::from(world.used);
            let idle = world.now.saturating_duration_since(world.wanted_at);
            assert!(!world.serves || idle <= MINUTE * 10 + SECOND * 10, "idle for {idle:?}");
        }
    }
    let wakes = world.count(|effect| matches!(effect, Effect::Woke(_)));
    assert_eq!((world.starts as usize, world.stops as usize), (wakes, wakes), "one request for each");
    assert!(used > MINUTE * 120 && awake < MINUTE * 60 * 14, "{used:?} of use in {awake:?}");
    assert!((1..20).contains(&wakes), "{wakes}");
}
