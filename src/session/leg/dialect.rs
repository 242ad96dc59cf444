//! How callers speak: our own wire and the Moshi wire, each converted here and nowhere else.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::{
    format::AudioFormat,
    opening::{FormatError, Opening},
};
use crate::{
    audio::{
        ogg::{OggDemuxer, OggError, OggItem, OggMuxer},
        packet::{OpusPacket, PacketError},
        pcm::{PcmError, PcmReader, PcmWriter},
    },
    protocol::{
        ending::Ending,
        moshi::{Message, TextPiece},
        native::{self, ServerEvent},
    },
    session::machine::{ClientInput, ClientOutput, Complaint},
};

/// Which wire a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/v1/voice`.
    Native(AudioFormat),
    /// `/api/chat`.
    Moshi,
}

impl Dialect {
    /// Its audio format.
    pub fn format(self) -> AudioFormat {
        match self {
            Self::Native(format) => format,
            Self::Moshi => AudioFormat::OggOpus,
        }
    }

    /// How far ahead of time the player of such callers may be given audio; without it, as it comes.
    ///
    /// The stock web client of the Moshi wire drops what it has beyond 240 ms: two packets of 80 ms leave it one to
    /// spare. Our own wire asks clients to keep what they get.
    pub fn player_lead(self) -> Option<Duration> {
        match self {
            Self::Native(_) => None,
            Self::Moshi => Some(Duration::from_millis(160)),
        }
    }

    /// The metric label.
    pub fn code(self) -> &'static str {
        match self {
            Self::Native(_) => "native",
            Self::Moshi => "moshi",
        }
    }
}

/// One message of a caller's socket, reduced to what a dialect looks at. It does not print what it says.
pub enum Incoming {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// One message for a caller's socket. It does not print what it says.
#[derive(PartialEq, Eq)]
pub enum Outgoing {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
    /// A WebSocket ping.
    Ping,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::Ping => f.write_str("Ping"),
        }
    }
}

enum Reader {
    Pcm(Box<PcmReader>),
    Opus,
    Ogg(OggDemuxer),
}

/// Understands what a caller sends.
pub struct Decoder {
    dialect: Dialect,
    opening: Opening,
    reader: Reader,
}

impl Decoder {
    /// A decoder at the start of a call.
    pub fn new(dialect: Dialect) -> Result<Self, PcmError> {
        let reader = match dialect.format() {
            AudioFormat::Pcm16(pcm) => Reader::Pcm(Box::new(PcmReader::new(pcm)?)),
            AudioFormat::Opus => Reader::Opus,
            AudioFormat::OggOpus => Reader::Ogg(OggDemuxer::new()),
        };
        Ok(Self { dialect, opening: Opening::new(dialect.format()), reader })
    }

    /// What one message says: nothing, one thing, or several packets.
    pub fn decode(&mut self, message: Incoming) -> Vec<ClientInput> {
        match (self.dialect, message) {
            (Dialect::Native(_), Incoming::Text(text)) => vec![match native::decode_client(&text) {
                Ok(event) => ClientInput::Event(event),
                Err(error) => complaint("not_understood", &error),
            }],
            (Dialect::Native(_), Incoming::Binary(bytes)) => self.audio(bytes),
            (Dialect::Moshi, Incoming::Binary(bytes)) => match Message::decode(bytes) {
                Ok(Message::Audio(audio)) => self.audio(audio),
                // Everything else is harmless to the real server too (personaplex.md 7.6).
                Ok(_) | Err(_) => vec![ClientInput::Alive],
            },
            (Dialect::Moshi, Incoming::Text(_)) => vec![ClientInput::Alive],
        }
    }

    fn audio(&mut self, bytes: Bytes) -> Vec<ClientInput> {
        match self.opening.look(&bytes) {
            None => self.read(bytes),
            Some(error @ FormatError::Container { .. }) => vec![complaint("wrong_format", &error)],
            // A page may stand behind what came first.
            Some(error @ FormatError::NotOgg) => {
                std::iter::once(complaint("wrong_format", &error)).chain(self.read(bytes)).collect()
            }
        }
    }

    fn read(&mut self, bytes: Bytes) -> Vec<ClientInput> {
        match &mut self.reader {
            Reader::Pcm(reader) => match reader.push(&bytes) {
                // Less than a packet's worth is a sign of life all the same.
                Ok(packets) if packets.is_empty() => vec![ClientInput::Alive],
                Ok(packets) => packets.into_iter().map(ClientInput::Audio).collect(),
                Err(error) => vec![complaint("bad_audio", &error)],
            },
            Reader::Opus => vec![match OpusPacket::parse(bytes) {
                Ok(packet) => ClientInput::Audio(packet),
                // An empty packet is nothing; sent on, it would block a real server for 10 s (personaplex.md 7.7).
                Err(PacketError::Empty) => ClientInput::Alive,
                Err(error) => complaint("bad_packet", &error),
            }],
            Reader::Ogg(demuxer) => {
                let overflow = demuxer.push(&bytes).err().map(|error| complaint("bad_ogg", &error));
                let items = std::iter::from_fn(|| demuxer.next_item());
                items.filter_map(ogg_input).chain(overflow).collect()
            }
        }
    }
}

fn ogg_input(item: Result<OggItem, OggError>) -> Option<ClientInput> {
    match item {
        Ok(OggItem::Packet(packet)) => Some(ClientInput::Audio(packet)),
        Ok(OggItem::Head(_) | OggItem::Tags | OggItem::End) => None,
        // A recorder that starts anew begins a new stream: that is no fault.
        Err(OggError::Chained) => None,
        Err(error) => Some(complaint("bad_ogg", &error)),
    }
}

fn complaint(code: &'static str, error: &dyn std::error::Error) -> ClientInput {
    ClientInput::Complaint(Complaint { code, message: error.to_string() })
}

enum Writer {
    Pcm(Box<PcmWriter>),
    Opus,
    Ogg { muxer: OggMuxer, begun: bool },
}

/// Says to a caller what the machine wants said.
pub struct Encoder {
    dialect: Dialect,
    writer: Writer,
    ready: bool,
}

impl Encoder {
    /// An encoder at the start of a call; `serial` numbers its Ogg stream.
    pub fn new(dialect: Dialect, serial: u32) -> Result<Self, PcmError> {
        let writer = match dialect.format() {
            AudioFormat::Pcm16(pcm) => Writer::Pcm(Box::new(PcmWriter::new(pcm)?)),
            AudioFormat::Opus => Writer::Opus,
            AudioFormat::OggOpus => Writer::Ogg { muxer: OggMuxer::new(serial), begun: false },
        };
        Ok(Self { dialect, writer, ready: false })
    }

    /// The messages that say it; none where the dialect has no words for it.
    pub fn encode(&mut self, output: ClientOutput) -> Vec<Outgoing> {
        match (self.dialect, output) {
            (Dialect::Native(_), ClientOutput::Event(event)) => vec![Outgoing::Text(native::encode_server(&event))],
            (Dialect::Native(_), ClientOutput::Audio(packet)) => {
                self.audio(&packet).into_iter().map(Outgoing::Binary).collect()
            }
            (Dialect::Native(_), ClientOutput::Ping) => vec![Outgoing::Ping],
            (Dialect::Moshi, ClientOutput::Event(event)) => self.moshi_event(event),
            (Dialect::Moshi, ClientOutput::Audio(packet)) => {
                let pages = self.audio(&packet);
                pages.into_iter().map(|page| moshi(Message::Audio(page))).collect()
            }
            (Dialect::Moshi, ClientOutput::Ping) if self.ready => vec![
                Outgoing::Ping,
                // The stock client hangs up after 10 s without any message, and counts no WebSocket pings
                // (personaplex.md 10.4). Before the handshake it has to hear nothing.
                moshi(Message::Ping),
            ],
            (Dialect::Moshi, ClientOutput::Ping) => vec![Outgoing::Ping],
        }
    }

    fn moshi_event(&mut self, event: ServerEvent) -> Vec<Outgoing> {
        match event {
            ServerEvent::Ready { .. } => {
                self.ready = true;
                let headers = self.headers().into_iter().map(|page| moshi(Message::Audio(page)));
                std::iter::once(moshi(Message::Handshake(Bytes::new()))).chain(headers).collect()
            }
            ServerEvent::Transcript(delta) => vec![moshi(Message::Text(TextPiece::new(&delta.text)))],
            // Before the handshake the stock client has to hear nothing; what ends the call is told all the same.
            ServerEvent::Error(_) if !self.ready => Vec::new(),
            ServerEvent::Error(error) => vec![moshi(Message::Error(TextPiece::new(&error.message)))],
            ServerEvent::Ended(report) if report.ending != Ending::ClientLeft => {
                vec![moshi(Message::Error(TextPiece::new(&report.message)))]
            }
            ServerEvent::Ended(_)
            | ServerEvent::Created { .. }
            | ServerEvent::Resumed { .. }
            | ServerEvent::Queued { .. }
            | ServerEvent::Connecting { .. }
            | ServerEvent::Expiring { .. }
            | ServerEvent::Recovering { .. }
            | ServerEvent::Recovered { .. }
            | ServerEvent::Rotating { .. }
            | ServerEvent::Warning { .. }
            | ServerEvent::Rotated { .. }
            | ServerEvent::Degraded { .. }
            | ServerEvent::Restored {}
            | ServerEvent::TurnStarted { .. }
            | ServerEvent::TurnEnded { .. }
            | ServerEvent::TurnResponse { .. }
            | ServerEvent::TurnMissed { .. }
            | ServerEvent::TurnInterrupted { .. }
            | ServerEvent::TurnBackchannel { .. }
            | ServerEvent::Pong { .. } => Vec::new(),
        }
    }

    /// The header pages, once.
    fn headers(&mut self) -> Vec<Bytes> {
        match &mut self.writer {
            Writer::Ogg { begun: true, .. } | Writer::Pcm(_) | Writer::Opus => Vec::new(),
            Writer::Ogg { muxer, begun } => {
                *begun = true;
                muxer.headers().into()
            }
        }
    }

    fn audio(&mut self, packet: &OpusPacket) -> Vec<Bytes> {
        let mut messages = self.headers();
        match &mut self.writer {
            Writer::Pcm(writer) => match writer.push(packet) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => messages.push(bytes),
                // The packet was checked, yet no decoder makes sound of it: its time passes in silence.
                Err(error) => tracing::debug!(%error, "assistant packet not decoded"),
            },
            Writer::Opus => messages.push(packet.bytes().clone()),
            Writer::Ogg { muxer, .. } => messages.push(muxer.page(std::slice::from_ref(packet))),
        }
        messages
    }
}

fn moshi(message: Message) -> Outgoing {
    Outgoing::Binary(message.encode())
}
