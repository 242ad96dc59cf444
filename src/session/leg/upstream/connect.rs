//! How a socket to a model server is opened: TCP, TLS, and awc with its traps closed.

use std::{cell::RefCell, path::Path, rc::Rc, sync::Arc, time::Duration};

use actix_http::Uri;
use actix_service::ServiceExt;
use actix_tls::connect::{Connection, Connector as TcpConnector, Resolver};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::pool::endpoint::Endpoint;

/// The longest that each step to a model server may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectTimeouts {
    /// Name resolution and TCP, and TLS after it, each.
    pub connect: Duration,
    /// From the request to its 101.
    pub upgrade: Duration,
    /// From our close frame to the server's acknowledgement, before the slot is quarantined.
    pub close: Duration,
}

impl Default for ConnectTimeouts {
    fn default() -> Self {
        let five = Duration::from_secs(5);
        Self { connect: five, upgrade: five, close: five }
    }
}

/// Unacknowledged data, and silence of the peer's kernel, after which the kernel gives a connection up.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read or holds no certificate.
    #[error("the CA file cannot be used: {0}; it has to hold PEM certificates")]
    CaFile(String),
    /// rustls refused the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Which certificates of model servers are accepted.
#[derive(Clone, Debug, Default)]
pub struct TlsTrust {
    /// Further roots, as a PEM file.
    pub ca_file: Option<std::path::PathBuf>,
    /// Accept anything. Loopback servers are accepted without it.
    pub insecure: bool,
}

/// Opens sockets to model servers. Cheap to clone; one serves all threads.
#[derive(Clone)]
pub struct UpstreamConnector {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    insecure: bool,
    /// The longest that each step may take.
    pub timeouts: ConnectTimeouts,
}

impl UpstreamConnector {
    /// Loads the system's roots and the given ones.
    pub fn new(trust: &TlsTrust, timeouts: ConnectTimeouts) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &trust.ca_file {
            add_ca_file(&mut roots, file)?;
        }
        let builder =
            || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let mut verified = builder()?.with_root_certificates(roots).with_no_client_auth();
        let anything = Arc::new(AcceptAnything(Arc::clone(&provider)));
        let mut unverified = builder()?.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth();
        for config in [&mut verified, &mut unverified] {
            // HTTP/2 has no upgrade: a server that picks it breaks the tunnel.
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Ok(Self { verified: Arc::new(verified), unverified: Arc::new(unverified), insecure: trust.insecure, timeouts })
    }

    /// An awc client for one connection to this endpoint, for use on the current thread, and the connection's [`Tap`].
    pub(super) fn client(&self, endpoint: &Endpoint) -> (awc::Client, Tap) {
        let tap = Tap::default();
        let handle = tap.clone();
        let tcp =
            TcpConnector::new(Resolver::default()).service().map(move |connection: Connection<Uri, TcpStream>| {
                tune(connection.io_ref());
                handle.hold(connection.io_ref());
                connection
            });
        let tls = self.tls_for(&endpoint.host);
        let connector = awc::Connector::new()
            .connector(tcp)
            // A WebSocket keeps its permit: the default limit of 100 would cap the calls.
            .limit(0)
            .timeout(self.timeouts.connect)
            .handshake_timeout(self.timeouts.connect)
            .rustls_0_23(Arc::clone(tls));
        // The leg has its own deadlines and must never drop a request half way.
        (awc::Client::builder().connector(connector).disable_timeout().disable_redirects().finish(), tap)
    }

    /// A self-signed certificate is good enough on this machine, and everywhere only if that was asked for.
    fn tls_for(&self, host: &str) -> &Arc<ClientConfig> {
        if self.insecure || is_loopback(host) { &self.unverified } else { &self.verified }
    }
}

/// A second handle on a leg's TCP connection: whatever awc drops, the connection lives until its end is acknowledged.
#[derive(Clone, Default)]
pub(super) struct Tap(Rc<RefCell<Tapped>>);

/// What a [`Tap`] knows of its connection.
#[derive(Debug, Default)]
pub(super) enum Tapped {
    /// None was made, so that nothing was sent.
    #[default]
    Nothing,
    /// The second handle on it.
    Held(std::net::TcpStream),
    /// There was one, and no descriptor to spare for a second handle: its end cannot be seen.
    Untracked,
}

impl Tap {
    fn hold(&self, stream: &TcpStream) {
        let copy = SockRef::from(stream).try_clone();
        *self.0.borrow_mut() = copy.map_or(Tapped::Untracked, |copy| Tapped::Held(copy.into()));
    }

    /// The connection. Asked again, one that was there is untracked.
    pub(super) fn take(&self) -> Tapped {
        let mut tapped = self.0.borrow_mut();
        let rest = if matches!(*tapped, Tapped::Nothing) { Tapped::Nothing } else { Tapped::Untracked };
        std::mem::replace(&mut tapped, rest)
    }
}

/// Small frames must not wait for each other, and a vanished server must not hold the socket for ever.
fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KERNEL_TIMEOUT / 3).with_interval(KERNEL_TIMEOUT / 6);
    // Each is an improvement, none is a condition: a socket without them still carries the call.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(KERNEL_TIMEOUT));
}

/// Whether a host is this machine: there a self-signed certificate is good enough.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn add_ca_file(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    let wrong = |error: &dyn std::fmt::Display| TlsError::CaFile(format!("{}: {error}", file.display()));
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?)?;
        found = true;
    }
    if found { Ok(()) } else { Err(wrong(&"no certificate in it")) }
}

/// Accepts every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "[::2]", "127.0.0.1.example", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn certificates_are_verified_everywhere_but_on_this_machine() {
        let with = |insecure| {
            UpstreamConnector::new(&TlsTrust { ca_file: None, insecure }, ConnectTimeouts::default()).unwrap()
        };
        let (careful, careless) = (with(false), with(true));
        for host in ["model.example", "10.0.0.1", "localhost.example"] {
            assert!(Arc::ptr_eq(careful.tls_for(host), &careful.verified), "{host}");
            assert!(Arc::ptr_eq(careless.tls_for(host), &careless.unverified), "{host}");
        }
        assert!(Arc::ptr_eq(careful.tls_for("127.0.0.1"), &careful.unverified));
    }

    #[test]
    fn a_tap_tells_no_connection_from_one_that_it_lost() {
        let tap = Tap::default();
        assert!(matches!(tap.take(), Tapped::Nothing) && matches!(tap.take(), Tapped::Nothing));
        *tap.0.borrow_mut() = Tapped::Untracked;
        assert!(matches!(tap.take(), Tapped::Untracked) && matches!(tap.take(), Tapped::Untracked));
    }

    #[test]
    fn a_ca_file_without_certificates_is_named() {
        let trust = TlsTrust { ca_file: Some("Cargo.toml".into()), insecure: false };
        let error = UpstreamConnector::new(&trust, ConnectTimeouts::default()).err().unwrap().to_string();
        assert!(error.contains("Cargo.toml") && error.contains("PEM"), "{error}");
    }
}
