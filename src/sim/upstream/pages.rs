//! The Ogg pages that the simulated server writes: those of sphn 0.1.12, made with the same library (pure).

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

/// The serial number of every stream of every session.
pub const SERIAL: u32 = 42;

/// Samples of one frame at the model's 24 kHz, in which granule positions count, half of what RFC 7845 asks for.
pub const FRAME_SAMPLES: u64 = 1920;

/// Version 1, one channel, pre-skip 3840, 24,000 Hz, no gain, mapping 0.
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x01\x00\x0f\xc0\x5d\x00\x00\x00\x00\x00";
/// Vendor `sphn-pyo3`, no comments.
const OPUS_TAGS: &[u8] = b"OpusTags\x09\x00\x00\x00sphn-pyo3\x00\x00\x00\x00";

/// Writes one packet a page, with contiguous sequence numbers and never an end of the stream.
pub struct PageWriter {
    writer: PacketWriter<'static, Vec<u8>>,
    granule: u64,
}

impl PageWriter {
    /// A writer at the start of its stream.
    pub fn new() -> Self {
        Self { writer: PacketWriter::new(Vec::new()), granule: 0 }
    }

    /// The two header pages; they come first.
    pub fn headers(&mut self) -> [Vec<u8>; 2] {
        [self.write(OPUS_HEAD.to_vec()), self.write(OPUS_TAGS.to_vec())]
    }

    /// The page of one 80 ms packet.
    pub fn page(&mut self, packet: Vec<u8>) -> Vec<u8> {
        self.granule += FRAME_SAMPLES;
        self.write(packet)
    }

    fn write(&mut self, packet: Vec<u8>) -> Vec<u8> {
        // Writing to memory cannot fail.
        let _ = self.writer.write_packet(packet, SERIAL, PacketWriteEndInfo::EndPage, self.granule);
        std::mem::take(self.writer.inner_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_the_recorded_ones() {
        let [head, tags] = PageWriter::new().headers();
        assert_eq!(head.len(), 47);
        assert_eq!(head[..28], *b"OggS\x00\x02\0\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0\xef\x88\x87\x22\x01\x13");
        assert_eq!(tags.len(), 53);
        assert_eq!(tags[..28], *b"OggS\x00\x00\0\0\0\0\0\0\0\0\x2a\0\0\0\x01\0\0\0\xbf\xd8\x21\xe5\x01\x19");
    }

    #[test]
    fn pages_count_on_in_24_khz() {
        let mut pages = PageWriter::new();
        pages.headers();
        let (first, second) = (pages.page(vec![1; 271]), pages.page(vec![2; 300]));
        assert_eq!((first.len(), &first[6..14], &first[18..22]), (300, &1920u64.to_le_bytes()[..], &[2, 0, 0, 0][..]));
        assert_eq!(
            (second.len(), &second[6..14], &second[18..22]),
            (329, &3840u64.to_le_bytes()[..], &[3, 0, 0, 0][..])
        );
    }
}
