//! Ogg bytes, cut anywhere, into the packets of one Opus stream.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::head::{HeadError, OpusHead};
use super::page::{CAPTURE, FLAG_CONTINUED, FLAG_FIRST, FLAG_LAST, Page, page_length};
use crate::audio::packet::{MAX_PACKET_BYTES, OpusPacket, PacketError};

/// The most bytes that wait for [`OggDemuxer::next_item`]: room for any page and for a large message on top.
pub const MAX_BUFFERED_BYTES: usize = 256 * 1024;

/// The most bytes between two pages that are skipped without a word. The model server gives up at the same length.
pub const MAX_GARBAGE_BYTES: u64 = 150 * 1024;

/// The longest packet that is gathered over pages, in bytes: long enough for audio and for sensible comments.
const MAX_GATHERED_BYTES: usize = MAX_PACKET_BYTES;

/// What was wrong with an Ogg stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OggError {
    /// Bytes were pushed faster than items were taken; nothing of that push was kept.
    #[error("at most {MAX_BUFFERED_BYTES} bytes of Ogg may wait; send smaller messages")]
    BufferFull,
    /// So many bytes without a page are no Ogg stream.
    #[error("more than {MAX_GARBAGE_BYTES} bytes without an Ogg page; send Ogg pages")]
    NoPages,
    /// The page was damaged on its way.
    #[error("the checksum of an Ogg page is wrong")]
    Checksum,
    /// Audio came before a stream was begun.
    #[error("an Ogg stream begins with a page that holds OpusHead and is marked as the first")]
    NoHead,
    /// The header of the stream cannot be served.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A second stream was begun in the same connection; it is read from now on.
    #[error("one Ogg stream is expected; another was begun, which is read from now on")]
    Chained,
    /// The page belongs to a stream that was not begun here.
    #[error("one Ogg stream a connection; a page of another came")]
    UnknownSerial,
    /// A part of a packet that is spread over pages is missing.
    #[error("a packet that goes on in the next Ogg page is followed by the rest of it")]
    BrokenPacket,
    /// A packet that is spread over pages is too long.
    #[error("a packet in an Ogg stream has at most {MAX_GATHERED_BYTES} bytes")]
    PacketTooLong,
    /// The packet is not Opus.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// What an Ogg Opus stream is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OggItem {
    /// The header: always the first item.
    Head(OpusHead),
    /// The comments, unread: they may hold anything. A stream may lack them.
    Tags,
    /// Audio.
    Packet(OpusPacket),
    /// The stream says that it is over. Model servers go on reading, and so do we.
    End,
}

/// A packet of which the beginning has been seen.
#[derive(Debug)]
enum Unfinished {
    /// None.
    Nothing,
    /// Gathered so far; the page with this number goes on with it.
    Gathering { bytes: Vec<u8>, next_sequence: u32 },
    /// Already reported; the rest of it is passed over.
    PassingOver,
}

/// Reads one Ogg Opus stream.
///
/// However the bytes are cut, the same items come out. After an error the offending page or packet has been passed
/// over, and reading goes on behind it.
#[derive(Debug)]
pub struct OggDemuxer {
    buffer: BytesMut,
    serial: Option<u32>,
    tags_may_come: bool,
    unfinished: Unfinished,
    ready: VecDeque<Result<OggItem, OggError>>,
    garbage_run_bytes: u64,
    skipped_garbage_bytes: u64,
    dropped_empty: u64,
}

impl Default for OggDemuxer {
    fn default() -> Self {
        OggDemuxer::new()
    }
}

impl OggDemuxer {
    /// A reader at the beginning of a stream.
    pub fn new() -> OggDemuxer {
        OggDemuxer {
            buffer: BytesMut::new(),
            serial: None,
            tags_may_come: true,
            unfinished: Unfinished::Nothing,
            ready: VecDeque::new(),
            garbage_run_bytes: 0,
            skipped_garbage_bytes: 0,
            dropped_empty: 0,
        }
    }

    /// Adds the next bytes; take the items before the next push.
    ///
    /// Fails with [`OggError::BufferFull`] alone, and then keeps none of the bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), OggError> {
        if self.buffer.len() + bytes.len() > MAX_BUFFERED_BYTES {
            return Err(OggError::BufferFull);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next item, or the next fault; `None` until more bytes are pushed.
    pub fn next_item(&mut self) -> Option<Result<OggItem, OggError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            self.skip_garbage();
            if self.ready.is_empty() {
                let length = page_length(&self.buffer)?;
                let bytes = self.buffer.split_to(length);
                self.garbage_run_bytes = 0;
                self.read_page(&Page::read(&bytes)?);
            }
        }
    }

    /// Packets without a byte that were dropped: a model server would conceal 10 s of sound for each.
    pub fn dropped_empty(&self) -> u64 {
        self.dropped_empty
    }

    /// Bytes between pages that were skipped.
    pub fn skipped_garbage_bytes(&self) -> u64 {
        self.skipped_garbage_bytes
    }

    /// Leaves the buffer empty, or with a page or the beginning of one at its front.
    fn skip_garbage(&mut self) {
        let found = self.buffer.windows(CAPTURE.len()).position(|window| window == CAPTURE);
        let garbage = found.unwrap_or_else(|| self.buffer.len() - capture_prefix(&self.buffer));
        self.buffer.advance(garbage);
        let before = self.garbage_run_bytes;
        self.garbage_run_bytes = before.saturating_add(garbage as u64);
        self.skipped_garbage_bytes = self.skipped_garbage_bytes.saturating_add(garbage as u64);
        if before <= MAX_GARBAGE_BYTES && self.garbage_run_bytes > MAX_GARBAGE_BYTES {
            self.ready.push_back(Err(OggError::NoPages));
        }
    }

    fn read_page(&mut self, page: &Page<'_>) {
        if let Err(error) = self.admit(page) {
            self.ready.push_back(Err(error));
            return;
        }
        if !page.has(FLAG_FIRST) {
            self.match_continuation(page);
        }
        for piece in page.pieces().skip(usize::from(page.has(FLAG_FIRST))) {
            self.read_piece(piece.bytes, piece.ends, page.header.sequence);
        }
        if page.has(FLAG_LAST) {
            self.ready.push_back(Ok(OggItem::End));
        }
    }

    /// Whether the page is one of our stream, which its first page begins.
    fn admit(&mut self, page: &Page<'_>) -> Result<(), OggError> {
        if !page.intact {
            return Err(OggError::Checksum);
        }
        match self.serial {
            None if page.has(FLAG_FIRST) => self.begin(page),
            None => Err(OggError::NoHead),
            Some(_) if page.has(FLAG_FIRST) => {
                // Told, and then read on: a recorder that was stopped and started again begins a new stream.
                self.ready.push_back(Err(OggError::Chained));
                self.begin(page)
            }
            Some(serial) if serial != page.header.serial => Err(OggError::UnknownSerial),
            Some(_) => Ok(()),
        }
    }

    /// Begins a stream with its first page. A page without a usable header leaves the one before in force.
    fn begin(&mut self, page: &Page<'_>) -> Result<(), OggError> {
        let first = page.pieces().next().filter(|piece| piece.ends).ok_or(HeadError::NotOpus)?;
        self.ready.push_back(Ok(OggItem::Head(OpusHead::parse(first.bytes)?)));
        self.serial = Some(page.header.serial);
        self.unfinished = Unfinished::Nothing;
        self.tags_may_come = true;
        Ok(())
    }

    /// Makes sure that a packet goes on only in the page that follows, and only if both pages say so.
    fn match_continuation(&mut self, page: &Page<'_>) {
        let continued = page.has(FLAG_CONTINUED);
        let matches = match &self.unfinished {
            Unfinished::Nothing => !continued,
            Unfinished::Gathering { next_sequence, .. } => continued && *next_sequence == page.header.sequence,
            Unfinished::PassingOver => true,
        };
        if !matches {
            self.ready.push_back(Err(OggError::BrokenPacket));
        }
        if !matches || !continued {
            self.unfinished = if continued { Unfinished::PassingOver } else { Unfinished::Nothing };
        }
    }

    fn read_piece(&mut self, bytes: &[u8], ends: bool, sequence: u32) {
        match (std::mem::replace(&mut self.unfinished, Unfinished::Nothing), ends) {
            (Unfinished::Nothing, true) => self.read_packet(bytes),
            (Unfinished::Nothing, false) => self.gather(bytes.to_vec(), sequence),
            (Unfinished::Gathering { bytes: mut whole, .. }, _) => {
                whole.extend_from_slice(bytes);
                if ends { self.read_packet(&whole) } else { self.gather(whole, sequence) }
            }
            (Unfinished::PassingOver, true) => {}
            (Unfinished::PassingOver, false) => self.unfinished = Unfinished::PassingOver,
        }
    }

    fn gather(&mut self, bytes: Vec<u8>, sequence: u32) {
        self.unfinished = if bytes.len() > MAX_GATHERED_BYTES {
            self.ready.push_back(Err(OggError::PacketTooLong));
            Unfinished::PassingOver
        } else {
            Unfinished::Gathering { bytes, next_sequence: sequence.wrapping_add(1) }
        };
    }

    fn read_packet(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.dropped_empty += 1;
            return;
        }
        if std::mem::take(&mut self.tags_may_come) && bytes.starts_with(b"OpusTags") {
            self.ready.push_back(Ok(OggItem::Tags));
            return;
        }
        // A copy: a slice would keep the whole buffer alive for as long as the packet waits in a queue.
        let packet = OpusPacket::parse(Bytes::copy_from_slice(bytes));
        self.ready.push_back(packet.map(OggItem::Packet).map_err(OggError::Packet));
    }
}

/// How many bytes at the end of the buffer may be the beginning of a page.
fn capture_prefix(buffer: &[u8]) -> usize {
    (1..CAPTURE.len()).rev().find(|&length| buffer.ends_with(&CAPTURE[..length])).unwrap_or(0)
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::muxer::OggMuxer;
    use super::super::page::MAX_PAGE_BYTES;
    use super::*;

    fn drain(demuxer: &mut OggDemuxer) -> Vec<Result<OggItem, OggError>> {
        std::iter::from_fn(|| demuxer.next_item()).collect()
    }

    fn read(chunks: &[&[u8]]) -> Vec<Result<OggItem, OggError>> {
        let mut demuxer = OggDemuxer::new();
        let mut items = Vec::new();
        for chunk in chunks {
            demuxer.push(chunk).unwrap();
            items.extend(drain(&mut demuxer));
        }
        items
    }

    /// A page with any lacing and body, of stream 7.
    fn raw_page(flags: u8, sequence: u32, lacing: &[u8], body: &[u8]) -> Vec<u8> {
        let mut page = CAPTURE.to_vec();
        page.push(flags);
        page.extend(0u64.to_le_bytes());
        page.extend(7u32.to_le_bytes());
        page.extend(sequence.to_le_bytes());
        page.extend([0; 4]);
        page.push(lacing.len() as u8);
        page.extend(lacing);
        page.extend(body);
        let sum = crate::audio::ogg::page::checksum(&page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        page
    }

    fn head_page() -> Bytes {
        OggMuxer::new(7).headers()[0].clone()
    }

    const HEAD: Result<OggItem, OggError> = Ok(OggItem::Head(OpusHead::OURS));

    fn audio(bytes: &[u8]) -> Result<OggItem, OggError> {
        Ok(OggItem::Packet(OpusPacket::parse(Bytes::copy_from_slice(bytes)).unwrap()))
    }

    #[test]
    fn a_stream_begins_with_its_head() {
        let speech = raw_page(0, 2, &[1], &[0xf8]);
        assert_eq!(read(&[&speech, &head_page(), &speech]), [Err(OggError::NoHead), HEAD, audio(&[0xf8])]);
        let vorbis = raw_page(FLAG_FIRST, 0, &[7], b"\x01vorbis");
        assert_eq!(read(&[&vorbis, &head_page()]), [Err(OggError::Head(HeadError::NotOpus)), HEAD]);
        let nothing = raw_page(FLAG_FIRST, 0, &[], &[]);
        assert_eq!(read(&[&nothing]), [Err(OggError::Head(HeadError::NotOpus))]);
    }

    #[test]
    fn surround_sound_is_refused_in_words() {
        let mut head = OpusHead { channels: 6, ..OpusHead::OURS }.encode().to_vec();
        let items = read(&[&raw_page(FLAG_FIRST, 0, &[19], &head)]);
        assert_eq!(items, [Err(OggError::Head(HeadError::Channels(6)))]);
        head[18] = 1;
        let items = read(&[&raw_page(FLAG_FIRST, 0, &[19], &head)]);
        assert_eq!(items[0].as_ref().unwrap_err().to_string(), "OpusHead has mapping family 0; this one has 1");
    }

    #[test]
    fn tags_may_be_missing() {
        let [head, tags] = OggMuxer::new(7).headers();
        let speech = raw_page(0, 1, &[1], &[0xf8]);
        assert_eq!(read(&[&head, &speech]), [HEAD, audio(&[0xf8])]);
        assert_eq!(read(&[&head, &tags, &speech]), [HEAD, Ok(OggItem::Tags), audio(&[0xf8])]);
    }

    #[test]
    fn a_second_stream_is_told_and_read_and_pages_of_others_are_passed_over() {
        let mut second = OggMuxer::new(8);
        let ([head, tags], old) = (second.headers(), raw_page(0, 2, &[1], &[0xf8]));
        let items = read(&[&head_page(), &old, &head, &tags, &second.page(&[OpusPacket::silence_80ms()]), &old]);
        let new = audio(OpusPacket::silence_80ms().bytes());
        let told = [HEAD, audio(&[0xf8]), Err(OggError::Chained), Ok(OggItem::Head(OpusHead::OURS)), Ok(OggItem::Tags)];
        assert_eq!(items, [&told[..], &[new, Err(OggError::UnknownSerial)]].concat());
    }

    #[test]
    fn a_second_stream_without_a_usable_header_changes_nothing() {
        let foreign = OggMuxer::new(8).page(&[OpusPacket::silence_20ms()]);
        let speech = raw_page(0, 2, &[1], &[0xf8]);
        let broken = raw_page(FLAG_FIRST, 0, &[4], b"Nope");
        let faults = [Err(OggError::Chained), Err(OggError::Head(HeadError::NotOpus)), Err(OggError::UnknownSerial)];
        assert_eq!(
            read(&[&head_page(), &broken, &foreign, &speech]),
            [&[HEAD], &faults[..], &[audio(&[0xf8])]].concat()
        );
    }

    #[test]
    fn empty_packets_are_dropped_and_counted_and_one_byte_is_audio() {
        let mut demuxer = OggDemuxer::new();
        demuxer.push(&head_page()).unwrap();
        demuxer.push(&raw_page(0, 2, &[0, 1, 0, 2], &[0x48, 0xf8, 0])).unwrap();
        assert_eq!(drain(&mut demuxer), [HEAD, audio(&[0x48]), audio(&[0xf8, 0])]);
        assert_eq!(demuxer.dropped_empty(), 2);
    }

    #[test]
    fn bad_packets_are_named_and_their_neighbours_kept() {
        let page = raw_page(0, 2, &[1, 2, 1], &[0xf8, 0xfb, 0, 0x48]);
        let bad = Err(OggError::Packet(PacketError::NoFrames));
        assert_eq!(read(&[&head_page(), &page]), [HEAD, audio(&[0xf8]), bad, audio(&[0x48])]);
    }

    #[test]
    fn the_end_is_an_item_and_more_may_follow() {
        let end = raw_page(FLAG_LAST, 2, &[1], &[0xf8]);
        let more = raw_page(0, 3, &[1], &[0x48]);
        let items = read(&[&head_page(), &end, &more]);
        assert_eq!(items, [HEAD, audio(&[0xf8]), Ok(OggItem::End), audio(&[0x48])]);
    }

    /// A packet of one frame that needs three segments.
    fn long_packet() -> Vec<u8> {
        vec![0x48; 600]
    }

    #[test]
    fn a_packet_may_go_on_over_pages() {
        let packet = long_packet();
        let first = raw_page(0, 2, &[1, 255], &[&[0xf8], &packet[..255]].concat());
        let middle = raw_page(FLAG_CONTINUED, 3, &[255], &packet[255..510]);
        let last = raw_page(FLAG_CONTINUED, 4, &[90, 1], &[&packet[510..], &[0x48]].concat());
        let whole = [HEAD, audio(&[0xf8]), audio(&packet), audio(&[0x48])];
        assert_eq!(read(&[&head_page(), &first, &middle, &last]), whole);
    }

    #[test]
    fn a_packet_that_lost_a_part_is_passed_over() {
        let packet = long_packet();
        let first = raw_page(0, 2, &[1, 255], &[&[0xf8], &packet[..255]].concat());
        let last = raw_page(FLAG_CONTINUED, 4, &[90, 1], &[&packet[510..], &[0x48]].concat());
        let fresh = raw_page(0, 3, &[1], &[0x48]);
        let broken = Err(OggError::BrokenPacket);
        // The page between is missing.
        let items = read(&[&head_page(), &first, &last]);
        assert_eq!(items, [HEAD, audio(&[0xf8]), broken.clone(), audio(&[0x48])]);
        // The rest never comes.
        let items = read(&[&head_page(), &first, &fresh]);
        assert_eq!(items, [HEAD, audio(&[0xf8]), broken.clone(), audio(&[0x48])]);
        // The beginning never came.
        assert_eq!(read(&[&head_page(), &last]), [HEAD, broken, audio(&[0x48])]);
    }

    #[test]
    fn a_packet_does_not_grow_for_ever() {
        let mut demuxer = OggDemuxer::new();
        demuxer.push(&head_page()).unwrap();
        let mut items = Vec::new();
        for sequence in 2..12 {
            let flags = if sequence == 2 { 0 } else { FLAG_CONTINUED };
            demuxer.push(&raw_page(flags, sequence, &[255; 200], &[0; 200 * 255])).unwrap();
            items.extend(drain(&mut demuxer));
        }
        demuxer.push(&raw_page(FLAG_CONTINUED, 12, &[9, 1], &[0xf8; 10])).unwrap();
        items.extend(drain(&mut demuxer));
        assert_eq!(items, [HEAD, Err(OggError::PacketTooLong), audio(&[0xf8])]);
    }

    #[test]
    fn garbage_is_skipped_counted_and_in_the_end_too_much() {
        let mut demuxer = OggDemuxer::new();
        demuxer.push(b"OggOggS\x01 no page OggS").unwrap();
        demuxer.push(&head_page()).unwrap();
        assert_eq!(drain(&mut demuxer), [HEAD]);
        assert_eq!(demuxer.skipped_garbage_bytes(), 21);
        for _ in 0..15 {
            demuxer.push(&[b'O'; 10 * 1024]).unwrap();
            assert_eq!(drain(&mut demuxer), []);
        }
        demuxer.push(b"Ogg.").unwrap();
        assert_eq!(drain(&mut demuxer), [Err(OggError::NoPages)], "said once");
        demuxer.push(&[b'O'; 1024]).unwrap();
        assert_eq!(drain(&mut demuxer), []);
        demuxer.push(&raw_page(0, 2, &[1], &[0xf8])).unwrap();
        assert_eq!(drain(&mut demuxer), [audio(&[0xf8])]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut demuxer = OggDemuxer::new();
        demuxer.push(&head_page()).unwrap();
        assert_eq!(demuxer.push(&[0; MAX_BUFFERED_BYTES]), Err(OggError::BufferFull));
        assert_eq!(drain(&mut demuxer), [HEAD], "nothing of the refused push was kept");
        demuxer.push(&[0; MAX_BUFFERED_BYTES]).unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hoard(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                (0u8..8, 0u32..6, prop::collection::vec(prop_oneof![Just(255u8), 0u8..9], 0..12))
                    .prop_map(|(flags, sequence, lacing)| {
                        let body: usize = lacing.iter().map(|&value| usize::from(value)).sum();
                        raw_page(flags, sequence, &lacing, &vec![0x48; body])
                    }),
                Just(head_page().to_vec()),
                Just(CAPTURE.to_vec()),
            ], 0..30),
            cut in 1usize..500,
        ) {
            let stream = pieces.concat();
            let whole = read(&[&stream]);
            let mut demuxer = OggDemuxer::new();
            let mut items = Vec::new();
            for chunk in stream.chunks(cut) {
                demuxer.push(chunk).unwrap();
                items.extend(drain(&mut demuxer));
                prop_assert!(demuxer.buffer.len() < MAX_PAGE_BYTES && demuxer.ready.is_empty());
            }
            prop_assert_eq!(items, whole);
        }
    }
}
