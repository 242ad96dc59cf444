//! How a model server is started: first the server, then the fence, and never one without the other.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::{fence::haproxy, path, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// In place of the launcher: a simulated server with the same words for the port, which tells its process id.
const LAUNCHER: &str = "import os, sys
print('model', os.getpid(), flush=True)
port = sys.argv[sys.argv.index('--port') + 1]
words = ['--port', port, '--step-ms', '0', '--poll-ms', '0', '--round-us', '0']
os.execv(os.environ['SIMULATOR'], ['tandem', 'simulate'] + words)
";

/// The script at work in a directory of its own.
struct Service {
    desk: PathBuf,
    child: Child,
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Service {
    /// Nothing where a program is missing that need not be there.
    fn start() -> Option<Service> {
        for (program, word) in
            [("python3", "--version"), ("curl", "--version"), ("openssl", "version"), (haproxy(), "-v")]
        {
            run(program, &[word])?;
        }
        let desk = std::env::temp_dir().join(format!("tandem-start-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&desk).unwrap();
        for name in ["start.sh", "haproxy.cfg"] {
            fs::copy(path(&format!("config/personaplex/{name}")), desk.join(name)).unwrap();
        }
        fs::write(desk.join("launch.py"), LAUNCHER).unwrap();
        let [port, model] = ports();
        let mut command = Command::new("bash");
        command.arg(desk.join("start.sh")).stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
        command.env_remove("PORT").env("HF_TOKEN", "none is needed").env("FENCE_TLS", "self-signed");
        command.env("FENCE_HOME", desk.join("fence")).env("FENCE_PREFIX", "/4ZbmD8qk").env("HAPROXY", haproxy());
        command.env("FENCE_PORT", port.to_string()).env("MODEL_PORT", model.to_string());
        command.env("SIMULATOR", env!("CARGO_BIN_EXE_tandem"));
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Some(Service { desk, child, lines, port })
    }

    /// What comes behind these words in the next line that has them.
    fn told(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {words:?} came"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Whether Tandem finds the server up there, and what it says.
    fn check(&self, behind: &str) -> (bool, String) {
        let mut check = Command::new(env!("CARGO_BIN_EXE_tandem"));
        let url = format!("wss://127.0.0.1:{}{behind}", self.port);
        let said = check.arg("check").current_dir(&self.desk).env("PERSONAPLEX_SERVER_URL", url).output().unwrap();
        (said.status.success(), String::from_utf8(said.stdout).unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        signal("TERM", self.child.id());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.desk);
    }
}

fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").args([format!("-{name}"), process.to_string()]).stderr(Stdio::null()).status();
}

/// Ports that are free, that the system gives to nobody who asks for any, and that no other test of this process has.
pub fn ports() -> [u16; 2] {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 2_000).unwrap() * 10;
    [(); 2].map(|()| {
        loop {
            let port = 10_000 + (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        }
    })
}

#[test]
fn a_service_comes_up_behind_its_fence_with_a_pin_and_goes_down_as_one() {
    let Some(mut service) = Service::start() else { return };
    let pin = service.told("put behind the address of this server: ");
    service.told("and the fence is at");
    let (up, said) = service.check(&format!("/4ZbmD8qk{pin}"));
    assert!(up, "{said}");
    let (up, said) = service.check(&pin);
    assert!(!up, "who does not know the path finds a server: {said}");
    signal("TERM", service.child.id());
    assert_eq!(service.child.wait().unwrap().code(), Some(143));
    assert!(TcpStream::connect(("127.0.0.1", service.port)).is_err(), "the fence outlived the script");
}

#[test]
fn a_model_server_that_dies_takes_the_fence_with_it_so_that_the_host_starts_both_again() {
    let Some(mut service) = Service::start() else { return };
    let model = service.told("model ").parse().unwrap();
    service.told("and the fence is at");
    signal("KILL", model);
    assert_eq!(service.child.wait().unwrap().code(), Some(1));
    assert!(TcpStream::connect(("127.0.0.1", service.port)).is_err(), "the fence outlived its server");
}

#[test]
fn without_a_token_it_says_what_to_do() {
    let script = path("config/personaplex/start.sh");
    let said = Command::new("bash").arg(script).env_remove("HF_TOKEN").output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && words.contains("accept the licence at https://"), "{words}");
}

#[test]
fn a_volume_that_cannot_be_written_is_named_before_anything_is_downloaded() {
    let script = path("config/personaplex/start.sh");
    let mut start = Command::new("bash");
    // Below a file there is no directory, whoever asks.
    start.arg(&script).env("HF_TOKEN", "none is needed").env("HF_HOME", script.join("data")).env_remove("FENCE_HOME");
    let said = start.output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && words.contains("start.sh/data cannot be written by user"), "{words}");
}
