//! What belongs to one conversation and is made anew for each: a reader, a model and a writer (pure).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::converse::Mark;
use super::input::{AudioFault, PacketInput};
use super::model::{Frame, Model};
use super::pages::{FRAME_SAMPLES, PageWriter};
use super::prompts::PromptText;
use super::settings::Answer;
use super::truth::Truth;
use crate::audio::packet::OpusPacket;

/// Pages that may wait to be sent before no more input is taken.
const MAX_WAITING_PAGES: usize = 256;

/// A page that waits to be sent.
pub struct Reply {
    /// The words of its frame.
    pub text: Option<Cow<'static, str>>,
    /// The page.
    pub page: Vec<u8>,
    /// What happened in its frame.
    pub marks: Vec<Mark>,
    /// Where its frame begins, in samples of 24 kHz; headers are before everything.
    pub start: u64,
    /// How many samples it has.
    pub samples: u64,
}

/// What belongs to one conversation: a reader, a model and a writer, all new.
pub struct Session {
    /// What the client sent and was not decoded yet.
    pub input: PacketInput,
    /// Whether there may be a packet in the input.
    unread: bool,
    /// What answers.
    pub model: Model,
    pages: PageWriter,
    /// Pages that wait to be sent.
    pub waiting: VecDeque<Reply>,
    pages_made: u64,
    /// When the message came that was taken last, since the handshake.
    came: Duration,
    /// When what was heard came.
    pub truth: Truth,
}

impl Session {
    /// A conversation at its start, with the header pages waiting.
    pub fn new(answer: &Answer, step: Duration, prompt: &PromptText) -> Result<Self, AudioFault> {
        let model = Model::new(answer, step, prompt.expose()).map_err(|_| AudioFault::BadPacket)?;
        let mut pages = PageWriter::new();
        let header = |page| Reply { text: None, page, marks: Vec::new(), start: 0, samples: 0 };
        let waiting = pages.headers().map(header).into();
        let (input, came, truth) = (PacketInput::new(), Duration::ZERO, Truth::default());
        Ok(Self { input, unread: false, model, pages, waiting, pages_made: 0, came, truth })
    }

    /// Takes the payload of an audio message that came at `now`, since the handshake.
    pub fn take(&mut self, payload: &[u8], now: Duration) {
        self.came = now;
        self.input.push(payload);
        self.unread = true;
    }

    /// Whether there is anything to decode or to send.
    pub fn is_busy(&self) -> bool {
        self.unread || !self.waiting.is_empty()
    }

    /// The next packet to decode, unless enough pages wait to be sent.
    pub fn next_packet(&mut self) -> Result<Option<Bytes>, AudioFault> {
        if !self.unread || self.waiting.len() >= MAX_WAITING_PAGES {
            return Ok(None);
        }
        let packet = self.input.next_packet()?;
        self.unread = packet.is_some();
        if let Some(Ok(packet)) = packet.clone().map(OpusPacket::parse) {
            self.truth.arrived(u64::from(packet.samples() / 2), self.came);
        }
        Ok(packet)
    }

    /// Hears one frame and puts the answer among the pages that wait.
    pub fn step(&mut self) -> Result<(), AudioFault> {
        let Frame { text, packet, marks } = self.model.step()?;
        let start = self.pages_made * FRAME_SAMPLES;
        self.waiting.push_back(Reply { text, page: self.pages.page(packet), marks, start, samples: FRAME_SAMPLES });
        self.pages_made += 1;
        Ok(())
    }

    /// Pages that no longer wait, headers apart.
    pub fn pages_sent(&self) -> u64 {
        self.pages_made.saturating_sub(self.waiting.len() as u64)
    }
}
