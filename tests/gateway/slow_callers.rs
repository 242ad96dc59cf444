//! Callers who stop reading: what they hear when they read again, and how long they are kept.

use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use serde_json::Value;
use tandem::{
    audio::{
        ogg::{OggDemuxer, OggItem, OggMuxer},
        opus::OpusEncoder,
        packet::OpusPacket,
    },
    protocol::moshi,
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
    understand: Understand,
    heard: Heard,
}

/// What is said, 20 ms in each.
type Messages = Box<dyn Iterator<Item = Bytes>>;
/// How much sound a binary message is, and which words.
type Understand = Box<dyn FnMut(Bytes) -> (Duration, String)>;

/// What a caller was told.
#[derive(Debug, Default)]
struct Heard {
    audio: Duration,
    words: String,
    /// How the call ended, and what of it was dropped.
    ending: Option<String>,
    dropped_ms: u64,
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
        let (messages, understand): (Messages, Understand) = match format {
            "opus" => (
                Box::new(opus(frames).map(|packet| packet.bytes().clone())),
                Box::new(|bytes| (length(bytes), String::new())),
            ),
            "chat" => chat(frames),
            _ => {
                let pcm = |frame: Vec<f32>| frame.iter().flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes()).collect();
                let length = |bytes: Bytes| Duration::from_micros(bytes.len() as u64 * 1_000_000 / 48_000);
                (Box::new(frames.map(pcm)), Box::new(move |bytes| (length(bytes), String::new())))
            }
        };
        let path = if format == "chat" { "/api/chat".to_owned() } else { format!("/v1/voice?audio={format}") };
        let mut socket = knock(house, &path, &[bearer(house, "ann")]).await.socket();
        if format == "chat" {
            while next(&mut socket).await.expect("a handshake").into_data().first() != Some(&0) {}
        } else {
            event(&mut socket, "session.ready").await;
        }
        Caller { socket, messages, understand, heard: Heard::default() }
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
                self.heard.note(said, &mut self.understand);
            }
        }
        std::mem::take(&mut self.heard)
    }

    /// Reads to the end, and says nothing.
    async fn until_closed(&mut self) -> Heard {
        while let Some(said) = next(&mut self.socket).await {
            self.heard.note(said, &mut self.understand);
        }
        std::mem::take(&mut self.heard)
    }
}

fn opus(frames: impl Iterator<Item = Vec<f32>> + 'static) -> impl Iterator<Item = OpusPacket> {
    let mut encoder = OpusEncoder::new().unwrap();
    frames.map(move |frame| encoder.encode(&frame).unwrap())
}

fn length(packet: Bytes) -> Duration {
    OpusPacket::parse(packet).unwrap().duration()
}

/// The wire of PersonaPlex, in both directions.
fn chat(frames: impl Iterator<Item = Vec<f32>> + 'static) -> (Messages, Understand) {
    let mut muxer = OggMuxer::new(7);
    let headers = muxer.headers();
    let pages = headers.into_iter().chain(opus(frames).map(move |packet| muxer.page(&[packet])));
    let mut demuxer = OggDemuxer::new();
    let understand = move |bytes| match moshi::Message::decode(bytes).unwrap() {
        moshi::Message::Audio(page) => {
            demuxer.push(&page).unwrap();
            let items = std::iter::from_fn(|| demuxer.next_item());
            let sound = items.filter_map(|item| {
                if let OggItem::Packet(packet) = item.unwrap() { Some(packet.duration()) } else { None }
            });
            (sound.sum(), String::new())
        }
        moshi::Message::Text(piece) => (Duration::ZERO, piece.expose().into_owned()),
        _ => (Duration::ZERO, String::new()),
    };
    (Box::new(pages.map(|page| moshi::Message::Audio(page).encode())), Box::new(understand))
}

impl Heard {
    fn note(&mut self, message: Message, understand: &mut Understand) {
        match message {
            Message::Binary(bytes) => {
                let (audio, words) = understand(bytes);
                self.audio += audio;
                self.words.push_str(&words);
            }
            Message::Close(frame) => self.close_code = frame.map(|frame| frame.code.into()),
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                match event["type"].as_str() {
                    Some("transcript.delta") => self.words.push_str(event["text"].as_str().unwrap()),
                    Some("session.ended") => {
                        self.ending = event["ending"].as_str().map(str::to_owned);
                        self.dropped_ms = event["dropped_ms"].as_u64().unwrap();
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// More than fits into the leg and two kernels, were everything sent.
const DEAF: Duration = Duration::from_secs(8);

#[actix_web::test]
async fn who_stops_reading_hears_little_that_is_old_and_misses_no_word() {
    tokio::join!(stops_reading("opus"), stops_reading("pcm16"), stops_reading("chat"));
}

async fn stops_reading(format: &str) {
    let house = House::new(parrot(), 1).await;
    let mut caller = Caller::new(&house, format).await;
    let before = caller.speak(Duration::from_secs(2), true).await;
    caller.speak(DEAF, false).await;
    let after = caller.speak(Duration::from_secs(2), true).await;
    let old = after.audio.saturating_sub(Duration::from_secs(2));
    // 1.5 s, and what came while the first of it was confirmed.
    assert!(old >= Duration::from_secs(1) && old <= Duration::from_millis(1_750), "{format}: {old:?}");
    assert!(is_whole(&(before.words.clone() + &after.words)), "{format}: {before:?} {after:?}");
    let live = caller.speak(Duration::from_secs(2), true).await;
    assert!(live.audio.abs_diff(Duration::from_secs(2)) < Duration::from_millis(200), "{format}: {live:?}");
    assert_eq!((live.ending, live.close_code), (None, None), "{format}");
    let dropped =
        house.metric("tandem_frames_dropped_total{direction=\"down\",reason=\"backlog\"}").unwrap_or_default();
    assert!(dropped * 0.08 > 6.0, "{format}: of 8 s all but 1.5 s was dropped, {dropped} packets");
    if format != "chat" {
        caller.socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
        let ended = caller.until_closed().await;
        assert!((6_000..8_000).contains(&ended.dropped_ms), "{format}: {ended:?}");
    }
}

#[actix_web::test]
async fn who_does_not_read_on_is_too_slow_and_is_told() {
    tokio::join!(does_not_read_on("opus"), does_not_read_on("chat"));
}

async fn does_not_read_on(format: &str) {
    let house = House::set(parrot(), 1, &[("TANDEM__SESSION__TOO_SLOW_AFTER_MS", "2000")]).await;
    let mut caller = Caller::new(&house, format).await;
    caller.speak(Duration::from_secs(1), true).await;
    let before = caller.speak(Duration::from_secs(2), false).await;
    assert_eq!((before.ending, house.gateway.sessions()), (None, 1), "the limit counts from what is not confirmed");
    // Who speaks on to a socket that is closed resets it, and loses the last words: nothing is read before the end.
    house.settle().await;
    let last = caller.until_closed().await;
    let (ending, protocol) = if format == "chat" { (None, "moshi") } else { (Some("too_slow"), "native") };
    assert_eq!((last.ending.as_deref(), last.close_code), (ending, Some(4469)), "{last:?}");
    let series = format!("tandem_sessions_ended_total{{protocol=\"{protocol}\",reason=\"too_slow\"}}");
    house.metric_until(&series, 1.0).await;
}
