//! One more model server than the configuration names, under the rules for those that it names.

use super::judge::{EXPOSED, has_machine_of};
use super::settings::UpstreamSettings;
use super::upstream_url::UpstreamUrl;
use crate::pool::endpoint::PersonalContext;

/// Why a model server is not taken in beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Two names for one server would let two calls meet on it.
    #[error("every server once")]
    Exists,
    /// Two servers of one machine would each put the other to sleep.
    #[error("expected every machine once")]
    MachineTaken,
    /// It may be told of callers, and others could listen in between.
    #[error("expected {EXPOSED}")]
    Exposed,
}

impl UpstreamSettings {
    /// The same with one more server at the end of the list.
    pub fn with(&self, url: UpstreamUrl) -> Result<Self, NotTaken> {
        if self.urls.iter().any(|known| known.identity() == url.identity()) {
            return Err(NotTaken::Exists);
        }
        if url.options.machine.is_some() && has_machine_of(&self.urls, &url) {
            return Err(NotTaken::MachineTaken);
        }
        let mut more = self.clone();
        more.urls.push(url);
        let exposed = more.servers().last().is_some_and(|seed| {
            let endpoint = seed.upstream.endpoint;
            endpoint.personal == Some(PersonalContext::Protected) && !endpoint.is_protected()
        });
        if exposed { Err(NotTaken::Exposed) } else { Ok(more) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    #[test]
    fn a_newcomer_keeps_the_rules_for_those_that_were_there_from_the_start() {
        let urls = "ws://10.0.0.1:1,ws://10.0.0.2:1#provider=command:two";
        let environment = [("PERSONAPLEX_SERVER_URL", urls), ("TANDEM__PROVIDERS__COMMAND__START", "true")];
        let environment: Environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let settings = load(None, &environment).unwrap().upstreams;
        for (url, expected) in [
            ("ws://10.0.0.3:1", Ok(3)),
            ("wss://10.0.0.1:1#capacity=2", Err(NotTaken::Exists)),
            ("ws://[::ffff:10.0.0.1]:1", Err(NotTaken::Exists)),
            ("ws://10.0.0.3:1#provider=command:two", Err(NotTaken::MachineTaken)),
            ("ws://10.0.0.3:1#provider=command:three", Ok(3)),
            ("ws://10.0.0.3:1#personal_context", Err(NotTaken::Exposed)),
            ("ws://10.0.0.3:1#personal_context=plaintext", Ok(3)),
        ] {
            let taken = settings.with(url.parse().unwrap());
            assert_eq!(taken.map(|more| more.urls.len()), expected, "{url}");
        }
    }
}
