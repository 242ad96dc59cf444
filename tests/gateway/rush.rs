//! A rush of callers on few model servers: who waits is told how long, served in order, and forgotten when it leaves.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tandem::sim::caller::{self, Audio, CallEvent, CallReport, HangUp, Hearing, Wire};
use tokio::sync::mpsc;

use crate::house::{House, PATIENCE, quiet};

const SERVERS: usize = 3;
const CALLERS: usize = 50;

/// What one caller saw.
struct Seen {
    report: CallReport,
    positions: Vec<u64>,
}

/// Calls, talks for so long once the model listens, and hangs up; at once when it has to wait, if it is `hasty`.
async fn call(house: &House, user: String, talks: Duration, hasty: bool) -> Seen {
    let (events, mut heard) = mpsc::channel(1_024);
    let mut settings = house.caller(&user, Wire::Native(Audio::Opus));
    settings.hearing = Hearing::Count;
    settings.hang_up = HangUp::After(talks);
    settings.events = Some(events);
    let hang_up = Arc::clone(&settings.hang_up_now);
    let listening = async {
        let mut positions = Vec::new();
        while let Some(event) = heard.recv().await {
            if let CallEvent::Queued { position, .. } = event {
                positions.push(position);
                if hasty {
                    hang_up.notify_one();
                }
            }
        }
        positions
    };
    let (report, positions) =
        tokio::time::timeout(3 * PATIENCE, async { tokio::join!(caller::call(settings), listening) }).await.unwrap();
    Seen { report, positions }
}

/// Callers all at once, with calls of random length; one in ten leaves when it hears that it must wait.
async fn rush(house: &House, rng: &mut SmallRng, count: usize, name: &str) -> Vec<(bool, Seen)> {
    let calls = (0..count).map(|n| {
        // Memoryless, of 150 ms on average.
        let talks = Duration::from_secs_f64((-0.15 * rng.random_range(0.01..1.0_f64).ln()).max(0.02));
        let hasty = n % 10 == 9;
        async move { (hasty, call(house, format!("{name}{n}"), talks, hasty).await) }
    });
    join_all(calls).await
}

/// The promises that were kept so far, and those that were not.
fn promises(house: &House) -> [f64; 2] {
    ["yes", "no"].map(|kept| house.metric(&format!("tandem_queue_eta_kept_total{{kept=\"{kept}\"}}")).unwrap_or(0.0))
}

/// The rushes that are run, each in a house of its own: `TANDEM_TEST_RUSHES`, or one.
fn rushes() -> u64 {
    std::env::var("TANDEM_TEST_RUSHES").map_or(1, |count| count.parse().expect("a number"))
}

#[actix_web::test]
async fn fifty_callers_on_three_servers_are_served_in_order_and_told_how_long_that_takes() {
    let mut told = [0.0; 2];
    for seed in 0..rushes() {
        let house = House::new(quiet(), SERVERS).await;
        let mut rng = SmallRng::seed_from_u64(seed);
        // The first ones teach how long calls are.
        rush(&house, &mut rng, 60, "early").await;
        let before = promises(&house);
        let mut waited = 0;
        for (hasty, Seen { report, positions }) in rush(&house, &mut rng, CALLERS, "late").await {
            let left = hasty && !positions.is_empty();
            assert!(left || report.went_well(), "everybody is served who waits: {report:?}");
            assert!(positions.is_sorted_by(|earlier, later| earlier >= later), "nobody is passed: {positions:?}");
            assert!(positions.is_empty() || report.promised_ms.is_some(), "told how long: {report:?}");
            waited += usize::from(!positions.is_empty());
        }
        assert!(waited >= CALLERS - 3 * SERVERS, "{waited} waited");
        assert!(house.servers.iter().all(|server| server.peak_open_sockets() == 1));
        house.metric_until("tandem_queue_depth{class=\"new\"}", 0.0).await;
        let after = promises(&house);
        let [kept, broken] = [after[0] - before[0], after[1] - before[1]];
        println!("rush {seed}: {kept} waits ended before the p90 that was told first, {broken} did not");
        told = [told[0] + kept, told[1] + broken];
    }
    // One rush says little of nine in ten, since its waits are long or short together.
    println!("{:.1} % of {}", 100.0 * told[0] / (told[0] + told[1]), told[0] + told[1]);
    assert!(told[0] > 0.0, "{told:?}");
}
