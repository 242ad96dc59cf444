//! Two processes on one model server: at most one socket, whatever dies in between.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use tandem::{
    auth::{SigningKey, TokenRules, Tokens, UserId},
    http::identity::unix_now_seconds,
    sim::{
        caller::{self, Audio, CallEvent, CallReport, CallerSettings, Credential, HangUp, Wire},
        upstream::{PromptText, Simulator},
    },
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::house::{PATIENCE, SECRET, quiet};

/// A directory for the processes' files, removed at the end.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Desk {
        let path = std::env::temp_dir().join(format!("tandem-overlap-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Desk(path)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway in a process of its own.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Starts one on this server with a state directory of this name, and waits until it listens.
    async fn start(desk: &Desk, name: &str, server: &str, ledger: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .arg("serve")
            .current_dir(&desk.0)
            .env_clear()
            .env("PERSONAPLEX_SERVER_URL", server)
            .env("PORT", "0")
            .env("JWT_SECRET", SECRET)
            .env("TANDEM__LOGGING__FORMAT", "json")
            .env("TANDEM__STATE__DIR", desk.0.join(name))
            .env("TANDEM__STATE__LEDGER", ledger)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, mut hears) = mpsc::channel(1);
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for stream in [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)] {
            let told = told.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Some(url) = line.split("\"url\":\"").nth(1).and_then(|rest| rest.split('"').next()) {
                        let _ = told.try_send(url.to_owned());
                    }
                }
            });
        }
        let url = tokio::time::timeout(PATIENCE, hears.recv()).await.expect("it listens in time").expect("it runs");
        Process { child, url }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A call that got through and goes on until it is told to hang up.
struct Call {
    hang_up: Arc<Notify>,
    running: JoinHandle<CallReport>,
}

impl Call {
    /// Tries once; `Err` is how it was refused.
    async fn try_once(at: &Process, user: &str) -> Result<Call, String> {
        Call::place(at, user, false).await
    }

    /// Gets through, sooner or later.
    async fn insist(at: &Process, user: &str) -> Call {
        let calling = Call::place(at, user, true);
        tokio::time::timeout(PATIENCE, calling).await.expect("it gets through in time").unwrap()
    }

    async fn place(at: &Process, user: &str, waits: bool) -> Result<Call, String> {
        let tokens = Tokens::new(SigningKey::new(&SecretString::from(SECRET)).unwrap(), TokenRules::default());
        let token = tokens.mint(&UserId::new(user).unwrap(), Duration::from_secs(60), unix_now_seconds()).unwrap();
        let (events, mut heard) = mpsc::channel(1024);
        let settings = CallerSettings {
            wire: Wire::Native(Audio::Opus),
            credential: Credential::Bearer(token),
            hang_up: HangUp::WhenTold,
            waits,
            events: Some(events),
            ..CallerSettings::new(at.url.clone())
        };
        let hang_up = Arc::clone(&settings.hang_up_now);
        let running = actix_web::rt::spawn(caller::call(settings));
        while let Some(event) = heard.recv().await {
            if matches!(event, CallEvent::Ready) {
                return Ok(Call { hang_up, running });
            }
        }
        Err(format!("{:?}", running.await.unwrap().error))
    }

    async fn hang_up(self) {
        self.hang_up.notify_one();
        self.running.await.unwrap();
    }
}

#[actix_web::test]
async fn two_processes_and_a_kill_never_open_a_second_socket() {
    let (desk, server) = (Desk::new(), Simulator::start(quiet()).await.unwrap());
    let ledger = desk.0.join("shared.sqlite");
    let mut first = Process::start(&desk, "first", &server.url(), &ledger).await;
    let call = Call::try_once(&first, "anna").await.unwrap();
    let second = Process::start(&desk, "second", &server.url(), &ledger).await;
    assert!(Call::try_once(&second, "bert").await.is_err(), "the first one's call is out of its reach");
    call.hang_up().await;
    Call::insist(&second, "bert").await.hang_up().await;

    let call = Call::insist(&first, "cleo").await;
    first.kill();
    drop(call);
    // Its successor knows at once that what was left is nobody's, and tests the slot before anybody gets it.
    let successor = Process::start(&desk, "first", &server.url(), &ledger).await;
    let call = Call::insist(&successor, "dora").await;
    assert!(Call::try_once(&second, "emil").await.is_err());
    call.hang_up().await;
    Call::insist(&second, "emil").await.hang_up().await;
    assert_eq!(server.peak_open_sockets(), 1, "never two sockets");
    let silent = |prompt: &Option<PromptText>| prompt.as_ref().is_some_and(|text| text.expose() == "You are silent.");
    let rehearsals = server.log().iter().filter(|call| silent(&call.prompt_asked)).count();
    assert_eq!(rehearsals, 1, "the slot of the dead process was tested, once");
}

/// The same without a record must be seen to fail, or the test above proves nothing.
#[actix_web::test]
async fn without_a_record_two_processes_meet() {
    let (desk, server) = (Desk::new(), Simulator::start(quiet()).await.unwrap());
    let first = Process::start(&desk, "first", &server.url(), Path::new("off")).await;
    let second = Process::start(&desk, "second", &server.url(), Path::new("off")).await;
    let call = Call::try_once(&first, "anna").await.unwrap();
    let meeting = actix_web::rt::spawn(async move { Call::try_once(&second, "bert").await.map(drop) });
    let looking = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while server.peak_open_sockets() < 2 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the second socket was not seen");
    meeting.abort();
    call.hang_up().await;
}
