//! Random lives against the rules.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{world::*, *};

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
                25..30 => world.tell(Input::Wake(SECOND * rng.random_range(0..1_000))),
                30..33 => world.tell(Input::Sleep),
                33..36 => world.tell(Input::KeepWarm(rng.random_ratio(1, 3))),
                36..44 => {
                    world.trouble = match rng.random_range(0..8) {
                        0 => Some(Trouble::Passing),
                        1 => Some(Trouble::Capacity(None)),
                        2 => Some(Trouble::RateLimited(Some(SECOND * 7))),
                        3 => Some(Trouble::Auth),
                        4 => Some(Trouble::NotFound),
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
                70..72 => world.silent = rng.random_ratio(1, 2),
                72..74 => world.stubborn = rng.random_ratio(1, 2),
                57..62 => world.answers_in = SECOND * [0, 0, 1, 5, 12][rng.random_range(0..5)],
                _ => world.pass(SECOND * rng.random_range(0..200)),
            }
            world.settle();
            let healthy = world.trouble.is_none() && world.now - since_healthy > MINUTE * 30;
            let state = world.life.state();
            let given_up = matches!(state, State::Failed { why: WakeFailure::Stuck, .. });
            if healthy && world.used && world.loads < MINUTE * 5 && !given_up {
                (world.loads, world.stuck, world.stubborn, world.silent) = (SECOND * 20, false, false, false);
                world.pass(MINUTE * 12);
                assert!(world.serves, "seed {seed}, step {step}: whoever waits is served: {state:?}");
            }
        }
    }
}
