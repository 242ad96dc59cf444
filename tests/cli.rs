//! The program as people run it: its arguments, its words, its exit status and its files.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::f32::consts::TAU;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

#[cfg(feature = "sentencepiece")]
#[path = "context/tokens.rs"]
mod tokens;

#[path = "cli/users.rs"]
mod users;

use tandem::sim::voice::MadeVoice;
use tandem::sim::wav;

/// The longest wait for anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(30);

/// An empty directory to work in, removed at the end.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Desk {
        let path = std::env::temp_dir().join(format!("tandem-cli-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Desk(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The program with these words, in this directory and with no variable of ours but those given.
    fn command(&self, words: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(words).current_dir(&self.0).env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
        let Output { status, stdout, stderr } = self.command(words, environment).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A program that runs until the test ends.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines }
    }

    /// The next line with these words.
    fn line(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no line with {words:?} came"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Asks it to stop, as a platform does, and gives its exit status.
    fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two seconds of something like speech: a tone that rises and stutters, so that only one shift of it fits.
fn speech() -> Vec<f32> {
    let sample = |at: u32| {
        let t = at as f32 / 24_000.0;
        let open = if (t * 5.0).fract() < 0.7 { 1.0 } else { 0.1 };
        0.4 * open * (TAU * (150.0 * t + 120.0 * t * t)).sin()
    };
    (0..48_000).map(sample).collect()
}

/// Every sixth sample is looked at, after averaging: 4 kHz holds what matters here.
const COARSE: usize = 6;

/// Where in `heard` the sound begins that is most like `said`, in samples, and how alike the two are there.
fn find(said: &[f32], heard: &[f32]) -> (usize, f32) {
    let coarse = |sound: &[f32]| -> Vec<f32> { sound.chunks(COARSE).map(|c| c.iter().sum::<f32>()).collect() };
    let (said, heard) = (coarse(said), coarse(heard));
    let energy = |sound: &[f32]| sound.iter().map(|sample| sample * sample).sum::<f32>().sqrt().max(1e-6);
    let whole = energy(&said);
    let likeness = |shift: usize| {
        let window = &heard[shift..shift + said.len()];
        let product: f32 = said.iter().zip(window).map(|(a, b)| a * b).sum();
        product / (whole * energy(window))
    };
    let shifts = 0..heard.len().saturating_sub(said.len());
    let best = shifts.map(|shift| (shift, likeness(shift))).max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or((0, 0.0), |(shift, likeness)| (shift * COARSE, likeness))
}

/// A simulated server whose model takes no time, and its URL.
fn simulator(desk: &Desk, words: &[&str]) -> (Running, String) {
    let instant = ["simulate", "--port", "0", "--step-ms", "0", "--poll-ms", "0", "--round-us", "0"];
    let running = Running::start(desk.command(&[&instant, words].concat(), &[]));
    let line = running.line("listens at");
    let url = line.rsplit(' ').next().unwrap().to_owned();
    (running, url)
}

#[test]
fn a_call_to_a_simulated_server_brings_the_callers_own_voice_back_later() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let (simulator, url) = simulator(&desk, &["--echo-delay-ms", "800"]);
    let ran = desk.run(&["call", "in.wav", "--out", "out.wav", "--wire", "moshi", "--url", &url, "--tail", "1.5"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let heard = wav::read(&desk.path("out.wav")).unwrap();
    let (shift, likeness) = find(&speech(), &heard);
    assert!(likeness > 0.85, "{likeness} at {shift}");
    // The delay, and some 20 ms of look-ahead in each of the two codecs.
    assert!((19_200..22_000).contains(&shift), "the voice came back {} ms later", shift / 24);
    assert!(ran.stdout.split_whitespace().count() >= 2, "words are printed: {ran:?}");
    assert!(ran.stderr.contains("the reply is in out.wav"), "{ran:?}");
    let line = simulator.line("call 1: ");
    assert!(line.contains("NATF0.pt") && line.contains("the client closed it (1000)"), "{line}");
    assert!(!line.contains("friendly"), "prompts are not shown: {line}");
    assert_eq!(simulator.terminate(), Some(0));
}

#[test]
fn a_call_tells_how_fast_it_was_answered() {
    let desk = Desk::new();
    let mut said = MadeVoice::new().say(23_000);
    said.extend([0.0; 52_000]);
    wav::write(&desk.path("in.wav"), &said).unwrap();
    let words = ["simulate", "--port", "0", "--step-ms", "20", "--poll-ms", "0", "--voice-steps", "1"];
    let answers = ["--answer", "converse", "--answer-delay-ms", "560", "--answer-length-ms", "1200"];
    let simulator = Running::start(desk.command(&[&words[..], &answers].concat(), &[]));
    let server = simulator.line("listens at").rsplit(' ').next().unwrap().to_owned();
    let (serving, _) = serve(&desk, &[], &[("PERSONAPLEX_SERVER_URL", &server)]);
    serving.line("Call it from another terminal");
    let ran = desk.run(&["call", "in.wav", "--tail", "0.2", "--json"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let measured_ms = report["turns"]["response_latency"]["median_ms"].as_u64().unwrap();
    let line = simulator.line("call 1: ");
    let truth = line.split_once("answered after [").unwrap().1.split_once(']').unwrap().0;
    let truth_ms: u64 = truth.parse().unwrap();
    assert!(measured_ms.abs_diff(truth_ms) <= 40, "measured {measured_ms} ms; {line}");
    assert_eq!((&report["turns"]["taken_over"], &report["turns"]["caller_turns"]), (&1.into(), &1.into()), "{report}");

    let ran = desk.run(&["call", "in.wav", "--tail", "0.2"], &[]);
    assert!(ran.stderr.contains("answered after") && ran.stderr.contains("were answered 1 times (median "), "{ran:?}");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_call_for_programs_prints_one_json_object() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()[..4800]).unwrap();
    let (simulator, url) = simulator(&desk, &["--tls", "--show-prompts"]);
    let words = ["call", "in.wav", "--wire", "moshi", "--url", &url, "--tail", "0.2", "--json"];
    let ran = desk.run(&[&words[..], &["--prompt", "Be brief.", "--voice", "VARM3"]].concat(), &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report["sent_seconds"].as_f64().unwrap() >= 0.2, "{report}");
    assert_eq!((&report["error"], ran.stderr.as_str()), (&serde_json::Value::Null, ""));
    assert!(simulator.line("call 1: ").contains("VARM3.pt"));
    assert!(simulator.line("was given").contains("Be brief."));
}

#[test]
fn a_call_that_the_server_breaks_off_fails_and_leaves_what_was_heard() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let (_simulator, url) = simulator(&desk, &["--echo-delay-ms", "80", "--fault", "finish:0.5"]);
    let ran = desk.run(&["call", "in.wav", "--out", "out.wav", "--wire", "moshi", "--url", &url], &[]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the connection was lost during the call"), "{ran:?}");
    let heard = wav::read(&desk.path("out.wav")).unwrap();
    assert!((2_000..24_000).contains(&heard.len()), "{}", heard.len());
}

#[test]
fn ctrl_c_hangs_up_politely_and_keeps_what_was_heard() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech().repeat(30)).unwrap();
    let (simulator, url) = simulator(&desk, &["--echo-delay-ms", "80"]);
    let words = ["call", "in.wav", "--out", "out.wav", "--wire", "moshi", "--url", &url];
    let mut calling = Running::start(desk.command(&words, &[]));
    calling.line("the model listens");
    calling.signal("INT");
    calling.line("hung up");
    calling.line("the reply is in out.wav");
    assert_eq!(calling.child.wait().unwrap().code(), Some(0));
    assert!(fs::read(desk.path("out.wav")).unwrap().starts_with(b"RIFF"), "even when nothing was heard yet");
    assert!(simulator.line("call 1: ").contains("the client closed it (1000)"));
}

#[test]
fn a_simulated_server_on_a_port_in_use_says_so() {
    let desk = Desk::new();
    let (_first, url) = simulator(&desk, &[]);
    let port = url.rsplit(':').next().unwrap().to_owned();
    let ran = desk.run(&["simulate", "--port", &port], &[]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains(&format!("port {port} is in use")), "{ran:?}");
}

#[test]
fn a_call_that_cannot_be_placed_says_what_to_do() {
    let desk = Desk::new();
    wav::write(&desk.path("good.wav"), &[0.0; 480]).unwrap();
    fs::write(desk.path("text.wav"), "no sound").unwrap();
    for (words, sentence) in [
        (&["missing.wav"][..], "missing.wav cannot be opened"),
        (&["text.wav"], "text.wav is not a WAV file"),
        (&["good.wav"], "start `tandem serve` in this directory, or give --url"),
        (&["good.wav", "--url", "localhost"], "expected one like http://127.0.0.1:8080"),
        (&["good.wav", "--url", "ws://127.0.0.1:9", "--out", "no/where.wav"], "there is no directory no"),
        (&["good.wav", "--url", "ws://127.0.0.1:9", "--token", "a b"], "characters that no token has"),
        (&["good.wav", "--url", "ws://127.0.0.1:9"], "nothing listens at 127.0.0.1:9: is `tandem serve` running?"),
    ] {
        let ran = desk.run(&[&["call"], words].concat(), &[]);
        assert_eq!(ran.status, Some(1), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?}: {ran:?}");
    }
    let ran = desk.run(&["call", "good.wav", "--url", "ws://127.0.0.1:9", "--json"], &[]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.status, &report["error"]["code"]), (Some(1), &"connection_refused".into()));
}

#[test]
fn a_token_is_signed_with_the_configured_secret_or_the_one_of_the_state_directory() {
    let desk = Desk::new();
    let secret = "a-secret-of-more-than-thirty-two-bytes";
    let ran = desk.run(&["token", "--user", "ada"], &[("JWT_SECRET", secret)]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stdout.trim().split('.').count(), 3);
    assert!(!desk.path(".tandem").exists());

    let named = desk.run(&["token", "--user", "ada", "--secret-env", "OTHER"], &[("OTHER", secret)]);
    let header = |ran: &Ran| ran.stdout.split('.').next().map(str::to_owned);
    assert_eq!(header(&named), header(&ran));
    let unset = desk.run(&["token", "--user", "ada", "--secret-env", "OTHER"], &[]);
    assert!(unset.status == Some(1) && unset.stderr.contains("OTHER is not set"), "{unset:?}");

    let ran = desk.run(&["token", "--user", "ada", "--ttl-seconds", "60"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let file = desk.path(".tandem/secret");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    assert_eq!(desk.run(&["token", "--user", "bob"], &[]).status, Some(0));
    assert_eq!(fs::read(&file).unwrap(), before, "one secret for all tokens");
    assert_eq!(desk.run(&["token", "--user", ""], &[]).status, Some(1));
}

#[test]
fn a_check_tells_all_problems_at_once() {
    let desk = Desk::new();
    let environment = [("TANDEM_MODE", "production"), ("PORT", "eighty"), ("TANDEM__LISTEN__PROT", "1")];
    let ran = desk.run(&["check"], &environment);
    assert_eq!(ran.status, Some(1));
    for name in ["PORT", "TANDEM__LISTEN__PROT", "JWT_SECRET", "PERSONAPLEX_SERVER_URL"] {
        assert!(ran.stderr.contains(name), "{name}: {ran:?}");
    }
}

#[test]
fn a_check_tries_out_the_files_that_serve_would_use() {
    let desk = Desk::new();
    for (name, value) in [("TANDEM__UPSTREAMS__CA_FILE", "/nope.pem"), ("TANDEM__STATE__DIR", "/proc/x")] {
        let ran = desk.run(&["check", "--offline"], &[(name, value)]);
        assert!(ran.status == Some(1) && ran.stderr.contains(value), "{ran:?}");
    }
}

#[test]
fn a_check_says_to_whom_transcripts_go() {
    let desk = Desk::new();
    let url = ("TANDEM__RECAP__URL", "https://llm.example.org/v1/chat/completions");
    let (model, key) = (("TANDEM__RECAP__MODEL", "small"), ("TANDEM__RECAP__API_KEY", "hush-hush"));
    let ran = desk.run(&["check", "--offline"], &[url, model, key]);
    assert!(ran.stdout.contains("Transcripts of calls go to llm.example.org,"), "{ran:?}");
    assert!(ran.status == Some(0) && !ran.stdout.contains("hush-hush"), "{ran:?}");
    assert!(!desk.run(&["check", "--offline"], &[model]).stdout.contains("Transcripts of calls"));
    let open = ("TANDEM__RECAP__URL", "http://llm.internal/v1/chat/completions");
    let ran = desk.run(&["check", "--offline"], &[open]);
    assert!(ran.status == Some(1) && !ran.stderr.contains("llm.internal"), "{ran:?}");
    for words in ["recap.url", "recap.insecure", "TANDEM__RECAP__MODEL"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    let ran = desk.run(&["check", "--offline"], &[open, model, ("TANDEM__RECAP__INSECURE", "true")]);
    assert!(ran.status == Some(0) && ran.stdout.contains("go to llm.internal,"), "{ran:?}");
}

#[test]
fn a_check_shows_the_personas_and_tells_what_is_wrong_with_them() {
    let desk = Desk::new();
    fs::create_dir(desk.path("cast")).unwrap();
    let coach = "name = \"coach\"\ndescription = \"Coaches.\"\nvoice = \"VARM4\"\ntemplate = \"You are a coach.\"\n\
                 [budget]\ntokens = 400\n";
    fs::write(desk.path("cast/coach.toml"), coach).unwrap();
    let environment = [("TANDEM__PERSONA__DIR", "cast"), ("TANDEM__PERSONA__DEFAULT", "coach")];
    let ran = desk.run(&["check", "--offline"], &environment);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let shown =
        |name: &str| ran.stdout.lines().find(|line| line.starts_with(&format!("  {name} "))).unwrap().to_owned();
    assert!(shown("coach").contains("VARM4") && shown("coach").ends_with("Coaches.   <- default"), "{ran:?}");
    assert!(shown("listener").contains("to 300 tokens") && shown("listener").ends_with("Knows its caller."), "{ran:?}");
    assert!(ran.stdout.contains("Warning: persona coach: a prompt of 400 tokens takes"), "{ran:?}");
    fs::write(desk.path("cast/coach.toml"), coach.replace("a coach.", "a coach {{ nmae }}.")).unwrap();
    for words in [["check", "--offline"].as_slice(), &["serve", "--port", "0"]] {
        let ran = desk.run(words, &environment);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        let told =
            "persona coach, line 4, column 12: template, line 1, column 20: there is no variable nmae; there are name";
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
}

/// A file of users, as the tests of prompts have it.
const USERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/users.json");

#[test]
fn a_prompt_is_printed_alone_and_its_cost_beside_it() {
    let desk = Desk::new();
    let words = ["prompt", "--persona", "listener", "--user", "maria", "--context", USERS, "--date", "2026-11-23"];
    let ran = desk.run(&words, &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(ran.stdout.contains("Yesterday Maria wrote: \"Slept badly again."), "{ran:?}");
    let prompts = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/prompts.txt")).unwrap();
    assert!(prompts.contains(&ran.stdout), "the same prompt as in the tests of prompts");
    for told in ["tokens", "of 8146 bytes", " s until the model listens", "goals       0 of 2   2 left out"] {
        assert!(ran.stderr.contains(told), "{told}: {ran:?}");
    }
    let bare = desk.run(&["prompt"], &[]);
    assert!(bare.stdout.starts_with("You are a wise and friendly teacher."), "{bare:?}");
}

#[test]
fn a_prompt_is_made_of_what_the_store_knows() {
    let desk = Desk::new();
    let added = desk.run(&["user", "add", "ann", "--name", "Ann", "--mood", "calm"], &[]);
    assert_eq!(added.status, Some(0), "{added:?}");
    let ran = desk.run(&["prompt", "--user", "ann", "--persona", "listener"], &[]);
    assert!(ran.stdout.ends_with("Information: Mood: calm.\n") && ran.stdout.contains("with Ann about"), "{ran:?}");
}

#[test]
fn a_prompt_that_cannot_be_made_says_why_and_repeats_nothing_private() {
    let desk = Desk::new();
    fs::write(desk.path("users.json"), r#"{"users": [{"id": "ann", "name": {"first": "hush"}}]}"#).unwrap();
    for (words, told) in [
        (["--persona", "nobody"].as_slice(), "there is no such persona; there are assistant, listener, service"),
        (&["--user", "ann", "--context", "none.json"], "none.json cannot be read"),
        (&["--user", "ann", "--context", "users.json"], "users[0].name in the file of users is not a text"),
        (&["--user", "nobody", "--context", USERS], "no user of this id is among the 12 of the file"),
        (&["--context", USERS], "say whose prompt: --user ID"),
        (&["--user", "hush"], "the store knows no user of this id; `tandem user add`"),
    ] {
        let ran = desk.run(&[&["prompt"], words].concat(), &[]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(told) && !ran.stderr.contains("hush"), "{ran:?}");
    }
}

#[test]
fn a_check_finds_out_which_servers_are_up_and_leaves_their_prompts_alone() {
    let desk = Desk::new();
    let (plain, plain_url) = simulator(&desk, &[]);
    let (_tls, tls_url) = simulator(&desk, &["--tls"]);
    let (_other, other_url) = simulator(&desk, &[]);
    let wrong = other_url.replace("ws://", "wss://");
    let secret = "not-to-be-shown-not-to-be-shown-at-all";
    let urls = format!("{plain_url},{tls_url},{wrong},ws://127.0.0.1:9");
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &urls), ("JWT_SECRET", secret)]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let line = |url: &str| ran.stdout.lines().find(|line| line.trim_start().starts_with(&format!("{url} "))).unwrap();
    assert!(line(&plain_url).contains("up"), "{ran:?}");
    assert!(line(&tls_url).contains("up"), "{ran:?}");
    assert!(line(&wrong).contains("plain HTTP where wss:// expects TLS"), "{ran:?}");
    assert!(line("ws://127.0.0.1:9").contains("nothing listens there"), "{ran:?}");
    assert!(ran.stderr.contains("2 of 4 model servers"), "{ran:?}");
    assert!(!ran.stdout.contains(secret), "secrets are not shown");
    let running = plain.terminate();
    assert_eq!(running, Some(0));
    let ran = desk.run(&["check", "--offline"], &[("PERSONAPLEX_SERVER_URL", &plain_url)]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

/// An API of RunPod's on loopback that knows one pod, and says this of it to whoever has the key; and its URL.
fn cloud(pod: &'static str) -> String {
    api("GET /pods/p0d HTTP", pod)
}

/// An API that knows one request with one key.
fn api(line: &'static str, answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut head = String::new();
            let mut lines = BufReader::new(&socket);
            while lines.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
            let known = head.starts_with(line) && head.contains("Bearer k3y-k3y");
            let (status, body) = if known { (200, answer) } else { (404, "{}") };
            let length = body.len();
            let _ =
                write!(socket, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    url
}

#[test]
fn a_check_tells_what_machines_do_and_wakes_none() {
    let desk = Desk::new();
    let asleep = cloud(r#"{"status":"EXITED"}"#);
    let check = |urls, api: &str| {
        let environment = [
            ("PERSONAPLEX_SERVER_URL", urls),
            ("RUNPOD_API_KEY", "k3y-k3y"),
            ("TANDEM__PROVIDERS__RUNPOD__BASE_URL", api),
            ("TANDEM__PROVIDERS__COMMAND__START", "touch started"),
        ];
        desk.run(&["check"], &environment)
    };
    let two = "ws://127.0.0.1:9#provider=runpod:p0d&region=eu,ws://[::1]:19#provider=command:big";
    let ran = check(two, &asleep);
    assert_eq!(ran.status, Some(0), "machines that sleep are no problem: {ran:?}");
    for words in [
        "asleep  does not answer, because its machine sleeps",
        "machine runpod:p0d: stopped",
        "machine command:big: stopped",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
    assert!(!ran.stdout.contains("k3y-k3y") && !desk.path("started").exists(), "{ran:?}");
    let ran = check("ws://127.0.0.1:9#provider=runpod:other", &asleep);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("machine runpod:other: UNKNOWN: the provider does not know this machine"), "{ran:?}");
    assert!(ran.stderr.contains("1 of 1 model servers are on machines that nobody says anything of"), "{ran:?}");
    let running = cloud(r#"{"status":"RUNNING","runtime":{}}"#);
    let ran = check("ws://127.0.0.1:9#provider=runpod:p0d", &running);
    assert!(ran.status == Some(1) && ran.stdout.contains("down    nothing listens there"), "{ran:?}");
    assert!(ran.stdout.contains("machine runpod:p0d: running"), "{ran:?}");
}

#[test]
fn a_check_tells_of_providers_that_are_not_built_in_and_asks_nobody() {
    let desk = Desk::new();
    for (machine, feature, is_on) in [
        ("docker:voice", "docker", cfg!(feature = "docker")),
        ("kubernetes:ns/deployment/voice", "kubernetes", cfg!(feature = "kubernetes")),
    ] {
        let url = format!("ws://127.0.0.1:9#provider={machine}");
        let ran = desk.run(&["check", "--offline"], &[("PERSONAPLEX_SERVER_URL", &url)]);
        assert_eq!(ran.status, Some(i32::from(!is_on)), "{ran:?}");
        let told = format!("machine {machine}: this Tandem was built without {feature}: build it with");
        assert_eq!(ran.stderr.contains(&told), !is_on, "{ran:?}");
    }
}

#[cfg(feature = "kubernetes")]
#[test]
fn without_a_base_url_the_cluster_is_the_one_of_the_kubeconfig() {
    let desk = Desk::new();
    let url = api(
        "GET /apis/apps/v1/namespaces/ns/deployments/voice HTTP",
        r#"{"spec":{"replicas":0},"status":{"terminatingReplicas":0}}"#,
    );
    let credential =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"k3y-k3y"}}"#;
    std::fs::write(desk.path("credential.json"), credential).unwrap();
    let program = format!(
        "{{ exec: {{ apiVersion: client.authentication.k8s.io/v1, command: cat, args: [\"{}\"], interactiveMode: Never }} }}",
        desk.path("credential.json").display()
    );
    let broken = program.replace("command: cat", "command: \"false\"");
    let proxy = format!("{{ server: \"{url}\", proxy-url: \"http://127.0.0.1:9\" }}");
    let direct = format!("{{ server: \"{url}\" }}");
    for (cluster, user, told) in [
        (&direct, "{ token: k3y-k3y }", "stopped"),
        (&direct, &program, "stopped"),
        (
            &direct,
            &broken,
            "UNKNOWN: the provider refuses, and will until something is changed: the cluster's credentials",
        ),
        (
            &direct,
            "{ token: \"k3y\\nk3y\" }",
            "UNKNOWN: the provider refuses, and will until something is changed: the token",
        ),
        (&direct, "{ token: other }", "UNKNOWN: the provider does not know this machine"),
        (
            &proxy,
            "{ token: k3y-k3y }",
            "UNKNOWN: the provider refuses, and will until something is changed: the kubeconfig wants a proxy",
        ),
    ] {
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{ name: x, context: {{ cluster: c, user: u }} }}]\n\
             clusters: [{{ name: c, cluster: {cluster} }}]\nusers: [{{ name: u, user: {user} }}]\n"
        );
        std::fs::write(desk.path("kubeconfig"), config).unwrap();
        let kubeconfig = desk.path("kubeconfig").display().to_string();
        let machine = "ws://127.0.0.1:9#provider=kubernetes:ns/deployment/voice";
        let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", machine), ("KUBECONFIG", &kubeconfig)]);
        assert!(ran.stdout.contains(&format!("machine kubernetes:ns/deployment/voice: {told}")), "{told}: {ran:?}");
        assert!(!format!("{ran:?}").contains("k3y"), "{ran:?}");
    }
}

#[test]
fn a_check_asks_the_server_where_its_machine_is_now() {
    let desk = Desk::new();
    let (_server, url) = simulator(&desk, &[]);
    let port = url.rsplit(':').next().unwrap();
    let pod = format!(
        r#"{{"status":"RUNNING","runtime":{{"ports":[{{"type":"tcp","private":8998,"public":{port},"ip":"127.0.0.1"}}]}}}}"#
    );
    let api = cloud(pod.leak());
    let environment = [
        ("PERSONAPLEX_SERVER_URL", "ws://127.0.0.1:9#provider=runpod:p0d"),
        ("RUNPOD_API_KEY", "k3y-k3y"),
        ("TANDEM__PROVIDERS__RUNPOD__BASE_URL", &api),
    ];
    let ran = desk.run(&["check"], &environment);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(&format!("machine runpod:p0d: running at 127.0.0.1:{port}")), "{ran:?}");
}

#[test]
fn a_made_certificate_serves_a_model_server_and_its_pin_is_what_a_check_sees() {
    let desk = Desk::new();
    let made = desk.run(&["check", "--make-cert", "keys", "--host", "voice.example"], &[]);
    assert_eq!(made.status, Some(0), "{made:?}");
    let pin = made.stdout.lines().find_map(|line| line.strip_prefix("Pin: ")).unwrap();
    assert!(made.stderr.contains(&format!("'wss://voice.example:8998#pin={pin}'")), "{made:?}");
    assert_eq!(fs::metadata(desk.path("keys/key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = desk.run(&["check", "--make-cert", "keys"], &[]);
    assert!(again.status == Some(1) && again.stderr.contains("keys/key.pem exists"), "{again:?}");
    let (_server, url) = simulator(&desk, &["--ssl", "keys"]);
    let wrong = "sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    for (said, status, sentence) in [
        (format!("#pin={pin}&region=eu"), 0, format!("the key {pin}; 1 call at a time; region=eu")),
        ("#ca=keys/cert.pem".to_owned(), 0, "and of keys/cert.pem".to_owned()),
        (String::new(), 0, "any certificate, on this machine".to_owned()),
        (format!("#pin={wrong}"), 1, format!("if this key is its own, add #pin={pin} to its address")),
    ] {
        let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &format!("{url}{said}"))]);
        assert!(ran.status == Some(status) && ran.stdout.contains(&sentence), "{said}: {ran:?}");
    }
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &format!("{url}#ca=no.pem"))]);
    assert!(ran.status == Some(1) && ran.stderr.contains("CA file cannot be used: no.pem"), "{ran:?}");
}

#[test]
fn a_server_that_finds_no_certificate_is_named_for_what_it_does() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    let (_server, url) = simulator(&desk, &["--ssl", "empty"]);
    assert!(url.starts_with("ws://"), "as the real server, it serves plain HTTP without a word");
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &url.replace("ws://", "wss://"))]);
    assert!(ran.status == Some(1) && ran.stdout.contains("silently when --ssl has no key.pem and cert.pem"), "{ran:?}");
}

#[test]
fn a_command_line_that_is_not_understood_is_told_from_a_failure() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["answer"], &[]).status, Some(2));
    let version = desk.run(&["--version"], &[]);
    assert_eq!((version.status, version.stdout.trim()), (Some(0), concat!("tandem ", env!("CARGO_PKG_VERSION"))));
    let ran = desk.run(&["simulate", "--fault", "explode"], &[]);
    assert!(ran.status == Some(2) && ran.stderr.contains("expected KIND[@WHEN]"), "{ran:?}");
}

/// A development server whose model takes no time, and its URL.
fn serve(desk: &Desk, words: &[&str], environment: &[(&str, &str)]) -> (Running, String) {
    let running = Running::start(desk.command(
        &[&["serve", "--port", "0"], words].concat(),
        &[&[("TANDEM__SIMULATOR__STEP_MS", "1"), ("TANDEM__SIMULATOR__VOICE_STEPS", "1")], environment].concat(),
    ));
    let line = running.line("\"url\":\"http://");
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = event["url"].as_str().unwrap().to_owned();
    (running, url)
}

/// What a running server answers at this address.
fn page(url: &str, path: &str) -> String {
    let mut socket = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A port on which something will listen later: none that the system gives to whoever asks for any, which on Linux are
/// 32768 and higher.
fn port_for_later() -> u16 {
    let first = std::process::id() % 2_000 * 10;
    let mut ports = (0..2_000).map(|n| u16::try_from(10_000 + (first + n) % 20_000).unwrap());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

#[test]
fn the_machines_of_a_running_server_are_shown_with_what_they_cost() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()[..4800]).unwrap();
    let port = port_for_later();
    let server = format!("ws://127.0.0.1:{port}#provider=command:sim&price=3.6");
    let program = env!("CARGO_BIN_EXE_tandem");
    let start = format!("'{program}' simulate --port {{port}} --step-ms 1 --voice-steps 1 --poll-ms 0");
    let environment = [
        ("PERSONAPLEX_SERVER_URL", server.as_str()),
        ("TANDEM__PROVIDERS__COMMAND__START", &start),
        ("TANDEM__PROVIDERS__COMMAND__OUTPUT", "off"),
        ("TANDEM_OPERATOR_KEY", "an operator's key that is long enough"),
        ("TANDEM__FLEET__IDLE_SECONDS", "1"),
        ("TANDEM__FLEET__MIN_AWAKE_SECONDS", "0"),
    ];
    let (serving, url) = serve(&desk, &[], &environment);
    // In whichever order they come.
    let mut awaited = vec!["\"state\":\"asleep\"", "Call it from another terminal"];
    while !awaited.is_empty() {
        let line = serving.line("");
        awaited.retain(|words| !line.contains(words));
    }
    let ran = desk.run(&["fleet"], &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let row: Vec<&str> = ran.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..7], ["1", "command", "asleep", "-", "0s", "0s", "0s"], "{ran:?}");
    assert!(row[8] == "3.6" && row[9] == "0.0000" && ran.stdout.contains("Always on would have cost"), "{ran:?}");

    assert_eq!(desk.run(&["call", "in.wav", "--tail", "1.5"], &[]).status, Some(0));
    serving.line("\"state\":\"asleep\"");
    let ran = desk.run(&["fleet", "--json"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let machine = &told["machines"][0];
    let number = |key: &str| machine[key].as_f64().unwrap_or_else(|| panic!("{key}: {told}"));
    assert!(number("leased_seconds") >= 1.0 && number("idle_seconds") >= 1.0, "{told}");
    assert_eq!(number("awake_seconds"), number("leased_seconds") + number("idle_seconds"), "{told}");
    // 3.6 an hour is a thousandth a second.
    let cost = number("cost") - number("awake_seconds") / 1e3;
    assert!((0.0..0.002).contains(&cost) && told["total"]["cost"] == machine["cost"], "{told}");

    let key = [("TANDEM_OPERATOR_KEY", "an operator's key that is long enough")];
    assert_eq!(desk.run(&["fleet", "--url", &url], &key).status, Some(0));

    // Who is not known may not look, and is told what to do; no token is repeated.
    let odd = [("JWT_SECRET", "another-secret-of-more-than-thirty-two-bytes")];
    let token = desk.run(&["token", "--user", "ada"], &[]).stdout;
    for (words, environment, sentence) in [
        (&["fleet", "--url", &url][..], &odd[..], "refuses (status 401): set TANDEM_TOKEN to a token with the scope"),
        (&["fleet"], &[("TANDEM_TOKEN", token.trim())], "refuses (status 403)"),
        (&["fleet", "--url", &url], &[], "there is nothing to make a token with: set TANDEM_TOKEN"),
    ] {
        let ran = desk.run(words, environment);
        assert!(ran.status == Some(1) && ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?}: {ran:?}");
        assert!(!ran.stderr.contains(token.trim()));
    }
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn where_no_machines_can_be_shown_the_reason_says_what_to_do() {
    let desk = Desk::new();
    let secret = [("JWT_SECRET", "a-secret-of-more-than-thirty-two-bytes"), ("PORT", "9")];
    for (words, sentence) in [
        (&["fleet"][..], "http://127.0.0.1:9 does not answer: it cannot be reached"),
        (&["fleet", "--url", "127.0.0.1:9"], "expected one like http://127.0.0.1:8080"),
    ] {
        let ran = desk.run(words, &secret);
        assert!(ran.status == Some(1) && ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{ran:?}");
    }
    let ran = desk.run(&["fleet"], &[]);
    assert!(ran.status == Some(1) && ran.stderr.contains("there is nothing to make a token with"), "{ran:?}");
    assert!(!desk.path(".tandem").exists(), "looking leaves nothing behind");
    let (serving, url) = serve(&desk, &[], &[]);
    serving.line("Call it from another terminal");
    let ran = desk.run(&["fleet"], &[]);
    assert!(ran.stderr.contains(&format!("{url} has no machines to start and stop: give a server one")), "{ran:?}");
    let other = cloud("{}");
    let ran = desk.run(&["fleet", "--url", &format!("{other}/")], &secret);
    assert!(ran.stderr.contains("answers with status 404: no more is said; is it a Tandem?"), "{ran:?}");
}

#[test]
fn serve_without_any_configuration_answers_a_call_from_the_same_directory() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let (server, url) = serve(&desk, &[], &[]);
    assert!(url.starts_with("http://127.0.0.1:"), "only this machine is listened to: {url}");
    server.line("Call it from another terminal");
    let mode = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(".tandem"), mode(".tandem/dev.json"), mode(".tandem/secret")), (0o700, 0o600, 0o600));
    for wire in ["native", "moshi"] {
        let ran = desk.run(&["call", "in.wav", "--out", "out.wav", "--wire", wire, "--tail", "2", "--json"], &[]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        for key in ["setup_ms", "first_audio_ms", "sent_seconds", "received_seconds", "lost_packets", "transcript"] {
            assert!(!report[key].is_null(), "{key}: {report}");
        }
        let heard = wav::read(&desk.path("out.wav")).unwrap();
        let (shift, likeness) = find(&speech(), &heard);
        assert!(likeness > 0.8 && (36_000..40_000).contains(&shift), "{wire}: {likeness} at {} ms", shift / 24);
    }
    assert_eq!(server.terminate(), Some(0));
    assert!(!desk.path(".tandem/dev.json").exists(), "nobody is sent to a server that is gone");
}

#[test]
fn a_server_that_is_told_to_stop_tells_its_callers_and_ends_by_itself() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech().repeat(15)).unwrap();
    let (server, _) = serve(&desk, &[], &[("TANDEM__DRAIN__DEADLINE_SECONDS", "1")]);
    server.line("Call it from another terminal");
    let mut call = Running::start(desk.command(&["call", "in.wav", "--out", "out.wav"], &[]));
    call.line("the model listens");
    assert_eq!(server.terminate(), Some(0));
    call.line("the service is restarting");
    assert_eq!(call.child.wait().unwrap().code(), Some(1));
    assert!(desk.path("out.wav").exists());
}

#[test]
fn nothing_private_reaches_the_log_of_a_whole_run_at_its_most_talkative() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let secret = "planted-secret-of-more-than-thirty-two-bytes";
    let key = "UGxhbnRlZCBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE=";
    let (_simulator, upstream) = simulator(&desk, &["--echo-delay-ms", "80"]);
    let (server, url) = serve(
        &desk,
        &["--production", "--host", "127.0.0.1"],
        &[
            ("JWT_SECRET", secret),
            ("PERSONAPLEX_SERVER_URL", &upstream),
            ("TANDEM__DOORS__CALLER_PROMPTS", "always"),
            ("TANDEM__LOGGING__LEVEL", "trace"),
            ("RUST_LOG", "trace"),
            ("TANDEM_ENCRYPTION_KEY", key),
        ],
    );
    let token = desk.run(&["token", "--user", "planted-user"], &[("JWT_SECRET", secret)]).stdout.trim().to_owned();
    for wire in ["native", "moshi"] {
        let words = ["call", "in.wav", "--url", &url, "--token", &token, "--wire", wire, "--tail", "0.5", "--json"];
        let ran = desk.run(&[&words[..], &["--prompt", "You know of Planted Diagnosis."]].concat(), &[]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("I hear you"), "the words were there to be leaked");
    }
    let refused = desk.run(&["call", "in.wav", "--url", &url, "--token", "planted.wrong.token"], &[]);
    assert_eq!(refused.status, Some(1));
    let settings = [
        ("JWT_SECRET", secret),
        ("TANDEM_ENCRYPTION_KEY", key),
        ("TANDEM__PERSONA__PROMPT", "You know of Planted Diagnosis."),
        ("MONGODB_URI", "mongodb://root:planted@127.0.0.1:1/app?serverSelectionTimeoutMS=100"),
    ];
    let checked = desk.run(&["check"], &settings);
    assert!(checked.stdout.contains("What was said is encrypted with the key "), "{checked:?}");
    let mut log = format!("{}{}{}", refused.stderr, checked.stdout, checked.stderr);
    server.signal("TERM");
    while let Ok(line) = server.lines.recv_timeout(DEADLINE) {
        log.push_str(&line);
        log.push('\n');
    }
    assert!(log.contains("session ended") && log.contains("\"user\":\"u_"), "{log}");
    let signature = token.rsplit('.').next().unwrap();
    for private in [secret, key, "planted", "Planted", "Diagnosis", signature, "I hear", "text_prompt", "eyJ"] {
        assert!(!log.contains(private), "{private:?} is in the log:\n{log}");
    }
    let kept: Vec<u8> =
        fs::read_dir(desk.path(".tandem")).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let holds = |words: &str| kept.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(holds("tandem-sealed:1:"), "the calls were written down");
    for private in ["I hear", "Diagnosis", key] {
        assert!(!holds(private), "{private:?} is in a file of the state");
    }
}

#[test]
fn a_hangup_reads_the_list_of_servers_again_and_a_bad_file_keeps_the_old_one() {
    let desk = Desk::new();
    let (_one, one) = simulator(&desk, &[]);
    let (_two, two) = simulator(&desk, &[]);
    let write = |text: &str| fs::write(desk.path("tandem.toml"), text).unwrap();
    write(&format!("[upstreams]\nurls = [\"{one}\"]\n"));
    let (server, url) = serve(&desk, &[], &[]);
    server.line("Call it from another terminal");
    write(&format!("[upstreams]\nurls = [\"{two}#region=eu\", \"{one}\"]\n[session]\nmax_sessions = 7\n"));
    server.signal("HUP");
    server.line("session.max_sessions");
    server.line(&format!("\"upstream\":\"2\",\"address\":\"{}\"", two.trim_start_matches("ws://")));
    server.line("the list of model servers was read again");
    write("[upstreams]\nurls = [\"hush\", \"ws://h#capacity=0\"]\n");
    server.signal("HUP");
    server.line("wrong in its part 1; expected ws://host:port");
    server.line("wrong in its part 2; expected capacity= and a whole number from 1 to 256");
    assert!(server.line("the old one stays").contains("\"flaws\":2"));
    write(&format!("[upstreams]\nurls = [\"{two}#region=eu\"]\n"));
    server.signal("HUP");
    assert!(server.line("model server left the pool").contains("\"upstream\":\"1\""));
    // Counted after the last of its lines.
    let read = ["tandem_config_reload_total{result=\"ok\"} 2", "tandem_config_reload_total{result=\"wrong\"} 1"];
    let deadline = std::time::SystemTime::now() + DEADLINE;
    while !read.iter().all(|line| page(&url, "/metrics").contains(line)) {
        assert!(std::time::SystemTime::now() < deadline, "{}", page(&url, "/metrics"));
    }
    assert!(page(&url, "/metrics").contains("\ntandem_config_last_reload_timestamp_seconds 1"), "seconds since 1970");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_check_finds_the_servers_behind_a_name() {
    let desk = Desk::new();
    let (_server, url) = simulator(&desk, &[]);
    let named = url.replace("127.0.0.1", "localhost");
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &format!("{named}#dns"))]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(&format!("{named} at 127.0.0.1  up")), "{ran:?}");
}

#[test]
fn a_server_that_others_can_reach_refuses_to_start_half_configured() {
    let desk = Desk::new();
    for words in [&["serve", "--production"][..], &["serve", "--host", "0.0.0.0"], &["--production"]] {
        let ran = desk.run(words, &[]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("JWT_SECRET") && ran.stderr.contains("PERSONAPLEX_SERVER_URL"), "{ran:?}");
    }
    let (_server, url) = serve(&desk, &[], &[]);
    let port = url.rsplit(':').next().unwrap();
    let ran = desk.run(&["serve", "--port", port], &[("TANDEM__STATE__DIR", "elsewhere")]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("cannot be listened on") && ran.stderr.contains("PORT"), "{ran:?}");
    assert!(!ran.stderr.contains("ERROR"), "no alarm beside the sentence: {ran:?}");
    let ran = desk.run(&["serve", "--port", "0"], &[]);
    assert!(ran.status == Some(1) && ran.stderr.contains("another tandem serves from .tandem"), "{ran:?}");
    assert!(desk.path(".tandem/dev.json").exists(), "the first one is still found");
}

#[test]
fn users_are_taken_in_added_and_erased_and_the_check_counts_them() {
    let desk = Desk::new();
    let users = r#"{"users": [{"id": "ann", "name": "Ann", "journal": [{"date": "2026-11-22", "text": "A secret."}],
        "shoeSize": 42}, {"id": "bob"}]}"#;
    fs::write(desk.path("users.json"), users).unwrap();
    let store = |ran: &Ran| ran.stdout.split("\nStore:\n").nth(1).unwrap_or_default().to_owned();
    let checked = desk.run(&["check"], &[]);
    assert!(checked.status == Some(0) && store(&checked).contains("users.sqlite: not there yet"), "{checked:?}");
    let imported = desk.run(&["import", "users.json"], &[]);
    assert_eq!((imported.status, imported.stdout.as_str()), (Some(0), "2 users are known now.\n"), "{imported:?}");
    assert!(imported.stderr.contains("Nothing is done with users.shoeSize"), "{imported:?}");
    let added = desk.run(&["user", "add", "cleo", "--name", "Cleo", "--goal", "walk", "--goal", "rest"], &[]);
    assert_eq!(added.status, Some(0), "{added:?}");
    let waits = wait_for_the_store(&desk, "ann");
    assert!(waits(), "looked for in the right file");
    let checked = desk.run(&["check"], &[]);
    assert!(store(&checked).contains("spool.sqlite: 1 records of calls wait for the store\n"), "{checked:?}");
    assert!(waits() && !store(&checked).contains("Warning"), "it changes nothing: {checked:?}");
    let erased = desk.run(&["user", "erase", "ann"], &[]);
    assert!(!waits(), "what was on its way is gone too");
    assert!(
        erased.status == Some(0) && erased.stdout.starts_with("Erased from .tandem/users.sqlite, with 0 calls."),
        "{erased:?}"
    );
    let again = desk.run(&["import", "users.json"], &[]);
    assert_eq!((again.status, again.stdout.as_str()), (Some(1), "1 users are known now.\n"));
    let checked = desk.run(&["check"], &[]);
    assert!(store(&checked).contains("2 users (1 erased), 0 journal entries, 0 calls"), "{checked:?}");
    let mode = fs::metadata(desk.path(".tandem/users.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Has a call of this user wait for the store; says whether the file of what waits has its words.
fn wait_for_the_store(desk: &Desk, user: &str) -> impl Fn() -> bool {
    use tandem::store::{archive, local, record, spool};
    let store = local::LocalStore::open(&desk.path(".tandem/users.sqlite"), None).unwrap();
    let path = desk.path(".tandem/spool.sqlite");
    let archive = archive::Archive::open_at(&path, std::sync::Arc::new(store), spool::Room::default()).unwrap();
    let line = record::Line { speaker: record::Speaker::Assistant, at_ms: 0, text: "A heron on its way.".into() };
    let ended = record::Ended {
        ending: tandem::protocol::ending::Ending::ClientLeft,
        transcript: vec![line],
        ..record::Ended::lost(2)
    };
    let record = record::Record {
        session: uuid::Uuid::new_v4(),
        user: user.into(),
        persona: "listener".into(),
        began_ms: 1,
        origin: record::Origin::default(),
        ended: Some(ended),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(archive.complete(record)).unwrap();
    move || {
        let bytes = ["", "-wal"].map(|end| fs::read(format!("{}{end}", path.display())).unwrap_or_default()).concat();
        bytes.windows(5).any(|window| window == b"heron")
    }
}

#[test]
fn a_file_of_users_that_cannot_be_taken_in_is_named_and_not_repeated() {
    let desk = Desk::new();
    fs::write(desk.path("users.json"), r#"{"users": [{"id": "ann", "name": 5, "x": "secret"}]}"#).unwrap();
    let ran = desk.run(&["import", "users.json"], &[]);
    assert!(ran.stderr.contains("users.json: users[0].name in the file of users is not a text"), "{ran:?}");
    assert!(ran.status == Some(1) && !ran.stderr.contains("secret"), "{ran:?}");
    assert!(desk.run(&["import", "none.json"], &[]).stderr.contains("none.json cannot be read"));
    let shared = [("MONGODB_URI", "mongodb://root:hush@127.0.0.1:1/app?serverSelectionTimeoutMS=100")];
    let ran = desk.run(&["user", "add", "ann"], &shared);
    assert!(ran.status == Some(1) && ran.stderr.contains("which is only read"), "{ran:?}");
    let checked = desk.run(&["check"], &shared);
    assert!(checked.status == Some(1) && checked.stderr.contains("MongoDB cannot be reached"), "{checked:?}");
    assert!(!checked.stderr.contains("hush") && !checked.stdout.contains("hush"), "{checked:?}");
}
