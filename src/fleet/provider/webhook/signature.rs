//! How a webhook knows that it was Tandem who asked.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// `sha256=` and the HMAC in hexadecimal. HMAC takes keys of any length, so there is always one.
pub(super) fn signature(key: &SecretString, timestamp: u64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()).ok()?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_other_programs() {
        // printf %s '1700000000.{"action":"start"}' | openssl dgst -sha256 -hmac whsec
        let signed = signature(&"whsec".into(), 1_700_000_000, "{\"action\":\"start\"}").unwrap();
        assert_eq!(signed, "sha256=b615aeb1c75e490527446333f9d0c4601846c767b0d9337b63e210d335554e4b");
    }
}
