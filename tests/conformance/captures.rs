//! The client side of each recording is played to the simulated server; what it does must be what was recorded.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tandem::sim::upstream::{CallEnd, CallLog, Settings, Simulator, StartFault};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Content, Event, GOOD, Page, end_of, event_of, quick, start};

struct Line {
    by_client: bool,
    opcode: String,
    bytes: Vec<u8>,
}

impl Line {
    /// What a server's line is to a client.
    fn event(&self) -> Event {
        match &*self.opcode {
            "binary" => event_of(&self.bytes),
            "pong" => Event::Pong(self.bytes.clone()),
            "close" if self.bytes.is_empty() => Event::Fin,
            "close" => Event::Close(u16::from_be_bytes([self.bytes[0], self.bytes[1]])),
            other => panic!("the server never sends {other}"),
        }
    }

    fn message(&self) -> Message {
        match &*self.opcode {
            "binary" => Message::binary(self.bytes.clone()),
            "ping" => Message::Ping(self.bytes.clone().into()),
            other => panic!("not played: {other}"),
        }
    }

    fn is_close_by_client(&self) -> bool {
        self.by_client && self.opcode == "close"
    }
}

fn capture(text: &str) -> Vec<Line> {
    let line = |line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| value[name].as_str().unwrap();
        Line {
            by_client: field("dir") == "client",
            opcode: field("opcode").to_owned(),
            bytes: STANDARD.decode(field("b64")).unwrap(),
        }
    };
    text.lines().map(line).collect()
}

/// A recording being played: the client's lines are sent when as much has come from the server as was recorded.
struct Player {
    client: Client,
    lines: Vec<Line>,
    at: usize,
    events: Vec<Event>,
}

impl Player {
    async fn begin(sim: &Simulator, query: &str, text: &str) -> Self {
        Self { client: Client::call(sim, query).await, lines: capture(text), at: 0, events: Vec::new() }
    }

    /// Plays up to the first line that `stop` names, which is not played.
    async fn play_until(&mut self, stop: impl Fn(&Line) -> bool) {
        while self.at < self.lines.len() && !stop(&self.lines[self.at]) {
            let line = &self.lines[self.at];
            if line.is_close_by_client() {
                self.client.close(1000).await;
            } else if line.by_client {
                let message = line.message();
                self.client.send(message).await;
            } else if line.event() != Event::Text {
                self.take_one().await;
            }
            self.at += 1;
        }
    }

    /// Takes what the server does up to the next thing that is not words.
    async fn take_one(&mut self) {
        loop {
            let event = self.client.next().await;
            self.events.push(event.clone());
            if event != Event::Text {
                return;
            }
        }
    }

    async fn play(mut self) -> Self {
        self.play_until(|_| false).await;
        self
    }

    /// Order, kinds and pages are those of the recording; words come at most once a page, and before it.
    fn assert_as_recorded(&self) {
        let recorded: Vec<_> = self.lines.iter().filter(|line| !line.by_client).map(Line::event).collect();
        assert_words_precede_pages(&recorded);
        assert_words_precede_pages(&self.events);
        assert_eq!(without_words(&self.events), without_words(&recorded));
    }
}

fn without_words(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| **event != Event::Text).cloned().collect()
}

fn assert_words_precede_pages(events: &[Event]) {
    for (index, event) in events.iter().enumerate() {
        if *event == Event::Text {
            let next = events.get(index + 1);
            let audio = |page: &Page| matches!(page.content, Content::Audio { .. });
            assert!(matches!(next, Some(Event::Page(page)) if audio(page)), "words before {next:?}");
        }
    }
}

async fn replayed(query: &str, text: &str) -> (CallLog, CallEnd) {
    // Prompting has to last longer than it takes to send what the recording has before the handshake.
    let sim = start(Settings { step: Duration::from_millis(3), ..quick() }).await;
    let player = Player::begin(&sim, query, text).await.play().await;
    player.assert_as_recorded();
    let end = end_of(&sim, 1).await;
    (sim.log().remove(0), end)
}

#[tokio::test]
async fn a_normal_session() {
    let (call, end) = replayed(GOOD, include_str!("../wire/normal_session.jsonl")).await;
    assert_eq!(end, CallEnd::ClientClosed(1000));
    assert!(call.handshake && call.frames_in == call.frames_out, "{call:?}");
    assert!(call.texts_out > 10 && call.texts_out <= call.frames_out, "speech comes back with words: {call:?}");
}

#[tokio::test]
async fn a_session_with_the_browsers_encoder() {
    let (call, end) = replayed(GOOD, include_str!("../wire/browser_encoder_session.jsonl")).await;
    assert_eq!((end, call.frames_out), (CallEnd::ClientClosed(1000), 50));
}

#[tokio::test]
async fn early_audio_is_swallowed_and_ends_the_call() {
    let (call, end) = replayed(GOOD, include_str!("../wire/early_audio_swallowed.jsonl")).await;
    assert!(matches!(end, CallEnd::Audio(_)), "{end:?}");
    assert_eq!((call.swallowed, call.frames_in), (26, 0));
}

#[tokio::test]
async fn a_page_with_a_wrong_checksum_looks_like_a_goodbye() {
    let (_, end) = replayed(GOOD, include_str!("../wire/error_midsession_bad_crc.jsonl")).await;
    assert!(matches!(end, CallEnd::Audio(_)), "{end:?}");
}

#[tokio::test]
async fn errors_of_the_request_are_an_end_without_a_word() {
    for (query, text, end, steps) in [
        (
            "voice_prompt=NO.pt&text_prompt=x",
            include_str!("../wire/error_nonexistent_voice.jsonl"),
            StartFault::NoSuchVoice,
            0,
        ),
        ("voice_prompt=NATF0.pt&text_prompt=x&seed=5", include_str!("../wire/error_seed.jsonl"), StartFault::Seed, 0),
        (
            "voice_prompt=NATF0.pt&text_prompt=",
            include_str!("../wire/error_empty_text_prompt.jsonl"),
            StartFault::EmptyText,
            57,
        ),
    ] {
        let (call, ended) = replayed(query, text).await;
        assert_eq!((ended, call.steps, call.handshake), (CallEnd::Start(end), steps, false));
    }
}

#[tokio::test]
async fn one_in_a_call_and_two_waiting_and_the_second_gets_the_thirds_prompt() {
    // The third one closes right after its handshake, before the header pages have their turn.
    let sim = start(Settings { round: Duration::from_millis(10), ..quick() }).await;
    let begin = async |voice: &str, name: &str, text| {
        let query = format!("voice_prompt={voice}.pt&text_prompt=Prompt+of+{name}");
        Player::begin(&sim, &query, text).await
    };
    let mut a = begin("NATF0", "A+secret+alpha", include_str!("../wire/queued_first_A.jsonl")).await;
    a.play_until(|line| !line.by_client && line.opcode == "binary" && line.bytes.len() > 60).await;
    let mut b = begin("NATF2", "B+secret+bravo", include_str!("../wire/queued_second_B.jsonl")).await;
    b.play_until(|line| !line.by_client).await;
    let mut c = begin("NATM1", "C+secret+charlie", include_str!("../wire/queued_third_C.jsonl")).await;
    c.play_until(|line| !line.by_client).await;

    a.play_until(Line::is_close_by_client).await;
    assert!(b.client.heard_nothing() && c.client.heard_nothing(), "a server that is busy says nothing to who waits");
    let a = a.play().await;
    b.play_until(Line::is_close_by_client).await;
    assert!(c.client.heard_nothing());
    let (b, c) = (b.play().await, c.play().await);
    for player in [&a, &b, &c] {
        player.assert_as_recorded();
    }
    let calls = sim.log();
    let given = |call: usize| (calls[call].prompt_given.as_ref().unwrap().expose(), calls[call].voice_given.as_deref());
    assert_eq!(given(0), ("<system> Prompt of A secret alpha <system>", Some("NATF0.pt")));
    assert_eq!(given(1), ("<system> Prompt of C secret charlie <system>", Some("NATM1.pt")));
    assert_eq!(given(2), given(1));
    assert_eq!(calls[1].prompt_asked.as_ref().unwrap().expose(), "Prompt of B secret bravo");
    assert_eq!(sim.peak_open_sockets(), 3);
}
