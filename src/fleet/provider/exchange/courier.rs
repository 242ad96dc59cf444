//! Carries the requests of client libraries, with the bounds that our own requests have.
//!
//! Each has a connection of its own and is sent once: there is no pool, no retry and no redirect, whatever a library would
//! do by itself. What is read is bounded, and a refusal is judged here, where its headers and its body are still known.

#[cfg(feature = "docker")]
use std::path::Path;
use std::{
    error::Error,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Body, Incoming},
    client::conn::http1,
    header::{self, HeaderValue},
    http::uri::{PathAndQuery, Scheme},
};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, join, split},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;
use tracing::{Dispatch, instrument::WithSubscriber};

use super::{MAX_BODY_BYTES, ProviderError, Reply, connect_failure, retry_after, within};

/// What is read of a connection: an answer's body and its head.
const MAX_READ_BYTES: u64 = MAX_BODY_BYTES as u64 + 16 * 1024;

/// How requests get to where they go. Cheap to clone.
#[derive(Clone)]
pub(in crate::fleet::provider) struct Courier {
    route: Route,
    limit: Duration,
}

#[derive(Clone)]
enum Route {
    /// To a socket of this machine, whatever host a URL names.
    #[cfg(feature = "docker")]
    Socket(Arc<Path>),
    /// To the host that the URL names, with this where it begins with `https`.
    Network(Option<Tls>),
}

/// How TLS is spoken.
#[derive(Clone)]
pub(in crate::fleet::provider) struct Tls {
    /// Whom to trust, and who asks.
    pub(in crate::fleet::provider) config: Arc<rustls::ClientConfig>,
    /// The name that the certificate has to be for; none: the URL's host.
    pub(in crate::fleet::provider) name: Option<String>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Courier {
    /// To whoever listens at a socket of this machine. No connection lasts longer than the limit.
    #[cfg(feature = "docker")]
    pub(in crate::fleet::provider) fn to_socket(path: &Path, limit: Duration) -> Self {
        Self { route: Route::Socket(path.into()), limit }
    }

    /// To the hosts that URLs name. No connection lasts longer than the limit.
    pub(in crate::fleet::provider) const fn to_network(tls: Option<Tls>, limit: Duration) -> Self {
        Self { route: Route::Network(tls), limit }
    }

    /// Sends a request, and brings the answer if it is a success or says that nothing changed (304). Its body ends with an
    /// error where it gets too long.
    pub(in crate::fleet::provider) async fn carry<B>(
        &self,
        mut request: Request<B>,
    ) -> Result<Response<Incoming>, ProviderError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let stream = self.connect(request.uri()).await?;
        let secret = credential(&request);
        address(&mut request)?;
        let (incoming, outgoing) = split(stream);
        let io = TokioIo::new(join(incoming.take(MAX_READ_BYTES), outgoing));
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| failure(&error))?;
        // It ends with its answer, and with the limit at the latest: nobody else waits for it.
        tokio::spawn(tokio::time::timeout(self.limit, connection));
        let answer = sender.send_request(request).await.map_err(|error| failure(&error))?;
        if answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(refusal(answer, secret).await)
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Stream>, ProviderError> {
        match &self.route {
            #[cfg(feature = "docker")]
            Route::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                Ok(Box::new(stream.map_err(|error| connect_failure(&error))?))
            }
            Route::Network(tls) => dial(uri, tls.as_ref()).await,
        }
    }
}

async fn dial(uri: &Uri, tls: Option<&Tls>) -> Result<Box<dyn Stream>, ProviderError> {
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().filter(|_| is_tls || uri.scheme() == Some(&Scheme::HTTP)).ok_or_else(no_url)?;
    let host = host.trim_matches(['[', ']']);
    let nameless = |_| ProviderError::transient("its name has no address: check the base URL and DNS");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(nameless)?.collect();
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| connect_failure(&error))?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let tls = tls.ok_or_else(|| ProviderError::permanent("it is not asked over TLS: use an http URL"))?;
    let name = tls.name.as_deref().unwrap_or(host).to_owned().try_into().map_err(|_| no_url())?;
    let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| connect_failure(&error))?))
}

/// Runs what a library does within a limit, and keeps it from logging: at some levels it would log whole answers, with the
/// environment that containers have. What matters is in what comes back.
pub(in crate::fleet::provider) async fn quietly<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    within(limit, call).with_subscriber(Dispatch::none()).await
}

/// An answer that is none of the API's own.
pub(in crate::fleet::provider) fn unreadable() -> ProviderError {
    ProviderError::transient(
        "expected JSON as the API has it, of 64 KiB at most, and got something else: check the base URL if this stays",
    )
}

/// A URL that leads nowhere.
pub(in crate::fleet::provider) fn no_url() -> ProviderError {
    ProviderError::permanent("the base URL is no http or https URL")
}

/// An error of ours that a library carried in a box.
pub(in crate::fleet::provider) fn unboxed(error: Box<dyn Error + Send + Sync>) -> Option<ProviderError> {
    error.downcast().ok().map(|error| *error)
}

/// Writes whom it is for into the head, as a server wants it that is no proxy.
fn address<B>(request: &mut Request<B>) -> Result<(), ProviderError> {
    let authority = request.uri().authority().map_or("", |it| it.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| no_url())?;
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = target.trim_end_matches('?').parse().map_err(|_| no_url())?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let agent = HeaderValue::from_static(concat!("tandem/", env!("CARGO_PKG_VERSION")));
    headers.insert(header::USER_AGENT, agent);
    Ok(())
}

/// What no answer is allowed to repeat.
fn credential<B>(request: &Request<B>) -> Option<SecretString> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    value.split_once(' ').map(|(_, secret)| SecretString::from(secret.to_owned()))
}

async fn refusal(answer: Response<Incoming>, secret: Option<SecretString>) -> ProviderError {
    let status = answer.status().as_u16();
    let wait = retry_after(|name| answer.headers().get(name)?.to_str().ok(), SystemTime::now());
    let body = String::from_utf8_lossy(&read(answer.into_body()).await).into_owned();
    let reply = Reply { status, retry_after: wait, body, secrets: secret.into_iter().collect() };
    match reply.refusal() {
        // Two who write at once, and machines that are about to change: it passes.
        ProviderError::Permanent(said) if status == 409 => ProviderError::Transient(said),
        other => other,
    }
}

/// A body as far as it goes: the status says the most.
async fn read(mut body: Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let chunk = frame.into_data().unwrap_or_default();
        let room = MAX_BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    bytes
}

fn failure(error: &hyper::Error) -> ProviderError {
    let kind = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        _ if error.is_parse() => ProviderError::transient("its answer is no HTTP"),
        Some(io::ErrorKind::TimedOut) => ProviderError::Timeout,
        _ => ProviderError::transient("the connection ended before its answer"),
    }
}
