//! The body of a request, within bounds.

use std::time::Duration;

use actix_web::web::{self, Bytes};
use serde::{Deserialize as _, Deserializer, de::Error as _};
use tokio::time::timeout;

use super::problem::Problem;

/// The longest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 4096;
/// How long the body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The body; `unread` is what is wrong where it breaks off.
pub async fn read(payload: web::Payload, unread: Problem) -> Result<Bytes, Problem> {
    match timeout(BODY_TIMEOUT, payload.to_bytes_limited(MAX_BODY_BYTES)).await {
        Ok(Ok(read)) => read.map_err(|_| unread),
        Ok(Err(_)) => Err(Problem::BodyTooLarge),
        Err(_) => Err(Problem::BodyTimeout),
    }
}

/// A whole number, also one that is written with a point: to JSON 60 and 60.0 are one number.
pub fn whole<'de, D: Deserializer<'de>>(number: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(number)? else { return Ok(None) };
    let pointed = || number.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=EXACT).contains(number));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within what is exact")]
    let whole = number.as_u64().or_else(|| pointed().map(|number| number as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom("expected a whole number, 0 or more"))
}

/// Up to here every whole number is a float of its own.
const EXACT: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn whole_numbers_are_read_however_they_are_written_and_others_are_not() {
        for (written, expected) in [
            ("60", Some(Some(60))),
            ("60.0", Some(Some(60))),
            ("6e1", Some(Some(60))),
            ("null", Some(None)),
            ("18446744073709551615", Some(Some(u64::MAX))),
            ("60.5", None),
            ("-1", None),
            ("1e300", None),
            ("\"60\"", None),
            ("[60]", None),
        ] {
            let read = whole(&mut serde_json::Deserializer::from_str(written));
            assert_eq!(read.ok(), expected, "{written}");
        }
    }
}
