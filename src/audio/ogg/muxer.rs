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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::demuxer::{OggDemuxer, OggItem};
    use super::super::page::{Page, page_length};
    use super::*;

    fn packet(bytes: &[u8]) -> OpusPacket {
        OpusPacket::parse(Bytes::copy_from_slice(bytes)).unwrap()
    }

    fn demux(stream: &[u8]) -> Vec<OggItem> {
        let mut demuxer = OggDemuxer::new();
        demuxer.push(stream).unwrap();
        std::iter::from_fn(|| demuxer.next_item()).map(Result::unwrap).collect()
    }

    /// The header of each page of the stream: flags, granule, serial, number.
    fn page_headers(mut stream: &[u8]) -> Vec<(u8, u64, u32, u32)> {
        let mut headers = Vec::new();
        while let Some(length) = page_length(stream) {
            let (page, rest) = stream.split_at(length);
            let header = Page::read(page).unwrap().header;
            headers.push((header.flags, header.granule, header.serial, header.sequence));
            stream = rest;
        }
        assert!(stream.is_empty(), "whole pages");
        headers
    }

    #[test]
    fn a_stream_is_what_rfc_7845_asks() {
        let mut muxer = OggMuxer::new(0xdead_beef);
        let [head, tags] = muxer.headers();
        let first = muxer.page(&[OpusPacket::silence_20ms(), packet(&[0x48, 1, 2]), packet(&[0x48; 700])]);
        let second = muxer.page(&[OpusPacket::silence_80ms()]);
        let stream = [&head[..], &tags, &first, &second, &muxer.end()].concat();
        let serial = 0xdead_beef;
        let expected = [
            (FLAG_FIRST, 0, serial, 0),
            (0, 0, serial, 1),
            (0, 2_880, serial, 2),
            (0, 6_720, serial, 3),
            (FLAG_LAST, u64::MAX, serial, 4),
        ];
        assert_eq!(page_headers(&stream), expected);
        assert_eq!(&tags[tags.len() - 22..], b"OpusTags\x06\0\0\0tandem\0\0\0\0");
    }

    /// Two readers of other people agree with ours on what was written.
    #[test]
    fn other_readers_read_it() {
        let mut muxer = OggMuxer::new(1);
        let packets = [OpusPacket::silence_20ms(), packet(&[0x48; 255]), packet(&[0x48; 510]), packet(&[0x48, 9])];
        let headers = muxer.headers();
        let mut stream = [&headers.concat()[..], &muxer.page(&packets)].concat();

        // This one refuses a page without a packet, which RFC 3533 allows and browsers send.
        let mut judge = opus_pure::OggOpusReader::new(Cursor::new(&stream)).unwrap();
        assert_eq!(judge.head().channel_count, 1);
        assert_eq!((judge.head().pre_skip, judge.head().input_sample_rate), (0, 48_000));
        assert_eq!(judge.tags().vendor, "tandem");
        let read: Vec<_> = judge.packets().map(|packet| packet.unwrap().data).collect();
        assert_eq!(read, packets.each_ref().map(|packet| packet.bytes().to_vec()));

        stream.extend(muxer.end());
        let mut judge = ogg::PacketReader::new(Cursor::new(&stream));
        let read: Vec<_> = std::iter::from_fn(|| judge.read_packet().unwrap()).map(|packet| packet.data).collect();
        assert_eq!(read[2..], packets.each_ref().map(|packet| packet.bytes().to_vec()));

        let ours = packets.map(OggItem::Packet);
        let ends = [OggItem::Head(OpusHead::OURS), OggItem::Tags];
        assert_eq!(demux(&stream), [&ends, &ours[..], &[OggItem::End]].concat());
    }

    #[test]
    fn one_call_is_one_page_until_a_page_is_full() {
        let mut muxer = OggMuxer::new(1);
        assert!(muxer.page(&[]).is_empty());
        let silence = OpusPacket::silence_20ms();
        assert_eq!(page_headers(&muxer.page(&vec![silence.clone(); 255])), [(0, 255 * 960, 1, 2)]);
        let pages = muxer.page(&vec![silence; 256]);
        assert_eq!(page_headers(&pages), [(0, 510 * 960, 1, 3), (0, 511 * 960, 1, 4)]);
        let padded = [vec![0xfb, 0x41], vec![255; 240], vec![0; 61_000]].concat();
        let longest = packet(&padded[..1 + 1 + 240 + 1 + 240 * 254]);
        assert_eq!(page_headers(&muxer.page(&[longest.clone(), longest])).len(), 2);
    }
}
