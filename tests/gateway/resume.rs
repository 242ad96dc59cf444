//! Callers whose connection breaks and who come back to their calls.

use std::time::Duration;

use futures_util::SinkExt;
use tandem::{
    pool::roster::SlotState,
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, Behaviour, Credential, HangUp, Wire},
        upstream::{self, Answer},
    },
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    echo::is_whole,
    house::{House, quiet, speech},
    refusals::{Answer as Knocked, Socket, bearer, close, event, knock, next},
};

const PCM: Wire = Wire::Native(Audio::Pcm16 { rate_hz: 24_000 });

/// A socket in a call that streams, and the token with which one comes back to it.
async fn talking(house: &House, user: &str) -> (Socket, String) {
    talking_for(house, user, 20_000).await
}

async fn talking_for(house: &House, user: &str, grace_ms: u64) -> (Socket, String) {
    let mut socket = knock(house, "/v1/voice?audio=opus", &[bearer(house, user)]).await.socket();
    let created = event(&mut socket, "session.created").await;
    assert_eq!(created["resume"]["grace_ms"], grace_ms);
    event(&mut socket, "session.ready").await;
    (socket, created["resume"]["token"].as_str().unwrap().to_owned())
}

async fn come_back(house: &House, user: &str, token: &str) -> Knocked {
    let resume = ("tandem-resume", token.to_owned());
    knock(house, "/v1/voice?audio=opus", &[bearer(house, user), resume]).await
}

/// Hears that the call goes on here, and answers; gives the next token.
async fn back(socket: &mut Socket) -> String {
    let resumed = event(socket, "session.resumed").await;
    socket.send(Message::text(r#"{"type":"ping","id":"here"}"#)).await.unwrap();
    event(socket, "pong").await;
    resumed["resume"]["token"].as_str().unwrap().to_owned()
}

async fn detached(house: &House, count: f64) {
    house.metric_until("tandem_detached_sessions", count).await;
}

async fn hang_up(mut socket: Socket) {
    socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    assert_eq!(close(&mut socket).await.code, CloseCode::Normal);
}

#[actix_web::test]
async fn a_caller_whose_connection_breaks_hears_the_assistant_go_on() {
    for wire in [PCM, Wire::Native(Audio::Opus), Wire::Native(Audio::OggOpus)] {
        let echo = Answer::Echo { delay: Duration::from_millis(400) };
        let house = House::new(upstream::Settings { answer: echo, ..upstream::Settings::instant() }, 1).await;
        let mut settings = house.caller("ann", wire);
        if wire == PCM {
            settings.credential = Credential::Subprotocol(house.token("ann"));
        }
        settings.source = speech()[..3 * 24_000].into();
        settings.behaviour =
            Behaviour::DropAndResume { after: Duration::from_millis(800), away: Duration::from_millis(300) };
        settings.hang_up = HangUp::After(Duration::from_secs(3));
        let report = caller::call(settings).await;
        assert!(report.went_well(), "{wire:?}: {report:?}");
        assert_eq!((report.resumes, report.ending), (1, Some(Ending::ClientLeft)), "{wire:?}: {report:?}");
        assert!(report.received_seconds > 2.0, "{wire:?}: {report:?}");
        assert!(is_whole(&report.transcript), "{wire:?}: {}", report.transcript);
        assert_eq!(house.settle().await[0].state, SlotState::Free);
        assert_eq!(house.log().len(), 1, "the model server saw one call");
        house.metric_until("tandem_resume_total{result=\"resumed\"}", 1.0).await;
        assert_eq!(house.metric("tandem_admission_total{result=\"immediate\",reason=\"ok\"}"), Some(1.0));
        assert_eq!(house.metric("tandem_detached_sessions"), Some(0.0));
    }
}

#[actix_web::test]
async fn a_token_is_good_until_its_socket_answers_and_rotates() {
    let house = House::set(quiet(), 1, &[("TANDEM__SESSION__MAX_SESSIONS_PER_USER", "1")]).await;
    let (socket, first) = talking(&house, "ann").await;
    drop(socket);
    detached(&house, 1.0).await;
    let mut socket = come_back(&house, "ann", &first).await.socket();
    let second = back(&mut socket).await;
    assert_ne!(second, first);
    assert_eq!(come_back(&house, "ann", &first).await.refusal(), (410, "resume_unknown".to_owned()));
    drop(socket);
    detached(&house, 1.0).await;
    let mut socket = come_back(&house, "ann", &second).await.socket();
    event(&mut socket, "session.resumed").await;
    hang_up(socket).await;
    assert_eq!(house.settle().await[0].state, SlotState::Free);
    house.metric_until("tandem_sessions_active{protocol=\"native\"}", 0.0).await;
    assert_eq!((house.gateway.sessions(), house.gateway.doors.switchboard.resumable()), (0, 0));
}

#[actix_web::test]
async fn who_never_hears_the_answer_comes_back_with_the_same_token() {
    let house = House::new(quiet(), 1).await;
    let (socket, token) = talking(&house, "ann").await;
    drop(socket);
    detached(&house, 1.0).await;
    for _ in 0..3 {
        // Its network takes the answer to the upgrade, or all that follows.
        let lost = come_back(&house, "ann", &token).await.socket();
        detached(&house, 0.0).await;
        drop(lost);
        detached(&house, 1.0).await;
    }
    let mut socket = come_back(&house, "ann", &token).await.socket();
    back(&mut socket).await;
    assert_eq!(come_back(&house, "ann", &token).await.refusal(), (410, "resume_unknown".to_owned()));
    hang_up(socket).await;
    house.settle().await;
}

#[actix_web::test]
async fn a_socket_that_is_good_is_not_closed_for_one_that_never_was() {
    let house = House::new(quiet(), 1).await;
    let (mut old, token) = talking(&house, "ann").await;
    for _ in 0..3 {
        drop(come_back(&house, "ann", &token).await.socket());
    }
    let mut silent = come_back(&house, "ann", &token).await.socket();
    old.send(Message::text(r#"{"type":"ping","id":"still here"}"#)).await.unwrap();
    assert_eq!(event(&mut old, "pong").await["id"], "still here");
    assert_eq!(house.metric("tandem_resume_total{result=\"taken_over\"}"), Some(0.0));
    // Once the old one breaks, the one that waited is the caller's.
    drop(old);
    back(&mut silent).await;
    hang_up(silent).await;
    house.settle().await;
}

#[actix_web::test]
async fn a_call_is_given_back_to_its_own_user_in_its_own_format_only() {
    let house = House::new(quiet(), 1).await;
    let (socket, token) = talking(&house, "ann").await;
    drop(socket);
    detached(&house, 1.0).await;
    assert_eq!(come_back(&house, "bob", &token).await.refusal(), (410, "resume_unknown".to_owned()));
    let resume = ("tandem-resume", token.clone());
    let refused = knock(&house, "/v1/voice?audio=opus", std::slice::from_ref(&resume)).await.refusal();
    assert_eq!(refused, (401, "token_missing".to_owned()));
    let refused = knock(&house, "/v1/voice?audio=pcm16", &[bearer(&house, "ann"), resume]).await.refusal();
    assert_eq!(refused, (409, "resume_wrong_format".to_owned()));
    let mut socket = come_back(&house, "ann", &token).await.socket();
    event(&mut socket, "session.resumed").await;
    hang_up(socket).await;
    for odd in ["", "x", &"A".repeat(43)] {
        assert_eq!(come_back(&house, "ann", odd).await.refusal(), (410, "resume_unknown".to_owned()), "{odd:?}");
    }
    house.metric_until("tandem_resume_total{result=\"unknown\"}", 4.0).await;
    house.metric_until("tandem_resume_total{result=\"wrong_format\"}", 1.0).await;
}

#[actix_web::test]
async fn a_socket_that_is_still_open_is_replaced() {
    let house = House::new(quiet(), 1).await;
    let (mut old, token) = talking(&house, "ann").await;
    let mut new = come_back(&house, "ann", &token).await.socket();
    event(&mut new, "session.resumed").await;
    assert_eq!(u16::from(close(&mut old).await.code), 4470);
    house.metric_until("tandem_resume_total{result=\"taken_over\"}", 1.0).await;
    new.send(Message::text(r#"{"type":"ping","id":"still here"}"#)).await.unwrap();
    assert_eq!(event(&mut new, "pong").await["id"], "still here");
    hang_up(new).await;
    house.settle().await;
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_left\"}", 1.0).await;
    assert_eq!(house.log().len(), 1);
}

#[actix_web::test]
async fn of_several_who_come_back_at_once_one_stays() {
    let house = House::new(quiet(), 1).await;
    for _ in 0..5 {
        let (socket, token) = talking(&house, "ann").await;
        drop(socket);
        let tries = futures_util::future::join_all((0..4).map(|_| come_back(&house, "ann", &token))).await;
        let mut inside = Vec::new();
        for one in tries {
            match one {
                Knocked::Open(socket, _) => inside.push(*socket),
                other => assert_eq!(other.refusal(), (410, "resume_unknown".to_owned())),
            }
        }
        // All are let in whose answer may have been lost; each that answers takes over, and the others are told.
        for _ in 0..2 {
            let mut stay = Vec::new();
            for mut socket in inside {
                if is_kept(&mut socket).await {
                    stay.push(socket);
                }
            }
            inside = stay;
        }
        assert_eq!(inside.len(), 1);
        hang_up(inside.pop().unwrap()).await;
        house.settle().await;
    }
}

/// Whether the call goes on here: a message is answered, or the socket is closed with `replaced`.
async fn is_kept(socket: &mut Socket) -> bool {
    // What is closed takes nothing more.
    let _ = socket.send(Message::text(r#"{"type":"ping","id":"me"}"#)).await;
    loop {
        match next(socket).await {
            Some(Message::Text(text)) if text.contains(r#""pong""#) => return true,
            Some(Message::Close(frame)) => {
                assert_eq!(frame.map(|frame| frame.code.into()), Some(4470_u16));
                return false;
            }
            Some(_) => {}
            None => panic!("a socket that ended without a word"),
        }
    }
}

#[actix_web::test]
async fn who_comes_back_too_late_is_refused_and_nothing_is_left() {
    let house = House::set(quiet(), 1, &[("TANDEM__SESSION__RESUME_GRACE_SECONDS", "1")]).await;
    let mut socket = knock(&house, "/v1/voice?audio=opus", &[bearer(&house, "ann")]).await.socket();
    let created = event(&mut socket, "session.created").await;
    event(&mut socket, "session.ready").await;
    drop(socket);
    detached(&house, 1.0).await;
    house.settle().await;
    detached(&house, 0.0).await;
    let token = created["resume"]["token"].as_str().unwrap();
    assert_eq!(come_back(&house, "ann", token).await.refusal(), (410, "resume_unknown".to_owned()));
    house.metric_until("tandem_resume_total{result=\"abandoned\"}", 1.0).await;
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_lost\"}", 1.0).await;
    assert_eq!(house.gateway.sessions(), 0);
    let (socket, _) = talking_for(&house, "ann", 1_000).await;
    hang_up(socket).await;
}

#[actix_web::test]
async fn a_shutdown_lets_callers_come_back_until_its_deadline() {
    let house = House::set(quiet(), 1, &[("TANDEM__DRAIN__DEADLINE_SECONDS", "2")]).await;
    let (socket, token) = talking(&house, "ann").await;
    drop(socket);
    detached(&house, 1.0).await;
    let coming_back = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while house.metric("tandem_draining") != Some(1.0) {
            look.tick().await;
        }
        let mut socket = come_back(&house, "ann", &token).await.socket();
        event(&mut socket, "session.resumed").await;
        assert_eq!(event(&mut socket, "session.expiring").await["reason"], "drain");
        u16::from(close(&mut socket).await.code)
    };
    let (cut_off, close_code) = tokio::join!(house.gateway.stop(), coming_back);
    assert_eq!((cut_off, close_code), (0, 4453));
}

#[actix_web::test]
async fn a_shutdown_does_not_wait_longer_for_a_caller_who_is_away() {
    let house = House::set(quiet(), 1, &[("TANDEM__DRAIN__DEADLINE_SECONDS", "1")]).await;
    let (socket, _) = talking(&house, "ann").await;
    drop(socket);
    detached(&house, 1.0).await;
    assert_eq!(house.gateway.stop().await, 0);
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"drained\"}", 1.0).await;
}

#[actix_web::test]
async fn without_a_grace_nobody_is_waited_for() {
    let house = House::set(quiet(), 1, &[("TANDEM__SESSION__RESUME_GRACE_SECONDS", "0")]).await;
    let mut socket = knock(&house, "/v1/voice?audio=opus", &[bearer(&house, "ann")]).await.socket();
    assert!(event(&mut socket, "session.created").await.get("resume").is_none());
    event(&mut socket, "session.ready").await;
    drop(socket);
    assert_eq!(house.settle().await[0].state, SlotState::Free);
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_lost\"}", 1.0).await;
}
