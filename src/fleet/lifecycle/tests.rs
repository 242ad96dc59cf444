//! Scripts of one machine's life, and random days against the rules.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::fleet::provider::PowerState;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn policy() -> Policy {
    Policy {
        idle: MINUTE * 10,
        min_awake: MINUTE * 5,
        wake_deadline: MINUTE * 8,
        pause: SECOND * 2,
        longest_pause: MINUTE,
        reconcile: MINUTE,
        probe: SECOND,
        look: SECOND * 5,
        warm_up: false,
        prior: Prior { median: MINUTE, p90: MINUTE * 3 },
    }
}

/// A provider's machine, its model server and the pool.
struct World {
    life: Lifecycle,
    now: Instant,
    start: Instant,
    /// What the provider's machine does.
    power: PowerState,
    /// From a start until the provider says that it runs, and from then until its server answers.
    boots: Duration,
    loads: Duration,
    on_at: Option<Instant>,
    answers_at: Option<Instant>,
    /// What the provider says instead of doing what it is asked.
    trouble: Option<Trouble>,
    /// How long each answer takes, and what is not answered yet.
    answers_in: Duration,
    asked: Vec<(Instant, Effect)>,
    /// Calls and those who wait, and whether the pool has let go of the machine.
    used: bool,
    retired: bool,
    serves: bool,
    seen: Vec<(u64, Effect)>,
    starts: u32,
    stops: u32,
    /// When it was last used or wanted.
    wanted_at: Instant,
    /// Calls to its server hang: it is stuck.
    stuck: bool,
    restarts: u32,
    rehearsals: u32,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn new(power: PowerState, policy: Policy) -> World {
        let now = Instant::now();
        let mut world = World {
            life: Lifecycle::new(policy, now),
            now,
            start: now,
            power,
            boots: SECOND * 30,
            loads: SECOND * 20,
            on_at: None,
            answers_at: (power == PowerState::Running).then_some(now),
            trouble: None,
            answers_in: Duration::ZERO,
            asked: Vec::new(),
            used: false,
            retired: false,
            serves: false,
            seen: Vec::new(),
            starts: 0,
            stops: 0,
            wanted_at: now,
            stuck: false,
            restarts: 0,
            rehearsals: 0,
        };
        world.settle();
        world
    }

    /// A machine that sleeps.
    fn asleep() -> World {
        let world = World::new(PowerState::Stopped, policy());
        assert_eq!(world.life.state(), State::Asleep);
        world
    }

    /// One that has just woken.
    fn awake() -> World {
        let mut world = World::asleep();
        world.tell(Input::Wake(WakeReason::Request, Duration::ZERO));
        world.tell(Input::Wake(WakeReason::Request, MINUTE));
        world.pass(MINUTE);
        assert!(matches!(world.life.state(), State::Ready { .. }), "{:?} {:#?}", world.life.state(), world.seen);
        world
    }

    fn tell(&mut self, input: Input) {
        match input {
            Input::Used(used) => self.used = used,
            Input::Wake(_, hold) => self.wanted_at = self.wanted_at.max(self.now + hold),
            _ => {}
        }
        if self.used {
            self.wanted_at = self.wanted_at.max(self.now);
        }
        self.life.handle(input, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(effect) = self.life.poll_effect() {
            let at = (self.now - self.start).as_secs();
            self.seen.push((at, effect));
            match effect {
                Effect::Serves | Effect::ServesAnew => (self.serves, self.retired) = (true, false),
                Effect::Off | Effect::Away | Effect::Fails(..) | Effect::RestartFails(..) | Effect::Wakes(_) => {
                    assert!(!self.used || !self.serves || self.power() != PowerState::Running, "taken from a call");
                    self.serves = false;
                }
                Effect::Delayed => assert!(!self.serves, "it was not started"),
                Effect::Woke(_) | Effect::Restarts(_) | Effect::Restarted(_) => {}
                question => self.is_asked(question),
            }
        }
    }

    /// Something is asked, which is answered at once or later.
    fn is_asked(&mut self, effect: Effect) {
        let of_provider =
            |effect: &Effect| matches!(effect, Effect::Start | Effect::Stop | Effect::Look | Effect::Restart);
        let under_way = self.asked.iter().find(|(_, other)| of_provider(other) && of_provider(&effect));
        assert!(under_way.is_none(), "{effect:?} while the provider has not answered {under_way:?}");
        if self.answers_in.is_zero() || matches!(effect, Effect::Retire | Effect::Vacate { .. }) {
            let answer = self.answer(effect);
            self.life.handle(answer, self.now);
        } else {
            self.asked.push((self.now + self.answers_in, effect));
        }
    }

    /// What is asked is done, and answered.
    fn answer(&mut self, effect: Effect) -> Input {
        match effect {
            Effect::Start => Input::Started(self.start_machine()),
            Effect::Stop => Input::Stopped(self.stop_machine()),
            Effect::Look => Input::Seen(self.trouble.map_or(Ok(self.power()), Err)),
            Effect::Probe => Input::Probed(self.answers_at.is_some_and(|at| self.now >= at)),
            Effect::Retire => {
                // In one step, as the pool does it.
                self.retired = !self.used;
                self.serves &= self.used;
                Input::Retired(!self.used)
            }
            Effect::Vacate { stuck } => {
                let may = !self.used && (!stuck || self.stuck);
                self.serves &= !may;
                Input::Retired(may)
            }
            Effect::Restart => Input::Restarted(self.restart_machine()),
            Effect::Rehearse => {
                self.rehearsals += 1;
                assert!(!self.serves, "no caller gets between");
                Input::Rehearsed(!self.stuck && self.answers_at.is_some_and(|at| self.now >= at))
            }
            told => panic!("{told:?} is no question"),
        }
    }

    fn power(&mut self) -> PowerState {
        if self.power == PowerState::Starting && self.on_at.is_some_and(|at| self.now >= at) {
            self.power = PowerState::Running;
        }
        self.power
    }

    fn start_machine(&mut self) -> Result<(), Trouble> {
        self.starts += 1;
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        if matches!(self.power(), PowerState::Stopped | PowerState::Failed) {
            self.power = PowerState::Starting;
            self.on_at = Some(self.now + self.boots);
            self.answers_at = Some(self.now + self.boots + self.loads);
        }
        Ok(())
    }

    fn stop_machine(&mut self) -> Result<(), Trouble> {
        self.stops += 1;
        assert!(!self.used || !self.serves, "stopped under a call");
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        (self.power, self.on_at, self.answers_at, self.stuck) = (PowerState::Stopped, None, None, false);
        Ok(())
    }

    fn restart_machine(&mut self) -> Result<(), Trouble> {
        self.restarts += 1;
        assert!(!self.used || !self.serves, "restarted under a call");
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        (self.power, self.stuck) = (PowerState::Starting, false);
        self.on_at = Some(self.now + self.boots);
        self.answers_at = Some(self.now + self.boots + self.loads);
        Ok(())
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        loop {
            let answered = self.asked.iter().map(|(at, _)| *at).min();
            let Some(at) = [self.life.deadline(), answered].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            match self.asked.iter().position(|(at, _)| *at <= self.now) {
                Some(first) => {
                    let (_, effect) = self.asked.remove(first);
                    let answer = self.answer(effect);
                    self.tell(answer);
                }
                None => self.tell(Input::Tick),
            }
            steps += 1;
            assert!(steps < 20_000, "a deadline that does nothing: {:?}", self.life);
        }
        self.now = end;
    }

    fn count(&self, wanted: fn(&Effect) -> bool) -> usize {
        self.seen.iter().filter(|(_, effect)| wanted(effect)).count()
    }
}

#[test]
fn a_machine_wakes_for_a_call_with_one_request_however_many_ask() {
    let mut world = World::asleep();
    world.tell(Input::Used(true));
    for _ in 0..20 {
        world.tell(Input::Wake(WakeReason::Call, SECOND));
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
fn it_stays_awake_for_its_least_time_for_a_hold_and_in_its_hours() {
    let mut world = World::new(PowerState::Running, Policy { idle: SECOND * 30, ..policy() });
    assert!(world.serves, "found running, and adopted");
    world.pass(MINUTE * 5 - SECOND * 10);
    assert!(world.serves, "the least time");
    world.tell(Input::Wake(WakeReason::Hint, MINUTE * 3));
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
    world.tell(Input::Wake(WakeReason::Request, MINUTE * 60));
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
    world.tell(Input::Wake(WakeReason::Request, SECOND));
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

#[test]
fn a_start_that_is_not_answered_yet_is_not_overtaken_by_the_stop_that_takes_it_back() {
    let mut world = World::asleep();
    world.answers_in = SECOND * 5;
    world.tell(Input::Wake(WakeReason::Request, MINUTE * 30));
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
    world.tell(Input::Wake(WakeReason::Request, SECOND));
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
    world.tell(Input::Wake(WakeReason::Request, MINUTE));
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
    world.tell(Input::Wake(WakeReason::Request, MINUTE * 30));
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

/// A hundred thousand random steps.
#[test]
fn random_lives_keep_the_rules() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let power = [PowerState::Stopped, PowerState::Running, PowerState::Starting][rng.random_range(0..3)];
        let mut world = World::new(power, Policy { warm_up: seed % 2 == 0, ..policy() });
        world.on_at = Some(world.now);
        let mut since_healthy = world.now;
        for step in 0..500 {
            match rng.random_range(0..100) {
                0..10 => world.tell(Input::Used(true)),
                10..25 => world.tell(Input::Used(false)),
                25..30 => world.tell(Input::Wake(WakeReason::Request, SECOND * rng.random_range(0..1_000))),
                30..33 => world.tell(Input::Sleep),
                33..36 => world.tell(Input::KeepWarm(rng.random_ratio(1, 3))),
                36..44 => {
                    world.trouble = match rng.random_range(0..8) {
                        0 => Some(Trouble::Passing),
                        1 => Some(Trouble::Capacity(None)),
                        2 => Some(Trouble::RateLimited(Some(SECOND * 7))),
                        3 => Some(Trouble::Auth),
                        _ => None,
                    };
                    since_healthy = world.now;
                }
                44..47 => world.loads = SECOND * rng.random_range(0..700),
                47..49 => (world.power, world.answers_at) = (PowerState::Stopped, None),
                49..51 => (world.power, world.answers_at) = (PowerState::Running, Some(world.now)),
                // Answers to what is not asked change nothing.
                51..53 if world.asked.is_empty() => world.life.handle(Input::Probed(true), world.now),
                53..55 => world.life.handle(Input::Retired(true), world.now),
                55..57 if world.asked.is_empty() => world.life.handle(Input::Started(Err(Trouble::Auth)), world.now),
                62..65 => world.tell(Input::Restart),
                65..68 => {
                    world.stuck = !world.used;
                    world.tell(Input::Stuck);
                }
                68..70 => {
                    // Another process than the one that calls were on.
                    world.serves = false;
                    world.tell(Input::Moved);
                }
                57..62 => world.answers_in = SECOND * [0, 0, 1, 5, 12][rng.random_range(0..5)],
                _ => world.pass(SECOND * rng.random_range(0..200)),
            }
            world.settle();
            let healthy = world.trouble.is_none() && world.now - since_healthy > MINUTE * 30;
            let state = world.life.state();
            let given_up = matches!(state, State::Failed { why: WakeFailure::Stuck, .. });
            if healthy && world.used && world.loads < MINUTE * 5 && !given_up {
                (world.loads, world.stuck) = (SECOND * 20, false);
                world.pass(MINUTE * 12);
                assert!(world.serves, "seed {seed}, step {step}: whoever waits is served: {state:?}");
            }
        }
    }
}
