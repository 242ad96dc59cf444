//! Asks a running Tandem for what is shown of it.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::snapshot::Snapshot;
use crate::cli::fleet::why;
use crate::cli::fleet_report::Machine;
use crate::cli::terminal;
use crate::fleet::provider::Exchange;
use crate::http::admin::told::{Queue, Sessions, Upstreams};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: ten thousand calls.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why there is nothing new to be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody answers.
    #[error("{0} does not answer: {1}. Does it run there?")]
    NoAnswer(String, String),
    /// The token is another one.
    #[error("{0} refuses the token: set TANDEM_ADMIN_TOKEN to what it is where that Tandem runs.")]
    WrongToken(String),
    /// It lets nobody in.
    #[error("{0} lets nobody look: give it an auth.admin_token (TANDEM_ADMIN_TOKEN) and start it again.")]
    Shut(String),
    /// It answers something else.
    #[error("{0} answers, but not as this version of Tandem (status {1}): {2}")]
    Odd(String, u16, String),
}

/// Asks one Tandem.
pub(super) struct Feed {
    url: String,
    token: SecretString,
    exchange: Exchange,
}

#[derive(Deserialize)]
struct Fleet {
    machines: Vec<Machine>,
}

impl Feed {
    pub(super) fn new(url: String, token: SecretString) -> Self {
        Self { url, token, exchange: Exchange::new(TIMEOUT).reading(MAX_ANSWER_BYTES) }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Everything that there is to see. The first question that is refused is the last one.
    pub(super) async fn look(&self) -> Result<Snapshot, Trouble> {
        let sessions: Sessions = self.ask("sessions").await?;
        let Upstreams { upstreams } = self.ask("upstreams").await?;
        let queue: Queue = self.ask("queue").await?;
        let Fleet { machines } = self.ask("fleet").await?;
        Ok(Snapshot { sessions, upstreams, queue, machines })
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<T, Trouble> {
        let answer = self.exchange.read(&format!("{}/admin/{what}", self.url), &self.token).await;
        let (status, body) = answer.map_err(|error| Trouble::NoAnswer(self.url.clone(), why(&error)))?;
        let body = body.unwrap_or_default();
        if status == 200 {
            return T::deserialize(body)
                .map_err(|_| self.odd(status, "another version runs there, or too much goes on"));
        }
        Err(self.refused(status, &body))
    }

    fn refused(&self, status: u16, body: &Value) -> Trouble {
        match (status, body["code"].as_str()) {
            (401 | 403, _) => Trouble::WrongToken(self.url.clone()),
            (404, Some("admin_closed")) => Trouble::Shut(self.url.clone()),
            _ => self.odd(status, body["detail"].as_str().unwrap_or("no more is said; is it a Tandem?")),
        }
    }

    fn odd(&self, status: u16, why: &str) -> Trouble {
        let why: String = terminal::printable(why).chars().take(200).collect();
        Trouble::Odd(self.url.clone(), status, why)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        let feed = Feed::new("http://h:1".to_owned(), SecretString::from("hush"));
        for (status, body, expected) in [
            (401, json!({"code": "admin_token_wrong"}), "refuses the token: set TANDEM_ADMIN_TOKEN"),
            (404, json!({"code": "admin_closed"}), "lets nobody look: give it an auth.admin_token"),
            (404, json!({"code": "unknown_route", "detail": "There is nothing here."}), "There is nothing here."),
            (429, json!({"detail": "Too\u{1b}[2J often."}), "Too [2J often."),
            (502, Value::Null, "is it a Tandem?"),
        ] {
            let told = feed.refused(status, &body).to_string();
            assert!(told.starts_with("http://h:1 ") && told.contains(expected), "{told}");
            assert!(!told.contains("hush"));
        }
    }
}
