//! An HTTP server for one test: it plays what it is told to, and keeps what it was asked.

#[cfg(feature = "docker")]
use std::path::Path;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
#[cfg(feature = "docker")]
use tokio::net::UnixListener;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, rustls};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a provider was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What it says to that.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, headers and body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// These bytes, then the end of the connection.
    Raw(String),
    /// These bytes, then nothing for ever.
    Silence(String),
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Whole(status, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::Whole(status, Vec::new(), body.to_owned())
    }

    pub fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Whole(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Whole(status, headers, body)
            }
            other => other,
        }
    }
}

type Play = Arc<Mutex<dyn FnMut(&Asked) -> Answer + Send>>;

/// A server on a port of its own, until it is dropped.
pub struct Stage {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: AbortHandle,
}

impl Stage {
    pub async fn open(play: impl FnMut(&Asked) -> Answer + Send + 'static) -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (play, log): (Play, _) = (Arc::new(Mutex::new(play)), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&play), Arc::clone(&log)));
            }
        });
        Stage { url, asked, task: task.abort_handle() }
    }

    /// The same at a socket of this machine; its URL is that of nobody.
    #[cfg(feature = "docker")]
    pub async fn at_socket(path: &Path, play: impl FnMut(&Asked) -> Answer + Send + 'static) -> Stage {
        let listener = UnixListener::bind(path).unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (play, log): (Play, _) = (Arc::new(Mutex::new(play)), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&play), Arc::clone(&log)));
            }
        });
        Stage { url: String::new(), asked, task: task.abort_handle() }
    }

    /// The same behind TLS, and the certificate in PEM, which nobody signed.
    pub async fn behind_tls(play: impl FnMut(&Asked) -> Answer + Send + 'static) -> (Stage, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (play, log): (Play, _) = (Arc::new(Mutex::new(play)), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, play, log) = (acceptor.clone(), Arc::clone(&play), Arc::clone(&log));
                tokio::spawn(async move { serve(acceptor.accept(socket).await.ok()?, play, log).await });
            }
        });
        (Stage { url, asked, task: task.abort_handle() }, made.cert.pem())
    }

    /// The same answer to everything.
    pub async fn repeating(answer: Answer) -> Stage {
        Stage::open(move |_| answer.clone()).await
    }

    /// A URL that nobody listens at.
    pub async fn empty() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Method and path of everything that was asked.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection has one request.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, play: Play, log: Arc<Mutex<Vec<Asked>>>) -> Option<()> {
    let asked = read(&mut socket).await?;
    log.lock().unwrap().push(asked.clone());
    let answer = (play.lock().unwrap())(&asked);
    let text = match &answer {
        Answer::Whole(status, headers, body) => {
            let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                write!(text, "{name}: {value}\r\n").unwrap();
            }
            text + "\r\n" + body
        }
        Answer::Raw(text) | Answer::Silence(text) => text.clone(),
    };
    socket.write_all(text.as_bytes()).await.ok()?;
    if matches!(answer, Answer::Silence(_)) {
        // Until the client gives up.
        let _ = socket.read(&mut [0]).await;
    }
    socket.shutdown().await.ok()
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(asked) = parse(&bytes) {
            return Some(asked);
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).unwrap() else { return None };
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8(header.value.to_vec()).unwrap()))
        .collect();
    let (method, path) = (request.method?.to_owned(), request.path?.to_owned());
    let mut asked = Asked { method, path, headers, body: String::new() };
    let length: usize = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    asked.body = String::from_utf8(bytes.get(head..head + length)?.to_vec()).unwrap();
    Some(asked)
}
