//! How many tokens a prompt has: guessed, or counted with the model's own tokenizer.

use std::{fmt, path::Path, sync::Arc};

#[cfg(feature = "sentencepiece")]
use kitoken::Kitoken as Tokenizer;

use crate::protocol::moshi::tokens_estimate;

/// Stands for the tokenizer in programs that are built without one: there is none.
#[cfg(not(feature = "sentencepiece"))]
enum Tokenizer {}

/// The longest file of a tokenizer, in bytes; that of PersonaPlex has half a megabyte.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why there is no tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The program does not read such files.
    #[error(
        "persona.tokenizer is set, and this program was built without it: build it with --features sentencepiece, or \
         leave the setting empty, and tokens are guessed"
    )]
    NotBuiltIn,
    /// The file.
    #[error("{path} (persona.tokenizer) cannot be read: {reason}; check the path and its permissions")]
    Unreadable {
        /// Which.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// What is in it.
    #[error(
        "{path} (persona.tokenizer) is no SentencePiece model; it is the file tokenizer_spm_32k_3.model of the weights"
    )]
    Malformed {
        /// Which.
        path: String,
    },
}

/// What tells how many tokens a prompt has. Clones share the tokenizer.
#[derive(Clone, Default)]
pub struct Tokens {
    tokenizer: Option<Arc<Tokenizer>>,
}

impl Tokens {
    /// Reads a tokenizer's file, which comes with the model's weights.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        load(path).map(|tokenizer| Self { tokenizer: Some(Arc::new(tokenizer)) })
    }

    /// The tokens that a model server makes of a text prompt, its frame included. Without a tokenizer, or where that
    /// fails, this is [`tokens_estimate`].
    pub fn of(&self, text_prompt: &str) -> u32 {
        self.tokenizer
            .as_deref()
            .and_then(|tokenizer| count(tokenizer, text_prompt))
            .unwrap_or_else(|| tokens_estimate(text_prompt))
    }

    /// Whether they are counted and not guessed.
    pub fn are_counted(&self) -> bool {
        self.tokenizer.is_some()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_counted() { "Counted" } else { "Guessed" })
    }
}

/// Two that guess are one, and two that share a tokenizer.
impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.tokenizer.as_ref().map(Arc::as_ptr) == other.tokenizer.as_ref().map(Arc::as_ptr)
    }
}

impl Eq for Tokens {}

#[cfg(not(feature = "sentencepiece"))]
fn load(_: &Path) -> Result<Tokenizer, TokenizerError> {
    Err(TokenizerError::NotBuiltIn)
}

#[cfg(not(feature = "sentencepiece"))]
fn count(tokenizer: &Tokenizer, _: &str) -> Option<u32> {
    match *tokenizer {}
}

#[cfg(feature = "sentencepiece")]
fn load(path: &Path) -> Result<Tokenizer, TokenizerError> {
    use std::io::Read as _;

    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| TokenizerError::Unreadable { path: shown.clone(), reason: error.to_string() })?;
    // The reader panics on a model without pieces, such as an empty file.
    let read = std::panic::catch_unwind(|| {
        let tokenizer = Tokenizer::from_sentencepiece_slice(&bytes).ok()?;
        count(&tokenizer, "a").is_some_and(|tokens| tokens > 0).then_some(tokenizer)
    });
    read.ok().flatten().ok_or(TokenizerError::Malformed { path: shown })
}

/// The server puts the prompt between two `<system>`, and has its tokenizer read all of it (personaplex.md 4).
#[cfg(feature = "sentencepiece")]
fn count(tokenizer: &Tokenizer, text_prompt: &str) -> Option<u32> {
    let framed = format!("<system> {text_prompt} <system>");
    tokenizer.encode(&framed, false).ok().and_then(|tokens| u32::try_from(tokens.len()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_guessed_where_nothing_counts_them() {
        assert_eq!(Tokens::default().of("Be kind."), tokens_estimate("Be kind."));
        assert!(!Tokens::default().are_counted());
    }

    #[cfg(not(feature = "sentencepiece"))]
    #[test]
    fn a_program_without_a_tokenizer_says_how_to_get_one() {
        let error = Tokens::load(Path::new("tests/context/tiny.model")).unwrap_err();
        assert!(error.to_string().contains("--features sentencepiece"), "{error}");
    }
}
