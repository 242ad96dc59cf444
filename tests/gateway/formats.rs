//! Formats that the scripted caller does not speak, over a bare socket.

use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use tandem::sim::upstream::{self, Answer};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    echo::best_echo,
    house::{House, PATIENCE, quiet, speech},
    refusals::{bearer, close, event, knock, next},
};

const ECHO: Duration = Duration::from_millis(400);
const SECONDS: usize = 2;

/// Speech in the left channel of two, in messages of 20 ms, each sound in it twice as loud as after mixing.
fn stereo_messages() -> Vec<Bytes> {
    let sound = speech();
    let frames = sound[..SECONDS * 24_000].chunks(480).map(|frame| {
        let samples = frame.iter().flat_map(|sample| [(sample * 32_767.0) as i16, 0]);
        samples.flat_map(i16::to_le_bytes).collect::<Vec<u8>>().into()
    });
    frames.collect()
}

/// The left channel of what came, which has to be the right one too.
fn left(message: &[u8], heard: &mut Vec<f32>) {
    let (frames, rest) = message.as_chunks::<4>();
    assert!(rest.is_empty(), "whole frames");
    for &[l0, l1, r0, r1] in frames {
        assert_eq!([l0, l1], [r0, r1], "both channels are the same");
        heard.push(f32::from(i16::from_le_bytes([l0, l1])) / 32_768.0);
    }
}

#[actix_web::test]
async fn stereo_pcm_is_mixed_and_answered_in_stereo() {
    let parrot = upstream::Settings { answer: Answer::Echo { delay: ECHO }, ..upstream::Settings::instant() };
    let house = House::new(parrot, 1).await;
    let mut socket = knock(&house, "/v1/voice?channels=2", &[bearer(&house, "ann")]).await.socket();
    let terms = event(&mut socket, "session.created").await["audio"].clone();
    assert_eq!(terms, serde_json::json!({"format": "pcm16", "sample_rate": 24_000, "channels": 2}));
    event(&mut socket, "session.ready").await;
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    // A burst would be dropped, and a late caller is only late.
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut messages = stereo_messages().into_iter();
    let mut heard = Vec::new();
    let wanted = (SECONDS * 24_000) + ECHO.as_millis() as usize * 24;
    let talk = async {
        while heard.len() < wanted {
            tokio::select! {
                _ = clock.tick() => {
                    let silence = || Bytes::from_static(&[0; 480 * 4]);
                    socket.send(Message::Binary(messages.next().unwrap_or_else(silence))).await.unwrap();
                }
                message = next(&mut socket) => if let Some(Message::Binary(bytes)) = message {
                    left(&bytes, &mut heard);
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap();
    let echo = best_echo(&speech()[..SECONDS * 24_000], &heard);
    assert!(echo.likeness > 0.8, "likeness {}", echo.likeness);
    assert!((0.15..0.35).contains(&echo.power), "half of the level is a quarter of the power, not {}", echo.power);
}

#[actix_web::test]
async fn a_browser_that_records_webm_is_told_so_and_let_go() {
    let house = House::new(quiet(), 1).await;
    for path in ["/v1/voice?rate=48000", "/v1/voice?audio=opus", "/v1/voice?audio=ogg-opus"] {
        let mut socket = knock(&house, path, &[bearer(&house, "ann")]).await.socket();
        event(&mut socket, "session.ready").await;
        let header = [&b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01"[..], &[7; 120]].concat();
        socket.send(Message::binary(header)).await.unwrap();
        for _ in 1..10 {
            socket.send(Message::binary(vec![7; 900])).await.unwrap();
        }
        let error = event(&mut socket, "error").await;
        assert_eq!(error["code"], "wrong_format", "{path}");
        assert!(error["message"].as_str().unwrap().starts_with("the audio begins like WebM or Matroska"), "{error}");
        assert_eq!(event(&mut socket, "session.ended").await["ending"], "bad_input", "{path}");
        assert_eq!(u16::from(close(&mut socket).await.code), 4400, "{path}");
        house.settle().await;
    }
}
