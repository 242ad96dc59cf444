//! The numbers of Ogg pages.

/// Finds gaps in the numbers of Ogg pages (RFC 3533 section 6).
#[derive(Default)]
pub(super) struct PageNumbers {
    /// The stream's serial and the number that its next page has.
    next: Option<(u32, u32)>,
}

impl PageNumbers {
    /// Counts the pages that are missing before those that begin in these bytes; a cut page is not looked for.
    pub(super) fn gaps(&mut self, mut bytes: &[u8]) -> u64 {
        let mut gaps = 0;
        while bytes.len() >= 27 && bytes.starts_with(b"OggS") {
            let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let (serial, sequence) = (number(14), number(18));
            if let Some((known, expected)) = self.next
                && known == serial
                && sequence > expected
            {
                gaps += u64::from(sequence - expected);
            }
            self.next = Some((serial, sequence.wrapping_add(1)));
            let segments = usize::from(bytes[26]);
            let Some(lacing) = bytes.get(27..27 + segments) else { break };
            let body_bytes: usize = lacing.iter().map(|&lace| usize::from(lace)).sum();
            bytes = bytes.get(27 + segments + body_bytes..).unwrap_or_default();
        }
        gaps
    }
}
