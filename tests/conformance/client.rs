//! A client that sends anything, and tells what came back as events.

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use tandem::audio::opus::OpusEncoder;
use tandem::sim::upstream::{Answer, CallEnd, CallLog, Settings, Simulator};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The longest that anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A good request.
pub const GOOD: &str = "voice_prompt=NATF0.pt&text_prompt=be+kind";

/// What a server does that a client can see; sound and words are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Handshake,
    Page(Page),
    Text,
    Pong(Vec<u8>),
    Close(u16),
    /// The end of the TCP stream without a close frame.
    Fin,
    Reset,
}

/// What is the same in every run about an Ogg page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub flags: u8,
    pub granule: u64,
    pub serial: u32,
    pub sequence: u32,
    pub packets: usize,
    /// A header packet's bytes, or how many frames of how many 48 kHz samples an audio packet has.
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Header(Vec<u8>),
    Audio { frames: u8, samples: u32 },
}

/// Reads what a server sent in a binary message. The checksum of a page must be right.
pub fn event_of(message: &[u8]) -> Event {
    match message {
        [0] => Event::Handshake,
        [1, page @ ..] => Event::Page(page_of(page)),
        [2, text @ ..] => {
            assert!(!text.is_empty() && std::str::from_utf8(text).is_ok());
            Event::Text
        }
        other => panic!("a message of an unknown kind: {:?}", other.first()),
    }
}

fn page_of(page: &[u8]) -> Page {
    assert_eq!(&page[..5], b"OggS\0");
    let number = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
    let segments = page[26] as usize;
    let packets = page[27..27 + segments].iter().filter(|&&lace| lace < 255).count();
    let body = &page[27 + segments..];
    let (mut parser, table) = ogg::reading::PageParser::new(page[..27].try_into().unwrap()).unwrap();
    assert_eq!(parser.parse_segments(page[27..27 + table].to_vec()), body.len(), "one whole page a message");
    parser.parse_packet_data(body.to_vec()).ok().expect("the checksum is right");
    let content = if body.starts_with(b"Opus") {
        Content::Header(body.to_vec())
    } else {
        let packet = tandem::audio::packet::OpusPacket::parse(body.to_vec().into()).unwrap();
        assert_eq!(packet.bytes()[0] & 3, 3, "code 3");
        Content::Audio { frames: packet.bytes()[1] & 0x3f, samples: packet.samples() }
    };
    let granule = u64::from_le_bytes(page[6..14].try_into().unwrap());
    Page { flags: page[5], granule, serial: number(14), sequence: number(18), packets, content }
}

/// A server whose model needs no time and says at once what it hears.
pub fn quick() -> Settings {
    Settings { answer: Answer::Echo { delay: Duration::ZERO }, ..Settings::instant() }
}

pub async fn start(settings: Settings) -> Simulator {
    Simulator::start(settings).await.unwrap()
}

/// Waits until the server's log is as it should be.
pub async fn seen(sim: &Simulator, is_so: impl Fn(&[CallLog]) -> bool) -> Vec<CallLog> {
    sim.wait_for(is_so, DEADLINE).await.unwrap_or_else(|error| panic!("{error}: {:#?}", sim.log()))
}

/// Waits until the call of this number has ended, and says how.
pub async fn end_of(sim: &Simulator, call: usize) -> CallEnd {
    seen(sim, |calls| calls.len() >= call && calls[call - 1].end.is_some()).await[call - 1].end.unwrap()
}

pub struct Client {
    ws: WebSocketStream<TcpStream>,
}

impl Client {
    /// Connects, and has its 101.
    pub async fn call(sim: &Simulator, query: &str) -> Self {
        let tcp = TcpStream::connect(sim.addr()).await.unwrap();
        // Without it the kernel keeps small messages back until the server has acknowledged the first one.
        tcp.set_nodelay(true).unwrap();
        let url = format!("ws://{}/api/chat?{query}", sim.addr());
        let (ws, _) = timeout(DEADLINE, tokio_tungstenite::client_async(url, tcp)).await.unwrap().unwrap();
        Self { ws }
    }

    /// Connects, and has its handshake and the two header pages.
    pub async fn talk(sim: &Simulator, query: &str) -> Self {
        let mut client = Self::call(sim, query).await;
        assert_eq!(client.next().await, Event::Handshake);
        for name in [&b"OpusHead"[..], b"OpusTags"] {
            let Event::Page(Page { content: Content::Header(header), .. }) = client.next().await else { panic!() };
            assert!(header.starts_with(name));
        }
        client
    }

    pub async fn send(&mut self, message: Message) {
        timeout(DEADLINE, self.ws.send(message)).await.unwrap().unwrap();
    }

    pub async fn send_binary(&mut self, message: impl Into<Vec<u8>>) {
        self.send(Message::binary(message.into())).await;
    }

    /// Sends Ogg bytes as one audio message.
    pub async fn send_audio(&mut self, ogg: &[u8]) {
        self.send_binary([&[1], ogg].concat()).await;
    }

    pub async fn ping(&mut self, payload: &[u8]) {
        self.send(Message::Ping(payload.to_vec().into())).await;
    }

    pub async fn close(&mut self, code: u16) {
        self.send(Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))).await;
    }

    /// The next thing that the server does.
    pub async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.ws.next()).await.map(said).expect("the server does something in time")
    }

    /// What the server does up to the end of the connection, texts left out.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let last = matches!(event, Event::Close(_) | Event::Fin | Event::Reset);
            events.extend((event != Event::Text).then_some(event));
            if last {
                return events;
            }
        }
    }

    /// The next `count` audio pages; anything else but texts before them fails the test.
    pub async fn pages(&mut self, count: usize) -> Vec<Page> {
        let mut pages = Vec::new();
        while pages.len() < count {
            match self.next().await {
                Event::Page(page) => pages.push(page),
                Event::Text => {}
                other => panic!("{other:?} instead of page {}", pages.len() + 1),
            }
        }
        pages
    }

    /// Whether the server has done nothing since the last look.
    pub fn heard_nothing(&mut self) -> bool {
        self.ws.next().now_or_never().is_none()
    }

    /// The TCP connection underneath, to end it in other ways.
    pub fn into_tcp(self) -> TcpStream {
        self.ws.into_inner()
    }
}

fn said(message: Option<Result<Message, Error>>) -> Event {
    match message {
        Some(Ok(Message::Binary(bytes))) => event_of(&bytes),
        Some(Ok(Message::Pong(payload))) => Event::Pong(payload.to_vec()),
        Some(Ok(Message::Close(frame))) => Event::Close(frame.map_or(1005, |frame| frame.code.into())),
        Some(Err(Error::Protocol(_))) => Event::Fin,
        Some(Err(Error::Io(_))) => Event::Reset,
        other => panic!("the server does not do that: {other:?}"),
    }
}

/// Makes Ogg pages of client audio, one packet a page.
pub struct Stream {
    writer: PacketWriter<'static, Vec<u8>>,
    serial: u32,
}

impl Stream {
    pub fn new(serial: u32) -> Self {
        Self { writer: PacketWriter::new(Vec::new()), serial }
    }

    /// The page that begins the stream.
    pub fn head(&mut self) -> Vec<u8> {
        self.page(b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0")
    }

    pub fn page(&mut self, packet: &[u8]) -> Vec<u8> {
        self.write(packet, PacketWriteEndInfo::EndPage)
    }

    /// 80 ms of nothing in a page that says that it is the last one.
    pub fn last_page(&mut self) -> Vec<u8> {
        self.write(&[0xfb, 0x04], PacketWriteEndInfo::EndStream)
    }

    fn write(&mut self, packet: &[u8], end: PacketWriteEndInfo) -> Vec<u8> {
        self.writer.write_packet(packet.to_vec(), self.serial, end, 0).unwrap();
        std::mem::take(self.writer.inner_mut())
    }

    /// 80 ms of nothing.
    pub fn silence(&mut self) -> Vec<u8> {
        self.page(&[0xfb, 0x04])
    }
}

/// Packets of 80 ms of a tone.
pub fn tone(packets: usize) -> Vec<Vec<u8>> {
    let mut encoder = OpusEncoder::new().unwrap();
    let sample = |n: usize| 0.3 * (std::f32::consts::TAU * 440.0 * n as f32 / 24_000.0).sin();
    let samples: Vec<f32> = (0..packets * 1920).map(sample).collect();
    samples.chunks(1920).map(|frame| encoder.encode(frame).unwrap().bytes().to_vec()).collect()
}
