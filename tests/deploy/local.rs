//! The walk of the README with a server on this machine that has TLS and a certificate which nobody signed.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::{path, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// The program, until the test ends.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

fn tandem(desk: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(words).current_dir(desk).env_clear().stdin(Stdio::null());
    command
}

impl Program {
    fn start(mut command: Command) -> Program {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
        Program { child, lines }
    }

    fn line(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {words:?} came"));
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_call_goes_to_a_local_server_with_a_certificate_of_its_own_making() {
    let readme = text("README.md");
    for line in ["tandem simulate --tls", "export PERSONAPLEX_SERVER_URL=wss://localhost:8998"] {
        assert!(readme.lines().any(|told| told.starts_with(line)), "the README does not say: {line}");
    }
    let desk = std::env::temp_dir().join(format!("tandem-local-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&desk).unwrap();
    let quick = ["--step-ms", "0", "--poll-ms", "0", "--round-us", "0"];
    let server = Program::start(tandem(&desk, &[&["simulate", "--tls", "--port", "0"], &quick[..]].concat()));
    let url = server.line("listens at").rsplit(' ').next().unwrap().replace("127.0.0.1", "localhost");
    assert!(url.starts_with("wss://localhost:"), "{url}");
    let mut serve = tandem(&desk, &["serve", "--port", "0"]);
    serve.env("PERSONAPLEX_SERVER_URL", &url);
    let gateway = Program::start(serve);
    gateway.line("\"url\":\"http://");
    let speech = path("tests/audio/speech_made.wav");
    let call = tandem(&desk, &["call", speech.to_str().unwrap(), "--json", "--tail", "1"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&call.stdout).unwrap();
    assert!(call.status.success() && report["received_seconds"].as_f64().unwrap() > 1.0, "{report}");
    drop((gateway, server));
    std::fs::remove_dir_all(&desk).unwrap();
}
