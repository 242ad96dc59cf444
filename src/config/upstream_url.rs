//! The address of one model server.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::authority::{Authority, AuthorityError};

/// The path of the calls on every server, which need not be written.
const CHAT_PATH: &str = "/api/chat";

/// Where a model server listens: `ws://host:port/prefix`.
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
    /// A query or a fragment.
    #[error("an address without ? and #: Tandem writes the query itself")]
    Query,
    /// A port that does not exist.
    #[error("a port from 1 to 65535")]
    Port,
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(['?', '#']) {
            return Err(UpstreamUrlError::Query);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UpstreamUrlError::Form)?;
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
        Ok(UpstreamUrl { tls, host, port, prefix })
    }
}

/// What a path is made of (RFC 3986, section 3.3): anything else would have to be encoded.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte)
}

impl UpstreamUrl {
    /// Whether the server is on this machine, where nobody listens in between.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.prefix)
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
        use UpstreamUrlError::{Form, Port, Query, UserInfo};
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
            ("ws://h/#x", Query),
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

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(text in "wss?://[a-zA-Z0-9.:\\[\\]-]{1,20}(/[a-z/]{0,20})?|.{0,60}") {
            if let Ok(url) = text.parse::<UpstreamUrl>() {
                prop_assert_eq!(url.to_string().parse::<UpstreamUrl>(), Ok(url));
            }
        }
    }
}
