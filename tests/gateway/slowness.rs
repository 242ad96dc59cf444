//! Model servers slower than real time: found, reported, and out of the rotation while another one is usable.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tandem::{
    pool::roster::{SlotSnapshot, SlotState},
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, CallEvent, CallReport, HangUp, Wire},
        upstream::{Fault, Faults},
    },
};
use tokio::{sync::Notify, sync::mpsc, task::JoinHandle};

use crate::{
    house::{House, PATIENCE, quiet},
    refusals::{bearer, get, knock},
};

/// What these tests wait for takes eight seconds of conversation; the requirement is ten.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// `count` servers, of which the first takes `step` for each 80 ms.
async fn house(step: Duration, count: usize, variables: &[(&str, &str)]) -> House {
    let house = House::set(quiet(), count, variables).await;
    house.servers[0].set_faults(Faults::always(Fault::Slow { after: Duration::ZERO, step }));
    house
}

/// A call that goes on until it is told to hang up.
struct Call {
    events: mpsc::Receiver<CallEvent>,
    hang_up: Arc<Notify>,
    running: JoinHandle<CallReport>,
}

impl Call {
    /// Calls, and waits until the model listens.
    async fn begin(house: &House, user: &str) -> Call {
        let (events, heard) = mpsc::channel(1024);
        let mut settings = house.caller(user, Wire::Native(Audio::Opus));
        settings.hang_up = HangUp::WhenTold;
        settings.events = Some(events);
        let hang_up = Arc::clone(&settings.hang_up_now);
        let mut call = Call { events: heard, hang_up, running: actix_web::rt::spawn(caller::call(settings)) };
        call.until(PATIENCE, |event| matches!(event, CallEvent::Ready)).await;
        call
    }

    async fn until(&mut self, within: Duration, is_it: impl Fn(&CallEvent) -> bool) -> CallEvent {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the call ended");
                if is_it(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(within, wait).await.expect("it did not happen in time")
    }

    /// The factor that the caller is told, within the time in which slowness has to be noticed.
    async fn degraded(&mut self) -> f64 {
        match self.until(FOUND_WITHIN, |event| matches!(event, CallEvent::Degraded { .. })).await {
            CallEvent::Degraded { realtime_factor } => realtime_factor,
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) -> CallReport {
        self.hang_up.notify_one();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap()
    }
}

/// Which servers have ever had a call, by their number of calls.
fn calls(house: &House) -> Vec<usize> {
    house.servers.iter().map(|server| server.log().len()).collect()
}

async fn free_again(house: &House, at: usize) -> Vec<SlotSnapshot> {
    house.slots_until(|slots| slots[at].state == SlotState::Free).await
}

/// Ann's call finds that the first of two servers is slow, and ends; Bob is put through to the other one.
async fn one_of_two_is_slow(variables: &[(&str, &str)]) -> (House, Call) {
    let house = house(Duration::from_millis(100), 2, variables).await;
    let mut ann = Call::begin(&house, "ann").await;
    let factor = ann.degraded().await;
    assert!((0.7..=0.85).contains(&factor), "{factor}");
    // The report to the pool is on its way.
    let slots = house.slots_until(|slots| slots[0].slow).await;
    assert_eq!((slots[0].realtime_factor, slots[1].slow, slots[1].realtime_factor), (Some(factor), false, None));
    assert_eq!(house.metric("tandem_upstream_slow{upstream=\"1\"}"), Some(1.0));
    assert_eq!(house.metric("tandem_upstream_slow{upstream=\"2\"}"), Some(0.0));
    assert_eq!(house.metric("tandem_slow_found_total{upstream=\"1\"}"), Some(1.0));
    let last = house.metric("tandem_realtime_factor{upstream=\"1\"}").unwrap();
    assert!((0.7..=0.85).contains(&last), "{last}");
    assert!(house.metric("tandem_audio_lag_seconds_count").unwrap() >= 8.0);
    let ready: Value = serde_json::from_slice(&get(&house, "/readyz").await.body).unwrap();
    assert_eq!((&ready["slots"][0]["slow"], &ready["slots"][0]["realtime_factor"]), (&json!(true), &json!(factor)));
    let report = ann.end().await;
    assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
    free_again(&house, 0).await;
    let bob = Call::begin(&house, "bob").await;
    assert_eq!(calls(&house), [1, 1]);
    (house, bob)
}

/// Where real time is required, nobody else gets the slow one.
async fn required() {
    let (house, bob) = one_of_two_is_slow(&[]).await;
    let refused = knock(&house, "/v1/voice?wait=0", &[bearer(&house, "cid")]).await.refusal();
    assert_eq!(refused, (503, "no_capacity".to_owned()));
    bob.end().await;
    free_again(&house, 1).await;
    Call::begin(&house, "cid").await.end().await;
    assert_eq!(calls(&house), [1, 2]);
}

/// Where a warning is enough, the slow one takes the call that no other server can take.
async fn warned() {
    let (house, bob) = one_of_two_is_slow(&[("TANDEM__UPSTREAMS__REALTIME", "warn")]).await;
    let cid = Call::begin(&house, "cid").await;
    assert_eq!(calls(&house), [2, 1]);
    cid.end().await;
    bob.end().await;
}

/// A model on a CPU, alone: the call goes on at a fifth of real time, and so does the next one.
async fn alone_at_a_fifth() {
    let house = house(Duration::from_millis(400), 1, &[]).await;
    let mut ann = Call::begin(&house, "ann").await;
    let factor = ann.degraded().await;
    assert!((0.15..=0.25).contains(&factor), "{factor}");
    house.slots_until(|slots| slots[0].slow).await;
    // 400 ms are fed and 80 ms wait at most: no second finds more than that unanswered.
    let all = house.metric("tandem_audio_lag_seconds_count").unwrap();
    let bounded = house.metric("tandem_audio_lag_seconds_bucket{le=\"0.8\"}").unwrap();
    assert!(all >= 8.0 && bounded >= all, "{bounded} of {all} seconds");
    let report = ann.end().await;
    assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
    let made = report.received_seconds;
    assert!((1.0..=3.0).contains(&made), "a fifth of eight seconds, not {made} s");
    free_again(&house, 0).await;
    Call::begin(&house, "bob").await.end().await;
    assert_eq!(calls(&house), [2]);
}

/// Side by side, because each waits for eight seconds of conversation.
#[actix_web::test]
async fn a_slow_server_is_found_within_ten_seconds_and_leaves_the_rotation_unless_it_is_the_last() {
    tokio::join!(required(), warned(), alone_at_a_fifth());
}
