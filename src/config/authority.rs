//! The part of a URL between `://` and the path: a host and perhaps a port.

use std::net::Ipv6Addr;

/// A host with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// A name or an IP address in lower case; IPv6 in brackets.
    pub(super) host: String,
    /// The port, 1 to 65535, if one is written.
    pub(super) port: Option<u16>,
}

/// Why a text is not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthorityError {
    /// A user stands before the host.
    UserInfo,
    /// The host is empty or has characters that no host has.
    Host,
    /// The port is none.
    Port,
}

impl Authority {
    pub(super) fn parse(text: &str) -> Result<Authority, AuthorityError> {
        if text.contains('@') {
            return Err(AuthorityError::UserInfo);
        }
        // The colons of an IPv6 address are inside of its brackets.
        let end_of_host = text.find(']').map_or_else(|| text.find(':').unwrap_or(text.len()), |bracket| bracket + 1);
        let (host, port) = text.split_at(end_of_host);
        if !is_host(host) {
            return Err(AuthorityError::Host);
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port > 0).ok_or(AuthorityError::Port)?)
            }
            _ => return Err(AuthorityError::Port),
        };
        Ok(Authority { host: host.to_ascii_lowercase(), port })
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let table = [
            ("h", Ok(("h", None))),
            ("App.Example-1.org:8443", Ok(("app.example-1.org", Some(8443)))),
            ("127.0.0.1:1", Ok(("127.0.0.1", Some(1)))),
            ("[::1]", Ok(("[::1]", None))),
            ("[FE80::1]:65535", Ok(("[fe80::1]", Some(65535)))),
            ("", Err(AuthorityError::Host)),
            (":80", Err(AuthorityError::Host)),
            ("::1", Err(AuthorityError::Host)),
            ("[::1", Err(AuthorityError::Host)),
            ("[x]", Err(AuthorityError::Host)),
            ("a b", Err(AuthorityError::Host)),
            ("é.example", Err(AuthorityError::Host)),
            ("*", Err(AuthorityError::Host)),
            ("h:", Err(AuthorityError::Port)),
            ("h:0", Err(AuthorityError::Port)),
            ("h:65536", Err(AuthorityError::Port)),
            ("h:+1", Err(AuthorityError::Port)),
            ("h:1:2", Err(AuthorityError::Port)),
            ("[::1]x", Err(AuthorityError::Port)),
            ("u:p@h", Err(AuthorityError::UserInfo)),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(host, port)| Authority { host: host.to_owned(), port });
            assert_eq!(Authority::parse(text), expected, "{text}");
        }
    }
}
