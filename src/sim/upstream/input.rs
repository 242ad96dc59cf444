//! Client audio on its way in: Ogg pages to Opus packets, as strict and as lenient as the real reader (pure).
//!
//! The real one is the `ogg` crate under sphn 0.1.12; the same crate's page parser and packet reader judge here.

use bytes::{Buf, Bytes, BytesMut};
use ogg::reading::{BasePacketReader, PageParser};

/// How many bytes may come without a page before the reader gives up.
const MAX_SEARCH_BYTES: usize = 150 * 1024;

const CAPTURE: &[u8] = b"OggS";
const HEADER_BYTES: usize = 27;

/// Why the audio could not be read; on the wire all of these are a close 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioFault {
    /// A wrong checksum or version.
    #[error("an Ogg page is damaged; send pages with a right checksum")]
    DamagedPage,
    /// A page of an unknown serial number, or a second beginning of a known one.
    #[error("an Ogg page does not belong where it is; begin every serial number once, and first")]
    MisplacedPage,
    /// Nothing but other bytes for too long.
    #[error("no Ogg page came in {MAX_SEARCH_BYTES} bytes; send Ogg pages only")]
    NoPage,
    /// A packet that is no Opus packet.
    #[error("an Opus packet cannot be decoded; check packets before they are sent")]
    BadPacket,
}

/// Reads packets out of bytes that may be cut anywhere.
pub struct PacketInput {
    bytes: BytesMut,
    /// Bytes thrown away in the search for the next page.
    skipped: usize,
    packets: BasePacketReader,
}

impl PacketInput {
    /// A reader that has seen nothing yet.
    pub fn new() -> Self {
        Self { bytes: BytesMut::new(), skipped: 0, packets: BasePacketReader::new() }
    }

    /// Takes the payload of an audio message.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that wait to be read.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The next audio packet; the headers are passed over without a look. After an error there is no more.
    pub fn next_packet(&mut self) -> Result<Option<Bytes>, AudioFault> {
        loop {
            while let Some(packet) = self.packets.read_packet() {
                if !packet.data.starts_with(b"OpusHead") && !packet.data.starts_with(b"OpusTags") {
                    return Ok(Some(packet.data.into()));
                }
            }
            if !self.next_page()? {
                return Ok(None);
            }
        }
    }

    fn next_page(&mut self) -> Result<bool, AudioFault> {
        self.find_page()?;
        let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>() else { return Ok(false) };
        let (mut parser, segments) = PageParser::new(*header).map_err(|_| AudioFault::DamagedPage)?;
        let Some(table) = self.bytes.get(HEADER_BYTES..HEADER_BYTES + segments) else { return Ok(false) };
        let body_bytes = parser.parse_segments(table.to_vec());
        let body_at = HEADER_BYTES + segments;
        let Some(body) = self.bytes.get(body_at..body_at + body_bytes) else { return Ok(false) };
        let page = parser.parse_packet_data(body.to_vec()).map_err(|_| AudioFault::DamagedPage)?;
        self.bytes.advance(body_at + body_bytes);
        self.skipped = 0;
        self.packets.push_page(page).map_err(|_| AudioFault::MisplacedPage)?;
        Ok(true)
    }

    /// Throws away what precedes the next page.
    fn find_page(&mut self) -> Result<(), AudioFault> {
        let found = self.bytes.windows(CAPTURE.len()).position(|window| window == CAPTURE);
        // The last three bytes may be the beginning of a page.
        let skip = found.unwrap_or_else(|| self.bytes.len().saturating_sub(CAPTURE.len() - 1));
        self.bytes.advance(skip);
        self.skipped += skip;
        if self.skipped > MAX_SEARCH_BYTES { Err(AudioFault::NoPage) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pages::PageWriter;
    use super::*;

    fn stream(packets: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut writer = PageWriter::new();
        let mut pages = writer.headers().to_vec();
        pages.extend(packets.iter().map(|packet| writer.page(packet.to_vec())));
        pages
    }

    fn read(bytes: &[u8]) -> (Vec<Bytes>, Option<AudioFault>) {
        let mut input = PacketInput::new();
        input.push(bytes);
        let mut packets = Vec::new();
        loop {
            match input.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => return (packets, None),
                Err(fault) => return (packets, Some(fault)),
            }
        }
    }

    #[test]
    fn what_ends_the_reading_and_what_does_not() {
        let [head, tags, first, second] = &stream(&[b"one", b"two"])[..] else { panic!() };
        let mut damaged = second.clone();
        damaged[23] ^= 1;
        let long_garbage = vec![b'x'; 150 * 1024 + 4];
        type Row<'a> = (&'a str, Vec<&'a [u8]>, usize, Option<AudioFault>);
        let rows: [Row<'_>; 9] = [
            ("in order", vec![head, tags, first, second], 2, None),
            ("the head alone is enough", vec![head, first], 1, None),
            ("a gap in the sequence", vec![head, second], 1, None),
            ("short garbage", vec![head, b"garbage OggX between", first], 1, None),
            ("bad checksum", vec![head, first, &damaged, second], 1, Some(AudioFault::DamagedPage)),
            ("no beginning", vec![tags, first], 0, Some(AudioFault::MisplacedPage)),
            ("the same beginning twice", vec![head, first, head], 1, Some(AudioFault::MisplacedPage)),
            ("long garbage", vec![head, &long_garbage], 0, Some(AudioFault::NoPage)),
            ("half a page", vec![head, &first[..first.len() - 1]], 0, None),
        ];
        for (what, pages, packets, fault) in rows {
            let (read, end) = read(&pages.concat());
            assert_eq!((read.len(), end), (packets, fault), "{what}");
        }
    }

    #[test]
    fn a_second_serial_number_goes_on_beside_the_first() {
        let mut first = stream(&[b"one"]).concat();
        let mut writer = ogg::writing::PacketWriter::new(Vec::new());
        for packet in [&b"OpusHead"[..], b"two"] {
            writer.write_packet(packet, 7, ogg::writing::PacketWriteEndInfo::EndPage, 0).unwrap();
        }
        first.extend(writer.into_inner());
        assert_eq!(read(&first), (vec![Bytes::from("one"), Bytes::from("two")], None));
    }

    proptest! {
        #[test]
        fn pages_may_be_cut_anywhere(cut in 1usize..40) {
            let bytes = stream(&[b"one", b"", b"three"]).concat();
            let mut input = PacketInput::new();
            let mut packets = Vec::new();
            for piece in bytes.chunks(cut) {
                input.push(piece);
                while let Some(packet) = input.next_packet().unwrap() {
                    packets.push(packet);
                }
            }
            prop_assert_eq!(packets, vec![Bytes::from("one"), Bytes::new(), Bytes::from("three")]);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200) {
            let mut page = stream(&[b"one"]).concat();
            page.splice(at.min(page.len()).., bytes);
            read(&page);
        }
    }
}
