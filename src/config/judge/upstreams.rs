//! The model servers: which there are, how they are reached, and which of them may be told of callers.

use std::time::Duration;

use super::super::raw::RawUpstreams;
use super::super::settings::{Mode, Telling, UpstreamSettings};
use super::super::upstream_url::UpstreamUrl;
use super::{Judge, set};
use crate::pool::{endpoint::PersonalContext, trust::Trust};

const NEEDS_MARK: &str = "one that may be told of the users in MongoDB: start it with config/personaplex/launch.py, which \
     keeps prompts out of its log, and write personal_context behind the # of its address in PERSONAPLEX_SERVER_URL; or \
     none here, so that no persona knows its caller";
pub(in crate::config) const EXPOSED: &str = "wss:// with a certificate that is looked at (pin= perhaps) where a server beyond this machine may be \
     told of callers, or personal_context=plaintext behind its # if the network in between is private";

/// Two servers of one machine would each put the other to sleep.
pub(in crate::config) fn has_machine_of(urls: &[UpstreamUrl], url: &UpstreamUrl) -> bool {
    urls.iter().any(|known| known.options.machine == url.options.machine)
}

impl Judge {
    pub(super) fn upstreams(&mut self, raw: RawUpstreams) -> UpstreamSettings {
        let mut urls = Vec::new();
        for (at, written) in raw.urls.iter().enumerate() {
            let which = format!("wrong in its part {}", at + 1);
            match written.trim().parse::<UpstreamUrl>() {
                // Two names for one server would let two calls meet on it.
                Ok(url) if urls.iter().any(|known: &UpstreamUrl| known.identity() == url.identity()) => {
                    self.value("upstreams.urls", format!("{which} ({} again)", url.place()), "every server once");
                }
                Ok(url) if url.options.machine.is_some() && has_machine_of(&urls, &url) => {
                    self.value("upstreams.urls", format!("{which} (a machine again)"), "every machine once");
                }
                Ok(url) => urls.push(url),
                Err(error) => self.value("upstreams.urls", which, error.to_string()),
            }
        }
        self.insecure(&urls, raw.insecure_tls);
        UpstreamSettings {
            urls,
            insecure_tls: raw.insecure_tls,
            ca_file: set(raw.ca_file).map(Into::into),
            connect_timeout: Duration::from_millis(raw.connect_timeout_ms),
            upgrade_timeout: Duration::from_millis(raw.upgrade_timeout_ms),
            close_timeout: Duration::from_millis(raw.close_timeout_ms),
            handshake_base: Duration::from_millis(raw.handshake_base_ms),
            handshake_step: Duration::from_millis(raw.handshake_step_ms),
            voice_steps: raw.voice_steps,
            realtime: raw.realtime,
            telling: raw.personal_context,
            trusts_loopback: self.mode == Mode::Development,
        }
    }

    /// Whether it is said to whom callers' own words may go, and nobody can listen in between.
    pub(super) fn telling(&mut self, upstreams: &UpstreamSettings, has_users: bool) {
        let exposed: Vec<(usize, &UpstreamUrl)> = upstreams
            .urls
            .iter()
            .zip(upstreams.servers())
            .enumerate()
            .filter(|(_, (_, seed))| {
                let endpoint = &seed.upstream.endpoint;
                endpoint.personal == Some(PersonalContext::Protected) && !endpoint.is_protected()
            })
            .map(|(at, (url, _))| (at, url))
            .collect();
        for (at, url) in exposed {
            let shown = format!("in the open in its part {} ({})", at + 1, url.place());
            self.value("upstreams.urls", shown, EXPOSED);
        }
        let unmarked = upstreams.urls.iter().all(|url| upstreams.personal(url).is_none());
        let forgotten = self.mode == Mode::Production && has_users && upstreams.telling != Telling::Nobody;
        if forgotten && unmarked && !upstreams.urls.is_empty() {
            self.value("upstreams.personal_context", "marked, and no model server is", NEEDS_MARK);
        }
    }

    /// Warns of servers whose certificates nobody looks at.
    fn insecure(&mut self, urls: &[UpstreamUrl], everywhere: bool) {
        for (at, url) in urls.iter().enumerate() {
            if url.options.trust == Some(Trust::Anything) && !url.is_loopback() {
                let warning = format!(
                    "upstreams.urls (PERSONAPLEX_SERVER_URL) says insecure of its part {} ({}): whoever is between Tandem \
                     and that server can listen in; say pin= instead, with the pin that tandem check prints.",
                    at + 1,
                    url.place()
                );
                self.warnings.push(warning);
            }
        }
        if everywhere && self.exposed {
            let warning = "upstreams.insecure_tls (TANDEM__UPSTREAMS__INSECURE_TLS) is true: whoever is between Tandem \
                 and its servers can listen in; set upstreams.ca_file instead.";
            self.warnings.push(warning.to_owned());
        }
    }
}
