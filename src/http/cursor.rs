//! Where the next page of a list of calls begins, as clients hand it back: opaque to them, and harmless whatever they send.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::store::record::Mark;

/// A time of 8 bytes and a session of 16.
const BYTES: usize = 24;

/// The cursor behind a call: 32 characters of base64url.
pub fn cursor(mark: Mark) -> String {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&mark.began_ms.to_be_bytes());
    bytes[8..].copy_from_slice(mark.session.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place that a cursor names; none if it is no cursor.
pub fn mark(cursor: &str) -> Option<Mark> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (began_ms, session) = bytes.split_first_chunk::<8>()?;
    Some(Mark { began_ms: i64::from_be_bytes(*began_ms), session: Uuid::from_slice(session).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_cursor_is_none() {
        let good = cursor(Mark { began_ms: 1_795_435_200_000, session: Uuid::from_u128(7) });
        assert_eq!(good.len(), 32);
        for wrong in ["", "abc", "%", &good[1..], &format!("{good}AAAA"), &format!("{good}="), &" ".repeat(32)] {
            assert_eq!(mark(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_place_has_one_cursor(began_ms: i64, session: u128) {
            let place = Mark { began_ms, session: Uuid::from_u128(session) };
            prop_assert_eq!(mark(&cursor(place)), Some(place));
        }

        #[test]
        fn any_text_is_one_cursor_or_none(text in "[a-zA-Z0-9_-]{0,40}|.{0,40}") {
            if let Some(place) = mark(&text) {
                prop_assert_eq!(cursor(place), text);
            }
        }
    }
}
