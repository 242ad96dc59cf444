//! A whole run, and what must not be in anything that it leaves: its log, its spans, its metrics.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use serde_json::Value;
use tandem::{
    auth::{SigningKey, TokenRules, Tokens, UserId},
    http::identity::unix_now_seconds,
    sim::upstream::{self, Answer, Simulator},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use crate::{
    caller::Call,
    collector::{Collector, hex},
    house::{PATIENCE, SECRET},
};

/// Each is something that only one place may know.
const USER: &str = "planted-user-zoe";
const NAME: &str = "Plantedname Quux";
const PROMPT: &str = "plantedprompt";
const QUERY: &str = "plantedquery";
const HEADER: &str = "plantedheader";
const OPERATOR: &str = "plantedoperatorkey-0123456789abcdef";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A gateway in a process of its own, whose every word is kept.
struct Run {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    home: PathBuf,
    url: String,
}

impl Run {
    async fn start(server: &str, collector: &str) -> Run {
        let home = std::env::temp_dir().join(format!("tandem-traces-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&home).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.current_dir(&home).env_clear().env("JWT_SECRET", SECRET);
        let added = command.args(["user", "add", USER, "--name", NAME, "--mood", PROMPT]).output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command
            .arg("serve")
            .current_dir(&home)
            .env_clear()
            .envs([("PERSONAPLEX_SERVER_URL", server), ("PORT", "0"), ("JWT_SECRET", SECRET)])
            .envs([("TANDEM__LOGGING__FORMAT", "json"), ("TANDEM__LOGGING__LEVEL", "trace")])
            .envs([("TANDEM_OPERATOR_KEY", OPERATOR), ("TANDEM__STATE__LEDGER", "off")])
            .envs([("OTEL_EXPORTER_OTLP_ENDPOINT", collector)])
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={HEADER}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, mut lines) = watch::channel(Vec::new());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                said.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        let url_of = |lines: &Vec<String>| {
            let listening = lines.iter().find_map(|line| line.split("\"url\":\"").nth(1))?;
            listening.split('"').next().map(str::to_owned)
        };
        let waiting = lines.wait_for(|lines| url_of(lines).is_some());
        let url = url_of(&tokio::time::timeout(PATIENCE, waiting).await.expect("it listens").unwrap()).unwrap();
        Run { child, lines, home, url }
    }

    async fn http(&self, head: &str) -> String {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{head}\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// Ends it as a platform does, and gives every line of its log.
    async fn stop(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        // The log ends with the process.
        let end = async { while self.lines.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, end).await.expect("it ends");
        assert!(self.child.wait().unwrap().success());
        self.lines.borrow().clone()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn token() -> String {
    use secrecy::ExposeSecret as _;
    let tokens = Tokens::new(SigningKey::new(&SecretString::from(SECRET)).unwrap(), TokenRules::default());
    let token = tokens.mint(&UserId::new(USER).unwrap(), Duration::from_secs(60), unix_now_seconds()).unwrap();
    token.expose_secret().to_owned()
}

fn reciting() -> upstream::Settings {
    upstream::Settings { answer: Answer::Recite, ..upstream::Settings::instant() }
}

/// What callers and operators do, good and bad, and the words that the assistant says meanwhile.
async fn live(run: &Run, token: &str) -> Vec<String> {
    let bearer = format!("Bearer {token}");
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("authorization", bearer.as_str()), ("traceparent", parent.as_str())];
    let path = format!("/v1/voice?audio=pcm16&text_prompt=You%20talk%20of%20{PROMPT}.&voice=NATF0&junk={QUERY}");
    let mut call = Call::at(&run.url, &path, &headers).await;
    let mut said = String::new();
    while !said.contains(PROMPT) {
        said += call.until("transcript.delta").await["text"].as_str().unwrap();
    }
    call.say("not json plantedquery").await;
    call.hang_up().await;
    // A persona that is told who calls.
    let mut call = Call::at(&run.url, "/v1/voice?audio=pcm16&persona=listener", &headers).await;
    call.until("session.ready").await;
    call.hang_up().await;
    let minted = run.http(&format!("POST /v1/tickets HTTP/1.1\r\nAuthorization: {bearer}")).await;
    let ticket = minted.split("\"ticket\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    Call::at(&run.url, &format!("/t/{ticket}/api/chat?text_prompt={PROMPT}"), &[]).await.vanish();
    for refused in [format!("/v1/voice?ticket={QUERY}"), format!("/v1/voice?token={QUERY}&persona={PROMPT}")] {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        run.http(&format!("GET {refused} HTTP/1.1\r\n{upgrade}\r\n{key}")).await;
    }
    run.http(&format!("POST /v1/wake HTTP/1.1\r\nAuthorization: Bearer {OPERATOR}")).await;
    vec![ticket, said.split_whitespace().take(4).collect::<Vec<_>>().join(" ")]
}

#[actix_web::test]
async fn what_is_private_is_in_no_line_of_the_log_no_span_and_no_metric() {
    let collector = Collector::start();
    let server = Simulator::start(reciting()).await.unwrap();
    let run = Run::start(&server.url(), &collector.url()).await;
    let token = token();
    let found = live(&run, &token).await;
    let metrics = run.http("GET /metrics HTTP/1.1").await;
    let log = run.stop().await;
    let secrets = [USER, NAME, PROMPT, QUERY, HEADER, OPERATOR, SECRET, token.as_str(), "not json"];
    let secrets: Vec<&str> = secrets.into_iter().chain(found.iter().map(String::as_str)).collect();
    let spans: Vec<Vec<u8>> = collector.taken().into_iter().map(|taken| taken.body).collect();
    for counted in ["sessions_started_total{protocol=\"native\"} 2", "context_loads_total{result=\"told\"} 1"] {
        assert!(metrics.contains(&format!("tandem_{counted}")), "{metrics}");
    }
    assert!(!spans.is_empty() && log.len() > 10);
    let heard: Vec<String> =
        server.log().iter().filter_map(|call| Some(call.prompt_asked.as_ref()?.expose().to_owned())).collect();
    for told in [PROMPT, NAME] {
        assert!(heard.iter().any(|prompt| prompt.contains(told)), "it was there to be told: {heard:?}");
    }
    for secret in secrets {
        let is_in = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        let line = log.iter().find(|line| is_in(line.as_bytes()));
        assert_eq!(line, None, "{secret} is in the log");
        assert!(!is_in(metrics.as_bytes()), "{secret} is in the metrics");
        assert!(!spans.iter().any(|span| is_in(span)), "{secret} is in a span");
    }
}

#[actix_web::test]
async fn every_line_of_a_call_says_which_call_and_which_trace() {
    let collector = Collector::start();
    let server = Simulator::start(reciting()).await.unwrap();
    let run = Run::start(&server.url(), &collector.url()).await;
    live(&run, &token()).await;
    let log = run.stop().await;
    // What a development server says to people is no line of the log.
    let lines = log.iter().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let of_sessions = |line: &&Value| line["target"].as_str().unwrap_or_default().starts_with("tandem::session::");
    let lines: Vec<&Value> = lines.iter().filter(of_sessions).collect();
    assert!(lines.len() > 6, "{log:#?}");
    for line in &lines {
        let span = &line["span"];
        assert!(span["session"].as_str().is_some_and(|id| id.len() == 36), "{line}");
        assert!(span["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{line}");
    }
    let traces: Vec<&str> = lines.iter().filter_map(|line| line["span"]["trace_id"].as_str()).collect();
    assert!(traces.contains(&TRACE), "the app's own");
    let sent: Vec<String> = collector.spans().iter().map(|span| hex(&span.trace_id)).collect();
    assert!(traces.iter().all(|trace| sent.iter().any(|sent| sent == trace)), "{traces:?} {sent:?}");
}
