//! A plain or an encrypted TCP connection, and how it can be broken off.

use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The longest that a TLS handshake or a farewell may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection as the server sees it.
#[derive(Debug)]
pub enum Transport {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Takes a connection in, with a TLS handshake if the server has a certificate.
    pub async fn accept(tcp: TcpStream, tls: Option<&TlsAcceptor>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        // The real server sets it too; with the usual kernel settings a peer that vanished is given up after 2 h 11 min.
        SockRef::from(&tcp).set_keepalive(true)?;
        match tls {
            None => Ok(Self::Plain(tcp)),
            Some(acceptor) => {
                let stream = tokio::time::timeout(PATIENCE, acceptor.accept(tcp)).await??;
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }

    /// Ends the connection with a FIN after what was written.
    pub async fn finish(mut self) {
        // Whether the peer still listens makes no difference to the end.
        let _ = tokio::time::timeout(PATIENCE, self.shutdown()).await;
    }

    /// Ends the connection with a RST.
    pub fn reset(self) {
        let tcp = match &self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream.get_ref().0,
        };
        reset_on_drop(tcp);
    }
}

/// Makes the closing of a socket a RST instead of a FIN.
pub fn reset_on_drop(tcp: &TcpStream) {
    // If the option cannot be set, the connection still ends, with a FIN.
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A certificate, and the acceptor that shows it.
pub struct Certificate {
    /// The certificate for those who shall trust it.
    pub pem: String,
    /// What takes TLS connections in.
    pub acceptor: TlsAcceptor,
}

impl Certificate {
    /// Makes a self-signed certificate for `localhost` and 127.0.0.1 with a fresh key.
    pub fn generate() -> io::Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        Self::with(made.cert.pem(), &made.signing_key.serialize_pem())
    }

    /// Reads `key.pem` and `cert.pem`; nothing if one of them is missing.
    pub fn read(directory: &Path) -> io::Result<Option<Self>> {
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        if !certificate.exists() || !key.exists() {
            return Ok(None);
        }
        Self::with(fs::read_to_string(certificate)?, &fs::read_to_string(key)?).map(Some)
    }

    fn with(pem: String, key: &str) -> io::Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain.map_err(io::Error::other)?, key)
            .map_err(io::Error::other)?;
        Ok(Self { pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}
