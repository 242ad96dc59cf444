//! Who is to blame: what callers do costs no server its trust, and a server that fails loses its own.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{SinkExt, future::join_all};
use secrecy::SecretString;
use socket2::SockRef;
use tandem::{
    pool::roster::{SlotLabel, SlotState},
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, CallReport, HangUp, Wire},
        upstream::{self, Fault, FaultRule, Faults, When},
    },
};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};

use crate::{
    house::{House, PATIENCE, quiet},
    refusals::{Socket, bearer, close, event, knock},
};

/// Nobody is slowed down for calling often, and nobody's call outlives its socket.
const BUSY: &[(&str, &str)] = &[
    ("TANDEM__SESSION__ATTEMPTS_PER_MINUTE_PER_USER", "10000"),
    ("TANDEM__SESSION__MAX_SESSIONS_PER_USER", "100"),
    ("TANDEM__SESSION__RESUME_GRACE_SECONDS", "0"),
    ("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "2000"),
    ("TANDEM__UPSTREAMS__HANDSHAKE_STEP_MS", "1"),
    ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "500"),
];

/// A server that takes a moment for its prompts, so that a caller can leave meanwhile.
fn thoughtful() -> upstream::Settings {
    upstream::Settings { poll: Duration::from_micros(500), ..quiet() }
}

/// A short call of `user`, with this prompt if there is one.
async fn call(house: &House, user: &str, prompt: Option<&str>) -> CallReport {
    let mut settings = house.caller(user, Wire::Native(Audio::Opus));
    settings.hang_up = HangUp::After(Duration::from_millis(20));
    settings.text_prompt = prompt.map(SecretString::from);
    tokio::time::timeout(PATIENCE, caller::call(settings)).await.expect("the call ends")
}

/// How attempts on model servers came out, by their result.
pub fn attempts(house: &House) -> BTreeMap<String, u64> {
    let mut results = BTreeMap::new();
    for line in house.gateway.doors.metrics.render().lines() {
        if let Some(rest) = line.strip_prefix("tandem_upstream_attempts_total{") {
            let (labels, count) = rest.rsplit_once(' ').unwrap();
            let result = labels.split("result=\"").nth(1).unwrap().split('"').next().unwrap();
            *results.entry(result.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
    results.retain(|_, count| *count > 0);
    results
}

/// What a breaker says: 0 closed, 1 half-open, 2 open.
pub fn breaker(house: &House, server: usize) -> f64 {
    house.metric(&format!("tandem_upstream_circuit_state{{upstream=\"{}\"}}", server + 1)).unwrap_or_default()
}

fn tcp(socket: &Socket) -> &tokio::net::TcpStream {
    match socket.get_ref() {
        MaybeTlsStream::Plain(tcp) => tcp,
        _ => panic!("it is not encrypted"),
    }
}

/// Makes the end of a socket a RST.
fn reset(socket: Socket) {
    SockRef::from(tcp(&socket)).set_linger(Some(Duration::ZERO)).unwrap();
}

/// One thing that a caller should not do.
async fn misbehave(house: &House, kind: usize) {
    let ann = bearer(house, "ann");
    let open = async |path: &str| knock(house, path, std::slice::from_ref(&ann)).await;
    match kind {
        0 => {
            assert!(crate::refusals::say_bad_pages(house).await[0].contains("bad_ogg"));
        }
        1 => {
            let mut socket = open("/v1/voice").await.socket();
            event(&mut socket, "session.ready").await;
            // The door may hang up while this is written.
            let _ = socket.send(Message::binary(vec![0; 4 << 20])).await;
            while crate::refusals::next(&mut socket).await.is_some() {}
        }
        2 => {
            let mut socket = open("/v1/voice").await.socket();
            for _ in 0..10 {
                socket.send(Message::text("{\"type\":\"session.what\"")).await.unwrap();
            }
            assert_eq!(u16::from(close(&mut socket).await.code), Ending::BadInput.row().close_code);
        }
        3 => assert_eq!(open("/v1/voice?voice=NATF9").await.refusal().0, 404),
        // Gone while the server reads the prompts: with a close frame, and without one.
        4 => open("/v1/voice").await.socket().close(None).await.unwrap(),
        5 => reset(open("/api/chat").await.socket()),
        6 => {
            let mut socket = open("/v1/voice").await.socket();
            event(&mut socket, "session.ready").await;
            reset(socket);
        }
        _ => {
            let mut socket = open("/api/chat").await.socket();
            let MaybeTlsStream::Plain(tcp) = socket.get_mut() else { panic!("it is not encrypted") };
            tcp.write_all(b"\xff\xff no frame of any kind").await.unwrap();
            while crate::refusals::next(&mut socket).await.is_some() {}
        }
    }
}

#[actix_web::test]
async fn a_hundred_bad_calls_of_one_user_cost_no_server_its_trust() {
    let house = House::set(thoughtful(), 2, BUSY).await;
    // Each thing many times in a row: what goes well in between would forgive it.
    for n in 0..13 * 8 {
        let done = tokio::time::timeout(PATIENCE, misbehave(&house, n / 13)).await;
        assert!(done.is_ok(), "bad call {n} is not over");
        let slots = house.slots().await;
        assert!(slots.iter().all(|slot| slot.label != SlotLabel::Unhealthy), "bad call {n} is held against a server");
    }
    let slots = house.settle().await;
    assert!(slots.iter().all(|slot| slot.label == SlotLabel::Free), "{slots:?}");
    assert_eq!((breaker(&house, 0), breaker(&house, 1)), (0.0, 0.0));
    let results = attempts(&house);
    assert!(results.keys().all(|result| result == "ready"), "no server failed: {results:?}");
    let reached = house.log().len();
    assert!(reached >= 80, "only {reached} of these calls reached a server");
    for user in ["bob", "cid"] {
        let report = call(&house, user, None).await;
        assert!(report.went_well() && report.queued_ms.unwrap() < 1_000, "{report:?}");
    }
}

#[actix_web::test]
async fn a_poisonous_prompt_is_rejected_and_nobody_but_its_caller_feels_it() {
    let house = House::set(quiet(), 3, BUSY).await;
    let poisonous = FaultRule { fault: Fault::FailPrompting { steps: 3 }, when: When::Prompted("poison") };
    for server in &house.servers {
        server.set_faults(Faults { rules: vec![poisonous], seed: 0 });
    }
    let first = call(&house, "mallory", Some("You are poison.")).await;
    assert_eq!((first.ending, house.log().len()), (Some(Ending::PromptRejected), 2), "two servers hung up on it");
    let poisoning = async {
        for _ in 0..30 {
            let ending = call(&house, "mallory", Some("You are poison.")).await.ending;
            // Without a second opinion it is not known whose fault it was.
            assert!(matches!(ending, Some(Ending::PromptRejected | Ending::UpstreamLost)), "{ending:?}");
        }
    };
    let talking = async {
        for n in 0..15 {
            let report = call(&house, &format!("good {n}"), None).await;
            assert!(report.went_well(), "{report:?}");
        }
    };
    tokio::join!(poisoning, talking);
    assert!(house.settle().await.iter().all(|slot| slot.label == SlotLabel::Free));
    assert_eq!([0, 1, 2].map(|server| breaker(&house, server)), [0.0; 3], "hanging up on poison is no fault");
    assert_eq!(attempts(&house)["ready"], 15, "nobody else needed a second try");
    for server in &house.servers {
        let good = server.log().iter().filter(|call| call.handshake).count();
        assert!(good > 0, "every server goes on taking calls");
    }
    // The tries of that caller have not used up those of others.
    house.servers[0].set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
    let before = house.servers[0].log().len();
    for n in 0.. {
        let report = call(&house, &format!("late {n}"), None).await;
        assert!(report.went_well(), "{report:?}");
        if house.servers[0].log().len() > before {
            break;
        }
    }
}

#[actix_web::test]
async fn a_server_that_hangs_up_on_everybody_is_found_guilty_by_another_ones_success() {
    let house = House::set(quiet(), 2, BUSY).await;
    house.servers[0].set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
    let mut calls = 0;
    while breaker(&house, 0) < 2.0 {
        assert!(calls < 12, "it is still trusted");
        // A budget of retries in ten seconds is three, and three are enough.
        let report = call(&house, &format!("u{calls}"), None).await;
        assert!(report.went_well(), "{report:?}");
        house.settle().await;
        calls += 1;
    }
    assert_eq!(house.servers[0].log().len(), 3);
    for n in 0..5 {
        assert!(call(&house, &format!("later {n}"), None).await.went_well());
    }
    assert_eq!((house.servers[0].log().len(), breaker(&house, 1)), (3, 0.0), "nobody else comes to harm");
}

#[actix_web::test]
async fn alone_a_server_that_hangs_up_is_asked_once_a_call_and_never_shut_out() {
    let house = House::set(quiet(), 1, BUSY).await;
    house.servers[0].set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
    for n in 1..=6 {
        let report = call(&house, &format!("u{n}"), None).await;
        assert_eq!((report.ending, house.log().len()), (Some(Ending::UpstreamLost), n), "one try, and no loop");
        assert_eq!(house.settle().await[0].label, SlotLabel::Free);
    }
    house.servers[0].set_faults(Faults::default());
    let report = call(&house, "bob", None).await;
    assert!(report.went_well() && report.queued_ms.unwrap() < 1_000, "{report:?}");
}

#[actix_web::test]
async fn one_caller_whom_nobody_can_answer_in_time_proves_nothing_and_three_do() {
    let short = [BUSY, &[("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "100")]].concat();
    let house = House::set(quiet(), 1, &short).await;
    house.servers[0].set_faults(Faults::always(Fault::NeverHandshake));
    for _ in 0..5 {
        assert_eq!(call(&house, "mallory", None).await.ending, Some(Ending::HandshakeTimeout));
        house.settle().await;
    }
    assert_eq!(breaker(&house, 0), 0.0);
    for user in ["bob", "cid"] {
        assert_eq!(call(&house, user, None).await.ending, Some(Ending::HandshakeTimeout));
        house.settle().await;
    }
    assert_eq!(breaker(&house, 0), 2.0);
    house.servers[0].set_faults(Faults::default());
    let report = call(&house, "dan", None).await;
    assert!(report.went_well(), "where nobody is trusted somebody may try: {report:?}");
    assert_eq!(breaker(&house, 0), 0.0);
}

#[actix_web::test]
async fn a_server_that_gets_ready_and_then_loses_its_calls_is_shut_out() {
    let house = House::set(quiet(), 2, BUSY).await;
    house.servers[0].set_faults(Faults::always(Fault::Finish { after: Duration::ZERO }));
    // Never two in a row of one user, who might be the cause.
    for n in 0..12 {
        let mut settings = house.caller(&format!("u{n}"), Wire::Native(Audio::Opus));
        settings.hang_up = HangUp::After(Duration::from_millis(100));
        tokio::time::timeout(PATIENCE, caller::call(settings)).await.expect("the call ends");
        house.settle().await;
        if breaker(&house, 0) > 1.0 {
            break;
        }
    }
    assert_eq!((breaker(&house, 0), breaker(&house, 1)), (2.0, 0.0));
    assert_eq!(house.servers[0].log().len(), 3, "three handshakes went well and three calls were lost");
}

#[actix_web::test]
async fn fifty_callers_on_failing_servers_try_no_more_than_the_budget_allows() {
    let house = House::set(quiet(), 50, BUSY).await;
    for server in &house.servers {
        server.set_faults(Faults::always(Fault::Refuse));
    }
    let users: Vec<String> = (0..50).map(|n| format!("u{n}")).collect();
    let reports = join_all(users.iter().map(|user| call(&house, user, None))).await;
    assert!(reports.iter().all(|report| report.ending == Some(Ending::UpstreamLost)));
    let slots = house.slots_until(|slots| slots.iter().all(|slot| slot.state == SlotState::Free)).await;
    assert_eq!(slots.len(), 50);
    let made: u64 = attempts(&house).values().sum();
    // Three, and a fifth of the calls in progress.
    assert!((53..=50 + 3 + 50 / 5).contains(&made), "{made} attempts");
}
