//! Calls to small servers that play one scene each.

use std::f32::consts::TAU;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;
use crate::protocol::ending::Ending;
use crate::protocol::native::{AudioTerms, EndReport, LimitTerms, ServerEvent, TranscriptDelta, encode_server};

type Server = WebSocketStream<TcpStream>;

/// A server that takes one call, notes its request line and plays a scene.
async fn server<F, R>(scene: F) -> (SocketAddr, JoinHandle<(String, R::Output)>)
where
    F: FnOnce(Server) -> R + Send + 'static,
    R: Future<Output: Send + 'static> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut head = String::new();
        #[expect(clippy::result_large_err, reason = "the type of the callback is given")]
        let note = |request: &Request, mut response: Response| {
            head = format!("{} {:?}", request.uri(), request.headers());
            if request.headers().contains_key("sec-websocket-protocol") {
                response.headers_mut().insert("sec-websocket-protocol", "tandem.v1".parse().unwrap());
            }
            Ok(response)
        };
        let socket = accept_hdr_async(stream, note).await.unwrap();
        let output = scene(socket).await;
        (head, output)
    });
    (address, task)
}

fn settings(address: SocketAddr) -> CallerSettings {
    let mut settings = CallerSettings::new(format!("http://{address}"));
    settings.pace = Pace::Times(20.0);
    settings.hang_up = HangUp::AfterSource { tail: Duration::from_millis(10) };
    settings
}

/// A second of a tone.
fn tone() -> Arc<[f32]> {
    (0..SAMPLE_RATE_HZ).map(|at| 0.4 * (TAU * 300.0 * at as f32 / SAMPLE_RATE_HZ as f32).sin()).collect()
}

fn event(event: &ServerEvent) -> Message {
    Message::text(encode_server(event))
}

fn created() -> ServerEvent {
    ServerEvent::Created {
        session_id: "call-1".into(),
        audio: AudioTerms { format: "pcm16".into(), sample_rate: 24_000, channels: 1 },
        limits: LimitTerms { max_duration_ms: 60_000, idle_timeout_ms: 60_000 },
        resume: None,
    }
}

fn ended(ending: Ending) -> ServerEvent {
    let row = ending.row();
    ServerEvent::Ended(EndReport {
        ending,
        close_code: row.close_code,
        message: row.sentence.into(),
        duration_ms: 0,
        audio_in_ms: 0,
        audio_out_ms: 0,
        dropped_ms: 0,
        turns: None,
    })
}

/// Greets the caller; before it is ready the caller answers a ping and says nothing else.
async fn greet(socket: &mut Server) {
    socket.send(event(&created())).await.unwrap();
    socket.send(event(&ServerEvent::Connecting { attempt: 1, deadline_ms: 10_000 })).await.unwrap();
    only_pongs_come(socket).await;
    socket.send(event(&ServerEvent::Ready { setup_ms: 20, queued_ms: 7 })).await.unwrap();
}

/// Pings often enough for a caller who speaks too early to be caught.
async fn only_pongs_come(socket: &mut Server) {
    for _ in 0..20 {
        socket.send(Message::Ping("still there?".into())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Pong("still there?".into()), "nothing is said before the model listens");
    }
}

/// Says why the call ended and waits for the caller's close.
async fn end(socket: &mut Server, ending: Ending) {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    let close = CloseFrame { code: ending.row().close_code.into(), reason: "".into() };
    let _ = socket.send(event(&ended(ending))).await;
    let _ = socket.close(Some(close)).await;
    while let Some(Ok(_)) = socket.next().await {}
}

/// Plays everything back until the caller hangs up.
async fn echo(mut socket: Server) {
    greet(&mut socket).await;
    let words = TranscriptDelta { text: "la la".into(), audio_ms: 0 };
    socket.send(event(&ServerEvent::Transcript(words))).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(audio) => socket.send(Message::Binary(audio)).await.unwrap(),
            Message::Text(text) => {
                assert_eq!(text.as_str(), r#"{"type":"session.end"}"#);
                return end(&mut socket, Ending::ClientLeft).await;
            }
            _ => {}
        }
    }
}

/// How alike two sounds are when the second may be late by up to 100 ms: 1 is the same.
fn likeness(said: &[f32], heard: &[f32]) -> f32 {
    let energy = |sound: &[f32]| sound.iter().map(|sample| sample * sample).sum::<f32>().sqrt();
    let at = |delay: usize| {
        let heard = heard.get(delay..).unwrap_or_default();
        let length = said.len().min(heard.len());
        let product: f32 = said[..length].iter().zip(heard).map(|(a, b)| a * b).sum();
        product / (energy(&said[..length]) * energy(&heard[..length])).max(1e-9)
    };
    (0..2400).step_by(4).map(at).fold(0.0, f32::max)
}

#[tokio::test]
async fn the_echo_of_a_call_comes_back_in_every_format() {
    let formats = [
        (Audio::Pcm16 { rate_hz: 24_000 }, "audio=pcm16&rate=24000"),
        (Audio::Pcm16 { rate_hz: 44_100 }, "audio=pcm16&rate=44100"),
        (Audio::Pcm16 { rate_hz: 8_000 }, "audio=pcm16&rate=8000"),
        (Audio::Opus, "audio=opus"),
        (Audio::OggOpus, "audio=ogg-opus"),
    ];
    for (audio, query) in formats {
        let (address, task) = server(echo).await;
        let mut settings = settings(address);
        settings.wire = Wire::Native(audio);
        settings.source = tone();
        let report = call(settings).await;
        let (head, ()) = task.await.unwrap();
        assert!(head.starts_with(&format!("/v1/voice?{query} ")), "{head}");
        assert_eq!(report.error, None, "{audio:?}");
        assert!(report.went_well());
        assert_eq!(report.ending, Some(Ending::ClientLeft));
        assert_eq!(report.close_code, Some(1000));
        assert_eq!(report.session_id.as_deref(), Some("call-1"));
        assert_eq!(report.queued_ms, Some(7));
        assert_eq!(report.transcript, "la la");
        assert!(report.sent_seconds >= 1.0 && report.sent_seconds < 2.0, "{report:?}");
        assert!((report.sent_seconds - report.received_seconds).abs() < 0.001, "{audio:?} {report:?}");
        assert_eq!(report.lost_packets, 0);
        assert!(likeness(&tone(), &report.audio) > 0.9, "{audio:?}");
        assert!(!format!("{report:?}").contains("la la"));
    }
}

#[tokio::test]
async fn a_caller_who_begins_late_leaves_nothing_out() {
    let (address, _task) = server(echo).await;
    let mut settings = settings(address);
    // At this pace a second of sound is due after 0.1 ms: long before its first message can be sent.
    settings.pace = Pace::Times(10_000.0);
    settings.hang_up = HangUp::AfterSource { tail: Duration::ZERO };
    settings.source = tone();
    let report = call(settings).await;
    assert_eq!(report.error, None);
    assert!(report.sent_seconds >= 1.0, "{report:?}");
    assert!(likeness(&tone(), &report.audio) > 0.9, "{report:?}");
}

#[tokio::test]
async fn a_report_is_one_json_object_without_the_sound() {
    let (address, _task) = server(echo).await;
    let report = call(settings(address)).await;
    let json = serde_json::to_value(&report).unwrap();
    for key in [
        "setup_ms",
        "queued_ms",
        "first_audio_ms",
        "sent_seconds",
        "received_seconds",
        "lost_packets",
        "transcript",
        "ending",
        "close_code",
        "session_id",
        "error",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert!(json.get("audio").is_none());
    assert_eq!(json["ending"], "client_left");
}

/// A message of PersonaPlex's wire.
fn moshi(kind: u8, payload: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(payload.len() + 1);
    bytes.put_u8(kind);
    bytes.put_slice(payload);
    Message::Binary(bytes.freeze())
}

/// A model server that plays back, loses the fourth page and says a word in bytes.
async fn model(mut socket: Server) -> Option<u16> {
    only_pongs_come(&mut socket).await;
    socket.send(moshi(0, &[])).await.unwrap();
    for piece in [" caf", "<0xC3>", "<0xA9>"] {
        socket.send(moshi(2, piece.as_bytes())).await.unwrap();
    }
    let mut pages = 0;
    let mut close_code = None;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) => {
                assert_eq!(&bytes[..5], b"\x01OggS", "each message is one page");
                pages += 1;
                if pages != 4 {
                    socket.send(Message::Binary(bytes)).await.unwrap();
                }
            }
            Message::Close(frame) => close_code = frame.map(|frame| frame.code.into()),
            _ => {}
        }
    }
    close_code
}

#[tokio::test]
async fn a_model_server_is_called_directly_on_its_own_wire() {
    let (address, task) = server(model).await;
    let mut settings = settings(address);
    settings.wire = Wire::Moshi;
    settings.source = tone();
    let report = call(settings).await;
    let (head, close_code) = task.await.unwrap();
    assert!(head.starts_with("/api/chat?voice_prompt=NATF0.pt&text_prompt="), "{head}");
    assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
    assert_eq!(close_code, Some(1000));
    assert_eq!(report.error, None);
    assert_eq!(report.transcript, " café");
    assert_eq!(report.lost_packets, 1);
    assert!((report.sent_seconds - report.received_seconds - 0.08).abs() < 0.001, "{report:?}");
}

/// Answers one request with these bytes, in two pieces, and closes.
async fn answer_with(head: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(body.as_bytes()).await.unwrap();
    });
    address
}

#[tokio::test]
async fn a_refusal_before_the_upgrade_is_told_in_its_own_words() {
    let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n";
    let address = answer_with(head, r#"{"code":"no_capacity","detail":"All voice models are busy."}"#).await;
    let error = call(settings(address)).await.error.unwrap();
    assert_eq!(error.code, "no_capacity");
    assert_eq!(error.status, Some(503));
    assert_eq!(error.retry_after_seconds, Some(5));
    assert_eq!(error.message, "the call was refused: All voice models are busy.");
    let address = answer_with("SSH-2.0-OpenSSH_9.6\r\n", "").await;
    assert_eq!(call(settings(address)).await.error.unwrap().code, "not_http");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut silent = settings(address);
    silent.connect_timeout = Duration::from_millis(50);
    let error = call(silent).await.error.unwrap();
    assert_eq!(error.message, format!("no answer from {address} within 0.05 s: is `tandem serve` running?"));
    drop(listener);
    let error = call(settings(address)).await.error.unwrap();
    assert_eq!(error.message, format!("nothing listens at {address}: is `tandem serve` running?"));
}

#[tokio::test]
async fn a_call_that_the_server_ends_failed_with_the_servers_reason() {
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        end(&mut socket, Ending::UpstreamLost).await;
    })
    .await;
    let mut settings = settings(address);
    settings.hang_up = HangUp::WhenTold;
    let report = call(settings).await;
    assert_eq!(report.ending, Some(Ending::UpstreamLost));
    assert_eq!(report.close_code, Some(4461));
    let error = report.error.clone().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("upstream_lost", Ending::UpstreamLost.row().sentence));
    assert!(!report.went_well());

    // Hanging up does not make another ending good.
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        while !socket.next().await.unwrap().unwrap().is_text() {}
        end(&mut socket, Ending::Internal).await;
    })
    .await;
    let report = call(self::settings(address)).await;
    assert_eq!((report.error.unwrap().code.as_str(), report.close_code), ("internal", Some(1011)));
}

#[tokio::test]
async fn a_connection_that_breaks_is_lost_and_a_model_that_closes_did_not_say_why() {
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        drop(socket);
    })
    .await;
    let mut lost = settings(address);
    lost.hang_up = HangUp::WhenTold;
    assert_eq!(call(lost).await.error.unwrap().code, "connection_lost");

    let (address, _task) = server(|mut socket: Server| async move {
        socket.send(moshi(0, &[])).await.unwrap();
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut closed = settings(address);
    closed.wire = Wire::Moshi;
    closed.hang_up = HangUp::WhenTold;
    let report = call(closed).await;
    assert_eq!((report.error.unwrap().code.as_str(), report.close_code, report.ending), ("closed", Some(1005), None));
}

#[tokio::test]
async fn a_server_that_never_gets_ready_or_never_says_goodbye_is_given_up() {
    let (address, _task) = server(|mut socket: Server| async move {
        socket.send(event(&created())).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut slow = settings(address);
    slow.setup_timeout = Duration::from_millis(50);
    assert_eq!(call(slow).await.error.unwrap().code, "setup_timeout");

    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut rude = settings(address);
    rude.goodbye_timeout = Duration::from_millis(50);
    assert_eq!(call(rude).await.error.unwrap().code, "no_goodbye");
}

#[tokio::test]
async fn a_caller_who_is_told_to_hangs_up_politely_at_any_time() {
    let (address, task) = server(echo).await;
    let mut settings = settings(address);
    settings.hang_up = HangUp::WhenTold;
    let (events, mut told) = mpsc::channel(64);
    settings.events = Some(events);
    let hang_up = Arc::clone(&settings.hang_up_now);
    let calling = tokio::spawn(call(settings));
    let mut seen = Vec::new();
    while let Some(event) = timeout(Duration::from_secs(10), told.recv()).await.unwrap() {
        if event == CallEvent::FirstAudio {
            hang_up.notify_one();
        }
        seen.push(event);
    }
    let report = calling.await.unwrap();
    task.await.unwrap();
    assert_eq!(report.error, None);
    assert_eq!(seen.first(), Some(&CallEvent::Created { session_id: "call-1".into() }));
    assert_eq!(seen.last(), Some(&CallEvent::Ended { ending: Ending::ClientLeft }));
    assert!(seen.contains(&CallEvent::HungUp) && !format!("{seen:?}").contains("la la"));

    let (address, task) = server(|mut socket: Server| async move {
        socket.send(event(&created())).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_text(), "the goodbye is the first word");
        end(&mut socket, Ending::ClientLeft).await;
    })
    .await;
    let settings = self::settings(address);
    let hang_up = Arc::clone(&settings.hang_up_now);
    hang_up.notify_one();
    // The order of the answer to the upgrade and of the wish to hang up is open.
    match call(settings).await.error {
        None => assert!(task.await.is_ok()),
        Some(error) => assert_eq!(error.code, "given_up"),
    }
}

/// Pings, and tells whether a pong was among the next ten messages.
async fn ping(mut socket: Server) -> bool {
    greet_without_ping(&mut socket).await;
    socket.send(Message::Ping("p".into())).await.unwrap();
    let mut ponged = false;
    for _ in 0..10 {
        ponged |= socket.next().await.unwrap().unwrap().is_pong();
    }
    end(&mut socket, Ending::ClientLost).await;
    ponged
}

async fn greet_without_ping(socket: &mut Server) {
    socket.send(event(&created())).await.unwrap();
    socket.send(event(&ServerEvent::Ready { setup_ms: 0, queued_ms: 0 })).await.unwrap();
}

#[tokio::test]
async fn a_caller_without_pongs_goes_on_speaking() {
    for (behaviour, expected) in [(Behaviour::Polite, true), (Behaviour::NoPongs, false)] {
        let (address, task) = server(ping).await;
        let mut settings = settings(address);
        settings.behaviour = behaviour;
        settings.hang_up = HangUp::WhenTold;
        let report = call(settings).await;
        assert_eq!(task.await.unwrap().1, expected, "{behaviour:?}");
        assert_eq!(report.ending, Some(Ending::ClientLost));
    }
}

#[tokio::test]
async fn a_caller_who_vanishes_keeps_the_socket_and_leaves_without_a_word() {
    let (gone, mut left) = mpsc::channel(1);
    let (address, task) = server(|mut socket: Server| async move {
        greet_without_ping(&mut socket).await;
        let mut messages = 0;
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(_))) => messages += 1,
                Some(Ok(other)) => panic!("a vanished caller says {other:?}"),
                Some(Err(Error::Protocol(_) | Error::Io(_))) | None => break,
                Some(Err(error)) => panic!("{error}"),
            }
            if messages == 3 {
                gone.send(()).await.unwrap();
            }
        }
        messages
    })
    .await;
    let mut settings = settings(address);
    settings.behaviour = Behaviour::VanishAfter(Duration::from_millis(100));
    settings.hang_up = HangUp::After(Duration::from_millis(300));
    let report = call(settings).await;
    assert_eq!(left.recv().await, Some(()));
    let (_, messages) = task.await.unwrap();
    // 100 ms at 20 times real time are about 100 messages; the 200 ms until the end add none, and no close.
    assert!((3..200).contains(&messages), "{messages}");
    assert_eq!((report.error, report.close_code), (None, None));
}

#[tokio::test]
async fn a_caller_who_stops_reading_or_goes_mute_is_still_there() {
    let (address, _task) = server(echo).await;
    let mut deaf = settings(address);
    deaf.behaviour = Behaviour::StopReadingAfter(Duration::ZERO);
    deaf.source = tone();
    let report = call(deaf).await;
    assert!(report.sent_seconds >= 1.0, "{report:?}");
    assert!(report.received_seconds < report.sent_seconds, "{report:?}");
    assert_eq!(report.ending, None);

    let (address, _task) = server(echo).await;
    let mut mute = settings(address);
    mute.behaviour = Behaviour::MuteAfter(Duration::ZERO);
    let report = call(mute).await;
    assert_eq!((report.sent_seconds, report.ending, report.error), (0.0, Some(Ending::ClientLeft), None));
}

#[tokio::test]
async fn what_no_version_of_the_wire_has_ends_the_call_and_what_a_later_one_has_does_not() {
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        socket.send(Message::text(r#"{"type":"turn.started","x":1}"#)).await.unwrap();
        socket.send(Message::text("not json")).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut settings = settings(address);
    settings.hang_up = HangUp::WhenTold;
    let error = call(settings).await.error.unwrap();
    assert_eq!(error.code, "protocol");
}
