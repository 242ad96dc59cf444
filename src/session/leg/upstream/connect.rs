//! How a socket to a model server is opened: TCP, TLS, and awc with its traps closed.

pub mod tls;
mod wire;

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::Uri;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector as TcpConnector, Resolver};
use futures_util::future::LocalBoxFuture;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, sync::Notify, time::timeout};
use tokio_rustls::TlsConnector;

use self::{
    tls::{TlsConfigs, TlsError},
    wire::Wire,
};
use crate::pool::{endpoint::Endpoint, trust::Trust};

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

/// Opens sockets to model servers. Cheap to clone; one serves all threads.
#[derive(Clone)]
pub struct UpstreamConnector {
    tls: Arc<TlsConfigs>,
    /// The longest that each step may take.
    pub timeouts: ConnectTimeouts,
}

impl UpstreamConnector {
    /// A connector that has read nothing yet.
    pub fn new(timeouts: ConnectTimeouts) -> Self {
        Self { tls: Arc::new(TlsConfigs::default()), timeouts }
    }

    /// Reads what this trust needs, now and again whenever it is called, so that a file that is wrong is known before
    /// a call needs it.
    pub fn prepare(&self, trust: &Trust) -> Result<(), TlsError> {
        self.tls.make(trust).map(drop)
    }

    /// An awc client for one connection to this endpoint, for use on the current thread, and the connection's [`Tap`].
    pub(super) fn client(&self, endpoint: &Endpoint) -> (awc::Client, Tap) {
        let tap = Tap::default();
        let dialer = Dialer(Rc::new(Dial {
            endpoint: endpoint.clone(),
            tls: Arc::clone(&self.tls),
            patience: self.timeouts.connect,
            tap: tap.clone(),
        }));
        let connector = awc::Connector::new()
            .connector(dialer)
            // A WebSocket keeps its permit: the default limit of 100 would cap the calls.
            .limit(0)
            // For TCP and TLS together; each has its own before that, which says more.
            .timeout(self.timeouts.connect * 3);
        // The leg has its own deadlines and must never drop a request half way.
        (awc::Client::builder().connector(connector).disable_timeout().disable_redirects().finish(), tap)
    }
}

/// The address for an awc client of [`UpstreamConnector::client`]. The scheme is the one without TLS always: awc is handed
/// a connection that has it already.
pub(super) fn url(scheme: &str, endpoint: &Endpoint, target: &str) -> String {
    format!("{scheme}://{}:{}{}{target}", endpoint.host, endpoint.port, endpoint.path_prefix)
}

/// Gives awc its connections: TCP to the endpoint's own address, and TLS under its name.
///
/// awc could do TLS by itself, but not for IPv6 addresses, whose brackets it takes for a part of the name.
#[derive(Clone)]
struct Dialer(Rc<Dial>);

struct Dial {
    endpoint: Endpoint,
    tls: Arc<TlsConfigs>,
    patience: Duration,
    tap: Tap,
}

impl Service<ConnectInfo<Uri>> for Dialer {
    type Response = Connection<Uri, Wire>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, to: ConnectInfo<Uri>) -> Self::Future {
        let dial = Rc::clone(&self.0);
        Box::pin(async move { dial.run(to).await })
    }
}

impl Dial {
    async fn run(&self, to: ConnectInfo<Uri>) -> Result<Connection<Uri, Wire>, ConnectError> {
        let address = self.endpoint.address.map(|address| SocketAddr::new(address, self.endpoint.port));
        let to = if address.is_some() { to.set_addr(address) } else { to };
        let connecting = TcpConnector::new(Resolver::default()).service().call(to);
        let connection = timeout(self.patience, connecting).await.map_err(|_| ConnectError::Io(Late::Tcp.into()))??;
        tune(connection.io_ref());
        self.tap.hold(connection.io_ref());
        let (tcp, connection) = connection.replace_io(());
        let wire = match &self.endpoint.tls {
            None => Wire::Plain(tcp),
            Some(trust) => self.shake_hands(trust, tcp).await.map_err(ConnectError::Io)?,
        };
        self.tap.0.asked.notify_one();
        Ok(connection.replace_io(wire).1)
    }

    async fn shake_hands(&self, trust: &Trust, tcp: TcpStream) -> io::Result<Wire> {
        let config = self.tls.get(trust).map_err(io::Error::other)?;
        let name = server_name(&self.endpoint.host)?;
        let tls = timeout(self.patience, TlsConnector::from(config).connect(name, tcp)).await;
        Ok(Wire::Tls(Box::new(tls.map_err(|_| io::Error::from(Late::Tls))??)))
    }
}

/// Which step of a connection took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Late {
    /// Name resolution and TCP.
    #[error("no TCP connection in time")]
    Tcp,
    /// TLS.
    #[error("no TLS in time")]
    Tls,
}

impl From<Late> for io::Error {
    fn from(late: Late) -> Self {
        Self::new(io::ErrorKind::TimedOut, late)
    }
}

impl Late {
    /// The step that took too long, if that is what the error says.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// The name that a certificate has to be for: without the brackets of an IPv6 address and the dot of the root.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let bare = host.trim_matches(['[', ']']).trim_end_matches('.').to_owned();
    ServerName::try_from(bare).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// A second handle on a leg's TCP connection: whatever awc drops, the connection lives until its end is acknowledged.
#[derive(Clone, Default)]
pub(super) struct Tap(Rc<Line>);

#[derive(Default)]
struct Line {
    tapped: RefCell<Tapped>,
    /// The connection is made, TLS included: from now on the server is asked.
    asked: Notify,
}

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
        *self.0.tapped.borrow_mut() = copy.map_or(Tapped::Untracked, |copy| Tapped::Held(copy.into()));
    }

    /// Comes back when the server was asked so long ago. Until then the connection's own deadlines count.
    pub(super) async fn unanswered(&self, patience: Duration) {
        self.0.asked.notified().await;
        tokio::time::sleep(patience).await;
    }

    /// The connection. Asked again, one that was there is untracked.
    pub(super) fn take(&self) -> Tapped {
        let mut tapped = self.0.tapped.borrow_mut();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_asked_for_by_bare_names() {
        for (host, name) in
            [("voice.example", "voice.example"), ("h.", "h"), ("[::1]", "::1"), ("10.0.0.7", "10.0.0.7")]
        {
            assert_eq!(server_name(host).unwrap().to_str(), name);
        }
        assert!(server_name("").is_err());
    }

    #[test]
    fn a_tap_tells_no_connection_from_one_that_it_lost() {
        let tap = Tap::default();
        assert!(matches!(tap.take(), Tapped::Nothing) && matches!(tap.take(), Tapped::Nothing));
        *tap.0.tapped.borrow_mut() = Tapped::Untracked;
        assert!(matches!(tap.take(), Tapped::Untracked) && matches!(tap.take(), Tapped::Untracked));
    }

    #[test]
    fn a_ca_file_without_certificates_is_named_before_a_call_needs_it() {
        let connector = UpstreamConnector::new(ConnectTimeouts::default());
        let error = connector.prepare(&Trust::CaFile("Cargo.toml".into())).err().unwrap().to_string();
        assert!(error.contains("Cargo.toml") && error.contains("PEM"), "{error}");
    }
}
