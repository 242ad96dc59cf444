//! Where a model server listens, and what it offers.

use std::{fmt, net::IpAddr, str::FromStr};

use super::trust::Trust;

/// Where a model server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What it is called in metrics and readiness, which strangers may read: whoever knows the address of a stock server
    /// can open a second socket to it.
    pub name: String,
    /// Which certificates are accepted; none: TLS is not spoken (`ws`).
    pub tls: Option<Trust>,
    /// Host name or address, IPv6 in brackets. With TLS this is whose certificate is asked for.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path in front of `/api/chat`, empty or starting with `/`.
    pub path_prefix: String,
    /// Which of the name's addresses it is, where the name has several servers; none: whatever the name leads to.
    pub address: Option<IpAddr>,
    /// Whether it may be told of callers, and how; none: not at all.
    pub personal: Option<PersonalContext>,
}

/// How a model server may be told of callers: of what is known of them, and of what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PersonalContext {
    /// Only where nobody can listen in between: on this machine, or over TLS with a certificate that is looked at.
    Protected,
    /// Without TLS too: the network in between is private.
    Plaintext,
}

impl Endpoint {
    /// A server without TLS and path.
    pub fn plain(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            tls: None,
            host: host.into(),
            port,
            path_prefix: String::new(),
            address: None,
            personal: None,
        }
    }

    /// Whether it may be told of callers where it is now: one that moves off this machine may not without TLS.
    pub fn may_be_told(&self) -> bool {
        match self.personal {
            None => false,
            Some(PersonalContext::Plaintext) => true,
            Some(PersonalContext::Protected) => self.is_protected(),
        }
    }

    /// Whether nobody can listen in between: a certificate that nobody looks at may be anybody's.
    pub fn is_protected(&self) -> bool {
        let is_here = self.address.map_or_else(|| is_loopback(&self.host), |address| address.is_loopback());
        is_here || self.tls.as_ref().is_some_and(|trust| *trust != Trust::Anything)
    }

    /// The same server at another place, if a server can be there.
    pub fn at(&self, host: &str, port: u16) -> Option<Self> {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_place = match address {
            Ok(address) => is_of_a_server(&address.to_canonical()),
            // What systems read as an address although it is written like none: 0 stands for this machine.
            Err(_) => host.rsplit('.').next().is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic())),
        };
        // Which of a name's addresses it was says nothing of another name.
        let address = self.address.filter(|_| self.host == host);
        (is_place && port > 0).then(|| Self { host: host.to_owned(), port, address, ..self.clone() })
    }

    /// `host:port`, for the log and the record of leases: with the one address of a name that has several.
    pub fn address(&self) -> String {
        match self.address {
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Some(IpAddr::V4(address)) => format!("{address}:{}", self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Whether a host is this machine, where nobody listens in between.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a server can be at this address.
pub(super) fn is_of_a_server(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
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
    /// What an hour of it costs.
    pub price: Option<Price>,
    /// The machine that is started and stopped for it, so that it is not known to run; none: it is always on.
    pub machine: Option<String>,
    /// The window of its model, in steps of 80 ms; 0: it forgets nothing.
    pub window_steps: Option<u32>,
}

/// A price in millionths of whatever currency all prices are in: sums of them are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

/// A text that is no price. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a price is a number such as 0.79, with at most 6 digits after the point")]
pub struct NotAPrice;

impl Price {
    const DECIMALS: usize = 6;
    const ONE: u64 = 1_000_000;

    /// The price in millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }
}

impl FromStr for Price {
    type Err = NotAPrice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        if !digits(whole) || !digits(part) || part.len() > Self::DECIMALS {
            return Err(NotAPrice);
        }
        let whole: u64 = whole.parse().map_err(|_| NotAPrice)?;
        let part: u64 = format!("{part:0<6}").parse().map_err(|_| NotAPrice)?;
        whole.checked_mul(Self::ONE).and_then(|whole| whole.checked_add(part)).map(Self).ok_or(NotAPrice)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / Self::ONE, self.0 % Self::ONE);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
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
    /// That it may be told of its caller.
    pub told: bool,
}

impl Labels {
    /// Whether a server with these labels can take a call with these needs, as far as labels say.
    pub fn fit(&self, needs: &Needs) -> bool {
        let same = |has: &Option<String>, needed: &Option<String>| match (has, needed) {
            (Some(has), Some(needed)) => has == needed,
            _ => true,
        };
        let speaks = needs.voice.as_ref().is_none_or(|voice| self.voices.is_empty() || self.voices.contains(voice));
        speaks && same(&self.model, &needs.model) && same(&self.region, &needs.region)
    }
}

impl Upstream {
    /// Whether this server can take a call with these needs.
    pub fn fits(&self, needs: &Needs) -> bool {
        self.labels.fit(needs) && (!needs.told || self.endpoint.may_be_told())
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
        let labels = Labels { model: text("personaplex-7b"), voices: vec!["NATF0".into()], ..Labels::default() };
        let needs = |model: Option<&str>, voice: Option<&str>, region: Option<&str>| Needs {
            model: model.map(str::to_owned),
            voice: voice.map(str::to_owned),
            region: region.map(str::to_owned),
            told: false,
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

    #[test]
    fn prices_are_exact() {
        for (written, millionths, shown) in [
            ("0", 0, "0"),
            ("0.79", 790_000, "0.79"),
            ("12", 12_000_000, "12"),
            ("100.000001", 100_000_001, "100.000001"),
            ("1.50", 1_500_000, "1.5"),
        ] {
            let price: Price = written.parse().unwrap();
            assert_eq!((price.millionths(), price.to_string().as_str()), (millionths, shown));
        }
        for wrong in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "0.1234567", "18446744073709551615", "NaN", "1.5.0"]
        {
            assert_eq!(wrong.parse::<Price>(), Err(NotAPrice), "{wrong}");
        }
    }

    #[test]
    fn a_server_moves_with_all_that_is_said_of_it_but_not_to_where_none_can_be() {
        let known = Endpoint { path_prefix: "/voice".into(), ..Endpoint::plain("1", "voice.internal", 8998) };
        let known = Endpoint { address: "10.0.0.7".parse().ok(), ..known };
        let moved = known.at("voice.internal", 40_001).unwrap();
        assert_eq!(moved, Endpoint { port: 40_001, ..known.clone() }, "the same name");
        let moved = known.at("203.0.113.9", 40_001).unwrap();
        assert_eq!((moved.address().as_str(), moved.path_prefix.as_str()), ("203.0.113.9:40001", "/voice"));
        assert_eq!(known.at("[fd00::7]", 1).unwrap().address(), "[fd00::7]:1");
        for (host, port) in [
            ("0.0.0.0", 1),
            ("[::]", 1),
            ("[::ffff:0.0.0.0]", 1),
            ("224.0.0.1", 1),
            ("[ff02::1]", 1),
            ("0", 1),
            ("127.1", 1),
            ("", 1),
            ("voice.internal", 0),
        ] {
            assert_eq!(known.at(host, port), None, "{host}:{port}");
        }
    }

    #[test]
    fn a_server_is_told_of_callers_where_it_may_be_and_nobody_listens_in_between() {
        use PersonalContext::{Plaintext, Protected};
        let pin = || Some(Trust::Pin(super::super::trust::Pin::new([7; 32])));
        let table = [
            ("127.0.0.1", None, None, false),
            ("voice.example.org", pin(), None, false),
            ("127.0.0.1", None, Some(Protected), true),
            ("[::1]", None, Some(Protected), true),
            ("localhost", Some(Trust::Anything), Some(Protected), true),
            ("voice.example.org", Some(Trust::System), Some(Protected), true),
            ("10.0.0.7", pin(), Some(Protected), true),
            ("10.0.0.7", None, Some(Protected), false),
            ("10.0.0.7", Some(Trust::Anything), Some(Protected), false),
            ("localhost.example.org", None, Some(Protected), false),
            ("voice.railway.internal", None, Some(Plaintext), true),
        ];
        for (host, tls, personal, told) in table {
            let endpoint = Endpoint { tls, personal, ..Endpoint::plain("1", host, 8998) };
            assert_eq!(endpoint.may_be_told(), told, "{endpoint:?}");
            let upstream = Upstream { endpoint, capacity: 1, labels: Labels::default() };
            assert!(upstream.fits(&Needs::default()));
            assert_eq!(upstream.fits(&Needs { told: true, ..Needs::default() }), told);
        }
        let here = Endpoint { personal: Some(Protected), ..Endpoint::plain("1", "127.0.0.1", 8998) };
        assert!(!here.at("203.0.113.9", 1).unwrap().may_be_told(), "its machine moved away");
        let named = Endpoint { host: "localhost".into(), address: "10.0.0.7".parse().ok(), ..here };
        assert!(!named.may_be_told(), "the name leads elsewhere");
    }

    #[test]
    fn one_address_of_a_name_is_what_it_is_known_by() {
        let at = |address: Option<&str>| Endpoint {
            address: address.map(|address| address.parse().unwrap()),
            ..Endpoint::plain("1", "voice.internal", 8998)
        };
        assert_eq!(at(None).address(), "voice.internal:8998");
        assert_eq!(at(Some("10.0.0.7")).address(), "10.0.0.7:8998");
        assert_eq!(at(Some("fd00::7")).address(), "[fd00::7]:8998");
    }
}
