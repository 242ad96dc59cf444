//! Dialling: TCP, TLS and the HTTP upgrade, with the refusal read in full.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::protocol::native::{BEARER_PREFIX, RESUME_HEADER, RESUME_PREFIX, ResumeTerms, SUBPROTOCOL};

use super::address::Address;
use super::error::CallerError;
use super::pong_filter::PongFilter;
use super::settings::{Behaviour, CallerSettings, Credential, Wire};
use super::tls::{Trust, client_config};

/// The longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The longest body of an answer that is read, in bytes; ours are below 1 KiB.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest message that is taken, in bytes: several Ogg pages of at most 65,307.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// A byte stream to the server, plain or encrypted.
pub(super) trait Wired: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wired for T {}

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<PongFilter<Box<dyn Wired>>>;

/// An answer to a plain HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// `Retry-After` in seconds, when it was given as such.
    pub retry_after_seconds: Option<u64>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
}

/// Sends a GET without an upgrade and reads the answer; each of connecting, TLS and the answer has `within`.
///
/// The target begins with a slash; the address's prefix is put before it.
pub async fn http_get(
    address: &Address,
    target: &str,
    trust: &Trust,
    within: Duration,
) -> Result<HttpAnswer, CallerError> {
    let mut stream = connect(address, trust, within).await?;
    let request = format!(
        "GET {}{target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: tandem\r\nConnection: close\r\n\r\n",
        address.prefix,
        address.authority()
    );
    let answer = exchange(&mut stream, request.as_bytes(), address);
    match timeout(within, answer).await {
        Ok(answer) => answer.map(|(head, body)| head.with_body(body)),
        Err(_) => Err(CallerError::NoAnswer { at: address.authority(), within }),
    }
}

/// Opens the call's WebSocket.
///
/// With `resume` it is the socket of a call that there is already.
pub(super) async fn dial(
    address: &Address,
    settings: &CallerSettings,
    resume: Option<&ResumeTerms>,
) -> Result<Socket, CallerError> {
    let within = settings.connect_timeout;
    let key = generate_key();
    let request = upgrade_request(address, settings, resume, &key)?;
    let mut stream = connect(address, &settings.trust, within).await?;
    let answer = exchange(&mut stream, request.expose_secret().as_bytes(), address);
    let Ok(answer) = timeout(within, answer).await else {
        return Err(CallerError::NoAnswer { at: address.authority(), within });
    };
    let (head, rest) = answer?;
    if head.status != 101 {
        return Err(refusal(&head.with_body(rest)));
    }
    if head.accept.as_deref() != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(CallerError::NotHttp { at: address.authority() });
    }
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_MESSAGE_BYTES);
    config.max_frame_size = Some(MAX_MESSAGE_BYTES);
    let filter = PongFilter::new(stream, settings.behaviour == Behaviour::NoPongs);
    Ok(WebSocketStream::from_partially_read(filter, rest, Role::Client, Some(config)).await)
}

async fn connect(address: &Address, trust: &Trust, within: Duration) -> Result<Box<dyn Wired>, CallerError> {
    let at = address.authority();
    let stream = match timeout(within, TcpStream::connect((address.host.as_str(), address.port))).await {
        Err(_) => return Err(CallerError::NoAnswer { at, within }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(CallerError::Refused { at }),
        Ok(Err(error)) => return Err(CallerError::Connect { at, reason: error.to_string() }),
        Ok(Ok(stream)) => stream,
    };
    // Latency counts for more than the bytes of a few more packets; a system that cannot do it still can call.
    let _ = stream.set_nodelay(true);
    if !address.tls {
        return Ok(Box::new(stream));
    }
    let failed = |reason: String| CallerError::Tls { at: address.authority(), reason };
    let config = client_config(trust, address.is_loopback()).map_err(failed)?;
    let name = ServerName::try_from(address.host.clone()).map_err(|error| failed(error.to_string()))?;
    match timeout(within, TlsConnector::from(config).connect(name, stream)).await {
        Err(_) => Err(CallerError::NoAnswer { at, within }),
        Ok(Err(error)) if speaks_no_tls(&error) => Err(CallerError::NotTls { at }),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(stream)) => Ok(Box::new(stream)),
    }
}

/// Whether the first bytes of the other side were no TLS record, as those of a plain HTTP server are.
fn speaks_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// The upgrade request; it carries the prompt and the token, so it does not print.
fn upgrade_request(
    address: &Address,
    settings: &CallerSettings,
    resume: Option<&ResumeTerms>,
    key: &str,
) -> Result<SecretString, CallerError> {
    let mut protocols = Vec::new();
    if matches!(settings.wire, Wire::Native(_)) {
        protocols.push(SUBPROTOCOL.to_owned());
    }
    let mut authorization = String::new();
    match &settings.credential {
        Credential::None | Credential::Ticket(_) => {}
        Credential::Bearer(token) => authorization = format!("Authorization: Bearer {}\r\n", checked(token)?),
        Credential::Subprotocol(token) => protocols.push(format!("{BEARER_PREFIX}{}", checked(token)?)),
    }
    let resume = match (resume, &settings.credential) {
        (None, _) => String::new(),
        // As a browser does it.
        (Some(resume), Credential::Subprotocol(_)) => {
            protocols.push(format!("{RESUME_PREFIX}{}", resume.token));
            String::new()
        }
        (Some(resume), _) => format!("{RESUME_HEADER}: {}\r\n", resume.token),
    };
    let protocols = match protocols.is_empty() {
        true => String::new(),
        false => format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", ")),
    };
    Ok(SecretString::from(format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: tandem\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{protocols}{authorization}{resume}\r\n",
        address.call_target(settings).expose_secret(),
        address.authority()
    )))
}

/// The token, if every character of it can stand in a header and in the name of a subprotocol.
fn checked(token: &SecretString) -> Result<&str, CallerError> {
    let token = token.expose_secret();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.is_empty() && token.bytes().all(legal) { Ok(token) } else { Err(CallerError::BadToken) }
}

/// What matters of an answer's head.
struct Head {
    status: u16,
    accept: Option<String>,
    retry_after_seconds: Option<u64>,
    body_bytes: Option<usize>,
}

impl Head {
    fn with_body(self, body: Vec<u8>) -> HttpAnswer {
        HttpAnswer { status: self.status, retry_after_seconds: self.retry_after_seconds, body }
    }
}

/// Sends a request; gives the head of the answer and its body or, after a 101, what came already after the head.
async fn exchange(
    stream: &mut Box<dyn Wired>,
    request: &[u8],
    address: &Address,
) -> Result<(Head, Vec<u8>), CallerError> {
    let lost = |error: io::Error| CallerError::Lost { ready: false, reason: error.to_string() };
    stream.write_all(request).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut bytes = BytesMut::with_capacity(4096);
    let (head, head_bytes) = loop {
        if stream.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            return Err(CallerError::Lost { ready: false, reason: "it was closed without an answer".to_owned() });
        }
        if let Some(found) = parse_head(&bytes, address)? {
            break found;
        }
    };
    let mut rest = bytes.split_off(head_bytes);
    if head.status != 101 {
        let wanted = head.body_bytes.unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES);
        while rest.len() < wanted && stream.read_buf(&mut rest).await.map_err(lost)? > 0 {}
        rest.truncate(wanted);
    }
    Ok((head, rest.to_vec()))
}

/// The head and its length, once it is whole.
fn parse_head(bytes: &[u8], address: &Address) -> Result<Option<(Head, usize)>, CallerError> {
    let not_http = || CallerError::NotHttp { at: address.authority() };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(bytes) {
        Err(_) => return Err(not_http()),
        Ok(httparse::Status::Partial) if bytes.len() > MAX_HEAD_BYTES => return Err(not_http()),
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
    };
    let status = response.code.ok_or_else(not_http)?;
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok().map(str::trim)
    };
    let head = Head {
        status,
        accept: value("sec-websocket-accept").map(str::to_owned),
        retry_after_seconds: value("retry-after").and_then(|value| value.parse().ok()),
        body_bytes: value("content-length").and_then(|value| value.parse().ok()),
    };
    Ok(Some((head, head_bytes)))
}

/// A refusal in the server's own words: the JSON problem of RFC 9457 when it is one.
fn refusal(answer: &HttpAnswer) -> CallerError {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: Option<String>,
        title: Option<String>,
        detail: Option<String>,
        retry_after_seconds: Option<u64>,
    }
    let status = answer.status;
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let (code, message, retry) = match problem {
        Some(problem) => (problem.code, problem.detail.or(problem.title), problem.retry_after_seconds),
        None => (None, None, None),
    };
    CallerError::RefusedCall {
        status,
        code: code.unwrap_or_else(|| format!("http_{status}")),
        message: message.unwrap_or_else(|| format!("the server answered with HTTP status {status}")),
        retry_after_seconds: retry.or(answer.retry_after_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words_or_by_its_status() {
        let problem = br#"{"status":503,"title":"Busy","detail":"All voice models are busy.","code":"no_capacity"}"#;
        let answer = HttpAnswer { status: 503, retry_after_seconds: Some(7), body: problem.to_vec() };
        let expected = CallerError::RefusedCall {
            status: 503,
            code: "no_capacity".into(),
            message: "All voice models are busy.".into(),
            retry_after_seconds: Some(7),
        };
        assert_eq!(refusal(&answer), expected);
        let answer = HttpAnswer { status: 404, retry_after_seconds: None, body: b"404: Not Found".to_vec() };
        assert_eq!(refusal(&answer).code(), "http_404");
    }

    #[test]
    fn tokens_that_would_break_the_head_are_not_sent_and_none_prints() {
        let address = Address::parse("ws://h").unwrap();
        let mut settings = CallerSettings::new("ws://h");
        for bad in ["", "a b", "a\r\nX: y", "ä"] {
            settings.credential = Credential::Bearer(SecretString::from(bad));
            assert_eq!(upgrade_request(&address, &settings, None, "k").unwrap_err(), CallerError::BadToken, "{bad:?}");
        }
        settings.credential = Credential::Subprotocol(SecretString::from("aa.bb.cc"));
        let request = upgrade_request(&address, &settings, None, "k").unwrap();
        assert!(request.expose_secret().contains("Sec-WebSocket-Protocol: tandem.v1, tandem.bearer.aa.bb.cc\r\n"));
        assert!(!format!("{request:?} {settings:?}").contains("aa.bb"));
    }

    #[test]
    fn an_answer_that_is_not_http_is_named_as_such() {
        let address = Address::parse("ws://h:22").unwrap();
        let error = parse_head(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", &address).err();
        assert_eq!(error, Some(CallerError::NotHttp { at: "h:22".into() }));
        assert!(parse_head(b"HTTP/1.1 400 Bad", &address).unwrap().is_none());
    }
}
