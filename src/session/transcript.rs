//! The assistant's words, joined from the model's pieces (pure).

use std::fmt;

/// The longest run of byte pieces that is held back, in bytes; a UTF-8 character has at most four.
const MAX_HELD_BYTES: usize = 4;

/// Joins text pieces; byte-fallback pieces (`<0xE2>`) become the characters that they spell.
///
/// A piece comes out as it goes in, but for byte pieces, which wait until they form a character.
#[derive(Default)]
pub struct Transcript {
    held: Vec<u8>,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript").field("held_bytes", &self.held.len()).finish()
    }
}

impl Transcript {
    /// Takes one piece and gives the text that is complete now, if any.
    pub fn push(&mut self, piece: &str) -> Option<String> {
        if matches!(piece, "<s>" | "</s>") {
            return None;
        }
        let Some(byte) = byte_piece(piece) else {
            let mut text = self.flush();
            text.push_str(piece);
            return (!text.is_empty()).then_some(text);
        };
        self.held.push(byte);
        if let Ok(text) = std::str::from_utf8(&self.held) {
            let text = text.to_owned();
            self.held.clear();
            return Some(text);
        }
        (self.held.len() >= MAX_HELD_BYTES).then(|| self.flush())
    }

    /// What is still held, with broken characters replaced.
    pub fn flush(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// The byte that a SentencePiece byte-fallback piece stands for.
fn byte_piece(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pieces: &[&str]) -> String {
        let mut transcript = Transcript::default();
        let mut text: String = pieces.iter().filter_map(|piece| transcript.push(piece)).collect();
        text.push_str(&transcript.flush());
        text
    }

    #[test]
    fn pieces_join_as_they_are() {
        assert_eq!(joined(&[" Hel", "lo", ",", " you", "</s>"]), " Hello, you");
    }

    #[test]
    fn byte_pieces_spell_characters() {
        assert_eq!(joined(&["a", "<0xE2>", "<0x82>", "<0xAC>", "b"]), "a€b");
        assert_eq!(joined(&["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]), "😀");
        assert_eq!(joined(&["<0x41>"]), "A");
    }

    #[test]
    fn broken_byte_pieces_are_replaced_and_lose_nothing_else() {
        assert_eq!(joined(&["<0xE2>", "x"]), "\u{FFFD}x");
        assert_eq!(joined(&["<0xFF>", "<0xFF>", "<0xFF>", "<0xFF>", "y"]), "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}y");
        assert_eq!(joined(&["<0xE2>"]), "\u{FFFD}");
        assert_eq!(joined(&["<0xZZ>", "<0xE>", "<0x"]), "<0xZZ><0xE><0x");
    }
}
