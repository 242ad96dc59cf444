//! Between a model server's messages and packets: its Ogg pages are read, and ours are written.

use bytes::{Bytes, BytesMut};

use crate::{
    audio::{
        ogg::{OggDemuxer, OggItem, OggMuxer},
        opus::joiner::join_short,
        packet::OpusPacket,
    },
    protocol::moshi::Message,
    session::machine::UpstreamInput,
};

/// One model frame in samples of the 48 kHz clock: 1,920 samples at 24 kHz (personaplex.md 2.6).
const FRAME_SAMPLES: u64 = 3_840;

/// Reads a server's messages.
#[derive(Default)]
pub(super) struct PageReader {
    demuxer: OggDemuxer,
}

impl PageReader {
    /// What one message says. Unknown kinds and broken pages say nothing.
    pub(super) fn read(&mut self, message: Bytes) -> Vec<UpstreamInput> {
        match Message::decode(message) {
            Ok(Message::Handshake(_)) => vec![UpstreamInput::Ready],
            Ok(Message::Text(piece)) => vec![UpstreamInput::Text(piece)],
            Ok(Message::Audio(bytes)) => self.audio(&bytes),
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::debug!(%error, "upstream message ignored");
                Vec::new()
            }
        }
    }

    fn audio(&mut self, bytes: &[u8]) -> Vec<UpstreamInput> {
        if let Err(error) = self.demuxer.push(bytes) {
            tracing::debug!(%error, "upstream audio ignored");
        }
        let mut inputs = Vec::new();
        while let Some(item) = self.demuxer.next_item() {
            match item {
                Ok(OggItem::Packet(packet)) => inputs.push(UpstreamInput::Audio(packet)),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "upstream page ignored"),
            }
        }
        inputs
    }
}

/// Writes our stream to a server: one page a model frame, which delays no model step, short packets joined.
pub(super) struct PageWriter {
    muxer: OggMuxer,
    waiting: Vec<OpusPacket>,
    fed_samples: u64,
    begun: bool,
}

impl PageWriter {
    /// A stream of its own with this serial number.
    pub(super) fn new(serial: u32) -> Self {
        Self { muxer: OggMuxer::new(serial), waiting: Vec::new(), fed_samples: 0, begun: false }
    }

    /// Takes one packet; gives the bytes to send when it completes a model frame, the headers in front of the first.
    pub(super) fn push(&mut self, packet: OpusPacket) -> Option<Bytes> {
        let frame = self.fed_samples / FRAME_SAMPLES;
        self.fed_samples += u64::from(packet.samples());
        self.waiting.push(packet);
        if self.fed_samples / FRAME_SAMPLES == frame {
            return None;
        }
        let page = self.muxer.page(&join_short(&self.waiting));
        self.waiting.clear();
        if std::mem::replace(&mut self.begun, true) {
            return Some(page);
        }
        let mut first = BytesMut::new();
        for header in self.muxer.headers() {
            first.extend_from_slice(&header);
        }
        first.extend_from_slice(&page);
        Some(first.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(bytes: &Bytes) -> usize {
        let mut demuxer = OggDemuxer::new();
        demuxer.push(bytes).unwrap();
        let items = std::iter::from_fn(|| demuxer.next_item());
        items.filter(|item| matches!(item, Ok(OggItem::Packet(_)))).count()
    }

    #[test]
    fn a_page_ends_where_a_model_frame_does() {
        let mut pages = PageWriter::new(7);
        let twenty = OpusPacket::silence_20ms;
        assert!((0..3).all(|_| pages.push(twenty()).is_none()));
        let first = pages.push(twenty()).unwrap();
        assert_eq!(&first[..4], b"OggS");
        let mut demuxer = OggDemuxer::new();
        demuxer.push(&first).unwrap();
        assert!(matches!(demuxer.next_item(), Some(Ok(OggItem::Head(_)))));
        assert!(matches!(demuxer.next_item(), Some(Ok(OggItem::Tags))));
        assert_eq!(std::iter::from_fn(|| demuxer.next_item()).count(), 4);
    }

    #[test]
    fn packets_that_cross_a_frame_are_not_held_back() {
        let mut pages = PageWriter::new(7);
        // 60 ms packets: 60, 120 (crosses 80), 180 (crosses 160), 240 (ends on a frame), 300.
        let sixty = || OpusPacket::parse(Bytes::from_static(&[0xfb, 0x03])).unwrap();
        let pushed: Vec<bool> = (0..5).map(|_| pages.push(sixty()).is_some()).collect();
        assert_eq!(pushed, [false, true, true, true, false]);
    }

    #[test]
    fn short_packets_are_one_packet_a_page() {
        let mut pages = PageWriter::new(7);
        let five = || OpusPacket::parse(Bytes::from_static(&[0xe8, 1, 2])).unwrap();
        let pushed: Vec<Option<Bytes>> = (0..32).map(|_| pages.push(five())).collect();
        let ends: Vec<usize> = (0..32).filter(|n| pushed[*n].is_some()).collect();
        assert_eq!(ends, [15, 31], "every 80 ms");
        let stream: Vec<u8> = pushed.into_iter().flatten().flatten().collect();
        assert_eq!(packets(&stream.into()), 2);
    }

    #[test]
    fn a_long_packet_is_a_page_of_its_own() {
        let mut pages = PageWriter::new(7);
        let page = pages.push(OpusPacket::silence_80ms()).unwrap();
        assert!(packets(&page) == 1);
    }
}
