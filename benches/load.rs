//! What a call costs the gateway in all: real calls over loopback sockets, with the program in a process of its own on
//! one core, and model servers and callers in this one on the others.
//!
//! `cargo bench --bench load`, or `cargo bench --bench load -- --calls 50,100 --formats opus,pcm16 --seconds 20`.
//! Speech goes both ways at the speed at which it is spoken; everybody sends what was encoded before, so that the
//! measured process alone runs codecs. docs/benchmarks.md has results and says what the columns are. Linux only.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, prints its results and has a clock of its own"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use secrecy::{ExposeSecret, SecretString};
use tandem::audio::ogg::OggMuxer;
use tandem::audio::opus::OpusEncoder;
use tandem::audio::packet::OpusPacket;
use tandem::audio::resampler::Resampler;
use tandem::auth::{SigningKey, TokenRules, Tokens, UserId};
use tandem::http::identity::unix_now_seconds;
use tandem::protocol::moshi::{Message as Moshi, TextPiece};
use tandem::sim::wav;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{accept_async, connect_async};

const SECRET: &str = "a-secret-for-benchmarks-0123456789abcdef";

/// The core of the measured process.
const CORE: &str = "0";

/// The longest wait for the program to listen, and for all calls to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before it is measured, a load runs for so long.
const WARM_UP: Duration = Duration::from_secs(3);

/// A model server sends a page each step, and a word with every fourth.
const STEP: Duration = Duration::from_millis(80);

/// What one load is, and what was seen of it.
struct Load {
    begun: Instant,
    /// Calls whose model listens.
    ready: AtomicU64,
    /// Messages with audio that callers got.
    heard: AtomicU64,
    /// From a model server's word to its caller, in microseconds.
    lateness_us: Mutex<Vec<u32>>,
    caller: Speech,
    /// What model servers say, over and over: a page for each step.
    answer: Vec<Bytes>,
}

/// What a caller says, over and over.
struct Speech {
    query: &'static str,
    headers: Vec<Bytes>,
    messages: Vec<Bytes>,
    every: Duration,
}

fn packets(samples: usize) -> Vec<OpusPacket> {
    let mut encoder = OpusEncoder::new().unwrap();
    sound(24_000).chunks_exact(samples).map(|frame| encoder.encode(frame).unwrap()).collect()
}

fn sound(rate_hz: u32) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/speech_made.wav");
    Resampler::new(24_000, rate_hz).unwrap().push(&wav::read(&path).unwrap())
}

fn pcm16(query: &'static str, rate_hz: u32) -> Speech {
    let sound = sound(rate_hz);
    let frames = sound.chunks_exact(rate_hz as usize / 50);
    let bytes = |frame: &[f32]| -> Bytes {
        frame.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect::<Vec<u8>>().into()
    };
    Speech { query, headers: Vec::new(), messages: frames.map(bytes).collect(), every: Duration::from_millis(20) }
}

fn speech(format: &str) -> Speech {
    match format {
        "opus" => Speech {
            query: "audio=opus",
            headers: Vec::new(),
            messages: packets(480).iter().map(|packet| packet.bytes().clone()).collect(),
            every: Duration::from_millis(20),
        },
        "ogg-opus" => {
            let mut muxer = OggMuxer::new(1);
            let headers = muxer.headers().into();
            let messages = packets(480).chunks(4).map(|packets| muxer.page(packets)).collect();
            Speech { query: "audio=ogg-opus", headers, messages, every: STEP }
        }
        "pcm16" => pcm16("audio=pcm16&rate=24000", 24_000),
        "pcm16-16k" => pcm16("audio=pcm16&rate=16000", 16_000),
        "pcm16-48k" => pcm16("audio=pcm16&rate=48000", 48_000),
        other => panic!("formats are opus, ogg-opus, pcm16, pcm16-16k and pcm16-48k, not {other}"),
    }
}

fn answer() -> Vec<Bytes> {
    let mut muxer = OggMuxer::new(2);
    let packets = packets(1_920);
    let pages = packets.iter().map(|packet| Moshi::Audio(muxer.page(std::slice::from_ref(packet))).encode());
    pages.collect()
}

/// A model server that reads no prompt: it listens at once, answers in real time and hears nothing.
async fn model_server(listener: TcpListener, load: Arc<Load>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let Ok(socket) = accept_async(stream).await else { continue };
        let (mut sink, mut heard) = socket.split();
        let headers = OggMuxer::new(2).headers().map(Moshi::Audio);
        for message in [Moshi::Handshake(Bytes::new())].into_iter().chain(headers) {
            let _ = sink.send(Message::Binary(message.encode())).await;
        }
        let mut clock = interval(STEP);
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut step = 0;
        loop {
            tokio::select! {
                _ = clock.tick() => {
                    let page = load.answer[step % load.answer.len()].clone();
                    if step % 4 == 0 {
                        let now = load.begun.elapsed().as_micros().to_string();
                        let word = Moshi::Text(TextPiece::new(&now)).encode();
                        let _ = sink.feed(Message::Binary(word)).await;
                    }
                    if sink.send(Message::Binary(page)).await.is_err() {
                        break;
                    }
                    step += 1;
                }
                message = heard.next() => match message {
                    Some(Ok(message)) if !message.is_close() => {}
                    _ => break,
                }
            }
        }
    }
}

/// A caller who talks until the load is over.
async fn caller(port: u16, token: SecretString, load: Arc<Load>) {
    let speech = &load.caller;
    let mut request = format!("ws://127.0.0.1:{port}/v1/voice?{}", speech.query).into_client_request().unwrap();
    let bearer = format!("Bearer {}", token.expose_secret());
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    let (socket, _) = connect_async(request).await.expect("the call is taken");
    let (mut sink, mut heard) = socket.split();
    let mut clock = interval(speech.every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut said = speech.headers.iter().chain(speech.messages.iter().cycle());
    let mut listening = false;
    loop {
        tokio::select! {
            _ = clock.tick(), if listening => {
                let message = said.next().unwrap().clone();
                sink.send(Message::Binary(message)).await.expect("the call goes on");
            }
            message = heard.next() => match message.expect("the call goes on").expect("the call goes on") {
                Message::Binary(_) => {
                    load.heard.fetch_add(1, Relaxed);
                }
                Message::Text(text) => {
                    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
                    match event["type"].as_str() {
                        Some("session.ready") => {
                            listening = true;
                            clock.reset();
                            load.ready.fetch_add(1, Relaxed);
                        }
                        Some("transcript.delta") => note_word(&load, event["text"].as_str().unwrap()),
                        Some("error" | "session.ended") => panic!("{text}"),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

fn note_word(load: &Load, sent_us: &str) {
    if let Ok(sent_us) = sent_us.parse::<u128>() {
        let late = load.begun.elapsed().as_micros().saturating_sub(sent_us);
        load.lateness_us.lock().unwrap().push(u32::try_from(late).unwrap_or(u32::MAX));
    }
}

/// The measured program. It is killed at the end.
struct Program {
    child: Child,
    port: u16,
    state: std::path::PathBuf,
}

impl Program {
    async fn start(servers: &[String]) -> Program {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let state = std::env::temp_dir().join(format!("tandem-load-{}", std::process::id()));
        let mut command = Command::new("taskset");
        command.args(["-c", CORE, env!("CARGO_BIN_EXE_tandem"), "serve"]).env_clear();
        command.envs([
            ("PERSONAPLEX_SERVER_URL", servers.join(",")),
            ("JWT_SECRET", SECRET.to_owned()),
            ("PORT", port.to_string()),
            ("TANDEM__STATE__DIR", state.display().to_string()),
            ("TANDEM__LOGGING__LEVEL", "warn".to_owned()),
        ]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("taskset (util-linux) is there");
        let listens = async {
            let mut look = interval(Duration::from_millis(50));
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                look.tick().await;
            }
        };
        timeout(PATIENCE, listens).await.expect("the program listens");
        Program { child, port, state }
    }

    /// The CPU time of the process in user and kernel mode (proc_pid_stat(5), fields 14 and 15).
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
    }

    /// Resident memory in MiB.
    fn memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.state);
    }
}

async fn measure(format: &str, calls: usize, window: Duration) {
    let load = Arc::new(Load {
        begun: Instant::now(),
        ready: AtomicU64::new(0),
        heard: AtomicU64::new(0),
        lateness_us: Mutex::new(Vec::new()),
        caller: speech(format),
        answer: answer(),
    });
    let mut servers = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..calls {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        servers.push(format!("ws://{}", listener.local_addr().unwrap()));
        tasks.spawn(model_server(listener, Arc::clone(&load)));
    }
    let program = Program::start(&servers).await;
    let tokens = Tokens::new(SigningKey::new(&SecretString::from(SECRET)).unwrap(), TokenRules::default());
    let mut spread = interval(Duration::from_millis(10));
    for user in 0..calls {
        spread.tick().await;
        let user = UserId::new(format!("user-{user}")).unwrap();
        let token = tokens.mint(&user, Duration::from_secs(3_600), unix_now_seconds()).unwrap();
        tasks.spawn(caller(program.port, token, Arc::clone(&load)));
    }
    let all_ready = async {
        while load.ready.load(Relaxed) < calls as u64 {
            spread.tick().await;
        }
    };
    timeout(PATIENCE, all_ready).await.expect("all calls are ready");
    tokio::time::sleep(WARM_UP).await;
    let (cpu, heard, begun) = (program.cpu(), load.heard.load(Relaxed), Instant::now());
    load.lateness_us.lock().unwrap().clear();
    tokio::time::sleep(window).await;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_ms = (program.cpu() - cpu).as_secs_f64() * 1_000.0;
    let heard = (load.heard.load(Relaxed) - heard) as f64 / (calls as f64 * seconds / STEP.as_secs_f64());
    if let Some(Err(failed)) = tasks.try_join_next() {
        std::panic::resume_unwind(failed.into_panic());
    }
    let mut late = std::mem::take(&mut *load.lateness_us.lock().unwrap());
    late.sort_unstable();
    let late_ms = |share: f64| f64::from(late[(late.len() as f64 * share) as usize]) / 1_000.0;
    let per_call = cpu_ms / (calls as f64 * seconds);
    println!(
        "| {format} | {calls} | {per_call:.2} | {:.0} % | {:.0} | {:.1} % | {:.1} | {:.1} | {} |",
        cpu_ms / seconds / 10.0,
        1_000.0 / per_call,
        heard * 100.0,
        late_ms(0.5),
        late_ms(0.99),
        program.memory_mib(),
    );
}

/// The value of a flag, or what it is without.
fn flag<'a>(words: &'a [String], name: &str, default: &'a str) -> &'a str {
    words.windows(2).find(|pair| pair[0] == name).map_or(default, |pair| &pair[1])
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let calls = flag(&words, "--calls", "50,100,200");
    let formats = flag(&words, "--formats", "opus,ogg-opus,pcm16,pcm16-48k");
    let window = Duration::from_secs(flag(&words, "--seconds", "10").parse().expect("--seconds is a number"));
    let others = format!("1-{}", std::thread::available_parallelism().unwrap().get() - 1);
    let moved = Command::new("taskset").args(["-cp", &others, &std::process::id().to_string()]).output();
    assert!(moved.is_ok_and(|moved| moved.status.success()), "this needs taskset and a second core");
    println!("| format | calls | CPU ms a call-second | core | calls a core | came | p50 ms | p99 ms | MiB |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for format in formats.split(',') {
        for calls in calls.split(',') {
            measure(format, calls.parse().expect("--calls are numbers"), window).await;
        }
    }
}
