//! Model servers slower than real time, in whole conversations in virtual time: found, told, and not beyond a bound late.

use std::time::Duration;

use proptest::prelude::*;

use crate::talk::Talk;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The first finding, in seconds since the model listens.
fn found(talk: &Talk) -> Option<u64> {
    let found = talk.pace.iter().find(|(_, said)| said.starts_with("Pace { slow: true"));
    found.map(|(at, _)| at.as_secs())
}

/// What the caller was told, in seconds since the model listens.
fn told(talk: &Talk) -> Vec<(u64, &str)> {
    let told = talk.pace.iter().filter(|(_, said)| !said.starts_with("Pace"));
    told.map(|(at, said)| (at.as_secs(), said.as_str())).collect()
}

/// Speaks from beginning to end.
fn speaker(step_ms: u32) -> Talk {
    let mut talk = Talk::with_step(step_ms);
    talk.speak(0..120, 20_000, |_, spoken| Some(spoken));
    talk
}

#[test]
fn a_slow_server_is_found_within_ten_seconds_whatever_the_caller_does() {
    for step_ms in [89, 100, 160, 400] {
        let mut muted = Talk::with_step(step_ms);
        let mut lossy = Talk::with_step(step_ms);
        lossy.speak(0..12, 20_000, |n, spoken| (n % 5 > 0).then_some(spoken));
        for (who, talk) in [("speaks", &mut speaker(step_ms)), ("muted", &mut muted), ("lossy", &mut lossy)] {
            talk.run(12);
            assert_eq!(found(talk), Some(8), "{who}, {step_ms} ms");
            assert_eq!(told(talk).len(), 1, "{who}, {step_ms} ms: {:?}", told(talk));
        }
    }
}

#[test]
fn a_fifth_of_real_time_goes_on_and_is_no_more_than_two_seconds_late() {
    let mut talk = speaker(400);
    talk.run(100);
    let told = told(&talk);
    let [(8, said)] = told[..] else { panic!("{told:?}") };
    let factor: f64 = said.strip_prefix("degraded ").unwrap().parse().unwrap();
    assert!((0.17..=0.23).contains(&factor), "{factor}");
    assert_eq!(talk.lags.len(), 100);
    // 400 ms that are fed and 120 ms that wait; at a fifth of real time they are heard 2.4 s later.
    assert!(talk.lags.iter().all(|lag| *lag <= 520 * MS), "{:?}", talk.lags.iter().max());
    assert!(talk.worst_lag(0) <= 2_800 * MS, "{:?}", talk.worst_lag(0));
}

#[test]
fn a_fast_server_that_becomes_slow_in_mid_call_is_found_and_its_caller_told_when_it_is_over() {
    let mut talk = speaker(40);
    talk.run(30);
    assert_eq!((found(&talk), told(&talk)), (None, vec![]));
    talk.step = 100 * MS;
    talk.run(60);
    assert!(found(&talk).is_some_and(|at| at <= 40), "{:?}", talk.pace);
    talk.step = 40 * MS;
    talk.run(80);
    let told = told(&talk);
    assert!(matches!(told[..], [(34..=40, _), (72..=77, "restored")]), "{told:?}");
    assert!(talk.lags[79] <= 160 * MS, "{:?}", talk.lags[79]);
}

#[test]
fn one_stall_of_two_seconds_is_not_slowness() {
    for start_ms in (3_000..6_000).step_by(170) {
        for who in ["speaks", "muted"] {
            let mut talk = if who == "muted" { Talk::with_step(40) } else { speaker(40) };
            talk.stalled = start_ms * MS..(start_ms + 2_000) * MS;
            talk.run(40);
            assert_eq!((found(&talk), told(&talk)), (None, vec![]), "{who}, {start_ms} ms: {:?}", talk.pace);
        }
    }
}

/// The factors that were told and noted, each with its second.
fn factors(talk: &Talk) -> Vec<(u64, f64)> {
    let number = |said: &str| {
        let (_, after) = said.split_once("realtime_factor: ").or_else(|| said.split_once("degraded "))?;
        after.split(',').next().and_then(|number| number.parse().ok())
    };
    talk.pace.iter().filter_map(|(at, said)| Some((at.as_secs(), number(said)?))).collect()
}

#[test]
fn a_slow_server_is_spoken_of_again_once_it_was_measured_for_the_caller_who_is_back() {
    let mut talk = speaker(100);
    talk.run(22);
    talk.lose_caller(10 * SECOND);
    talk.run(60);
    let (before, after): (Vec<_>, Vec<_>) = factors(&talk).into_iter().partition(|(at, _)| *at < 32);
    assert_eq!(before.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [8, 8, 18], "{before:?}");
    assert!(after.first().is_some_and(|(at, _)| (40..=50).contains(at)), "{after:?}");
    assert!(after.iter().all(|(_, factor)| (0.75..=0.85).contains(factor)), "{after:?}");
}

/// What a caller's network does: how many of ten packets come, and how long it holds up each half second of them.
fn network() -> impl Strategy<Value = (u64, Vec<u32>)> {
    (0..=10_u64, proptest::collection::vec(prop_oneof![4 => 0..60_u32, 1 => 0..900_u32], 1..40))
}

/// For how long a caller's connection is broken, if it breaks: with the model's clock stopped in the end, or not.
fn broken() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of((0..19_000_u32).prop_map(|ms| ms * MS))
}

/// Speaks for a minute through such a network, by a clock of its own.
fn speak(talk: &mut Talk, period_us: u64, (kept, holds): &(u64, Vec<u32>)) {
    let latest = std::cell::Cell::new(Duration::ZERO);
    talk.speak(0..60, period_us, |n, spoken| {
        let hold = holds[usize::try_from(n / 25).unwrap() % holds.len()] * MS;
        latest.set(latest.get().max(spoken + hold));
        // A generator of its own, so that losses come in no rhythm.
        let comes = n.wrapping_mul(2_654_435_761) >> 7 & 0xff < kept * 26;
        comes.then_some(latest.get())
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    /// The reference is the server's own step: 81 ms for 80 are 0.988 of real time.
    #[test]
    fn no_caller_makes_a_server_look_slow(
        step_ms in 1..=81_u32,
        period_us in 19_000..21_000_u64,
        network in network(),
        (breaks_at, broken) in (0..40_u64, broken()),
    ) {
        let mut talk = Talk::with_step(step_ms);
        speak(&mut talk, period_us, &network);
        talk.run(breaks_at);
        broken.inspect(|away| talk.lose_caller(*away));
        talk.run(60);
        prop_assert_eq!((found(&talk), told(&talk)), (None, vec![]));
    }

    /// 89 ms for 80 are 0.9 of real time, 400 are 0.2.
    #[test]
    fn no_caller_hides_a_slow_server(
        step_ms in 89..=400_u32,
        from in 0..30_u64,
        network in network(),
        broken in broken(),
    ) {
        let mut talk = Talk::with_step(40);
        speak(&mut talk, 20_000, &network);
        talk.run(from);
        prop_assert_eq!(found(&talk), None);
        talk.step = step_ms * MS;
        broken.inspect(|away| talk.lose_caller(*away));
        talk.until(talk.now + 10 * SECOND);
        prop_assert!(found(&talk).is_some(), "{:?}", talk.pace);
        let factors = factors(&talk);
        prop_assert!(factors.iter().all(|(_, factor)| (0.0..1.5).contains(factor)), "{:?}", factors);
    }
}
