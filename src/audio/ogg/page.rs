//! One Ogg page: header, lacing values and body (RFC 3533 section 6).

use bytes::{BufMut, Bytes, BytesMut};

/// The first bytes of a page: the capture pattern and the only version there is.
pub(super) const CAPTURE: &[u8; 5] = b"OggS\0";

/// The bytes of a page before its lacing values.
const HEADER_BYTES: usize = 27;

/// Where the checksum stands in the header.
const CHECKSUM_AT: usize = 22;

/// The most lacing values in a page.
pub(super) const MAX_SEGMENTS: usize = 255;

/// The longest page, in bytes: header, 255 lacing values, 255 segments of 255 bytes.
pub const MAX_PAGE_BYTES: usize = HEADER_BYTES + MAX_SEGMENTS + MAX_SEGMENTS * 255;

/// The first packet began in an earlier page.
pub(super) const FLAG_CONTINUED: u8 = 1;
/// The first page of a stream.
pub(super) const FLAG_FIRST: u8 = 2;
/// The last page of a stream.
pub(super) const FLAG_LAST: u8 = 4;

/// The granule position of a page in which no packet ends.
pub(super) const NO_GRANULE: u64 = u64::MAX;

/// The part of a page's header that its writer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Any of [`FLAG_CONTINUED`], [`FLAG_FIRST`] and [`FLAG_LAST`].
    pub(super) flags: u8,
    /// Samples at 48 kHz up to the end of the last packet that ends here.
    pub(super) granule: u64,
    /// The number of the stream.
    pub(super) serial: u32,
    /// The number of the page in its stream.
    pub(super) sequence: u32,
}

/// A whole page in a buffer.
pub(super) struct Page<'a> {
    pub(super) header: PageHeader,
    /// Whether the checksum in the header is that of the bytes.
    pub(super) intact: bool,
    lacing: &'a [u8],
    body: &'a [u8],
}

/// One packet, or a part of one, in a page.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether the packet ends here; if not, the next page goes on with it.
    pub(super) ends: bool,
}

/// The length in bytes of the page that `buffer` begins with, if the whole page is there.
pub(super) fn page_length(buffer: &[u8]) -> Option<usize> {
    let segments = usize::from(*buffer.get(HEADER_BYTES - 1)?);
    let lacing = buffer.get(HEADER_BYTES..HEADER_BYTES + segments)?;
    let length = HEADER_BYTES + segments + lacing.iter().map(|&value| usize::from(value)).sum::<usize>();
    (buffer.len() >= length).then_some(length)
}

impl<'a> Page<'a> {
    /// Takes a page apart; `bytes` are exactly one page, as [`page_length`] found it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Page<'a>> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [_, _, _, _, _, flags, numbers @ ..] = *header;
        let [g0, g1, g2, g3, g4, g5, g6, g7, s0, s1, s2, s3, n0, n1, n2, n3, c0, c1, c2, c3, segments] = numbers;
        let (lacing, body) = rest.split_at_checked(usize::from(segments))?;
        let header = PageHeader {
            flags,
            granule: u64::from_le_bytes([g0, g1, g2, g3, g4, g5, g6, g7]),
            serial: u32::from_le_bytes([s0, s1, s2, s3]),
            sequence: u32::from_le_bytes([n0, n1, n2, n3]),
        };
        let intact = u32::from_le_bytes([c0, c1, c2, c3]) == checksum(bytes);
        Some(Page { header, intact, lacing, body })
    }

    /// Whether one of the flags is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.header.flags & flag != 0
    }

    /// The packets of the page. The first may be the rest of an earlier one, the last may go on in the next page.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'a>> {
        let mut body = self.body;
        self.lacing.split_inclusive(|&value| value < 255).filter_map(move |run| {
            let length = run.iter().map(|&value| usize::from(value)).sum();
            let (bytes, rest) = body.split_at_checked(length)?;
            body = rest;
            Some(Piece { bytes, ends: run.last() != Some(&255) })
        })
    }
}

/// The lacing values that a packet needs.
pub(super) fn segments_of(packet: &[u8]) -> usize {
    packet.len() / 255 + 1
}

/// Writes one page that holds whole packets, of at most [`MAX_SEGMENTS`] lacing values together.
pub(super) fn write_page<'p>(header: PageHeader, packets: impl Iterator<Item = &'p [u8]> + Clone) -> Bytes {
    let segments: usize = packets.clone().map(segments_of).sum();
    debug_assert!(segments <= MAX_SEGMENTS, "a page has at most 255 lacing values");
    let body: usize = packets.clone().map(<[u8]>::len).sum();
    let mut page = BytesMut::with_capacity(HEADER_BYTES + segments + body);
    page.put_slice(CAPTURE);
    page.put_u8(header.flags);
    page.put_u64_le(header.granule);
    page.put_u32_le(header.serial);
    page.put_u32_le(header.sequence);
    page.put_u32_le(0);
    page.put_u8(u8::try_from(segments).unwrap_or(u8::MAX));
    for packet in packets.clone() {
        page.put_bytes(255, packet.len() / 255);
        page.put_u8((packet.len() % 255) as u8);
    }
    for packet in packets {
        page.put_slice(packet);
    }
    let sum = checksum(&page).to_le_bytes();
    page[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum);
    page.freeze()
}

/// The remainders of the polynomial 0x04c11db7, most significant bit first.
const REMAINDERS: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            value = if value >> 31 == 1 { value << 1 ^ 0x04c1_1db7 } else { value << 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The checksum of a page, its own field read as zero: a CRC-32 without reflection, start value or inversion.
pub(super) fn checksum(page: &[u8]) -> u32 {
    let (before, rest) = page.split_at(CHECKSUM_AT.min(page.len()));
    let after = rest.get(4..).unwrap_or_default();
    let add = |sum: u32, byte: &u8| sum << 8 ^ REMAINDERS[usize::from((sum >> 24) as u8 ^ byte)];
    [before, &[0; 4], after].into_iter().flatten().fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: PageHeader = PageHeader { flags: FLAG_FIRST, granule: 960, serial: 7, sequence: 3 };

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let packets: [&[u8]; 4] = [&[1; 3], &[], &[2; 255], &[3; 600]];
        let bytes = write_page(HEADER, packets.iter().copied());
        assert_eq!(page_length(&bytes), Some(bytes.len()));
        assert_eq!(page_length(&bytes[..bytes.len() - 1]), None);
        let page = Page::read(&bytes).unwrap();
        assert!(page.intact);
        assert_eq!(page.header, HEADER);
        let read: Vec<_> = page.pieces().map(|piece| (piece.bytes, piece.ends)).collect();
        assert_eq!(read, packets.map(|packet| (packet, true)));
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let bytes = write_page(HEADER, [&[9u8; 40][..]].into_iter());
        for at in 5..bytes.len() {
            let mut broken = bytes.to_vec();
            broken[at] ^= 0x10;
            assert!(!Page::read(&broken).is_some_and(|page| page.intact), "byte {at}");
        }
    }
}
