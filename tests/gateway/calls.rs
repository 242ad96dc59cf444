//! Calls that go well, and how they end.

use std::time::Duration;

use tandem::{
    pool::roster::SlotState,
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, Behaviour, CallEvent, CallReport, HangUp, Wire},
        upstream::{self, Answer},
    },
};
use tokio::sync::mpsc;

use crate::{
    echo::delay_of,
    house::{House, PATIENCE, quiet, speech},
    refusals::{bearer, get, knock},
};

const PCM: Wire = Wire::Native(Audio::Pcm16 { rate_hz: 24_000 });
const ECHO: Duration = Duration::from_millis(400);

fn parrot() -> upstream::Settings {
    upstream::Settings { answer: Answer::Echo { delay: ECHO }, ..upstream::Settings::instant() }
}

/// Speaks for two seconds and checks that the same voice comes back after the simulator's delay.
async fn the_voice_comes_back(wire: Wire) -> CallReport {
    let house = House::new(parrot(), 1).await;
    let mut settings = house.caller("ann", wire);
    settings.source = speech()[..2 * 24_000].into();
    settings.hang_up = HangUp::AfterSource { tail: ECHO * 2 };
    let said = settings.source.clone();
    let report = caller::call(settings).await;
    assert!(report.went_well(), "{report:?}");
    let (delay, like) = delay_of(&said, &report.audio, ECHO * 2);
    // The codec twice each way, and the resamplers of odd rates, add some tens of milliseconds.
    assert!(like > 0.8, "likeness {like} at {delay:?}, {report:?}");
    assert!(delay >= ECHO && delay < ECHO + Duration::from_millis(150), "{delay:?}");
    assert!(report.transcript.contains("I hear you"), "the transcript is there");
    assert!(report.transcript.contains('é'), "byte pieces are joined");
    let slots = house.settle().await;
    assert!(slots.iter().all(|slot| slot.state == SlotState::Free));
    let log = house.log();
    assert_eq!((log.len(), log[0].swallowed, log[0].deflate_offered), (1, 0, false));
    assert!(!log[0].query_keys.iter().any(|key| key == "seed"));
    house.gateway.stop().await;
    report
}

#[actix_web::test]
async fn the_callers_voice_comes_back_as_pcm() {
    let report = the_voice_comes_back(PCM).await;
    assert_eq!((report.ending, report.close_code), (Some(Ending::ClientLeft), Some(1000)));
    assert!(report.session_id.is_some());
}

#[actix_web::test]
async fn the_callers_voice_comes_back_as_telephone_pcm() {
    the_voice_comes_back(Wire::Native(Audio::Pcm16 { rate_hz: 8_000 })).await;
}

#[actix_web::test]
async fn the_callers_voice_comes_back_as_cd_pcm() {
    the_voice_comes_back(Wire::Native(Audio::Pcm16 { rate_hz: 44_100 })).await;
}

#[actix_web::test]
async fn the_callers_voice_comes_back_as_opus() {
    the_voice_comes_back(Wire::Native(Audio::Opus)).await;
}

#[actix_web::test]
async fn the_callers_voice_comes_back_as_ogg_opus() {
    the_voice_comes_back(Wire::Native(Audio::OggOpus)).await;
}

#[actix_web::test]
async fn the_callers_voice_comes_back_on_the_moshi_wire() {
    let report = the_voice_comes_back(Wire::Moshi).await;
    assert_eq!(report.lost_packets, 0);
}

#[actix_web::test]
async fn a_muted_caller_hears_the_rest_of_the_answer() {
    let delay = Duration::from_millis(1_200);
    let house =
        House::new(upstream::Settings { answer: Answer::Echo { delay }, ..upstream::Settings::instant() }, 1).await;
    let mut settings = house.caller("ann", PCM);
    let spoken = Duration::from_secs(1);
    settings.source = speech()[..24_000].into();
    settings.behaviour = Behaviour::MuteAfter(spoken);
    settings.hang_up = HangUp::After(spoken + delay + Duration::from_millis(400));
    let said = settings.source.clone();
    let report = caller::call(settings).await;
    assert!(report.went_well(), "{report:?}");
    assert!(report.sent_seconds < 1.1, "muted before the answer began: {report:?}");
    assert!(report.received_seconds > 2.2, "the answer came whole: {report:?}");
    let (found, like) = delay_of(&said, &report.audio, delay * 2);
    assert!(like > 0.8 && found.abs_diff(delay) < Duration::from_millis(150), "likeness {like} at {found:?}");
    assert!(house.metric("tandem_frames_synthetic_total").unwrap() > 10.0);
    house.settle().await;
}

#[actix_web::test]
async fn tls_to_a_self_signed_server_on_this_machine_needs_no_configuration() {
    let house = House::new(upstream::Settings { tls: true, ..quiet() }, 1).await;
    let report = caller::call(house.caller("ann", PCM)).await;
    assert!(report.went_well() && report.received_seconds > 0.0, "{report:?}");
    house.settle().await;
}

#[actix_web::test]
async fn metrics_tell_of_the_call() {
    let house = House::new(quiet(), 2).await;
    house.slots_until(|slots| slots.len() == 2).await;
    assert_eq!(house.metric("tandem_upstream_slots{state=\"free\"}"), Some(2.0));
    let report = caller::call(house.caller("ann", PCM)).await;
    assert!(report.went_well(), "{report:?}");
    house.settle().await;
    for (series, value) in [
        ("tandem_sessions_started_total{protocol=\"native\"}", 1.0),
        ("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_left\"}", 1.0),
        ("tandem_sessions_active{protocol=\"native\"}", 0.0),
        ("tandem_admission_total{result=\"immediate\",reason=\"ok\"}", 1.0),
        ("tandem_auth_total{result=\"ok\",reason=\"ok\"}", 1.0),
        ("tandem_upstream_handshake_seconds_count", 1.0),
        ("tandem_upstream_slots{state=\"free\"}", 2.0),
    ] {
        assert_eq!(house.metric(series), Some(value), "{series}");
    }
    assert!(house.metric("tandem_frames_total{direction=\"down\"}").unwrap() > 1.0);
}

#[actix_web::test]
async fn a_caller_who_goes_quiet_is_warned_and_let_go() {
    let house = House::set(
        quiet(),
        1,
        &[("TANDEM__SESSION__IDLE_TIMEOUT_SECONDS", "2"), ("TANDEM__SESSION__WARNING_SECONDS", "1")],
    )
    .await;
    let (events, mut heard) = mpsc::channel(64);
    let mut settings = house.caller("ann", PCM);
    settings.behaviour = Behaviour::MuteAfter(Duration::from_millis(200));
    settings.hang_up = HangUp::WhenTold;
    settings.events = Some(events);
    let report = caller::call(settings).await;
    assert_eq!((report.ending, report.close_code), (Some(Ending::IdleTimeout), Some(4466)), "{report:?}");
    let mut warned = false;
    while let Ok(event) = heard.try_recv() {
        warned |= matches!(event, CallEvent::Expiring { .. });
    }
    assert!(warned, "no warning before the cut");
    assert_eq!(house.settle().await[0].state, SlotState::Free);
}

#[actix_web::test]
async fn the_longest_call_is_cut_with_its_own_code() {
    let house = House::set(
        quiet(),
        1,
        &[("TANDEM__SESSION__MAX_DURATION_SECONDS", "2"), ("TANDEM__SESSION__WARNING_SECONDS", "1")],
    )
    .await;
    let mut settings = house.caller("ann", PCM);
    settings.hang_up = HangUp::WhenTold;
    let report = caller::call(settings).await;
    assert_eq!((report.ending, report.close_code), (Some(Ending::MaxDuration), Some(4467)), "{report:?}");
    assert_eq!(house.settle().await[0].state, SlotState::Free);
}

#[actix_web::test]
async fn a_caller_whose_machine_vanishes_frees_the_slot() {
    let house = House::set(
        quiet(),
        1,
        &[
            ("TANDEM__SESSION__PING_INTERVAL_MS", "200"),
            ("TANDEM__SESSION__LOST_AFTER_MS", "1000"),
            ("TANDEM__SESSION__RESUME_GRACE_SECONDS", "1"),
        ],
    )
    .await;
    let mut settings = house.caller("ann", PCM);
    settings.behaviour = Behaviour::VanishAfter(Duration::from_millis(100));
    settings.hang_up = HangUp::WhenTold;
    let hang_up = settings.hang_up_now.clone();
    let vanished = actix_web::rt::spawn(caller::call(settings));
    house.slots_until(|slots| slots[0].state == SlotState::Leased).await;
    house.slots_until(|slots| slots[0].state == SlotState::Free).await;
    assert_eq!(house.metric("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_lost\"}"), Some(1.0));
    hang_up.notify_one();
    vanished.await.unwrap();
}

#[actix_web::test]
async fn a_caller_who_answers_no_ping_but_talks_is_alive() {
    let house = House::set(
        quiet(),
        1,
        &[("TANDEM__SESSION__PING_INTERVAL_MS", "200"), ("TANDEM__SESSION__LOST_AFTER_MS", "1000")],
    )
    .await;
    let mut settings = house.caller("ann", PCM);
    settings.behaviour = Behaviour::NoPongs;
    settings.hang_up = HangUp::After(Duration::from_millis(1500));
    let report = caller::call(settings).await;
    assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
}

#[actix_web::test]
async fn a_shutdown_tells_the_caller_and_waits_for_the_servers() {
    for (wire, code) in [(PCM, Some(4453)), (Wire::Moshi, Some(4453))] {
        let house = House::set(quiet(), 1, &[("TANDEM__DRAIN__DEADLINE_SECONDS", "1")]).await;
        let (events, mut heard) = mpsc::channel(256);
        let mut settings = house.caller("ann", wire);
        settings.hang_up = HangUp::WhenTold;
        settings.events = Some(events);
        let call = actix_web::rt::spawn(caller::call(settings));
        let ready = async { while !matches!(heard.recv().await, Some(CallEvent::Ready) | None) {} };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        let stopping = house.gateway.stop();
        let looking = async {
            if wire == Wire::Moshi {
                return;
            }
            let warned = async { while !matches!(heard.recv().await, Some(CallEvent::Expiring { .. }) | None) {} };
            tokio::time::timeout(PATIENCE, warned).await.unwrap();
            assert_eq!(get(&house, "/readyz").await.status, 503);
            assert_eq!(get(&house, "/healthz").await.status, 200);
            let refused = knock(&house, "/v1/voice", &[bearer(&house, "bob")]).await.refusal();
            assert_eq!(refused, (503, "drained".to_owned()));
        };
        let (cut_off, ()) = tokio::join!(stopping, looking);
        assert_eq!(cut_off, 0);
        let log = house.servers[0].log();
        assert!(log.iter().all(|call| call.end.is_some()), "the server's socket was closed before the end: {log:?}");
        let report = call.await.unwrap();
        assert_eq!((report.ending, report.close_code), (Some(Ending::Drained), code), "{report:?}");
    }
}
