//! The voices that every PersonaPlex server has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that names no voice. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("voices are NATF0 to NATF3, NATM0 to NATM3, VARF0 to VARF4 and VARM0 to VARM4")]
pub struct UnknownVoice;

/// One of the known voices. Servers load any file that they are told to, so nothing else is ever sent.
///
/// NAT voices sound natural, VAR voices are more varied; F is female, M is male. Read and written by name (`NATF0`).
#[expect(missing_docs, reason = "the names are all there is to say")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Voice {
    Natf0,
    Natf1,
    Natf2,
    Natf3,
    Natm0,
    Natm1,
    Natm2,
    Natm3,
    Varf0,
    Varf1,
    Varf2,
    Varf3,
    Varf4,
    Varm0,
    Varm1,
    Varm2,
    Varm3,
    Varm4,
}

impl Voice {
    /// Every voice.
    pub const ALL: [Voice; 18] = [
        Voice::Natf0,
        Voice::Natf1,
        Voice::Natf2,
        Voice::Natf3,
        Voice::Natm0,
        Voice::Natm1,
        Voice::Natm2,
        Voice::Natm3,
        Voice::Varf0,
        Voice::Varf1,
        Voice::Varf2,
        Voice::Varf3,
        Voice::Varf4,
        Voice::Varm0,
        Voice::Varm1,
        Voice::Varm2,
        Voice::Varm3,
        Voice::Varm4,
    ];

    /// The file that a server has of it.
    pub const fn file_name(self) -> &'static str {
        match self {
            Voice::Natf0 => "NATF0.pt",
            Voice::Natf1 => "NATF1.pt",
            Voice::Natf2 => "NATF2.pt",
            Voice::Natf3 => "NATF3.pt",
            Voice::Natm0 => "NATM0.pt",
            Voice::Natm1 => "NATM1.pt",
            Voice::Natm2 => "NATM2.pt",
            Voice::Natm3 => "NATM3.pt",
            Voice::Varf0 => "VARF0.pt",
            Voice::Varf1 => "VARF1.pt",
            Voice::Varf2 => "VARF2.pt",
            Voice::Varf3 => "VARF3.pt",
            Voice::Varf4 => "VARF4.pt",
            Voice::Varm0 => "VARM0.pt",
            Voice::Varm1 => "VARM1.pt",
            Voice::Varm2 => "VARM2.pt",
            Voice::Varm3 => "VARM3.pt",
            Voice::Varm4 => "VARM4.pt",
        }
    }

    /// The name without the ending of the file.
    pub fn name(self) -> &'static str {
        self.file_name().trim_end_matches(".pt")
    }
}

impl FromStr for Voice {
    type Err = UnknownVoice;

    /// Reads `NATF0` or `NATF0.pt`.
    fn from_str(text: &str) -> Result<Voice, UnknownVoice> {
        Voice::ALL.into_iter().find(|voice| text == voice.file_name() || text == voice.name()).ok_or(UnknownVoice)
    }
}

impl TryFrom<String> for Voice {
    type Error = UnknownVoice;

    fn try_from(text: String) -> Result<Voice, UnknownVoice> {
        text.parse()
    }
}

impl From<Voice> for &'static str {
    fn from(voice: Voice) -> &'static str {
        voice.name()
    }
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_voice_is_read_by_either_name() {
        for voice in Voice::ALL {
            assert_eq!(voice.name().parse(), Ok(voice));
            assert_eq!(voice.file_name().parse(), Ok(voice));
            assert_eq!(serde_json::to_value(voice).unwrap(), voice.to_string());
        }
        assert_eq!(Voice::ALL.map(Voice::name).into_iter().collect::<HashSet<_>>().len(), 18);
    }

    #[test]
    fn nothing_else_is_a_voice() {
        for text in ["", "natf0", "NATF4", "VARM5.pt", "NATF0.pt.pt", "../voices/NATM1.pt", "/NATF0.pt", "NATF0.wav"] {
            assert_eq!(text.parse::<Voice>(), Err(UnknownVoice), "{text}");
            assert!(serde_json::from_value::<Voice>(text.into()).is_err(), "{text}");
        }
    }
}
