//! Calls to small servers that play one scene each.

mod ends;
mod formats;
mod manners;

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

/// A message of PersonaPlex's wire.
fn moshi(kind: u8, payload: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(payload.len() + 1);
    bytes.put_u8(kind);
    bytes.put_slice(payload);
    Message::Binary(bytes.freeze())
}
