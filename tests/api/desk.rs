//! A Tandem as people run it, in a directory of its own, with a model server and a machine that sleeps.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use tandem::sim::wav;

/// How long anything but a long run may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What opens doors there.
pub const CREDENTIALS: [(&str, &str); 3] = [
    ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ("TANDEM_OPERATOR_KEY", "an operator's key that is long enough"),
    ("TANDEM_ADMIN_TOKEN", "an admin's token that is long enough"),
];

/// Ends with the test.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Desk {
    pub directory: PathBuf,
    pub url: String,
    /// The gateway goes before its server.
    gateway: Running,
    _server: Running,
}

impl Desk {
    pub fn new() -> Desk {
        let directory = std::env::temp_dir().join(format!("tandem-api-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&directory).unwrap();
        let tandem = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
            command.args(words).current_dir(&directory).env_clear().envs(CREDENTIALS);
            command
        };
        let instant = ["simulate", "--port", "0", "--step-ms", "1", "--voice-steps", "1", "--poll-ms", "0"];
        let server = Running::start(tandem(&instant));
        let listens = server.line("listens at");
        let program = env!("CARGO_BIN_EXE_tandem");
        let settings = format!(
            "[upstreams]\nurls = [\"ws://127.0.0.1:{}#provider=command:sim\", \"{}\"]\n[providers.command]\n\
             start = \"'{program}' simulate --port {{port}} --step-ms 1 --voice-steps 1 --poll-ms 0\"\n\
             [session]\nattempts_per_minute_per_user = 100000\n",
            port_for_later(),
            listens.rsplit(' ').next().unwrap(),
        );
        fs::write(directory.join("tandem.toml"), settings).unwrap();
        let gateway = Running::start(tandem(&["serve", "--port", "0"]));
        let event: serde_json::Value = serde_json::from_str(&gateway.line("\"url\":\"http://")).unwrap();
        let url = event["url"].as_str().unwrap().to_owned();
        Desk { directory, url, gateway, _server: server }
    }

    /// A call of `user` that goes well, of which a record is left.
    pub fn call(&self, user: &str) {
        wav::write(&self.directory.join("in.wav"), &[0.0; 4_800]).unwrap();
        let run = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
            let ran = command.args(words).current_dir(&self.directory).env_clear().envs(CREDENTIALS).output().unwrap();
            assert!(ran.status.success(), "{ran:?}");
            String::from_utf8(ran.stdout).unwrap()
        };
        let token = run(&["token", "--user", user]);
        run(&["call", "in.wav", "--url", &self.url, "--token", token.trim(), "--tail", "0.3"]);
    }

    /// The status of an answer.
    pub fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> u16 {
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let sent = authorization.map(|sent| format!("Authorization: {sent}\r\n")).unwrap_or_default();
        write!(socket, "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{sent}\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// That it lives, and has not said that something of its own failed.
    pub fn assert_well(&mut self) {
        assert!(self.gateway.child.try_wait().unwrap().is_none(), "it has ended");
        let said: Vec<String> = self.gateway.lines.try_iter().collect();
        let bad: Vec<&String> =
            said.iter().filter(|line| line.contains("panicked") || line.contains("\"ERROR\"")).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Machines outlive the gateway that started them; one that is gone starts no other.
        let _ = self.gateway.child.kill();
        let _ = self.gateway.child.wait();
        let machine = fs::read_to_string(self.directory.join(".tandem/command-sim.pid")).unwrap_or_default();
        if let Some(pid) = machine.split(' ').next().filter(|pid| pid.parse::<u32>().is_ok()) {
            let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A port on which something will listen later: none that the system gives to whoever asks for any, which on Linux are
/// 32768 and higher, and none that was given out here.
fn port_for_later() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 2_000 * 10;
    let mut ports = std::iter::repeat_with(|| {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        u16::try_from(10_000 + (first + given) % 20_000).unwrap()
    });
    ports
        .by_ref()
        .take(2_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
