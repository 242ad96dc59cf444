//! Packets into an Ogg Opus stream, one whole page at a time.

use bytes::{BufMut, Bytes, BytesMut};

use super::head::OpusHead;
use super::page::{
    FLAG_FIRST, FLAG_LAST, MAX_PAGE_BYTES, MAX_SEGMENTS, NO_GRANULE, PageHeader, segments_of, write_page,
};
use crate::audio::packet::OpusPacket;

/// Who wrote the stream, as its comment header says.
const VENDOR: &[u8] = b"tandem";

/// Writes one Ogg Opus stream as RFC 7845 asks: two header pages, then pages of audio with granules at 48 kHz.
#[derive(Debug)]
pub struct OggMuxer {
    serial: u32,
    next_sequence: u32,
    granule: u64,
}

impl OggMuxer {
    /// Begins a stream. A model server refuses a serial that it has seen in the same connection: take a random one.
    pub fn new(serial: u32) -> OggMuxer {
        OggMuxer { serial, next_sequence: 2, granule: 0 }
    }

    /// The first two pages, OpusHead and OpusTags; they are the same at every call.
    pub fn headers(&self) -> [Bytes; 2] {
        let head = OpusHead::OURS.encode();
        let mut tags = BytesMut::with_capacity(16 + VENDOR.len());
        tags.put_slice(b"OpusTags");
        tags.put_u32_le(VENDOR.len() as u32);
        tags.put_slice(VENDOR);
        tags.put_u32_le(0);
        let header = PageHeader { flags: 0, granule: 0, serial: self.serial, sequence: 0 };
        [
            write_page(PageHeader { flags: FLAG_FIRST, ..header }, [&head[..]].into_iter()),
            write_page(PageHeader { sequence: 1, ..header }, [&tags[..]].into_iter()),
        ]
    }

    /// One whole page with these packets, ready to be sent.
    ///
    /// No packets are no page: the answer is empty. Packets that do not fit one page (255 lacing values: more than
    /// 2 s of audio at any sensible rate) go on in further whole pages of the same answer.
    pub fn page(&mut self, packets: &[OpusPacket]) -> Bytes {
        let mut pages = BytesMut::new();
        let mut rest = packets;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest));
            let page = self.one_page(now);
            if pages.is_empty() && later.is_empty() {
                return page;
            }
            pages.put_slice(&page);
            rest = later;
        }
        pages.freeze()
    }

    /// The page that ends the stream. It holds no packet.
    pub fn end(&mut self) -> Bytes {
        let header = self.next_header(FLAG_LAST, NO_GRANULE);
        write_page(header, std::iter::empty())
    }

    /// How many of the packets fit one page. At least one does: a packet is far shorter than a page.
    fn fitting(&self, packets: &[OpusPacket]) -> usize {
        const { assert!(crate::audio::packet::MAX_PACKET_BYTES < MAX_PAGE_BYTES - 1_000) };
        let mut segments = 0;
        let fits = packets.iter().take_while(|packet| {
            segments += segments_of(packet.bytes());
            segments <= MAX_SEGMENTS
        });
        fits.count().max(1)
    }

    fn one_page(&mut self, packets: &[OpusPacket]) -> Bytes {
        self.granule = packets.iter().fold(self.granule, |sum, packet| sum.wrapping_add(packet.samples().into()));
        let header = self.next_header(0, self.granule);
        write_page(header, packets.iter().map(|packet| &packet.bytes()[..]))
    }

    fn next_header(&mut self, flags: u8, granule: u64) -> PageHeader {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        PageHeader { flags, granule, serial: self.serial, sequence }
    }
}
