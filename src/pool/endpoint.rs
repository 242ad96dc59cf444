//! Where a model server listens, and what it offers.

/// Where a model server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What it is called in metrics and readiness, which strangers may read: whoever knows the address of a stock server
    /// can open a second socket to it.
    pub name: String,
    /// Whether TLS is spoken (`wss`).
    pub tls: bool,
    /// Host name or address, IPv6 in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path in front of `/api/chat`, empty or starting with `/`.
    pub path_prefix: String,
}

impl Endpoint {
    /// `host:port`, for the log.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What is said of a model server; nothing said fits every call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The model that it runs.
    pub model: Option<String>,
    /// The voices that it has; empty: all.
    pub voices: Vec<String>,
    /// Where it stands.
    pub region: Option<String>,
}

/// What a call needs of a model server; nothing needed is found everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The model.
    pub model: Option<String>,
    /// The voice.
    pub voice: Option<String>,
    /// The region.
    pub region: Option<String>,
}

impl Labels {
    /// Whether a server with these labels can take a call with these needs.
    pub fn fit(&self, needs: &Needs) -> bool {
        let same = |has: &Option<String>, needed: &Option<String>| match (has, needed) {
            (Some(has), Some(needed)) => has == needed,
            _ => true,
        };
        let speaks = needs.voice.as_ref().is_none_or(|voice| self.voices.is_empty() || self.voices.contains(voice));
        speaks && same(&self.model, &needs.model) && same(&self.region, &needs.region)
    }
}

/// One model server as the roster takes it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Calls that it takes at once: 1 for a stock server, more for one that batches.
    pub capacity: u16,
    /// What it offers.
    pub labels: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_fits_unless_it_says_otherwise() {
        let text = |word: &str| Some(word.to_owned());
        let labels = Labels { model: text("personaplex-7b"), voices: vec!["NATF0".into()], region: None };
        let needs = |model: Option<&str>, voice: Option<&str>, region: Option<&str>| Needs {
            model: model.map(str::to_owned),
            voice: voice.map(str::to_owned),
            region: region.map(str::to_owned),
        };
        for (needs, fits) in [
            (needs(None, None, None), true),
            (needs(Some("personaplex-7b"), Some("NATF0"), Some("anywhere")), true),
            (needs(Some("moshi"), None, None), false),
            (needs(None, Some("NATM1"), None), false),
        ] {
            assert_eq!(labels.fit(&needs), fits, "{needs:?}");
            assert!(Labels::default().fit(&needs));
        }
    }
}
