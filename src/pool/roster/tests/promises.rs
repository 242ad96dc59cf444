//! Whether waits are as long as callers were told, in virtual time: whole rushes of callers, with calls of random length.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;

const SERVERS: u32 = 3;
/// Calls of which the roster learns how long calls are, before anything is counted.
const EARLIER: usize = 60;
const CALLERS: usize = 50;

/// How long calls are.
#[derive(Clone, Copy, Debug)]
enum Lengths {
    /// Memoryless, of three minutes on average.
    Exponential,
    /// Three minutes in the middle, with a long tail.
    Lognormal,
    /// All three minutes, but for a few seconds.
    Fixed,
    /// Half of them about one minute, half about eight.
    Bimodal,
}

impl Lengths {
    const ALL: [Self; 4] = [Self::Exponential, Self::Lognormal, Self::Fixed, Self::Bimodal];

    fn draw(self, rng: &mut SmallRng) -> Duration {
        let uniform = |rng: &mut SmallRng| rng.random_range(f64::EPSILON..1.0);
        let normal =
            |rng: &mut SmallRng| (-2.0 * uniform(rng).ln()).sqrt() * (std::f64::consts::TAU * uniform(rng)).cos();
        let seconds = match self {
            Self::Exponential => -180.0 * uniform(rng).ln(),
            Self::Lognormal => 180.0 * (0.9 * normal(rng)).exp(),
            Self::Fixed => 180.0 + 5.0 * uniform(rng),
            Self::Bimodal if rng.random() => 60.0 + 10.0 * normal(rng),
            Self::Bimodal => 480.0 + 40.0 * normal(rng),
        };
        Duration::from_secs_f64(seconds.clamp(2.0, 1_800.0))
    }
}

/// How callers come.
#[derive(Clone, Copy, Debug)]
enum Arrivals {
    /// All within a minute.
    Rush,
    /// One after the other, about as fast as the servers can take them.
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes,
    HangsUp(WaiterId),
    LosesPatience(WaiterId),
}

/// What came of the promises of one day.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    kept: u32,
    broken: u32,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.broken += other.broken;
    }

    fn share(self) -> f64 {
        f64::from(self.kept) / f64::from(self.kept + self.broken)
    }
}

struct Day {
    desk: Desk,
    rng: SmallRng,
    lengths: Lengths,
    start: Instant,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    scheduled: u64,
    /// Everybody who was served, in this order.
    served: Vec<WaiterId>,
    left: Vec<WaiterId>,
}

impl Day {
    fn new(lengths: Lengths, seed: u64) -> Self {
        let mut desk = Desk::new(0);
        desk.roster = Roster::new(RosterSettings { queue_limit: 1_000, seed, ..RosterSettings::default() });
        for n in 1..=SERVERS {
            desk.tell(Input::Join(UpstreamId(n), upstream(n, 1, None)));
        }
        let (rng, start) = (SmallRng::seed_from_u64(seed), desk.now);
        let (events, served, left) = (BinaryHeap::new(), Vec::new(), Vec::new());
        Self { desk, rng, lengths, start, events, scheduled: 0, served, left }
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((time, self.scheduled, event)));
    }

    fn clock(&self) -> Duration {
        self.desk.now - self.start
    }

    /// Plays until nothing is left to happen. Of who waits, one in `impatient` leaves after a while; 0: nobody.
    fn play(&mut self, impatient: u32) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            self.desk.now = self.start + time;
            match event {
                Event::Comes => {
                    let user = self.desk.asked;
                    let mut hash = [0; 32];
                    hash[..8].copy_from_slice(&user.to_be_bytes());
                    let id = self.desk.ask(Ask::new(hash));
                    if impatient > 0 && self.rng.random_ratio(1, impatient) {
                        let patience = Duration::from_secs(self.rng.random_range(5..600));
                        self.at(time + patience, Event::LosesPatience(id));
                    }
                }
                Event::HangsUp(id) => self.desk.release(id),
                Event::LosesPatience(id) if self.desk.grant(id).is_none() => {
                    let waiting = self.desk.roster.waiting(Class::New);
                    self.desk.tell(Input::Leave(id));
                    assert_eq!(self.desk.roster.waiting(Class::New), waiting - 1, "the place is free at once");
                    self.left.push(id);
                }
                Event::LosesPatience(_) => {}
            }
            self.serve(time);
        }
    }

    /// Who was granted a slot talks for a while.
    fn serve(&mut self, time: Duration) {
        let known = self.served.len();
        let mut new: Vec<_> = self.desk.granted.keys().filter(|id| !self.served.contains(id)).copied().collect();
        new.sort_unstable();
        self.served.append(&mut new);
        for at in known..self.served.len() {
            let length = self.lengths.draw(&mut self.rng);
            self.at(time + length, Event::HangsUp(self.served[at]));
        }
    }

    /// Everybody was served in the order in which they came, but for those who left.
    fn assert_fair(&self) {
        let came: Vec<WaiterId> = (1..=self.desk.asked).map(WaiterId).filter(|id| !self.left.contains(id)).collect();
        assert_eq!(self.served, came);
        assert_eq!(self.desk.roster.waiting(Class::New), 0);
    }

    /// The day of the callers that count, after that from which the roster has learned.
    fn of(lengths: Lengths, arrivals: Arrivals, impatient: u32, seed: u64) -> (Self, Tally) {
        let mut day = Self::new(lengths, seed);
        for n in 0..EARLIER {
            day.at(Duration::from_secs(40) * u32::try_from(n).unwrap(), Event::Comes);
        }
        day.play(impatient);
        let mut at = day.clock();
        for _ in 0..CALLERS {
            at += match arrivals {
                Arrivals::Rush => Duration::from_millis(day.rng.random_range(0..2_400)),
                Arrivals::Stream => Duration::from_secs_f64(-60.0 * day.rng.random_range(f64::EPSILON..1.0_f64).ln()),
            };
            day.at(at, Event::Comes);
        }
        day.desk.ended.clear();
        let before = day.served.len();
        day.play(impatient);
        let mut tally = Tally::default();
        let granted = day.served[before..].iter().map(|id| (WaitEnd::Granted, day.desk.granted[id].2));
        let others = day.desk.ended.iter().map(|(_, end, waited)| (*end, *waited));
        for (end, waited) in granted.chain(others) {
            match waited.kept(end) {
                Some(true) => tally.kept += 1,
                Some(false) => tally.broken += 1,
                None => {}
            }
        }
        (day, tally)
    }
}

/// Two hundred days. A rush is one queue for all its callers: their promises are kept or broken together, so that one day
/// says little. Where some leave, the others come sooner than they were told.
#[test]
fn nine_of_ten_waits_end_before_the_first_p90_that_was_told() {
    let mut all = Tally::default();
    for lengths in Lengths::ALL {
        for arrivals in [Arrivals::Rush, Arrivals::Stream] {
            for impatient in [0, 6] {
                let mut sum = Tally::default();
                for seed in 0..13 {
                    let (day, tally) = Day::of(lengths, arrivals, impatient, seed);
                    day.assert_fair();
                    sum.add(tally);
                }
                eprintln!("{lengths:?} {arrivals:?}, one in {impatient} leaves: {:.1} % kept", sum.share() * 100.0);
                all.add(sum);
            }
        }
    }
    eprintln!("all: {:.1} % of {} promises kept", all.share() * 100.0, all.kept + all.broken);
    assert!((0.85..=0.95).contains(&all.share()), "{all:?}");
}
