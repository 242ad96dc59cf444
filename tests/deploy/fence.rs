//! The fence before a model server: whatever comes, the server has one socket at most, and nothing of a call is kept.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use secrecy::SecretString;
use tandem::{
    auth::UserId,
    cli::make_server_certificate,
    config,
    gateway::{Gateway, Rehearsal},
    http::identity::unix_now_seconds,
    sim::{
        caller::{self, Audio, CallerSettings, Credential, HangUp, Wire},
        upstream::{self, Answer, CallEnd, Simulator},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::{path, run, text};

const FENCE: &str = "config/personaplex/haproxy.cfg";
const SECRET: &str = "a secret of thirty-two bytes or more";
const PATIENCE: Duration = Duration::from_secs(20);

/// A fence with a server behind it. Its port is ours from the start, so nobody has to wait until it listens.
struct Fence {
    child: Child,
    addr: SocketAddr,
    server: Simulator,
}

impl Fence {
    /// Nothing where there is no haproxy and need not be one.
    async fn start() -> Option<Fence> {
        let settings = upstream::Settings { answer: Answer::Silence, ..upstream::Settings::instant() };
        Fence::before(Simulator::start(settings).await.unwrap(), &[])
    }

    fn before(server: Simulator, variables: &[(&str, &str)]) -> Option<Fence> {
        let haproxy = haproxy();
        run(haproxy, &["-v"])?;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut command = Command::new(haproxy);
        command.args(["-db", "-f"]).arg(path(FENCE));
        command.envs([("FENCE_ADDRESS", "fd@0"), ("MODEL_ADDRESS", &server.addr().to_string())]);
        command.envs(variables.iter().copied());
        command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).stderr(Stdio::piped());
        Some(Fence { child: command.spawn().unwrap(), addr, server })
    }

    /// A socket that asked this, and the status and the rest of the head that it was answered with.
    async fn ask(&self, request: &str) -> (TcpStream, u16, String) {
        let asking = async {
            let mut socket = TcpStream::connect(self.addr).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let byte = socket.read_u8().await.unwrap_or_else(|error| panic!("no whole answer: {error}"));
                head.push(byte);
            }
            (socket, String::from_utf8(head).unwrap())
        };
        let (socket, head) = tokio::time::timeout(PATIENCE, asking).await.expect("the fence answers");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (socket, status, head.to_lowercase())
    }

    async fn call(&self) -> (TcpStream, u16, String) {
        self.ask(&upgrade("/api/chat?text_prompt=hush-7391&voice_prompt=NATF0.pt")).await
    }

    /// A call as soon as the server is free again.
    async fn call_when_free(&self) -> TcpStream {
        let patience = Instant::now() + PATIENCE;
        loop {
            let (socket, status, _) = self.call().await;
            if status == 101 {
                return socket;
            }
            assert!(status == 503 && Instant::now() < patience, "{status}");
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian has it where not everybody's PATH looks.
pub fn haproxy() -> &'static str {
    let debian = "/usr/sbin/haproxy";
    if std::path::Path::new(debian).exists() { debian } else { "haproxy" }
}

fn upgrade(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: model\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[tokio::test]
async fn the_second_caller_is_refused_at_once_and_the_next_one_is_served_after_the_first() {
    let Some(fence) = Fence::start().await else { return };
    let (first, status, _) = fence.call().await;
    assert_eq!(status, 101);
    let (_, status, head) = fence.call().await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 15"), "{head}");
    assert!(text(FENCE).contains("timeout queue 1ms"), "nobody is kept waiting");
    drop(first);
    fence.server.wait_for(|calls| calls.len() == 1 && calls[0].end.is_some(), PATIENCE).await.unwrap();
    let second = fence.call_when_free().await;
    fence.server.wait_for(|calls| calls.len() == 2, PATIENCE).await.unwrap();
    assert_eq!(fence.server.peak_open_sockets(), 1);
    drop(second);
}

#[tokio::test]
async fn of_many_who_come_together_one_gets_through() {
    let Some(fence) = Fence::start().await else { return };
    let answers = futures_util::future::join_all((0..40).map(|_| fence.call())).await;
    let count = |wanted: u16| answers.iter().filter(|(_, status, _)| *status == wanted).count();
    assert_eq!((count(101), count(503)), (1, 39));
    assert_eq!((fence.server.peak_open_sockets(), fence.server.log().len()), (1, 1));
}

#[tokio::test]
async fn a_server_that_ends_a_call_is_free_and_one_that_is_gone_is_refused() {
    let Some(fence) = Fence::start().await else { return };
    // An unknown voice: the real server ends the stream after its 101.
    let (mut socket, status, _) = fence.ask(&upgrade("/api/chat?text_prompt=a&voice_prompt=nobody.pt")).await;
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the end comes through").unwrap();
    assert_eq!((status, rest.as_slice()), (101, &b""[..]));
    let first = fence.call_when_free().await;
    drop(first);
    fence.server.wait_for(|calls| calls.iter().all(|call| call.end.is_some()), PATIENCE).await.unwrap();
    fence.server.stop();
    fence.server.port_closed().await;
    let (_, status, _) = fence.ask(&upgrade("/api/chat?text_prompt=a&voice_prompt=NATF0.pt")).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn a_probe_is_answered_in_a_call_and_nothing_else_gets_through() {
    let Some(fence) = Fence::start().await else { return };
    let (_call, status, _) = fence.call().await;
    assert_eq!(status, 101);
    let request = |line: &str| format!("{line} HTTP/1.1\r\nHost: model\r\n\r\n");
    for (line, status) in [
        ("GET /api/chat", 400),
        ("HEAD /api/chat", 400),
        ("POST /api/chat", 405),
        ("GET /", 404),
        ("GET /api/chat/", 404),
        ("GET /api//chat", 404),
        ("GET /api/chat%2f", 404),
    ] {
        let (_, answered, head) = fence.ask(&request(line)).await;
        assert_eq!((answered, head.contains("aiohttp")), (status, status == 400), "{line}: {head}");
    }
    for header in ["Upgrade: WebSocket", "upgrade: h2c, websocket", "Upgrade:websocket", "Upgrade: "] {
        let asked = upgrade("/api/chat?text_prompt=x&voice_prompt=NATF0.pt").replace("Upgrade: websocket", header);
        assert_eq!(fence.ask(&asked).await.1, 503, "{header} is a call, as far as anybody knows");
    }
    assert_eq!((fence.server.log().len(), fence.server.peak_open_sockets()), (1, 1));
}

#[tokio::test]
async fn a_vanished_callers_socket_is_watched_on_both_sides() {
    let Some(fence) = Fence::start().await else { return };
    let (_call, status, _) = fence.call().await;
    assert_eq!(status, 101);
    fence.server.wait_for(|calls| calls.first().is_some_and(|call| call.handshake), PATIENCE).await.unwrap();
    for filter in [format!("sport = :{}", fence.addr.port()), format!("dport = :{}", fence.server.addr().port())] {
        let Some(told) = run("ss", &["-Htno", "state", "established", &filter]) else { return };
        let told = String::from_utf8(told.stdout).unwrap();
        // "timer:(keepalive,9.812ms,0)" is 9.812 s: the kernel asks the peer when nothing came for 10 s.
        let left = told.split("timer:(keepalive,").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
        let seconds: f64 = left.trim_end_matches("ms").trim_end_matches("sec").parse().unwrap_or(f64::INFINITY);
        assert!(seconds <= 10.0, "{filter} has no keepalive of 10 s: {told}");
    }
    let settings = text(FENCE);
    for word in ["clitcpka-idle 10s", "clitcpka-intvl 5s", "clitcpka-cnt 2", "tcp-ut 20s"] {
        assert!(settings.contains(word), "{word}");
    }
}

#[tokio::test]
async fn nothing_of_a_call_is_kept() {
    let Some(mut fence) = Fence::start().await else { return };
    let (first, _, _) = fence.call().await;
    let (_, refused, _) = fence.call().await;
    let bad = fence.ask("GET /api/chat?text_prompt=hush-7391 \0 HTTP/9\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!((refused, bad.1), (503, 400));
    drop(first);
    fence.child.kill().unwrap();
    let mut said = String::new();
    fence.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    fence.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!said.contains("hush") && !said.contains("/api/chat"), "{said}");
    let settings = text(FENCE);
    let words = settings.lines().filter_map(|line| line.split_whitespace().next());
    let telling: Vec<&str> = words.filter(|word| ["log", "stats", "capture", "trace"].contains(word)).collect();
    assert!(telling.is_empty(), "{telling:?}");
}

#[tokio::test]
async fn a_whole_call_passes_through() {
    let server = Simulator::start(upstream::Settings::instant()).await.unwrap();
    let Some(fence) = Fence::before(server, &[]) else { return };
    let settings = CallerSettings {
        wire: Wire::Moshi,
        text_prompt: Some("hush-7391".into()),
        voice: Some("NATF0".to_owned()),
        hang_up: HangUp::AfterSource { tail: Duration::from_secs(2) },
        source: vec![0.1; 24_000].into(),
        ..CallerSettings::new(format!("ws://{}", fence.addr))
    };
    let report = tokio::time::timeout(PATIENCE, caller::call(settings)).await.unwrap();
    assert!(report.error.is_none(), "{report:?}");
    let calls = fence.server.wait_for(|calls| calls[0].end.is_some(), PATIENCE).await.unwrap();
    assert!(matches!(calls[0].end, Some(CallEnd::ClientClosed(_))) && calls[0].frames_out > 20, "{calls:?}");
}

/// A Tandem that believes the server to be its own, and a caller of it.
fn tandem_over(server: &str, user: &str) -> (Gateway, CallerSettings) {
    let variables = [
        ("PERSONAPLEX_SERVER_URL", server.to_owned()),
        ("PORT", "0".to_owned()),
        ("JWT_SECRET", SECRET.to_owned()),
        ("TANDEM__STATE__LEDGER", "off".to_owned()),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value)).into();
    let settings = config::load(None, &environment).unwrap();
    let gateway = Gateway::start(&settings, &SecretString::from(SECRET), Rehearsal::default()).unwrap();
    let token =
        gateway.doors.tokens.mint(&UserId::new(user).unwrap(), Duration::from_secs(60), unix_now_seconds()).unwrap();
    let caller = CallerSettings {
        wire: Wire::Native(Audio::Opus),
        credential: Credential::Bearer(token),
        text_prompt: Some(format!("the prompt of {user}").into()),
        ..CallerSettings::new(format!("http://{}", gateway.address))
    };
    (gateway, caller)
}

#[actix_web::test]
async fn two_gateways_that_know_nothing_of_each_other_never_meet_at_the_server() {
    let server = Simulator::start(upstream::Settings::instant()).await.unwrap();
    let Some(fence) = Fence::before(server, &[]) else { return };
    let url = format!("ws://{}", fence.addr);
    let (first, ann) = tandem_over(&url, "ann");
    let (second, bob) = tandem_over(&url, "bob");
    let (one, other) =
        tokio::time::timeout(PATIENCE * 3, async { tokio::join!(caller::call(ann), caller::call(bob)) }).await.unwrap();
    assert!(one.went_well() || other.went_well(), "{one:?} {other:?}");
    assert_eq!(fence.server.peak_open_sockets(), 1);
    for call in fence.server.log() {
        let (asked, given) = (call.prompt_asked.unwrap(), call.prompt_given.unwrap());
        assert!(given.expose().contains(asked.expose()), "a call was given another's prompt");
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn who_does_not_know_the_path_is_told_of_nothing() {
    let server = Simulator::start(upstream::Settings::instant()).await.unwrap();
    let Some(fence) = Fence::before(server, &[("FENCE_PREFIX", "/4ZbmD8qk")]) else { return };
    for target in ["/api/chat", "/4ZbmD8qk", "/4ZbmD8qk/api/chat/", "/4zbmd8qk/api/chat", "//4ZbmD8qk/api/chat"] {
        assert_eq!(
            fence.ask(&upgrade(&format!("{target}?text_prompt=a&voice_prompt=NATF0.pt"))).await.1,
            404,
            "{target}"
        );
    }
    let (_call, status, _) = fence.ask(&upgrade("/4ZbmD8qk/api/chat?text_prompt=a&voice_prompt=NATF0.pt")).await;
    let calls = fence.server.wait_for(|calls| calls.len() == 1 && calls[0].handshake, PATIENCE).await.unwrap();
    assert_eq!((status, calls[0].query_keys.len()), (101, 2), "{calls:?}");
}

#[tokio::test]
async fn its_health_is_that_of_the_server() {
    let Some(fence) = Fence::start().await else { return };
    let request = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let (_call, _, _) = fence.call().await;
    assert_eq!(fence.ask(request).await.1, 200, "a server in a call is up");
    fence.server.kill();
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let patience = Instant::now() + PATIENCE * 2;
    while fence.ask(request).await.1 != 503 {
        assert!(Instant::now() < patience, "the fence takes a dead server for a live one");
        looks.tick().await;
    }
    assert_eq!(fence.server.peak_open_sockets(), 1, "no check opens a call");
}

#[actix_web::test]
async fn a_public_fence_takes_calls_over_tls_from_who_knows_its_path() {
    let keys = std::env::temp_dir().join(format!("tandem-fence-{}", uuid::Uuid::new_v4()));
    let pin = make_server_certificate(&keys, &[]).unwrap();
    let both = ["cert.pem", "key.pem"].map(|name| std::fs::read_to_string(keys.join(name)).unwrap()).concat();
    std::fs::write(keys.join("fence.pem"), both).unwrap();
    let tls = format!("ssl crt {} alpn http/1.1", keys.join("fence.pem").display());
    let server = Simulator::start(upstream::Settings::instant()).await.unwrap();
    let Some(fence) = Fence::before(server, &[("FENCE_PREFIX", "/4ZbmD8qk"), ("FENCE_TLS", &tls)]) else { return };
    let (gateway, ann) = tandem_over(&format!("wss://{}/4ZbmD8qk#pin={pin}", fence.addr), "ann");
    let report = tokio::time::timeout(PATIENCE, caller::call(ann)).await.unwrap();
    assert!(report.went_well(), "{report:?}");
    gateway.stop().await;
    std::fs::remove_dir_all(&keys).unwrap();
}
