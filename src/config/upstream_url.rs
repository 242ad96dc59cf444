//! The address of one model server.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use super::authority::{Authority, AuthorityError};
use super::upstream_options::{UpstreamOptions, UpstreamOptionsError};
use crate::pool::endpoint::is_loopback;
use crate::pool::trust::Trust;

/// The path of the calls on every server, which need not be written.
const CHAT_PATH: &str = "/api/chat";

/// Where a model server listens, and what is said of it: `ws://host:port/prefix#options`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    /// Whether the connection is TLS (`wss`).
    pub tls: bool,
    /// A name in lower case, or an IP address; IPv6 in brackets.
    pub host: String,
    /// The port; 80 or 443 unless one is written.
    pub port: u16,
    /// What stands before `/api/chat`: empty, or `/` and text without a `/` at its end.
    pub prefix: String,
    /// What is said of it.
    pub options: UpstreamOptions,
}

/// Why a text is not the address of a model server. No message repeats it: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamUrlError {
    /// Not a URL of ours at all.
    #[error("ws://host:port or wss://host:port, with a path before /api/chat if there is one")]
    Form,
    /// A user or password.
    #[error("an address without user and password: model servers look at neither")]
    UserInfo,
    /// A query.
    #[error("an address without ?: Tandem writes the query itself")]
    Query,
    /// What is said of the server.
    #[error(transparent)]
    Options(#[from] UpstreamOptionsError),
    /// A pin, an authority or `insecure` where there is no certificate.
    #[error("wss:// where pin, ca or insecure is said: ws:// has no certificate")]
    NoTls,
    /// An IP address that is to be looked up.
    #[error("a host name where dns is said: an IP address is what it is")]
    NoName,
    /// A port that does not exist.
    #[error("a port from 1 to 65535")]
    Port,
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, options) = text.split_once('#').map_or((text, None), |(place, options)| (place, Some(options)));
        if place.contains('?') {
            return Err(UpstreamUrlError::Query);
        }
        let (scheme, rest) = place.split_once("://").ok_or(UpstreamUrlError::Form)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(UpstreamUrlError::Form),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Authority { host, port } = Authority::parse(authority).map_err(|error| match error {
            AuthorityError::UserInfo => UpstreamUrlError::UserInfo,
            AuthorityError::Host => UpstreamUrlError::Form,
            AuthorityError::Port => UpstreamUrlError::Port,
        })?;
        if !path.bytes().all(is_path_byte) {
            return Err(UpstreamUrlError::Form);
        }
        let path = path.trim_end_matches('/');
        let prefix = path.strip_suffix(CHAT_PATH).unwrap_or(path).trim_end_matches('/').to_owned();
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let options: UpstreamOptions = options.map(str::parse).transpose()?.unwrap_or_default();
        if options.trust.is_some() && !tls {
            return Err(UpstreamUrlError::NoTls);
        }
        let url = UpstreamUrl { tls, host, port, prefix, options };
        if url.options.dns && url.ip().is_some() { Err(UpstreamUrlError::NoName) } else { Ok(url) }
    }
}

/// What a path is made of (RFC 3986, section 3.3): anything else would have to be encoded.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte)
}

impl UpstreamUrl {
    /// The host, if it is an IP address.
    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }

    /// Which certificates are accepted, with what the settings say for all servers: nothing without TLS.
    ///
    /// On this machine nobody is in between: what is not asked for is not demanded there.
    pub fn trust(&self, insecure: bool, ca_file: Option<&Path>) -> Option<Trust> {
        let said = self.options.trust.clone();
        let settled = || match ca_file {
            _ if insecure || self.is_loopback() => Trust::Anything,
            Some(file) => Trust::CaFile(file.to_owned()),
            None => Trust::System,
        };
        self.tls.then(|| said.unwrap_or_else(settled))
    }

    /// The address without what is said of the server.
    pub fn place(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.prefix)
    }

    /// Whether the server is on this machine, where nobody listens in between.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl UpstreamUrl {
    /// What makes it the same server as another: whatever name of this machine it has, and with TLS or without.
    ///
    /// Names that only the network knows to be one server are not recognised.
    pub fn identity(&self) -> (String, u16, &str) {
        let bare = self.host.trim_matches(['[', ']']).trim_end_matches('.');
        let host = match bare.parse::<IpAddr>() {
            _ if self.is_loopback() => "loopback".to_owned(),
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => bare.to_owned(),
        };
        (host, self.port, &self.prefix)
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        if self.options == UpstreamOptions::default() { Ok(()) } else { write!(f, "#{}", self.options) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_and_written_in_full() {
        let table = [
            ("ws://localhost", "ws://localhost:80"),
            ("wss://Voice.Example.org", "wss://voice.example.org:443"),
            ("WS://10.0.0.7:8998/", "ws://10.0.0.7:8998"),
            ("ws://[::1]:8998", "ws://[::1]:8998"),
            ("wss://h/one/two/", "wss://h:443/one/two"),
            ("wss://h:1/one/api/chat", "wss://h:1/one"),
            ("ws://h:1/api/chat/", "ws://h:1"),
            ("ws://h/a#region=eu&capacity=2", "ws://h:80/a#capacity=2&region=eu"),
            ("wss://h:1/api/chat#ca=/a/b?c#d.pem", "wss://h:1#ca=/a/b?c#d.pem"),
        ];
        for (written, expected) in table {
            assert_eq!(written.parse::<UpstreamUrl>().map(|url| url.to_string()), Ok(expected.to_owned()), "{written}");
        }
    }

    #[test]
    fn one_server_has_one_identity_however_it_is_written() {
        let same = |a: &str, b: &str| {
            a.parse::<UpstreamUrl>().unwrap().identity() == b.parse::<UpstreamUrl>().unwrap().identity()
        };
        for (a, b) in [
            ("ws://127.0.0.1:1", "ws://localhost:1"),
            ("ws://127.0.0.1:1", "wss://127.0.0.1:1"),
            ("ws://[::1]:1", "ws://[0:0:0:0:0:0:0:1]:1"),
            ("ws://[::1]:1", "ws://127.0.0.1:1"),
            ("ws://localhost.:1", "ws://localhost:1"),
            ("ws://h.example:1", "ws://H.example.:1/api/chat"),
            ("ws://h.example:1", "ws://h.example:1#dns&capacity=2"),
            ("ws://10.0.0.1:1", "ws://[::ffff:10.0.0.1]:1"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [("ws://h:1", "ws://h:2"), ("ws://h:1", "ws://i:1"), ("ws://h:1/a", "ws://h:1/b")] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_is_expected() {
        use UpstreamUrlError::{Form, NoName, NoTls, Options, Port, Query, UserInfo};
        let table = [
            ("", Form),
            ("localhost:8998", Form),
            ("localhost", Form),
            ("http://h", Form),
            ("https://h", Form),
            ("ws://", Form),
            ("ws://:8998", Form),
            ("ws:///path", Form),
            ("ws://a b", Form),
            ("ws://h/a b", Form),
            ("ws://h/é", Form),
            ("ws://h/\r\nX: y", Form),
            ("ws://user:hush@h", UserInfo),
            ("ws://h?voice=1", Query),
            ("ws://h?a#capacity=1", Query),
            ("ws://h/#x", Options(UpstreamOptionsError::Unknown)),
            ("ws://h#", Options(UpstreamOptionsError::Unknown)),
            ("ws://h#insecure", NoTls),
            ("ws://h#ca=a.pem", NoTls),
            ("ws://10.0.0.7#dns", NoName),
            ("ws://[::1]#dns", NoName),
            ("ws://h:0", Port),
            ("ws://h:99999", Port),
            ("ws://h:", Port),
        ];
        for (written, expected) in table {
            assert_eq!(written.parse::<UpstreamUrl>(), Err(expected), "{written}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for (url, expected) in [
            ("ws://localhost:1", true),
            ("ws://127.8.0.1", true),
            ("ws://[::1]:2", true),
            ("ws://10.0.0.1", false),
            ("ws://localhost.example.org", false),
        ] {
            assert_eq!(url.parse::<UpstreamUrl>().unwrap().is_loopback(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_said_of_a_server_counts_before_what_is_said_of_all() {
        let trust = |url: &str, insecure, ca_file: Option<&str>| {
            url.parse::<UpstreamUrl>().unwrap().trust(insecure, ca_file.map(Path::new))
        };
        let file = |name: &str| Some(Trust::CaFile(name.into()));
        assert_eq!(trust("wss://h", false, None), Some(Trust::System));
        assert_eq!(trust("wss://h", false, Some("a")), file("a"));
        assert_eq!(trust("wss://h", true, Some("a")), Some(Trust::Anything));
        assert_eq!(trust("wss://h#ca=b", true, Some("a")), file("b"));
        assert_eq!(trust("wss://h#insecure", false, Some("a")), Some(Trust::Anything));
        assert_eq!(trust("wss://127.0.0.1", false, Some("a")), Some(Trust::Anything), "nobody is in between");
        assert_eq!(trust("wss://localhost.example", false, None), Some(Trust::System));
        assert_eq!(trust("wss://127.0.0.1#ca=b", false, None), file("b"), "what is asked for is looked at");
        assert_eq!(trust("ws://h", true, Some("a")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(
            text in "wss?://[a-zA-Z0-9.:\\[\\]-]{1,20}(/[a-z/]{0,20})?(#(dns|insecure|ca=.{1,5}|capacity=[1-9]|&){1,5})?|.{0,60}"
        ) {
            if let Ok(url) = text.parse::<UpstreamUrl>() {
                prop_assert_eq!(url.to_string().parse::<UpstreamUrl>(), Ok(url));
            }
        }
    }
}
