//! The secrets that sign tokens: how they are made, judged and held.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::{ExposeSecret, SecretString};

/// The shortest signing secret outside development, in bytes: as long as an HS256 signature (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// Different bytes that a secret must have at least: 32 random ones have 30 on average.
const MIN_DISTINCT_BYTES: usize = 8;

/// Random bytes in a secret or a ticket: 256 bits.
pub(super) const RANDOM_BYTES: usize = 32;

/// Why a secret cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no secret at all: everybody could sign.
    #[error("the signing secret is empty; set JWT_SECRET to the secret of the back end that signs the tokens")]
    Empty,
    /// The secret can be guessed offline from one token.
    #[error("the signing secret has {bytes} bytes; at least {MIN_SECRET_BYTES} are needed, best random ones")]
    TooShort {
        /// How long it is.
        bytes: usize,
    },
    /// The secret is long, but made of next to nothing.
    #[error("the signing secret has fewer than {MIN_DISTINCT_BYTES} different characters; use a random one")]
    TooPlain,
    /// The token could not be signed.
    #[error("the token could not be signed with this secret")]
    Signing,
}

/// Makes a signing secret: 32 random bytes as 43 characters of base64url.
pub fn new_secret() -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(random_bytes()))
}

/// 256 bits from the thread's cryptographic generator, which is seeded by the operating system.
pub(super) fn random_bytes() -> [u8; RANDOM_BYTES] {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes);
    bytes
}

/// Judges a secret by the rule for production: at least [`MIN_SECRET_BYTES`] bytes, and not all alike.
pub fn check_strength(secret: &SecretString) -> Result<(), KeyError> {
    match secret.expose_secret().len() {
        0 => Err(KeyError::Empty),
        bytes if bytes < MIN_SECRET_BYTES => Err(KeyError::TooShort { bytes }),
        _ => {
            let different: HashSet<u8> = secret.expose_secret().bytes().collect();
            if different.len() < MIN_DISTINCT_BYTES { Err(KeyError::TooPlain) } else { Ok(()) }
        }
    }
}

/// A secret ready to sign and to verify HS256 tokens. It does not print.
#[derive(Clone)]
pub struct SigningKey {
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
}

impl SigningKey {
    /// Takes the bytes of the secret as they are, as Node's `jsonwebtoken` does. Short ones are the caller's business:
    /// see [`check_strength`].
    pub fn new(secret: &SecretString) -> Result<SigningKey, KeyError> {
        let bytes = secret.expose_secret().as_bytes();
        if bytes.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(SigningKey { encoding: EncodingKey::from_secret(bytes), decoding: DecodingKey::from_secret(bytes) })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_secrets_are_strong_and_differ() {
        let (one, two) = (new_secret(), new_secret());
        assert_eq!(one.expose_secret().len(), 43);
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert_eq!(check_strength(&one), Ok(()));
    }

    #[test]
    fn weak_secrets_are_told_apart() {
        assert_eq!(check_strength(&"".into()), Err(KeyError::Empty));
        assert_eq!(check_strength(&"x".repeat(31).into()), Err(KeyError::TooShort { bytes: 31 }));
        assert_eq!(check_strength(&"abcdefgh".repeat(4).into()), Ok(()));
        for plain in [" ".repeat(40), "x".repeat(32), "abcdefg".repeat(9)] {
            assert_eq!(check_strength(&plain.into()), Err(KeyError::TooPlain));
        }
        assert_eq!(SigningKey::new(&"".into()).err(), Some(KeyError::Empty));
        assert_eq!(format!("{:?}", SigningKey::new(&"hush".into()).unwrap()), "SigningKey(..)");
    }
}
