//! What one machine's time went into and what that costs, over the time that this process has watched it (pure).
//!
//! A machine is paid for while it is awake, whoever uses it: **awake** is **leased** (a call has a slot there) and **idle**.
//! Had it been always on, the time **asleep** would have been paid for too: that is what was saved.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::pool::endpoint::Price;

/// An amount in millionths of whatever currency all prices are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    const ONE: f64 = 1_000_000.0;
    const NANOS_PER_HOUR: u128 = 3_600_000_000_000;

    /// What so much time costs, without what is less than a millionth.
    pub fn of(price: Price, time: Duration) -> Self {
        let millionths = time.as_nanos().saturating_mul(u128::from(price.millionths())) / Self::NANOS_PER_HOUR;
        Self(u64::try_from(millionths).unwrap_or(u64::MAX))
    }

    /// The amount in millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// The amount in whole units, for JSON and metrics.
    #[expect(clippy::cast_precision_loss, reason = "exact below nine billions")]
    pub fn units(self) -> f64 {
        self.0 as f64 / Self::ONE
    }
}

impl From<Price> for Money {
    /// What an hour costs.
    fn from(price: Price) -> Self {
        Self(price.millionths())
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.units())
    }
}

/// What a machine's time went into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Awake, and at least one call had a slot there.
    pub leased: Duration,
    /// Awake, and no call: waking, warming and falling asleep are among it.
    pub idle: Duration,
    /// Not paid for.
    pub asleep: Duration,
    /// What an hour costs, if that is known.
    pub price: Option<Price>,
}

impl Statement {
    /// Paid for.
    pub fn awake(&self) -> Duration {
        self.leased.saturating_add(self.idle)
    }

    /// What it has cost; `None` without a price.
    pub fn cost(&self) -> Option<Money> {
        self.price.map(|price| Money::of(price, self.awake()))
    }

    /// What it would have cost besides, had it been always on; `None` without a price.
    pub fn saving(&self) -> Option<Money> {
        self.price.map(|price| Money::of(price, self.asleep))
    }
}

/// One machine's account. Nothing is counted before it is known for the first time whether it runs.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    so_far: Statement,
    /// Up to when that is.
    until: Instant,
    /// Whether it runs, as was last known.
    runs: Option<bool>,
    leased: bool,
}

impl Account {
    /// An empty one.
    pub fn new(price: Option<Price>, now: Instant) -> Self {
        Self { so_far: Statement { price, ..Statement::default() }, until: now, runs: None, leased: false }
    }

    /// Whether it runs from now on, in the sense that it is paid for; `None`: as was last known.
    pub fn runs(&mut self, runs: Option<bool>, now: Instant) {
        self.enter(now);
        self.runs = runs.or(self.runs);
    }

    /// Whether a call has a slot there from now on.
    pub fn leased(&mut self, leased: bool, now: Instant) {
        self.enter(now);
        self.leased = leased;
    }

    /// Everything until now.
    pub fn statement(&self, now: Instant) -> Statement {
        let mut account = *self;
        account.enter(now);
        account.so_far
    }

    fn enter(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.until);
        self.until = self.until.max(now);
        let entry = match (self.runs, self.leased) {
            (None, _) => return,
            (Some(false), _) => &mut self.so_far.asleep,
            (Some(true), true) => &mut self.so_far.leased,
            (Some(true), false) => &mut self.so_far.idle,
        };
        *entry = entry.saturating_add(passed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_with_one_call_costs_its_hours_awake_and_saves_the_others() {
        let (start, hour) = (origin(), SECOND * 3_600);
        let mut account = Account::new(Some(price("0.79")), start);
        account.runs(Some(false), start);
        account.runs(Some(true), start + hour * 8);
        account.leased(true, start + hour * 8 + SECOND * 90);
        account.leased(false, start + hour * 9);
        // It could not be asked for a while.
        account.runs(None, start + hour * 9 + SECOND);
        account.runs(Some(false), start + hour * 10);
        let day = account.statement(start + hour * 24);
        assert_eq!((day.leased, day.idle), (SECOND * 3_510, SECOND * 3_690));
        assert_eq!((day.awake(), day.asleep), (hour * 2, hour * 22));
        assert_eq!(day.cost().map(Money::millionths), Some(1_580_000));
        assert_eq!(serde_json::to_string(&day.saving()).unwrap(), "17.38");
    }

    #[test]
    fn without_a_price_there_is_no_money_and_before_anything_is_known_no_time() {
        let start = origin();
        let mut account = Account::new(None, start);
        account.leased(true, start);
        assert_eq!(account.statement(start + SECOND * 60), Statement::default());
        account.runs(Some(true), start + SECOND * 60);
        let statement = account.statement(start + SECOND * 90);
        assert_eq!((statement.leased, statement.cost(), statement.saving()), (SECOND * 30, None, None));
        assert_eq!(account.statement(start).leased, Duration::ZERO, "time does not go back");
        assert_eq!(Money::of(price("18000000000000"), Duration::MAX).millionths(), u64::MAX);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Runs(Option<bool>),
        Leased(bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![any::<Option<bool>>().prop_map(Event::Runs), any::<bool>().prop_map(Event::Leased)]
    }

    /// What is so in each second, from all that was said before it, and the sum of the seconds.
    fn by_the_second(events: &[(u64, Event)], seconds: u64) -> [u64; 3] {
        let mut sums = [0; 3];
        for second in 0..seconds {
            let said = || events.iter().rev().filter(|(at, _)| *at <= second);
            let runs = said().find_map(|(_, event)| if let Event::Runs(runs) = event { *runs } else { None });
            let leased =
                said().find_map(|(_, event)| if let Event::Leased(leased) = event { Some(*leased) } else { None });
            match (runs, leased.unwrap_or(false)) {
                (Some(true), true) => sums[0] += 1,
                (Some(true), false) => sums[1] += 1,
                (Some(false), _) => sums[2] += 1,
                (None, _) => {}
            }
        }
        sums
    }

    proptest! {
        #[test]
        fn the_account_is_the_sum_of_its_seconds(
            steps in prop::collection::vec((0_u64..40, event()), 0..40),
            millionths in 0_u64..10_000_000,
        ) {
            let start = origin();
            let at = |second: u64| start + SECOND * u32::try_from(second).unwrap();
            let price = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000).parse().unwrap();
            let mut account = Account::new(Some(price), start);
            let (mut now, mut events, mut before) = (0, Vec::new(), account.statement(start));
            let known = |events: &[(u64, Event)]| {
                events.iter().find(|(_, event)| matches!(event, Event::Runs(Some(_)))).map(|(at, _)| *at)
            };
            for (pause, event) in steps {
                now += pause;
                match event {
                    Event::Runs(runs) => account.runs(runs, at(now)),
                    Event::Leased(leased) => account.leased(leased, at(now)),
                }
                events.push((now, event));
                let later = now + 7;
                let statement = account.statement(at(later));
                let [leased, idle, asleep] = by_the_second(&events, later).map(Duration::from_secs);
                prop_assert_eq!((statement.leased, statement.idle, statement.asleep), (leased, idle, asleep));
                let watched = known(&events).map_or(0, |since| later - since);
                prop_assert_eq!(statement.awake() + statement.asleep, SECOND * u32::try_from(watched).unwrap());
                let cost = statement.awake().as_secs() * millionths / 3_600;
                prop_assert_eq!(statement.cost().map(Money::millionths), Some(cost));
                let statement = account.statement(at(now));
                prop_assert!(statement.awake() >= before.awake() && statement.asleep >= before.asleep);
                prop_assert!(statement.cost() >= before.cost() && statement.saving() >= before.saving());
                before = statement;
            }
        }
    }
}
