//! What is wrong with a persona, or could be better, in sentences that say where.

use std::fmt;

use crate::context::template::position;

/// One thing that is wrong in a persona's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaFlaw {
    /// The persona's name, which is its file's without the ending.
    pub persona: String,
    /// The line and column in the file, from 1, if they are known.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what would be right.
    pub sentence: String,
}

impl PersonaFlaw {
    /// One of the persona as a whole.
    pub(in crate::context) fn whole(persona: &str, sentence: impl Into<String>) -> Self {
        Self { persona: persona.to_owned(), place: None, sentence: sentence.into() }
    }

    /// One at a byte of the file.
    pub(super) fn at(persona: &str, text: &str, byte: Option<usize>, sentence: impl Into<String>) -> Self {
        Self { place: byte.map(|byte| position(text, byte)), ..Self::whole(persona, sentence) }
    }
}

impl fmt::Display for PersonaFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persona {}", self.persona)?;
        if let Some((line, column)) = self.place {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": {}", self.sentence)
    }
}

impl std::error::Error for PersonaFlaw {}

/// What could be better in a persona that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The persona's name.
    pub persona: String,
    /// What, and why.
    pub sentence: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persona {}: {}", self.persona, self.sentence)
    }
}
