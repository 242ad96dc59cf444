//! Servers that are no PersonaPlex: what they do may cost a call, but never a second socket, a thread or a slot.

use std::time::Duration;

use secrecy::SecretString;
use tandem::{
    gateway::Rehearsal,
    pool::roster::{QuarantineReason, SlotState},
    protocol::ending::Ending,
    sim::caller::{self, Audio, HangUp, Wire},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{
    house::{House, PATIENCE, gateway_over},
    refusals::get,
};

/// What an odd server does once it has read the request.
#[derive(Clone, Copy)]
struct Oddity {
    /// Whether its 101 is a good one.
    accepts: bool,
    /// What it sends then.
    says: &'static [u8],
    /// Whether it hangs up when it reads our end, as every kernel does for a dead process.
    hangs_up: bool,
}

/// Serves one call in its odd way; the sender ends it, the receiver tells that our end was read.
async fn odd_server(oddity: Oddity) -> (String, oneshot::Sender<()>, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let (die, dies) = oneshot::channel();
    let (read_end, end_read) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap().to_owned();
        let key = if oddity.accepts { derive_accept_key(key.as_bytes()) } else { "bm8=".to_owned() };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {key}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(oddity.says).await.unwrap();
        if oddity.says == HALF_A_FRAME {
            stream.shutdown().await.unwrap();
        }
        let mut buffer = [0; 4096];
        while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {}
        let _ = read_end.send(());
        if !oddity.hangs_up {
            let _ = dies.await;
        }
    });
    (url, die, end_read)
}

/// The request's head, with header names in lower case.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

const READY: &[u8] = b"\x82\x01\x00";
const OPCODE: &[u8] = b"\x82\x01\x00\x83\x01\x00";
const RESERVED_BITS: &[u8] = b"\x82\x01\x00\xc2\x01\x00";
/// Ready, and the beginning of a frame of 100 bytes.
const HALF_A_FRAME: &[u8] = b"\x82\x01\x00\x82\x64\x01";
const MASKED: &[u8] = b"\x82\x01\x00\x82\x81\x00\x00\x00\x00\x01";

async fn call(house: &House) -> Option<Ending> {
    let mut settings = house.caller("ann", Wire::Native(Audio::Opus));
    settings.hang_up = HangUp::WhenTold;
    tokio::time::timeout(PATIENCE, caller::call(settings)).await.expect("the caller was never told an ending").ending
}

async fn house(url: &str) -> House {
    // The server keeps its slot: nobody else could go on with the call.
    let short = [("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "200"), ("TANDEM__SESSION__RECOVERY_SECONDS", "0")];
    House { gateway: gateway_over(url, &short, Rehearsal::default()), servers: Vec::new() }
}

#[actix_web::test]
async fn frames_that_are_none_end_the_call_and_the_slot_waits_for_the_servers_end() {
    for says in [OPCODE, RESERVED_BITS, MASKED] {
        let (url, die, end_read) = odd_server(Oddity { accepts: true, says, hangs_up: false }).await;
        let house = house(&url).await;
        assert_eq!(call(&house).await, Some(Ending::UpstreamLost));
        tokio::time::timeout(PATIENCE, end_read).await.unwrap().unwrap();
        let slots = house.slots_until(|slots| slots[0].state != SlotState::Leased).await;
        assert_eq!(slots[0].state, SlotState::Quarantined(QuarantineReason::NoCloseReply), "it still has our socket");
        for _ in 0..8 {
            assert_eq!(get(&house, "/healthz").await.status, 200, "no thread is lost to it");
        }
        drop(die);
        house.slots_until(|slots| slots[0].state == SlotState::Free).await;
    }
}

#[actix_web::test]
async fn a_server_that_hangs_up_in_answer_frees_its_slot() {
    for (accepts, says) in
        [(true, OPCODE), (true, RESERVED_BITS), (true, HALF_A_FRAME), (false, READY), (false, b"nonsense")]
    {
        let (url, _die, end_read) = odd_server(Oddity { accepts, says, hangs_up: true }).await;
        let house = house(&url).await;
        assert_eq!(call(&house).await, Some(Ending::UpstreamLost));
        tokio::time::timeout(PATIENCE, end_read).await.unwrap().unwrap();
        house.slots_until(|slots| slots[0].state == SlotState::Free).await;
    }
}

#[actix_web::test]
async fn an_upgrade_that_is_given_up_half_way_keeps_its_slot_until_the_server_lets_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let short = [
        ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "200"),
        ("TANDEM__UPSTREAMS__CONNECT_TIMEOUT_MS", "100"),
        ("TANDEM__UPSTREAMS__UPGRADE_TIMEOUT_MS", "100"),
    ];
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let house = House { gateway: gateway_over(&url, &short, Rehearsal::default()), servers: Vec::new() };
    let calling = actix_web::rt::spawn({
        let mut settings = house.caller("ann", Wire::Native(Audio::Opus));
        settings.hang_up = HangUp::After(Duration::from_secs(5));
        settings.credential = caller::Credential::Bearer(SecretString::clone(&house.token("ann")));
        caller::call(settings)
    });
    let (mut silent, _) = listener.accept().await.unwrap();
    assert!(read_head(&mut silent).await.contains("/api/chat?"));
    let report = tokio::time::timeout(PATIENCE, calling).await.unwrap().unwrap();
    assert_eq!(report.ending, Some(Ending::HandshakeTimeout), "{report:?}");
    let slots = house.slots_until(|slots| slots[0].state != SlotState::Leased).await;
    assert_eq!(slots[0].state, SlotState::Quarantined(QuarantineReason::NoCloseReply));
    drop(silent);
    house.slots_until(|slots| slots[0].state == SlotState::Free).await;
}
