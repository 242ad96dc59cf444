//! The words of PersonaPlex's wire, put together.

/// Joins text pieces; bytes that come as the literal text `<0xE2>`, one a piece, become characters again.
///
/// The model's tokenizer falls back to bytes for characters that it has no piece for, and its server sends the
/// names of these pieces.
#[derive(Default)]
pub(super) struct PieceJoiner {
    /// The bytes of a character that is not whole yet; at most 4.
    bytes: Vec<u8>,
}

impl PieceJoiner {
    /// Takes a piece; gives the text that is whole now, which may be empty.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let Some(byte) = fallback_byte(piece) else {
            let mut text = self.finish();
            text.push_str(piece);
            return text;
        };
        self.bytes.push(byte);
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => {
                let text = text.to_owned();
                self.bytes.clear();
                text
            }
            Err(error) if error.error_len().is_none() => String::new(),
            Err(_) => self.finish(),
        }
    }

    /// What is left, with the replacement character for what never became whole.
    pub(super) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        self.bytes.clear();
        text
    }
}

fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_characters_and_broken_ones_do_not_swallow_words() {
        for (pieces, expected) in [
            (&[" Hel", "lo", " you"][..], " Hello you"),
            (&[" caf", "<0xC3>", "<0xA9>", "!"], " café!"),
            (&["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"], "😀"),
            (&["<0xE2>", " word"], "\u{fffd} word"),
            (&["<0xFF>", "x"], "\u{fffd}x"),
            (&["<0x4", "<0x+4>", "<s>"], "<0x4<0x+4><s>"),
        ] {
            let mut joiner = PieceJoiner::default();
            let mut text: String = pieces.iter().map(|piece| joiner.push(piece)).collect();
            text.push_str(&joiner.finish());
            assert_eq!(text, expected);
        }
    }
}
