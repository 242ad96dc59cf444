//! Callers who stop reading: what they hear when they read again, and how long they are kept.

use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use serde_json::Value;
use tandem::{
    audio::{opus::OpusEncoder, packet::OpusPacket},
    sim::upstream::{self, Answer},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    echo::is_whole,
    house::{House, speech},
    refusals::{Socket, bearer, event, knock, next},
};

/// A sound's delay in the model, and the sound's own way, twice through codecs.
const ECHO: Duration = Duration::from_millis(80);

fn parrot() -> upstream::Settings {
    upstream::Settings { answer: Answer::Echo { delay: ECHO }, ..upstream::Settings::instant() }
}

/// A caller in a call that streams, who speaks at the speed of speech and reads or not.
struct Caller {
    socket: Socket,
    messages: Messages,
    length: Length,
    heard: Heard,
}

/// What is said, 20 ms in each.
type Messages = Box<dyn Iterator<Item = Bytes>>;
/// How much sound a message is.
type Length = fn(&Bytes) -> Duration;

/// What a caller was told.
#[derive(Debug, Default)]
struct Heard {
    audio: Duration,
    words: String,
    /// How the call ended.
    ending: Option<String>,
    close_code: Option<u16>,
}

impl Caller {
    /// 20 ms of speech in each message, over and over.
    async fn new(house: &House, format: &str) -> Caller {
        let samples = speech();
        let frames = (0..).map(move |n| {
            let at = n * 480 % (samples.len() - 480);
            samples[at..at + 480].to_vec()
        });
        let (messages, length): (Messages, Length) = match format {
            "opus" => {
                let mut encoder = OpusEncoder::new().unwrap();
                let packets = frames.map(move |frame| encoder.encode(&frame).unwrap().bytes().clone());
                (Box::new(packets), |bytes| OpusPacket::parse(bytes.clone()).unwrap().duration())
            }
            _ => {
                let pcm = |frame: Vec<f32>| frame.iter().flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes()).collect();
                (Box::new(frames.map(pcm)), |bytes| Duration::from_micros(bytes.len() as u64 * 1_000_000 / 48_000))
            }
        };
        let path = format!("/v1/voice?audio={format}");
        let mut socket = knock(house, &path, &[bearer(house, "ann")]).await.socket();
        event(&mut socket, "session.ready").await;
        Caller { socket, messages, length, heard: Heard::default() }
    }

    /// Speaks for so long, or until the call ends; gives what was heard.
    async fn speak(&mut self, time: Duration, reads: bool) -> Heard {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        for message in self.messages.by_ref().take((time.as_millis() / 20) as usize) {
            clock.tick().await;
            // A call that has ended takes nothing any more.
            let _ = self.socket.send(Message::Binary(message)).await;
            while reads
                && let Ok(Some(said)) = tokio::time::timeout(Duration::from_millis(1), next(&mut self.socket)).await
            {
                self.heard.note(said, self.length);
            }
        }
        std::mem::take(&mut self.heard)
    }
}

impl Heard {
    fn note(&mut self, message: Message, length: Length) {
        match message {
            Message::Binary(bytes) => self.audio += length(&bytes),
            Message::Close(frame) => self.close_code = frame.map(|frame| frame.code.into()),
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                match event["type"].as_str() {
                    Some("transcript.delta") => self.words.push_str(event["text"].as_str().unwrap()),
                    Some("session.ended") => self.ending = event["ending"].as_str().map(str::to_owned),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[actix_web::test]
async fn who_stops_reading_hears_little_that_is_old_and_misses_no_word() {
    tokio::join!(stops_reading("opus"), stops_reading("pcm16"));
}

async fn stops_reading(format: &str) {
    let house = House::new(parrot(), 1).await;
    let mut caller = Caller::new(&house, format).await;
    let before = caller.speak(Duration::from_secs(2), true).await;
    caller.speak(Duration::from_secs(5), false).await;
    let after = caller.speak(Duration::from_secs(2), true).await;
    let old = after.audio.saturating_sub(Duration::from_secs(2));
    // 1.5 s, and what came while the first of it was confirmed.
    assert!(old >= Duration::from_secs(1) && old <= Duration::from_millis(1_750), "{format}: {old:?}");
    assert!(is_whole(&(before.words.clone() + &after.words)), "{format}: {before:?} {after:?}");
    let live = caller.speak(Duration::from_secs(2), true).await;
    assert!(live.audio.abs_diff(Duration::from_secs(2)) < Duration::from_millis(200), "{format}: {live:?}");
    assert_eq!((live.ending, live.close_code), (None, None), "{format}");
}

#[actix_web::test]
async fn who_does_not_read_on_is_too_slow_and_is_told() {
    let house = House::set(parrot(), 1, &[("TANDEM__SESSION__TOO_SLOW_AFTER_MS", "2000")]).await;
    let mut caller = Caller::new(&house, "opus").await;
    caller.speak(Duration::from_secs(1), true).await;
    let before = caller.speak(Duration::from_secs(2), false).await;
    assert_eq!((before.ending, house.gateway.sessions()), (None, 1), "the limit counts from what is not confirmed");
    house.settle().await;
    // Who speaks on to a socket that is closed resets it, and loses the last words.
    while let Some(said) = next(&mut caller.socket).await {
        caller.heard.note(said, caller.length);
    }
    let last = caller.heard;
    assert_eq!((last.ending.as_deref(), last.close_code), (Some("too_slow"), Some(4469)), "{last:?}");
    assert_eq!(house.metric("tandem_sessions_ended_total{protocol=\"native\",reason=\"too_slow\"}"), Some(1.0));
}
