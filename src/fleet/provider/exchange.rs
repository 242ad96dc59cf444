//! One request to a provider over HTTP, and its answer: bounded in time and size, and read without trusting it.
//!
//! The only file of the fleet that knows awc; what client libraries send goes by `courier`, under the same bounds. Each request has a connection of its own: calls are rare, and a start must
//! not fail because a kept connection had ended unseen.

#[cfg(any(feature = "docker", feature = "kubernetes"))]
pub(super) mod courier;

use std::{
    fmt,
    future::Future,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use awc::{
    ClientRequest,
    error::{ConnectError, SendRequestError},
    http::{
        Method,
        header::{HttpDate, TryIntoHeaderPair},
    },
};
use futures_util::StreamExt;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    detail::{Detail, tells_of_no_capacity},
    error::ProviderError,
};

/// What is read of an answer's body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest wait that a provider can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How providers are asked over HTTP. Cheap to clone; for the thread that it was made on.
#[derive(Clone)]
pub struct Exchange {
    client: awc::Client,
    timeout: Duration,
    secrets: Rc<[SecretString]>,
    room_bytes: usize,
}

impl Exchange {
    /// The longest that a call takes, where nothing else is wanted.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Trusts the system's certificate authorities, which are read now; no call takes longer than the time-out.
    pub fn new(timeout: Duration) -> Self {
        let connector = awc::Connector::new().limit(0).timeout(timeout).handshake_timeout(timeout);
        let connector = match tls() {
            Ok(config) => connector.rustls_0_23(Arc::new(config)),
            // Without TLS awc refuses `https`, and says so.
            Err(_) => connector,
        };
        let client = awc::Client::builder().connector(connector).disable_timeout().disable_redirects().finish();
        Self { client, timeout, secrets: Rc::new([]), room_bytes: MAX_BODY_BYTES }
    }

    /// The same, for answers of at most so many bytes; what is beyond is not read.
    pub fn reading(self, room_bytes: usize) -> Self {
        Self { room_bytes, ..self }
    }

    /// The same, with secrets that no answer is allowed to repeat.
    pub(super) fn keeping(&self, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self { secrets: secrets.into_iter().collect(), ..self.clone() }
    }

    /// Runs a call, of one request or several, within the time-out.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        within(self.timeout, call).await
    }

    /// Sends a request and reads its answer, whatever status it has.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Reply, ProviderError> {
        self.within(self.ask(request)).await
    }

    /// Reads what is at an address that is no provider's: the status, and the body if it is JSON.
    pub async fn read(&self, url: &str, token: &SecretString) -> Result<(u16, Option<Value>), ProviderError> {
        let reply = self.send(Request::get(url).bearer(token)).await?;
        Ok((reply.status, reply.json()))
    }

    /// Sends JSON to an address that is no provider's: the status, and the body if it is JSON of at most 64 KiB.
    pub async fn write(
        &self,
        url: &str,
        token: Option<&SecretString>,
        body: &Value,
    ) -> Result<(u16, Option<Value>), ProviderError> {
        let request = Request::post(url).json(body);
        let request = token.into_iter().fold(request, Request::bearer);
        let reply = self.send(request).await?;
        Ok((reply.status, reply.json()))
    }

    async fn ask(&self, request: Request<'_>) -> Result<Reply, ProviderError> {
        let sending = request.on(&self.client);
        let mut answer = sending.await.map_err(|error| failure(&error))?;
        let header = |name: &str| answer.headers().get(name)?.to_str().ok();
        let (status, retry_after) = (answer.status().as_u16(), retry_after(header, SystemTime::now()));
        let mut body = Vec::new();
        // A broken body is read as far as it goes: the status says the most.
        while let Some(Ok(chunk)) = answer.next().await {
            let room = self.room_bytes - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Reply { status, retry_after, body, secrets: Rc::clone(&self.secrets) })
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// One request. It has no `Debug`: nearly everything in it may be secret.
pub(super) struct Request<'a> {
    method: Method,
    url: &'a str,
    headers: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Request<'a> {
    pub(super) fn get(url: &'a str) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: String::new() }
    }

    pub(super) fn post(url: &'a str) -> Self {
        Self { method: Method::POST, ..Self::get(url) }
    }

    pub(super) fn put(url: &'a str) -> Self {
        Self { method: Method::PUT, ..Self::get(url) }
    }

    pub(super) fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn bearer(self, token: &SecretString) -> Self {
        self.header("authorization", format!("Bearer {}", token.expose_secret()))
    }

    pub(super) fn json(self, body: &Value) -> Self {
        let body = body.to_string();
        Self { body, ..self }.header("content-type", "application/json")
    }

    fn on(self, client: &awc::Client) -> awc::SendClientRequest {
        let request = client.request(self.method, self.url).force_close();
        let request = with(request, ("accept", "application/json"));
        let request = with(request, ("user-agent", concat!("tandem/", env!("CARGO_PKG_VERSION"))));
        let request =
            self.headers.iter().fold(request, |request, (name, value)| with(request, (*name, value.as_str())));
        if self.body.is_empty() { request.send() } else { request.send_body(self.body) }
    }
}

fn with(request: ClientRequest, pair: impl TryIntoHeaderPair) -> ClientRequest {
    request.insert_header(pair)
}

/// The answer to a request.
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// When to ask again, if the answer says so.
    pub(super) retry_after: Option<Duration>,
    body: String,
    secrets: Rc<[SecretString]>,
}

impl Reply {
    /// Whether the provider did what it was asked, as far as the status tells.
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The body, if it is JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// The body, which has to be JSON: a successful answer without it is none of the provider's own.
    pub(super) fn expect_json(&self) -> Result<Value, ProviderError> {
        self.json().ok_or_else(|| {
            let what = if self.is_page() { "a page" } else { "a body that is no JSON, or is longer than 64 KiB" };
            ProviderError::transient(format!("expected JSON and got {what}: check the base URL if this stays"))
        })
    }

    /// A remark of the provider, without our secrets.
    pub(super) fn remark(&self, text: &str) -> Option<Detail> {
        Detail::said(text, &self.secrets)
    }

    /// What the body says to people.
    pub(super) fn words(&self) -> String {
        let said = self.json().map(|body| {
            let keys = ["detail", "message", "msg", "error", "title"];
            let text = |value: &Value| value.as_str().or_else(|| value["message"].as_str()).map(str::to_owned);
            keys.iter().find_map(|key| text(&body[*key])).unwrap_or_default()
        });
        said.unwrap_or_else(|| if self.is_page() { "a page instead of JSON".to_owned() } else { self.body.clone() })
    }

    /// What an unsuccessful status means, for calls that need no hardware.
    pub(super) fn refusal(&self) -> ProviderError {
        let said = || match self.remark(&self.words()) {
            Some(words) => Detail::own(format!("status {}, {words}", self.status)),
            None => Detail::own(format!("status {}", self.status)),
        };
        match self.status {
            // A page is what a proxy in front says to those who ask too much.
            403 if self.is_page() => ProviderError::Transient(said()),
            401 | 403 => ProviderError::Auth,
            404 | 410 => ProviderError::NotFound,
            429 => ProviderError::RateLimited { retry_after: self.retry_after },
            503 if self.retry_after.is_some() => ProviderError::RateLimited { retry_after: self.retry_after },
            501 => ProviderError::Unsupported,
            408 | 425 | 500..=599 => ProviderError::Transient(said()),
            300..=399 => {
                ProviderError::permanent(format!("status {}, a redirect: set the base URL to its target", self.status))
            }
            _ => ProviderError::Permanent(said()),
        }
    }

    /// What an unsuccessful status means, for a start.
    pub(super) fn refusal_to_start(&self) -> ProviderError {
        match self.refusal() {
            ProviderError::Permanent(_) | ProviderError::Transient(_) if tells_of_no_capacity(&self.words()) => {
                ProviderError::Capacity { retry_after: self.retry_after }
            }
            other => other,
        }
    }

    fn is_page(&self) -> bool {
        self.body.trim_start().starts_with('<')
    }
}

/// A path segment or a value in a query: everything but letters, digits and `-._~` is encoded.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let each = text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    each.collect()
}

/// Runs a call within a limit.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(ProviderError::Timeout))
}

/// `Retry-After` in seconds or as a date, which is held against the answer's own date where there is one.
fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Option<Duration> {
    let text = |name| header(name).map(str::trim);
    let date = |text: &str| text.parse::<HttpDate>().ok().map(SystemTime::from);
    let value = text("retry-after")?;
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = text("date").and_then(date).unwrap_or(now);
            date(value)?.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Why there is no answer. Nothing that was sent is repeated.
fn failure(error: &SendRequestError) -> ProviderError {
    match error {
        SendRequestError::Connect(ConnectError::Timeout) | SendRequestError::Timeout => ProviderError::Timeout,
        SendRequestError::Connect(ConnectError::Io(error)) => connect_failure(error),
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => {
            ProviderError::transient("its name has no address: check the base URL and DNS")
        }
        SendRequestError::Url(_) => ProviderError::permanent("the base URL is no http or https URL"),
        SendRequestError::Http(_) => {
            ProviderError::permanent("the URL, a header or the key has characters that HTTP does not allow")
        }
        SendRequestError::Connect(ConnectError::SslIsNotSupported) => {
            ProviderError::permanent("TLS cannot be set up on this machine")
        }
        SendRequestError::Response(_) => ProviderError::transient("its answer is no HTTP"),
        _ => ProviderError::transient("the connection ended before its answer"),
    }
}

fn connect_failure(error: &io::Error) -> ProviderError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => ProviderError::permanent(
            "its certificate is not trusted: install the system's certificate authorities (ca-certificates), or check the \
             base URL",
        ),
        Some(_) => ProviderError::transient("TLS failed: check that the base URL is one for https"),
        None if error.kind() == io::ErrorKind::TimedOut => ProviderError::Timeout,
        None => ProviderError::transient(format!("it cannot be reached ({})", error.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<Duration>, body: &str) -> Reply {
        Reply { status, retry_after, body: body.to_owned(), secrets: Rc::new([SecretString::from("k3y-value")]) }
    }

    #[test]
    fn waits_are_read_in_seconds_and_as_dates() {
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATER: &str = "Sun, 06 Nov 1994 08:50:07 GMT";
        let date = SystemTime::from(DATE.parse::<HttpDate>().unwrap());
        let years = Duration::from_secs(1_000_000_000);
        for (value, its_date, now, seconds) in [
            (Some("30"), None, date, Some(30)),
            (Some(" 0 "), None, date, Some(0)),
            (Some("99999999999"), None, date, Some(86_400)),
            (Some(LATER), None, date, Some(30)),
            (Some(LATER), Some(DATE), date + years, Some(30)),
            (Some(DATE), None, date + years, Some(0)),
            (Some("-1"), None, date, None),
            (Some("soon"), None, date, None),
            (None, Some(DATE), date, None),
        ] {
            let header = |name: &str| if name == "retry-after" { value } else { its_date.filter(|_| name == "date") };
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{value:?} {its_date:?}");
        }
    }

    #[test]
    fn each_status_is_one_error_whatever_the_body_is() {
        let wait = Some(Duration::from_secs(7));
        for (status, retry_after, body, code) in [
            (401, None, "", "auth"),
            (403, None, "{}", "auth"),
            (403, None, " <html>", "transient"),
            (404, None, "<html>", "not_found"),
            (410, None, "", "not_found"),
            (429, None, "too frequent", "rate_limited"),
            (503, wait, "", "rate_limited"),
            (503, None, "", "transient"),
            (500, None, "{\"error\":{\"message\":\"x\"}}", "transient"),
            (524, None, "<html>", "transient"),
            (408, None, "", "transient"),
            (501, None, "", "unsupported"),
            (302, None, "", "permanent"),
            (400, None, "[1]", "permanent"),
            (402, None, "{\"detail\":\"balance\"}", "permanent"),
        ] {
            let error = reply(status, retry_after, body).refusal();
            assert_eq!((error.code(), error.retry_after()), (code, retry_after.filter(|_| status == 503)), "{status}");
        }
    }

    #[test]
    fn no_hardware_is_told_apart_and_secrets_are_kept() {
        let full = "{\"detail\":\"There are not enough free GPUs on the host machine to start this pod.\"}";
        assert_eq!(reply(400, None, full).refusal_to_start().code(), "capacity");
        assert_eq!(reply(500, None, full).refusal_to_start().code(), "capacity");
        assert_eq!(reply(401, None, full).refusal_to_start(), ProviderError::Auth);
        let told = reply(400, None, "{\"message\":\"k3y-value is odd\"}").refusal_to_start().to_string();
        assert!(told.contains("status 400, (hidden) is odd"), "{told}");
    }

    #[test]
    fn what_goes_into_a_path_stays_in_its_segment() {
        assert_eq!(segment("pod_1-a.b~"), "pod_1-a.b~");
        assert_eq!(segment("a/b?c=d#é %"), "a%2Fb%3Fc%3Dd%23%C3%A9%20%25");
    }
}
