//! Providers that forget, say nothing or say the wrong thing, and machines that never get ready.

use super::{world::*, *};

#[test]
fn a_stop_that_is_lost_is_asked_for_again() {
    let mut world = World::awake();
    world.stubborn = true;
    world.tell(Input::Sleep);
    world.pass(MINUTE * 3);
    assert_eq!((world.life.state(), world.power()), (State::FallingAsleep, PowerState::Running));
    assert!((3..=4).contains(&world.stops), "once a minute, about: {}", world.stops);
    world.stubborn = false;
    world.pass(MINUTE * 2);
    assert_eq!((world.life.state(), world.power()), (State::Asleep, PowerState::Stopped));
}

#[test]
fn a_machine_that_does_not_stop_is_used_by_whoever_waits() {
    let mut world = World::awake();
    world.stubborn = true;
    world.tell(Input::Sleep);
    world.tell(Input::Wake(Duration::ZERO));
    world.tell(Input::Used(true));
    assert_eq!(world.count(|effect| *effect == Effect::Delayed), 1, "others are called meanwhile");
    world.pass(MINUTE * 2);
    assert!(world.serves && matches!(world.life.state(), State::Ready { .. }), "{:#?}", world.seen);
}

#[test]
fn a_provider_that_never_says_what_a_machine_does_is_enough() {
    let mut world = World::new(PowerState::Stopped, policy());
    world.silent = true;
    let mut world = World { life: Lifecycle::new(policy(), world.now), seen: Vec::new(), ..world };
    world.settle();
    world.pass(MINUTE * 10);
    assert_eq!((world.life.state(), world.starts), (State::Unknown, 0), "nobody wants it");
    world.tell(Input::Wake(Duration::ZERO));
    world.tell(Input::Used(true));
    world.pass(MINUTE * 2);
    assert!(world.serves, "{:#?}", world.seen);
    assert_eq!(world.starts, 1);
    world.tell(Input::Used(false));
    world.pass(MINUTE * 20);
    assert_eq!((world.stops, world.power(), world.life.state()), (1, PowerState::Stopped, State::Asleep));
    assert_eq!(world.count(|effect| *effect == Effect::Off), 0, "nothing is proven");
    world.tell(Input::Used(true));
    world.pass(MINUTE * 2);
    assert!(world.serves && world.starts == 2, "{:#?}", world.seen);
}

#[test]
fn a_machine_that_runs_and_never_answers_is_not_paid_for_for_ever() {
    let world = World { answers_at: None, ..World::new(PowerState::Running, policy()) };
    let mut world = World { life: Lifecycle::new(policy(), world.now), seen: Vec::new(), ..world };
    world.settle();
    world.pass(MINUTE * 10);
    assert_eq!((world.stops, world.power()), (1, PowerState::Stopped), "{:#?}", world.seen);
    assert_eq!(world.count(|effect| matches!(effect, Effect::Fails(WakeFailure::Deadline, _))), 1);
    assert_eq!(world.life.runs(), Some(false));
    world.tell(Input::Used(true));
    world.pass(MINUTE * 4);
    assert!(world.serves, "a start cures it: {:#?}", world.seen);
}

#[test]
fn what_never_gets_ready_is_tried_less_and_less_often() {
    let mut world = World::asleep();
    world.loads = MINUTE * 600;
    world.tell(Input::Wake(MINUTE * 120));
    world.pass(MINUTE * 8 + SECOND * 10);
    let State::Failed { why: WakeFailure::Deadline, until } = world.life.state() else {
        panic!("{:?}", world.life.state())
    };
    assert!(until > world.now + SECOND * 40 && world.life.runs() == Some(false), "told, and off");
    world.pass(MINUTE * 112);
    // Eight minutes each, and pauses of 1, 2, 4, 8, 8, ...
    assert!((8..=9).contains(&world.starts), "{}", world.starts);
    world.loads = SECOND * 20;
    world.tell(Input::Wake(MINUTE * 30));
    world.pass(MINUTE * 20);
    assert!(world.serves, "{:#?}", world.seen);
}

#[test]
fn a_machine_that_is_no_more_takes_no_calls() {
    let mut world = World::awake();
    world.trouble = Some(Trouble::NotFound);
    world.pass(MINUTE * 2);
    assert_eq!((world.serves, world.stops), (false, 0));
    world.tell(Input::Used(true));
    world.pass(SECOND);
    assert_eq!(world.count(|effect| matches!(effect, Effect::Fails(WakeFailure::NotFound, _))), 1);
}

#[test]
fn a_pool_that_keeps_a_machine_is_not_asked_without_a_pause() {
    let mut world = World::awake();
    world.keeps = true;
    world.tell(Input::Sleep);
    world.pass(SECOND * 21);
    assert_eq!(world.count(|effect| *effect == Effect::Retire), 5, "every 5 s");
    world.keeps = false;
    world.pass(SECOND * 11);
    assert_eq!(world.life.state(), State::Asleep);
}

#[test]
fn whoever_waits_for_a_machine_of_which_nothing_is_known_is_told_in_time() {
    let mut world = World::new(PowerState::Stopped, policy());
    world.trouble = Some(Trouble::Passing);
    let mut world = World { life: Lifecycle::new(policy(), world.now), ..world };
    world.settle();
    world.pass(MINUTE);
    world.tell(Input::Wake(Duration::ZERO));
    world.tell(Input::Used(true));
    assert_eq!(world.count(|effect| *effect == Effect::Delayed), 1);
    world.pass(MINUTE * 8);
    assert_eq!(world.count(|effect| matches!(effect, Effect::Fails(..))), 1, "{:#?}", world.seen);
    assert_eq!(world.life.state(), State::Unknown);
}

#[test]
fn a_provider_that_wants_to_be_left_alone_for_an_hour_is() {
    let mut world = World::asleep();
    world.trouble = Some(Trouble::RateLimited(Some(MINUTE * 60)));
    world.tell(Input::Used(true));
    world.pass(MINUTE * 59);
    assert_eq!(world.starts, 1);
    assert_eq!(world.count(|effect| matches!(effect, Effect::Fails(WakeFailure::Deadline, _))), 1, "but told in time");
    world.trouble = None;
    world.pass(MINUTE * 4);
    assert!(world.serves, "{:#?}", world.seen);
}

#[test]
fn what_others_start_after_a_stop_of_ours_is_theirs() {
    let mut world = World::new(PowerState::Stopped, Policy { warm_up: true, ..policy() });
    world.tell(Input::Wake(MINUTE));
    world.pass(MINUTE * 30);
    assert_eq!((world.life.state(), world.rehearsals), (State::Asleep, 1));
    (world.power, world.answers_at) = (PowerState::Running, Some(world.now));
    world.pass(MINUTE * 2);
    assert!(world.serves);
    assert_eq!(world.rehearsals, 1, "somebody may talk there");
    assert_eq!(world.count(|effect| matches!(effect, Effect::Woke(_))), 1, "that was no wake of ours");
}

#[test]
fn machines_that_are_refused_together_do_not_come_back_together() {
    let starts = |jitter: f64| {
        let mut world = World::asleep();
        world.life = Lifecycle::new(policy(), world.now).jittered(jitter);
        world.settle();
        world.trouble = Some(Trouble::Capacity(None));
        world.tell(Input::Used(true));
        world.pass(MINUTE * 8);
        let starts = world.seen.iter().filter(|(_, effect)| *effect == Effect::Start);
        starts.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let (one, other) = (starts(0.1), starts(0.6));
    assert_eq!(one[0], other[0]);
    let together = one.iter().filter(|at| other.contains(at)).count();
    assert!(together <= one.len() / 3, "{one:?} {other:?}");
    assert!(one.windows(2).all(|two| two[1] - two[0] <= 60), "never longer than the longest pause: {one:?}");
}
