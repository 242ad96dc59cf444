//! How legs to model servers end, and which ends may be the prompts' doing.

/// How an upstream leg came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamEnd {
    /// No connection: refused, unreachable, no such name, or no TLS that both sides speak.
    ConnectFailed,
    /// No TCP connection in time.
    ConnectTimeout,
    /// A TCP connection, and no TLS on it in time.
    TlsTimeout,
    /// TLS was expected and plain HTTP came: a stock server does so when it finds no certificate of its own.
    PlainHttp,
    /// Its certificate is not trusted.
    Untrusted,
    /// The server answered the upgrade with something else than 101.
    UpgradeRefused,
    /// The server, or what stands before it, refused the request for what it asks.
    RequestRefused,
    /// No answer to the upgrade in time.
    UpgradeTimeout,
    /// The stream ended without a close frame.
    HungUp,
    /// The server closed with a close frame.
    Closed,
    /// What came was not the protocol.
    Garbled,
}

impl UpstreamEnd {
    /// Whether the server's own answer may be one to the prompts, once it is `opened` or not: then two that give it make
    /// the prompts suspicious, and one that does not makes the other guilty.
    pub const fn is_over_prompts(self, opened: bool) -> bool {
        matches!((self, opened), (Self::HungUp | Self::Closed, true) | (Self::RequestRefused, _))
    }

    /// Every way, for tables and metrics.
    pub const ALL: [Self; 11] = [
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsTimeout,
        Self::PlainHttp,
        Self::Untrusted,
        Self::UpgradeRefused,
        Self::RequestRefused,
        Self::UpgradeTimeout,
        Self::HungUp,
        Self::Closed,
        Self::Garbled,
    ];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsTimeout => "tls_timeout",
            Self::PlainHttp => "plain_http",
            Self::Untrusted => "untrusted_certificate",
            Self::UpgradeRefused => "upgrade_refused",
            Self::RequestRefused => "request_refused",
            Self::UpgradeTimeout => "upgrade_timeout",
            Self::HungUp => "hung_up",
            Self::Closed => "closed",
            Self::Garbled => "garbled",
        }
    }
}
