//! The key of operators and autoscalers that cannot sign tokens.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A key that is sent as it is. It does not print, and how long a comparison takes tells nothing of it.
#[derive(Clone)]
pub struct OperatorKey([u8; 32]);

impl OperatorKey {
    /// This key; how strong it has to be is the caller's business.
    pub fn new(key: &SecretString) -> Self {
        Self(digest(key.expose_secret()))
    }

    /// Whether this is the key.
    pub fn is(&self, presented: &SecretString) -> bool {
        // Digests have one length, so not even that of the key shows.
        self.0.ct_eq(&digest(presented.expose_secret())).into()
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_opens_and_it_does_not_print() {
        let key = OperatorKey::new(&SecretString::from("hush-hush"));
        for (presented, opens) in [("hush-hush", true), ("hush-hush ", false), ("hush", false), ("", false)] {
            assert_eq!(key.is(&SecretString::from(presented)), opens, "{presented}");
        }
        assert_eq!(format!("{key:?}"), "OperatorKey(***)");
    }
}
