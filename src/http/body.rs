//! The body of a request, within bounds.

use std::time::Duration;

use actix_web::web::{self, Bytes};
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
