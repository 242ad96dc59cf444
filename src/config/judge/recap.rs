//! The model that writes recaps, and where transcripts may go.

use std::time::Duration;

use secrecy::SecretString;

use super::super::authority::Authority;
use super::super::flaw::Flaw;
use super::super::raw::RawRecap;
use super::{Judge, set};
use crate::context::recap::scribe::Scribe;
use crate::pool::endpoint::is_loopback;

const NEEDS_MODEL: &str = "recap.url needs the name of a model there; set TANDEM__RECAP__MODEL";
const EXPECTED: &str = "https:// with a host and a path such as /v1/chat/completions, without user and ? (or http:// on this \
     machine, or anywhere with recap.insecure)";

impl Judge {
    pub(super) fn recap(&mut self, raw: RawRecap) -> Option<Scribe> {
        let url = set(raw.url.trim().to_owned())?;
        if !may_be_told(&url, raw.insecure) {
            self.value("recap.url", "a value that is not shown", EXPECTED);
        }
        let model = set(raw.model);
        if model.is_none() {
            self.flaws.push(Flaw::Missing { key: "recap.model", reason: NEEDS_MODEL });
        }
        Some(Scribe {
            url,
            api_key: set(raw.api_key.trim().to_owned()).map(SecretString::from),
            model: model.unwrap_or_default(),
            timeout: Duration::from_millis(raw.timeout_ms),
        })
    }
}

/// Whether what was said in calls may go to this address.
fn may_be_told(url: &str, insecure: bool) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Ok(Authority { host, .. }) = Authority::parse(authority) else { return false };
    let private = scheme == "https" || (scheme == "http" && (insecure || is_loopback(&host)));
    private && path.len() > 1 && !path.contains(|c: char| "?#".contains(c) || c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_go_over_tls_or_stay_on_this_machine_unless_it_is_said_otherwise() {
        for (url, alone, insecure) in [
            ("https://api.example.org/v1/chat/completions", true, true),
            ("http://127.0.0.1:11434/v1/chat/completions", true, true),
            ("http://[::1]:1/v1", true, true),
            ("http://llm.internal/v1/chat/completions", false, true),
            ("http://127.0.0.1.evil.example/v1", false, true),
            ("ftp://127.0.0.1/v1", false, false),
            ("https://", false, false),
            ("https://h", false, false),
            ("https://h/", false, false),
            ("https://user:pass@h/v1", false, false),
            ("https://h/v1?key=hush", false, false),
            ("https://h/v1 x", false, false),
            ("api.example.org/v1", false, false),
        ] {
            assert_eq!((may_be_told(url, false), may_be_told(url, true)), (alone, insecure), "{url}");
        }
    }
}
