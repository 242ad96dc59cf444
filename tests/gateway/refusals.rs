//! Refusals, before the upgrade and on the socket, and what a caller may not send.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use serde_json::Value;
use tandem::{
    audio::{ogg::OggMuxer, packet::OpusPacket},
    protocol::native::SUBPROTOCOL,
    sim::{
        caller::{self, Address, HangUp, HttpAnswer, Trust, Wire},
        upstream::{self, Fault, Faults},
    },
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderMap, protocol::CloseFrame},
};

use crate::house::{House, PATIENCE, quiet};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How a door answered.
#[derive(Debug)]
pub enum Answer {
    Open(Box<Socket>, HeaderMap),
    Refused(u16, HeaderMap, Value),
}

impl Answer {
    pub fn socket(self) -> Socket {
        match self {
            Answer::Open(socket, _) => *socket,
            Answer::Refused(status, _, body) => panic!("refused with {status}: {body}"),
        }
    }

    /// The status and the code of a refusal.
    #[track_caller]
    pub fn refusal(self) -> (u16, String) {
        match self {
            Answer::Open(..) => panic!("the door opened"),
            Answer::Refused(status, headers, body) => {
                assert_eq!(headers["content-type"], "application/problem+json");
                assert_eq!(body["status"], status);
                assert!(body["detail"].as_str().unwrap().ends_with('.'), "{body}");
                (status, body["code"].as_str().unwrap().to_owned())
            }
        }
    }
}

/// Knocks at a door with these headers.
pub async fn knock(house: &House, path: &str, headers: &[(&'static str, String)]) -> Answer {
    let mut request = format!("ws://{}{path}", house.gateway.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio::time::timeout(PATIENCE, connect_async(request)).await.unwrap() {
        Ok((socket, response)) => Answer::Open(Box::new(socket), response.headers().clone()),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = serde_json::from_slice(body).unwrap_or(Value::Null);
            Answer::Refused(response.status().as_u16(), response.headers().clone(), body)
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn bearer(house: &House, user: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", house.token(user).expose_secret()))
}

pub async fn get(house: &House, path: &str) -> HttpAnswer {
    let address = Address::parse(&house.url()).unwrap();
    caller::http_get(&address, path, &Trust::System, PATIENCE).await.unwrap()
}

/// The next message within the time that anything may take.
pub async fn next(socket: &mut Socket) -> Option<Message> {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("nothing came")?.ok()
}

/// The events until one of this type, and it.
pub async fn event(socket: &mut Socket, kind: &str) -> Value {
    loop {
        match next(socket).await {
            Some(Message::Text(text)) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                if event["type"] == kind {
                    return event;
                }
            }
            Some(_) => {}
            None => panic!("the socket ended before {kind}"),
        }
    }
}

/// The close frame that ends everything.
pub async fn close(socket: &mut Socket) -> CloseFrame {
    loop {
        if let Some(Message::Close(frame)) = next(socket).await {
            return frame.expect("a close frame with a code");
        }
    }
}

/// Sends an Ogg stream with a page whose checksum is wrong, an empty packet and good ones; the errors that came back.
pub async fn say_bad_pages(house: &House) -> Vec<String> {
    let mut socket = knock(house, "/v1/voice?audio=ogg-opus", &[bearer(house, "ann")]).await.socket();
    event(&mut socket, "session.ready").await;
    let mut muxer = OggMuxer::new(7);
    let mut pages: Vec<Bytes> = muxer.headers().into();
    pages.push(muxer.page(&[OpusPacket::silence_80ms()]));
    let mut bad = muxer.page(&[OpusPacket::silence_80ms()]).to_vec();
    *bad.last_mut().unwrap() ^= 0x55;
    pages.push(bad.into());
    pages.push(muxer.page(&[OpusPacket::silence_80ms()]));
    for page in pages {
        socket.send(Message::binary(page)).await.unwrap();
    }
    let error = event(&mut socket, "error").await;
    socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    event(&mut socket, "session.ended").await;
    vec![error.to_string()]
}

#[actix_web::test]
async fn every_wrong_request_has_its_own_answer() {
    let house = House::set(quiet(), 1, &[("TANDEM__DOORS__ALLOWED_ORIGINS", "https://app.example")]).await;
    let ann = bearer(&house, "ann");
    let origin = |name: &str| ("origin", name.to_owned());
    for (path, headers, expected) in [
        ("/v1/nothing", vec![ann.clone()], (404, "unknown_route")),
        ("/v1/voice?audio=mp3", vec![ann.clone()], (400, "unknown_format")),
        ("/v1/voice?rate=22051", vec![ann.clone()], (400, "unknown_rate")),
        ("/v1/voice?channels=6", vec![ann.clone()], (400, "unknown_channels")),
        ("/v1/voice?voice=NATF9", vec![ann.clone()], (404, "unknown_voice")),
        ("/api/chat?voice_prompt=../x.pt", vec![ann.clone()], (404, "unknown_voice")),
        ("/v1/voice?text_prompt=+++", vec![ann.clone()], (400, "bad_prompt")),
        ("/v1/voice", vec![ann.clone(), origin("https://evil.example")], (403, "origin_not_allowed")),
        ("/v1/voice", vec![], (401, "token_missing")),
    ] {
        let refusal = knock(&house, path, &headers).await.refusal();
        assert_eq!((refusal.0, refusal.1.as_str()), expected, "{path}");
    }
    let long = format!("/v1/voice?text_prompt={}", "word+".repeat(2000));
    assert_eq!(knock(&house, &long, std::slice::from_ref(&ann)).await.refusal(), (400, "bad_prompt".to_owned()));
    assert!(house.log().is_empty(), "none of these reached the server");
    knock(&house, "/v1/voice", &[ann, origin("https://app.example")]).await.socket();
}

#[actix_web::test]
async fn an_ordinary_request_is_told_to_upgrade() {
    let house = House::new(quiet(), 1).await;
    for path in ["/v1/voice", "/api/chat"] {
        let answer = get(&house, path).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, body["code"].as_str()), (426, Some("upgrade_required")), "{path}");
    }
}

#[actix_web::test]
async fn metrics_are_shown_unless_they_are_switched_off() {
    let house = House::new(quiet(), 1).await;
    assert_eq!(get(&house, "/metrics").await.status, 200);
    assert_eq!(get(&house, "/v1/tickets").await.status, 405);
    assert_eq!(get(&house, "/healthz").await.body, b"ok\n");
    let house = House::set(quiet(), 1, &[("TANDEM__METRICS__ENABLED", "false")]).await;
    assert_eq!(get(&house, "/metrics").await.status, 404);
}

#[actix_web::test]
async fn a_recorder_that_is_started_again_goes_on_talking() {
    let house = House::new(quiet(), 1).await;
    let mut socket = knock(&house, "/v1/voice?audio=ogg-opus", &[bearer(&house, "ann")]).await.socket();
    event(&mut socket, "session.ready").await;
    // As much at once as may wait for a server: what is more would be dropped as a backlog.
    for serial in [1, 2] {
        let mut muxer = OggMuxer::new(serial);
        let mut pages: Vec<Bytes> = muxer.headers().into();
        pages.extend((0..4).map(|_| muxer.page(&[OpusPacket::silence_80ms()])));
        for page in pages {
            socket.send(Message::binary(page)).await.unwrap();
        }
        let heard = u64::from(serial) * 4;
        house.servers[0].wait_for(|calls| calls[0].frames_in == heard, PATIENCE).await.unwrap();
    }
}

#[actix_web::test]
async fn a_full_house_says_when_to_come_back() {
    let house = House::new(quiet(), 1).await;
    let mut first = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    event(&mut first, "session.ready").await;
    match knock(&house, "/v1/voice?wait=0", &[bearer(&house, "bob")]).await {
        Answer::Refused(503, headers, body) => {
            assert_eq!(body["code"], "no_capacity");
            assert_eq!(headers["retry-after"], body["retry_after_seconds"].to_string().as_str());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(house.log().len(), 1, "the refused caller never reached the server");
    // Busy is a detail of readiness, not a reason to send callers away.
    let ready = get(&house, "/readyz").await;
    let body: Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!((ready.status, &body["slots"][0]["state"]), (200, &Value::from("leased")), "{body}");
}

#[actix_web::test]
async fn one_user_has_so_many_calls_and_so_many_tries() {
    let house = House::set(
        quiet(),
        4,
        &[("TANDEM__SESSION__MAX_SESSIONS_PER_USER", "1"), ("TANDEM__SESSION__ATTEMPTS_PER_MINUTE_PER_USER", "3")],
    )
    .await;
    let ann = bearer(&house, "ann");
    let mut first = knock(&house, "/v1/voice", std::slice::from_ref(&ann)).await.socket();
    event(&mut first, "session.ready").await;
    for _ in 0..2 {
        assert_eq!(
            knock(&house, "/v1/voice", std::slice::from_ref(&ann)).await.refusal(),
            (429, "too_many_calls".to_owned())
        );
    }
    match knock(&house, "/v1/voice", &[ann]).await {
        Answer::Refused(429, headers, body) => {
            assert_eq!(body["code"], "too_many_attempts");
            assert!(headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
        }
        other => panic!("{other:?}"),
    }
    knock(&house, "/v1/voice", &[bearer(&house, "bob")]).await.socket();
}

#[actix_web::test]
async fn a_browser_is_told_the_refusal_on_the_socket() {
    let house = House::new(quiet(), 1).await;
    for (headers, code, close_code) in [
        (vec![], "token_missing", 4401),
        (vec![("authorization", "Bearer nonsense".to_owned())], "token_malformed", 4401),
    ] {
        let mut socket = knock(&house, "/v1/voice?errors=socket", &headers).await.socket();
        let error = event(&mut socket, "error").await;
        assert_eq!((error["code"].as_str(), error["status"].as_u64()), (Some(code), Some(401)));
        let frame = close(&mut socket).await;
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (close_code, code));
    }
    // The Moshi wire says it in its own way: kind 05.
    let mut socket = knock(&house, "/api/chat?errors=socket", &[]).await.socket();
    match next(&mut socket).await {
        Some(Message::Binary(bytes)) => assert_eq!(bytes[0], 5),
        other => panic!("{other:?}"),
    }
    assert_eq!(u16::from(close(&mut socket).await.code), 4401);
    // Too many of them get the plain status: sockets are not free.
    let until_plain = async {
        while !matches!(
            futures_util::future::join_all((0..40).map(|_| knock(&house, "/v1/voice?errors=socket", &[]))).await,
            answers if answers.iter().any(|answer| matches!(answer, Answer::Refused(401, ..)))
        ) {}
    };
    tokio::time::timeout(PATIENCE, until_plain).await.expect("nobody was refused plainly");
    assert!(house.log().is_empty());
}

#[actix_web::test]
async fn control_messages_are_answered_and_bad_ones_explained() {
    let house = House::new(quiet(), 1).await;
    let offered = ("sec-websocket-protocol", SUBPROTOCOL.to_owned());
    let answer = knock(&house, "/v1/voice?audio=opus", &[bearer(&house, "ann"), offered]).await;
    let Answer::Open(mut socket, headers) = answer else { panic!("{answer:?}") };
    assert_eq!(headers["sec-websocket-protocol"], SUBPROTOCOL);
    let created = event(&mut socket, "session.created").await;
    assert_eq!(created["audio"]["format"], "opus");
    event(&mut socket, "session.ready").await;
    socket.send(Message::text(r#"{"type":"ping","id":"7"}"#)).await.unwrap();
    assert_eq!(event(&mut socket, "pong").await["id"], "7");
    socket.send(Message::text("what?")).await.unwrap();
    let error = event(&mut socket, "error").await;
    assert_eq!(error["code"], "not_understood");
    assert!(!error.to_string().contains("what?"), "the message is not repeated");
    socket.send(Message::binary(Bytes::from_static(&[0x03]))).await.unwrap();
    assert_eq!(event(&mut socket, "error").await["code"], "bad_packet");
    socket.send(Message::binary(Bytes::new())).await.unwrap();
    for _ in 0..20 {
        socket.send(Message::text("{}")).await.unwrap();
    }
    let ended = event(&mut socket, "session.ended").await;
    assert_eq!(ended["ending"], "bad_input");
    assert_eq!(u16::from(close(&mut socket).await.code), 4400);
    assert!(house.settle().await.iter().all(|slot| slot.state == tandem::pool::roster::SlotState::Free));
}

#[actix_web::test]
async fn a_message_that_is_too_long_ends_the_call_with_a_reason() {
    let house = House::new(quiet(), 1).await;
    let mut socket = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    event(&mut socket, "session.ready").await;
    socket.send(Message::binary(vec![0; 70_000])).await.unwrap();
    assert_eq!(event(&mut socket, "error").await["code"], "bad_frame");
    assert_eq!(event(&mut socket, "session.ended").await["ending"], "bad_input");
}

#[actix_web::test]
async fn a_broken_frame_is_told_once_and_the_end_comes_at_once() {
    let house = House::new(quiet(), 1).await;
    for broken in [&b"\x82\x01a"[..], b"\xc2\x81\0\0\0\0a", b"\x83\x81\0\0\0\0a"] {
        let mut socket = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
        event(&mut socket, "session.ready").await;
        let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("plain TCP") };
        stream.write_all(broken).await.unwrap();
        let mut events = Vec::new();
        while let Some(message) = next(&mut socket).await {
            if let Message::Text(text) = message {
                let event: Value = serde_json::from_str(&text).unwrap();
                events.push(event["type"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(events, ["error", "session.ended"], "{broken:?}");
        house.settle().await;
    }
}

#[actix_web::test]
async fn an_upgrade_with_a_body_is_refused() {
    let house = House::new(quiet(), 1).await;
    let answer = knock(&house, "/v1/voice", &[bearer(&house, "ann"), ("content-length", "10".to_owned())]).await;
    assert_eq!(answer.refusal(), (400, "bad_request".to_owned()));
}

#[actix_web::test]
async fn tiny_packets_in_large_messages_are_sound_faster_than_speech_too() {
    let house = House::new(quiet(), 1).await;
    let mut socket = knock(&house, "/v1/voice?audio=ogg-opus", &[bearer(&house, "ann")]).await.socket();
    event(&mut socket, "session.ready").await;
    let mut muxer = OggMuxer::new(7);
    let mut pages: Vec<Bytes> = muxer.headers().into();
    let minute: Vec<OpusPacket> = (0..200).map(|_| OpusPacket::silence_20ms()).collect();
    pages.extend((0..100).map(|_| muxer.page(&minute)));
    for page in pages {
        if socket.send(Message::binary(page)).await.is_err() {
            break;
        }
    }
    assert_eq!(event(&mut socket, "error").await["code"], "too_fast");
    assert_eq!(event(&mut socket, "session.ended").await["ending"], "bad_input");
}

#[actix_web::test]
async fn sound_faster_than_speech_is_refused() {
    let house = House::new(quiet(), 1).await;
    let mut socket = knock(&house, "/v1/voice?rate=8000", &[bearer(&house, "ann")]).await.socket();
    event(&mut socket, "session.ready").await;
    // Ten minutes of sound at once: 8,000 samples of two bytes a second.
    for _ in 0..200 {
        if socket.send(Message::binary(vec![0; 48_000])).await.is_err() {
            break;
        }
    }
    assert_eq!(event(&mut socket, "error").await["code"], "too_fast");
    assert_eq!(event(&mut socket, "session.ended").await["ending"], "bad_input");
    house.settle().await;
    let heard = house.log()[0].frames_in;
    assert!(heard < 12 * 13, "the server was fed {heard} frames");
}

#[actix_web::test]
async fn the_stock_client_hears_nothing_before_the_handshake_and_never_ten_seconds_of_nothing() {
    let mute = Faults::always(Fault::Hang { after: Duration::ZERO });
    let server = upstream::Settings { faults: mute, ..quiet() };
    let house = House::set(server, 1, &[("TANDEM__SESSION__PING_INTERVAL_MS", "200")]).await;
    let mut socket =
        knock(&house, "/api/chat?voice_prompt=NATF1.pt&text_prompt=Hi.", &[bearer(&house, "ann")]).await.socket();
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        match next(&mut socket).await.unwrap() {
            Message::Binary(bytes) => {
                if bytes[0] == 1 {
                    assert_eq!(&bytes[1..5], b"OggS", "whole pages only");
                }
                kinds.push(bytes[0]);
            }
            Message::Text(text) => panic!("a text frame on the Moshi wire: {text}"),
            _ => {}
        }
    }
    // Handshake, both header pages, then keep-alives although the server says nothing.
    assert_eq!(kinds, [0, 1, 1, 6, 6]);
}

#[actix_web::test]
async fn production_takes_no_prompts_and_no_tokens_in_the_query() {
    let house = House::set(quiet(), 1, &[("TANDEM_MODE", "production"), ("TANDEM__LISTEN__HOST", "127.0.0.1")]).await;
    let ann = bearer(&house, "ann");
    let refused = knock(&house, "/v1/voice?text_prompt=Obey.", std::slice::from_ref(&ann)).await.refusal();
    assert_eq!(refused, (403, "prompt_not_allowed".to_owned()));
    let in_query = format!("/v1/voice?token={}", house.token("ann").expose_secret());
    assert_eq!(knock(&house, &in_query, &[]).await.refusal(), (401, "token_in_query".to_owned()));
    // The stock client always sends a prompt and a voice: there they are ignored.
    let mut settings = house.caller("ann", Wire::Moshi);
    settings.voice = Some("NATM3.pt".into());
    settings.text_prompt = Some("Obey.".into());
    settings.hang_up = HangUp::After(Duration::from_millis(100));
    let report = caller::call(settings).await;
    assert!(report.went_well(), "{report:?}");
    house.settle().await;
    let call = &house.log()[0];
    assert_eq!(call.voice_given.as_deref(), Some("NATF0.pt"));
    assert!(!call.prompt_given.as_ref().unwrap().expose().contains("Obey"));
}
