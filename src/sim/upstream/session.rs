//! What belongs to one conversation and is made anew for each: a reader, a model and a writer (pure).

use std::collections::VecDeque;

use bytes::Bytes;

use super::input::{AudioFault, PacketInput};
use super::model::{Frame, Model};
use super::pages::PageWriter;
use super::settings::Answer;

/// Pages that may wait to be sent before no more input is taken.
const MAX_WAITING_PAGES: usize = 256;

/// What belongs to one conversation: a reader, a model and a writer, all new.
pub struct Session {
    /// What the client sent and was not decoded yet.
    pub input: PacketInput,
    /// Whether there may be a packet in the input.
    unread: bool,
    /// What answers.
    pub model: Model,
    pages: PageWriter,
    /// Pages that wait to be sent, each with the words of its frame.
    pub waiting: VecDeque<(Option<&'static str>, Vec<u8>)>,
    pages_made: u64,
}

impl Session {
    /// A conversation at its start, with the header pages waiting.
    pub fn new(answer: &Answer) -> Result<Self, AudioFault> {
        let model = Model::new(answer).map_err(|_| AudioFault::BadPacket)?;
        let mut pages = PageWriter::new();
        let waiting = pages.headers().map(|page| (None, page)).into();
        Ok(Self { input: PacketInput::new(), unread: false, model, pages, waiting, pages_made: 0 })
    }

    /// Takes the payload of an audio message.
    pub fn take(&mut self, payload: &[u8]) {
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
        Ok(packet)
    }

    /// Hears one frame and puts the answer among the pages that wait.
    pub fn step(&mut self) -> Result<(), AudioFault> {
        let Frame { text, packet } = self.model.step()?;
        self.waiting.push_back((text, self.pages.page(packet)));
        self.pages_made += 1;
        Ok(())
    }

    /// Pages that no longer wait, headers apart.
    pub fn pages_sent(&self) -> u64 {
        self.pages_made.saturating_sub(self.waiting.len() as u64)
    }
}
