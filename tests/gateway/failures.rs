//! What goes wrong at a model server, and what the caller hears of it.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use tandem::{
    pool::roster::{QuarantineReason, SlotState},
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, CallReport, CallerSettings, HangUp, Wire},
        upstream::{self, Fault, Faults},
    },
};

use tokio_tungstenite::tungstenite::Message;

use crate::house::{House, quiet};

const PCM: Wire = Wire::Native(Audio::Pcm16 { rate_hz: 24_000 });

fn faulty(fault: Fault) -> upstream::Settings {
    upstream::Settings { faults: Faults::always(fault), ..quiet() }
}

/// A short handshake limit, so that what never comes is not waited for long.
const SHORT: &[(&str, &str)] = &[
    ("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "500"),
    ("TANDEM__UPSTREAMS__HANDSHAKE_STEP_MS", "1"),
    ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "300"),
];

async fn call(house: &House, change: impl FnOnce(&mut CallerSettings)) -> CallReport {
    let mut settings = house.caller("ann", PCM);
    settings.hang_up = HangUp::WhenTold;
    change(&mut settings);
    caller::call(settings).await
}

#[expect(clippy::disallowed_methods, reason = "a deadline of real time")]
fn now() -> Instant {
    Instant::now()
}

#[actix_web::test]
async fn a_voice_that_the_server_lacks_is_a_lost_server_or_with_two_a_rejected_prompt() {
    // personaplex.md 4: 101, then FIN without a close frame.
    let lacking = upstream::Settings { voices: vec!["NATM1.pt".into()], ..quiet() };
    for (count, ending) in [(1, Ending::UpstreamLost), (2, Ending::PromptRejected)] {
        let house = House::new(lacking.clone(), count).await;
        let report = call(&house, |_| {}).await;
        assert_eq!(report.ending, Some(ending), "{report:?}");
        assert_eq!(report.error.as_ref().map(|error| error.code.as_str()), Some(ending.code()));
        assert!(house.settle().await.iter().all(|slot| slot.state == SlotState::Free));
    }
}

#[actix_web::test]
async fn a_broken_voice_file_fails_like_a_missing_one_and_another_server_takes_the_call() {
    let broken = upstream::Settings { corrupt_voices: vec!["NATF0.pt".into()], ..quiet() };
    let house = House::new(broken, 1).await;
    assert_eq!(call(&house, |_| {}).await.ending, Some(Ending::UpstreamLost));
    house.settle().await;
    let house = House::new(quiet(), 2).await;
    house.servers[0].set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
    let report = call(&house, |settings| settings.hang_up = HangUp::After(Duration::from_millis(300))).await;
    assert!(report.went_well(), "{report:?}");
    assert_eq!(house.log().len(), 2, "the second server took the call");
}

#[actix_web::test]
async fn what_the_caller_sends_of_the_bad_queries_never_reaches_a_server() {
    let house = House::new(quiet(), 1).await;
    let good = |settings: &mut CallerSettings| settings.hang_up = HangUp::After(Duration::from_millis(200));
    // An empty prompt and an empty voice are none: the persona's own are used.
    for (voice, prompt) in [(None, None), (Some(""), Some("")), (Some("NATM2"), Some("You are Bo."))] {
        let report = call(&house, |settings| {
            good(settings);
            settings.voice = voice.map(str::to_owned);
            settings.text_prompt = prompt.map(SecretString::from);
        })
        .await;
        assert!(report.went_well(), "{report:?}");
    }
    house.settle().await;
    let log = house.log();
    assert!(
        log.iter().all(|call| call.query_keys == ["voice_prompt", "text_prompt"]
            || call.query_keys == ["text_prompt", "voice_prompt"])
    );
    assert!(log.iter().all(|call| !call.prompt_asked.as_ref().unwrap().expose().trim().is_empty()));
    assert_eq!(log[2].voice_given.as_deref(), Some("NATM2.pt"));
    assert!(log[2].prompt_given.as_ref().unwrap().expose().contains("You are Bo."));
    // Whatever else stock clients and curious ones send is left out: any seed at all would end the call (4).
    for odd in ["seed=5", "seed=", "seed=-1&text_temperature=1&audio_topk=2&email=a%40b&pad_mult=0"] {
        let ann = crate::refusals::bearer(&house, "ann");
        let mut socket = crate::refusals::knock(&house, &format!("/api/chat?{odd}"), &[ann]).await.socket();
        let first = loop {
            match crate::refusals::next(&mut socket).await {
                Some(Message::Ping(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(&first, Some(Message::Binary(bytes)) if bytes[0] == 0), "{odd}: {first:?}");
        drop(socket);
        house.settle().await;
    }
    assert_eq!(house.log().len(), 6);
    assert!(house.log().iter().all(|call| call.query_keys.len() == 2));
    // Unknown voices and paths are refused at the door, with a list of what exists.
    for voice in ["NATF9", "../voices/NATM1.pt", "/etc/passwd"] {
        let report = call(&house, |settings| settings.voice = Some(voice.into())).await;
        let error = report.error.unwrap();
        assert_eq!((error.status, error.code.as_str()), (Some(404), "unknown_voice"));
        assert!(error.message.contains("NATF0"));
    }
    assert_eq!(house.log().len(), 6, "nothing more reached the server");
}

#[actix_web::test]
async fn a_server_that_refuses_connections_is_told_within_its_deadline() {
    let house = House::set(faulty(Fault::Refuse), 2, SHORT).await;
    let begun = now();
    let report = call(&house, |_| {}).await;
    assert_eq!(report.ending, Some(Ending::UpstreamLost), "{report:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(house.settle().await.iter().all(|slot| slot.state == SlotState::Free));
}

#[actix_web::test]
async fn a_server_that_never_gets_ready_is_a_handshake_timeout() {
    let house = House::set(faulty(Fault::NeverHandshake), 2, SHORT).await;
    let begun = now();
    let report = call(&house, |_| {}).await;
    assert_eq!((report.ending, report.close_code), (Some(Ending::HandshakeTimeout), Some(4463)), "{report:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(house.settle().await.iter().all(|slot| slot.state == SlotState::Free), "both servers acknowledged");
}

#[actix_web::test]
async fn a_server_that_dies_in_mid_call_ends_it_truly_and_frees_its_slot() {
    let after = Duration::from_millis(150);
    for fault in [Fault::Reset { after }, Fault::Finish { after }] {
        let house = House::set(faulty(fault), 1, SHORT).await;
        let report = call(&house, |_| {}).await;
        assert_eq!((report.ending, report.close_code), (Some(Ending::UpstreamLost), Some(4461)), "{report:?}");
        assert_eq!(house.settle().await[0].state, SlotState::Free, "{fault:?}");
    }
}

#[actix_web::test]
async fn a_server_that_vanishes_is_quarantined_with_its_reason() {
    let house = House::set(faulty(Fault::Vanish { after: Duration::from_millis(100) }), 1, SHORT).await;
    let report = call(&house, |settings| settings.hang_up = HangUp::After(Duration::from_millis(400))).await;
    assert!(report.setup_ms.is_some(), "{report:?}");
    let slots = house.slots_until(|slots| slots[0].state != SlotState::Leased).await;
    assert_eq!(slots[0].state, SlotState::Quarantined(QuarantineReason::NoCloseReply));
    assert_eq!(house.metric("tandem_lease_quarantined_total{reason=\"no_close_reply\"}"), Some(1.0));
    let refused = call(&house, |settings| settings.waits = false).await.error.unwrap();
    assert_eq!((refused.status, refused.code.as_str()), (Some(503), "no_capacity"));
    // The server restarts: the kernel ends the old connection, and that is the acknowledgement.
    house.servers[0].stop();
    let slots = house.slots_until(|slots| slots[0].state == SlotState::Free).await;
    assert_eq!(slots.len(), 1);
}

#[actix_web::test]
async fn a_bad_page_of_the_caller_never_reaches_the_server() {
    // personaplex.md 7.5 and 7.7: a bad CRC ends a call at the real server, an empty packet blocks it for 10 s.
    let house = House::new(quiet(), 1).await;
    let report = crate::refusals::say_bad_pages(&house).await;
    assert!(report.iter().any(|line| line.contains("bad_ogg")), "{report:?}");
    house.settle().await;
    let log = house.log();
    assert!(matches!(log[0].end, Some(upstream::CallEnd::ClientClosed(_))), "{:?}", log[0].end);
}
