//! What a failure of the connection was, and whether the server has let go of it.

use std::io::{Error as IoError, ErrorKind};

use actix_http::{error::ParseError, ws::ProtocolError};
use awc::error::{ConnectError, SendRequestError, WsClientError};

use super::connect::{Late, tls::TlsFault};
use crate::session::machine::UpstreamEnd;

/// Whether a server has let go of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its close frame, FIN or RST came, or there never was a connection.
    Yes,
    /// The network gave up: nobody knows what the server holds.
    Unknown,
    /// It is there, and says what we do not understand.
    No,
}

/// What an error of the connection says about the server. Only what its own kernel must have sent counts as its end.
pub(super) fn judge_io(error: &IoError) -> Gone {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Gone::Yes,
        // Not the kernel's: broken frames and TLS records, or an end in the middle of one. The connection itself can
        // still be asked.
        _ if error.raw_os_error().is_none() && error.kind() != ErrorKind::TimedOut => Gone::No,
        _ => Gone::Unknown,
    }
}

pub(super) fn judge(error: &ProtocolError) -> Gone {
    match error {
        ProtocolError::Io(error) => judge_io(error),
        _ => Gone::No,
    }
}

/// What a failed connect was, and whether the server has let go of it.
pub(super) fn connect_failure(error: &WsClientError) -> (UpstreamEnd, Gone) {
    match fault_of(error) {
        // No request was sent, as wherever TLS fails.
        Some(TlsFault::PlainHttp) => return (UpstreamEnd::PlainHttp, Gone::Yes),
        Some(TlsFault::Untrusted(_)) => return (UpstreamEnd::Untrusted, Gone::Yes),
        None => {}
    }
    if let WsClientError::SendRequest(SendRequestError::Connect(error)) = error
        && let Some(late) = late(error)
    {
        return (late, Gone::Yes);
    }
    match error {
        // The stream ended after the request: the server let go (actix-http reports the end this way).
        WsClientError::SendRequest(SendRequestError::Connect(ConnectError::Disconnected)) => {
            (UpstreamEnd::HungUp, Gone::Yes)
        }
        // No connection, or one on which TLS failed: no request was sent, and the server sees a FIN or nothing.
        WsClientError::SendRequest(SendRequestError::Connect(_)) => (UpstreamEnd::ConnectFailed, Gone::Yes),
        // The connection broke while the request was written or its answer awaited.
        WsClientError::SendRequest(SendRequestError::Send(io) | SendRequestError::Response(ParseError::Io(io))) => {
            (UpstreamEnd::HungUp, judge_io(io))
        }
        // What a proxy says of a request that it finds too long, or suspicious.
        WsClientError::InvalidResponseStatus(status)
            if matches!(status.as_u16(), 400 | 403 | 413 | 414 | 422 | 431) =>
        {
            (UpstreamEnd::RequestRefused, Gone::No)
        }
        WsClientError::InvalidResponseStatus(_) => (UpstreamEnd::UpgradeRefused, Gone::No),
        _ => (UpstreamEnd::Garbled, Gone::No),
    }
}

/// Which step of the connection took too long, if one did.
fn late(error: &ConnectError) -> Option<UpstreamEnd> {
    match error {
        ConnectError::Timeout => Some(UpstreamEnd::ConnectTimeout),
        ConnectError::Io(error) => Late::of(error).map(|late| match late {
            Late::Tcp => UpstreamEnd::ConnectTimeout,
            Late::Tls => UpstreamEnd::TlsTimeout,
        }),
        _ => None,
    }
}

fn fault_of(error: &WsClientError) -> Option<TlsFault> {
    match error {
        WsClientError::SendRequest(error) => tls_fault(error),
        _ => None,
    }
}

/// The fault of TLS that kept a request from being sent, if it was one.
pub(super) fn tls_fault(error: &SendRequestError) -> Option<TlsFault> {
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) => TlsFault::of(error),
        _ => None,
    }
}

/// Tells the log what to do about a failed connect, where that is known.
pub(super) fn tell(upstream: &str, error: &WsClientError) {
    match fault_of(error) {
        Some(TlsFault::PlainHttp) => tracing::warn!(
            upstream,
            "the server answers wss:// without TLS; a stock server does so when --ssl names no key.pem and cert.pem"
        ),
        Some(TlsFault::Untrusted(untrusted)) => tracing::warn!(
            upstream,
            reason = untrusted.reason,
            seen = untrusted.seen.map(|pin| pin.to_string()),
            "the server's certificate is not trusted; if this key is its own, say #pin= with it in its address"
        ),
        None => tracing::debug!(upstream, end = connect_failure(error).0.code(), "no upstream connection"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{CertificateError, InvalidMessage, OtherError};

    use super::*;
    use crate::session::leg::upstream::connect::tls::Untrusted;

    #[test]
    fn faults_of_tls_have_names_of_their_own() {
        let connect = |error: rustls::Error| {
            let error = IoError::new(ErrorKind::InvalidData, error);
            connect_failure(&WsClientError::SendRequest(SendRequestError::Connect(ConnectError::Io(error)))).0
        };
        let untrusted = Arc::new(Untrusted { reason: "x".into(), seen: None });
        let refused = rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(untrusted)));
        assert_eq!(connect(refused), UpstreamEnd::Untrusted);
        assert_eq!(connect(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)), UpstreamEnd::PlainHttp);
        assert_eq!(connect(rustls::Error::HandshakeNotComplete), UpstreamEnd::ConnectFailed);
    }

    #[test]
    fn only_what_the_peers_kernel_sent_counts_as_its_end() {
        let error = |kind| IoError::from(kind);
        for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof] {
            assert_eq!(judge_io(&error(kind)), Gone::Yes, "{kind:?}");
        }
        // ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED and EPROTO of Linux.
        for errno in [110, 113, 101, 111, 71] {
            let error = IoError::from_raw_os_error(errno);
            assert_eq!(judge_io(&error), Gone::Unknown, "{error}: nobody knows what the server holds");
        }
        assert_eq!(judge_io(&error(ErrorKind::TimedOut)), Gone::Unknown);
        assert_eq!(judge_io(&IoError::other("bytes remaining on stream")), Gone::No, "an end in mid-frame");
        assert_eq!(judge(&ProtocolError::Io(error(ErrorKind::InvalidData))), Gone::No, "reserved bits, broken TLS");
        assert_eq!(judge(&ProtocolError::BadOpCode), Gone::No);
        let connect = |error| connect_failure(&WsClientError::SendRequest(SendRequestError::Connect(error)));
        assert_eq!(connect(ConnectError::Timeout), (UpstreamEnd::ConnectTimeout, Gone::Yes), "no request was sent");
        assert_eq!(connect(ConnectError::Disconnected), (UpstreamEnd::HungUp, Gone::Yes));
        let lost = SendRequestError::Response(ParseError::Io(error(ErrorKind::TimedOut)));
        assert_eq!(connect_failure(&WsClientError::SendRequest(lost)), (UpstreamEnd::HungUp, Gone::Unknown));
        let nonsense = SendRequestError::Response(ParseError::Header);
        assert_eq!(connect_failure(&WsClientError::SendRequest(nonsense)), (UpstreamEnd::Garbled, Gone::No));
    }
}
