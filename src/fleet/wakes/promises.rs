//! Whether machines wake as quickly as was said, in virtual time: thousands of wakes of several kinds of machines.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;

/// Machines of each kind.
const MACHINES: u64 = 400;
/// Wakes of each machine.
const WAKES: usize = 51;

/// How long a machine takes.
#[derive(Clone, Copy, Debug)]
enum Machine {
    /// 45 s but for a tenth.
    Steady,
    /// A minute in the middle, and two thirds of all wakes within a factor of 1.5 of it.
    Lognormal,
    /// A minute in the middle with a long tail: two thirds within a factor of 2.5.
    LongTailed,
    /// 25 s where the image is there, and 3 minutes where it has to be fetched: one wake in five.
    ColdImage,
    /// The same with one wake in twelve.
    RarelyCold,
    /// Every wake is some percent longer or shorter than the one before, at random, besides what each has of its own.
    Drifting,
    /// 40 s, and from the 26th wake on 80 s: the image has grown.
    Grown,
}

impl Machine {
    const ALL: [Self; 7] = [
        Self::Steady,
        Self::Lognormal,
        Self::LongTailed,
        Self::ColdImage,
        Self::RarelyCold,
        Self::Drifting,
        Self::Grown,
    ];

    /// The lengths of its wakes.
    fn wakes(self, rng: &mut SmallRng) -> Vec<Duration> {
        let mut drift = 0.0;
        let length = |n| {
            drift += 0.05 * normal(rng);
            let around = |seconds: f64, spread: f64, rng: &mut SmallRng| seconds * (spread * normal(rng)).exp();
            let cold = |one_in: u32, rng: &mut SmallRng| rng.random_ratio(1, one_in);
            let seconds = match self {
                Self::Steady => around(45.0, 0.1, rng),
                Self::Lognormal => around(60.0, 0.4, rng),
                Self::LongTailed => around(60.0, 0.9, rng),
                Self::ColdImage if cold(5, rng) => around(180.0, 0.15, rng),
                Self::RarelyCold if cold(12, rng) => around(180.0, 0.15, rng),
                Self::ColdImage | Self::RarelyCold => around(25.0, 0.1, rng),
                Self::Drifting => around(60.0 * drift.exp(), 0.2, rng),
                Self::Grown => around(if n < 25 { 40.0 } else { 80.0 }, 0.2, rng),
            };
            Duration::from_secs_f64(seconds.clamp(1.0, 900.0))
        };
        (0..WAKES).map(length).collect()
    }
}

/// A number of the standard normal distribution (Box and Muller's way).
fn normal(rng: &mut SmallRng) -> f64 {
    let (distance, angle): (f64, f64) = (rng.random_range(f64::EPSILON..1.0), rng.random());
    (-2.0 * distance.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// What came of promises.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    kept: u32,
    made: u32,
    /// Of the seconds that were told, and of those that it took.
    told: f64,
    took: f64,
}

impl Tally {
    fn count(&mut self, told: Duration, took: Duration) {
        self.kept += u32::from(took <= told);
        self.made += 1;
        self.told += told.as_secs_f64();
        self.took += took.as_secs_f64();
    }

    fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.made += other.made;
        self.told += other.told;
        self.took += other.took;
    }

    fn share(self) -> f64 {
        f64::from(self.kept) / f64::from(self.made)
    }
}

#[test]
fn nine_of_ten_wakes_end_before_the_p90_that_was_told() {
    let prior = Prior { median: Duration::from_secs(60), p90: Duration::from_secs(180) };
    let (mut learned, mut early) = (Tally::default(), Tally::default());
    for machine in Machine::ALL {
        // By how many wakes were known: none, 1 to 4, 5 to 8, 9 to 24, 25 and more.
        let mut tallies = [Tally::default(); 5];
        for seed in 1_000..1_000 + MACHINES {
            let mut wakes = Wakes::new(prior);
            for (known, took) in machine.wakes(&mut SmallRng::seed_from_u64(seed)).into_iter().enumerate() {
                let at = [1, 5, 9, 25].iter().filter(|from| known >= **from).count();
                tallies[at].count(wakes.eta(Duration::ZERO).p90, took);
                wakes.took(took);
            }
        }
        let row = tallies.map(|tally| format!("{:5.1} % ({:.1})", tally.share() * 100.0, tally.told / tally.took));
        eprintln!("{machine:?}: {}", row.join(" | "));
        let mut known = Tally::default();
        tallies[2..].iter().for_each(|tally| known.add(*tally));
        assert!(known.share() >= 0.80, "{machine:?}: {known:?}");
        early.add(tallies[1]);
        learned.add(known);
    }
    eprintln!("all: {:.1} % of {} promises kept after five wakes", learned.share() * 100.0, learned.made);
    assert!((0.85..=0.97).contains(&learned.share()), "{learned:?}");
    assert!((0.85..=0.99).contains(&early.share()), "{early:?}");
}
