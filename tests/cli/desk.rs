//! A directory to work in, and programs that run there.

use super::*;

/// The longest wait for anything that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// An empty directory to work in, removed at the end.
pub struct Desk(pub PathBuf);

impl Desk {
    pub fn new() -> Desk {
        let path = std::env::temp_dir().join(format!("tandem-cli-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Desk(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The program with these words, in this directory and with no variable of ours but those given.
    pub fn command(&self, words: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(words).current_dir(&self.0).env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
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
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A program that runs until the test ends.
pub struct Running {
    pub child: Child,
    pub lines: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
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
    pub fn line(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no line with {words:?} came"));
            if line.contains(words) {
                return line;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Asks it to stop, as a platform does, and gives its exit status.
    pub fn terminate(mut self) -> Option<i32> {
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

/// A simulated server whose model takes no time, and its URL.
pub fn simulator(desk: &Desk, words: &[&str]) -> (Running, String) {
    let instant = ["simulate", "--port", "0", "--step-ms", "0", "--poll-ms", "0", "--round-us", "0"];
    let running = Running::start(desk.command(&[&instant, words].concat(), &[]));
    let line = running.line("listens at");
    let url = line.rsplit(' ').next().unwrap().to_owned();
    (running, url)
}

/// A file of users, as the tests of prompts have it.
pub const USERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/users.json");

/// A development server whose model takes no time, and its URL.
pub fn serve(desk: &Desk, words: &[&str], environment: &[(&str, &str)]) -> (Running, String) {
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
pub fn page(url: &str, path: &str) -> String {
    let mut socket = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A port on which something will listen later: none that the system gives to whoever asks for any, which on Linux are
/// 32768 and higher, and none that was given out here.
pub fn port_for_later() -> u16 {
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
