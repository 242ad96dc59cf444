//! What the port says to those who do not call.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tandem::sim::upstream::{Settings, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::{Client, DEADLINE, Event, GOOD, Stream, quick, seen, start};

/// Sends bytes and reads up to the end of the stream.
async fn exchange(sim: &Simulator, request: &str) -> String {
    let mut tcp = TcpStream::connect(sim.addr()).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

fn without_date(answer: &str) -> String {
    let lines = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
    lines.collect()
}

#[tokio::test]
async fn probes_are_answered_as_recorded_and_touch_nothing() {
    let sim = start(quick()).await;
    let head = |status: &str, extra: &str, bytes: usize| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{extra}Content-Length: {bytes}\r\n\
             Server: Python/3.11 aiohttp/3.10.11\r\nConnection: close\r\n\r\n"
        )
    };
    let no_upgrade = "No WebSocket UPGRADE hdr: None\n Can \"Upgrade\" only to \"WebSocket\".";
    let bad = head("400 Bad Request", "", no_upgrade.len());
    let not_allowed = head("405 Method Not Allowed", "Allow: GET,HEAD\r\n", 23);
    for (method, path, answer) in [
        ("GET", "/api/chat?voice_prompt=NATM1.pt&text_prompt=x", format!("{bad}{no_upgrade}")),
        ("HEAD", "/api/chat", bad.clone()),
        ("POST", "/api/chat", format!("{not_allowed}405: Method Not Allowed")),
        ("OPTIONS", "/api/chat", format!("{not_allowed}405: Method Not Allowed")),
        ("GET", "/", format!("{}404: Not Found", head("404 Not Found", "", 14))),
        ("GET", "/health", format!("{}404: Not Found", head("404 Not Found", "", 14))),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(without_date(&exchange(&sim, &request).await), answer, "{method} {path}");
    }
    assert!(sim.log().is_empty() && sim.peak_open_sockets() == 0);
}

#[tokio::test]
async fn requests_may_follow_each_other_on_one_connection() {
    let sim = start(quick()).await;
    let answer = exchange(&sim, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 404 Not Found").count(), 2);
}

#[tokio::test]
async fn a_request_target_of_8190_bytes_is_the_longest() {
    let sim = start(quick()).await;
    let query = |bytes: usize| format!("{GOOD}{}", "x".repeat(bytes - "/api/chat?".len() - GOOD.len()));
    let client = Client::talk(&sim, &query(8190)).await;
    assert_eq!(sim.log()[0].target_bytes, 8190);
    drop(client);
    let refused = exchange(&sim, &format!("GET /api/chat?{} HTTP/1.1\r\n\r\n", query(8191))).await;
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{head}");
    assert_eq!(body, "Got more than 8190 bytes (8191) when reading Status line is too long.");
    assert_eq!(sim.log().len(), 1);
}

#[tokio::test]
async fn an_offer_of_compression_is_noted() {
    let sim = start(quick()).await;
    let request = "GET /api/chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let answer = without_date(&exchange(&sim, request).await);
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nServer: Python/3.11 aiohttp/3.10.11\r\n\r\n",
        "the 101 comes although the query is bad, and nothing after it"
    );
    assert!(sim.log()[0].deflate_offered);
}

#[tokio::test(start_paused = true)]
async fn a_probe_waits_while_the_model_works() {
    let block = Duration::from_secs(10);
    let sim = start(Settings { empty_packet_block: block, ..quick() }).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    client.send_audio(&[stream.head(), stream.page(b"")].concat()).await;
    seen(&sim, |calls| calls[0].audio_messages_in == 1).await;
    let begun = tokio::time::Instant::now();
    exchange(&sim, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(begun.elapsed() > block / 2, "answered after {:?}", begun.elapsed());
}

#[tokio::test]
async fn with_tls_the_certificate_is_the_one_it_shows() {
    let sim = start(Settings { tls: true, ..quick() }).await;
    assert!(sim.url().starts_with("wss://127.0.0.1:"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sim.certificate_pem().unwrap().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(sim.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let url = format!("wss://localhost/api/chat?{GOOD}");
    let (mut ws, _) = tokio_tungstenite::client_async(url, tls).await.unwrap();
    let first = timeout(DEADLINE, futures_util::StreamExt::next(&mut ws)).await.unwrap().unwrap().unwrap();
    assert_eq!(crate::client::event_of(&first.into_data()), Event::Handshake);
}
