//! Where a provider says that a machine's port is reached.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// Where a port of a machine is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or IP address, IPv6 in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether TLS is spoken there; none: as it is configured.
    pub tls: Option<bool>,
}

impl Address {
    /// The address, unless a provider said something that is none.
    pub(super) fn read(host: &str, port: u64) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let host = host.trim();
        let host = match host.trim_matches(['[', ']']).parse() {
            Ok(IpAddr::V6(address)) => bracketed(address),
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) if is_name(host) => host.to_ascii_lowercase(),
            Err(_) => return None,
        };
        Some(Self { host, port, tls: None })
    }

    /// The address in `host:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        // Without brackets the last group of an IPv6 address would pass for a port.
        let is_bare = host.contains(':') && !host.starts_with('[');
        if !digits || is_bare { None } else { Self::read(host, port.parse().ok()?) }
    }

    /// The same with TLS.
    pub(super) fn with_tls(self) -> Self {
        Self { tls: Some(true), ..self }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn bracketed(address: Ipv6Addr) -> String {
    format!("[{address}]")
}

fn is_name(host: &str) -> bool {
    let wanted = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.is_empty() && host.len() <= 253 && host.bytes().all(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_nothing_else_is_one() {
        for (text, read) in [
            ("1.2.3.4:80", Some("1.2.3.4:80")),
            ("Host.Example:8998", Some("host.example:8998")),
            ("[FD00::7]:1", Some("[fd00::7]:1")),
            (" h:1\n", Some("h:1")),
            ("fd00::7", None),
            ("h", None),
            ("h:0", None),
            ("h:65536", None),
            ("h:+1", None),
            ("h:", None),
            (":80", None),
            ("u@h:80", None),
            ("h/x:80", None),
            ("a b:80", None),
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()).as_deref(), read, "{text}");
        }
        assert_eq!(Address::read("fd00::7", 80).unwrap().to_string(), "[fd00::7]:80");
    }
}
