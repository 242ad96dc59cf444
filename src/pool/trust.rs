//! Which certificates of a model server are accepted.

use std::{fmt, path::PathBuf, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Bytes of a SHA-256.
const PIN_BYTES: usize = 32;

/// Which certificates of a model server are accepted. Its peer has to hold the certificate's key in every case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those that the system's authorities signed, in date and for the server's name.
    System,
    /// Those, and those that the authorities of a PEM file signed.
    CaFile(PathBuf),
    /// Every certificate with this public key. Dates, names and signers are not looked at: the key says who it is.
    Pin(Pin),
    /// Any: whoever is in between can listen in.
    Anything,
}

/// The SHA-256 of a certificate's SubjectPublicKeyInfo, in DER: it stays when a certificate is renewed with its key.
///
/// Written as `sha256:` and base64, as in HTTP's public key pins (RFC 7469).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; PIN_BYTES]);

/// A text that is no pin. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pin is sha256: and 44 characters of base64, as tandem check prints it")]
pub struct NotAPin;

impl Pin {
    const PREFIX: &'static str = "sha256:";

    /// The pin with this digest.
    pub const fn new(digest: [u8; PIN_BYTES]) -> Self {
        Self(digest)
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |difference, (one, two)| difference | (one ^ two)) == 0
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = text.strip_prefix(Self::PREFIX).ok_or(NotAPin)?;
        let digest = STANDARD.decode(digest).map_err(|_| NotAPin)?;
        Ok(Self(digest.try_into().map_err(|_| NotAPin)?))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_they_are_written_and_nothing_else_is_one() {
        let pin = Pin::new([7; PIN_BYTES]);
        let written = "sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert_eq!((pin.to_string().as_str(), written.parse()), (written, Ok(pin)));
        for text in ["", "sha256:", &written[7..], &written[..50], "sha256:BwcH", "sha1:BwcHBwcHBwcHBwcHBwcHBwcHBwc="] {
            assert_eq!(text.parse::<Pin>(), Err(NotAPin), "{text}");
        }
    }

    #[test]
    fn pins_differ_wherever_they_differ() {
        let pin = Pin::new([7; PIN_BYTES]);
        assert!(pin.matches(&pin.clone()));
        for at in 0..PIN_BYTES {
            let mut other = [7; PIN_BYTES];
            other[at] ^= 0x80;
            assert!(!pin.matches(&Pin::new(other)), "{at}");
        }
    }
}
