//! Gateways in processes of their own, which can be killed.

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
    sim::caller::{self, Audio, CallEvent, CallReport, CallerSettings, Credential, HangUp, Wire},
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::house::{PATIENCE, SECRET};

/// A directory for the processes' files, removed at the end.
pub struct Desk(pub PathBuf);

impl Desk {
    pub fn new() -> Desk {
        let path = std::env::temp_dir().join(format!("tandem-process-{}", uuid::Uuid::new_v4()));
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
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    /// Starts one on this server with a state directory of this name, and waits until it listens.
    pub async fn start(desk: &Desk, name: &str, server: &str, ledger: &Path) -> Process {
        Process::set(desk, name, server, &[("TANDEM__STATE__LEDGER", &ledger.display().to_string())]).await
    }

    /// The same with variables of the environment on top.
    pub async fn set(desk: &Desk, name: &str, server: &str, variables: &[(&str, &str)]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .arg("serve")
            .current_dir(&desk.0)
            .env_clear()
            .env("PERSONAPLEX_SERVER_URL", server)
            .env("PORT", "0")
            .env("JWT_SECRET", SECRET)
            .env("TANDEM__LOGGING__FORMAT", "json")
            .env("TANDEM__STATE__DIR", desk.0.join(name))
            .envs(variables.iter().copied())
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

    /// Waits until it ends by itself; its exit status, if it was no signal.
    pub async fn wait(&mut self) -> Option<i32> {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let ending = async {
            loop {
                look.tick().await;
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
            }
        };
        tokio::time::timeout(PATIENCE, ending).await.expect("it ends in time")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
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
pub struct Call {
    hang_up: Arc<Notify>,
    running: JoinHandle<CallReport>,
}

impl Call {
    /// Tries once; `Err` is how it was refused.
    pub async fn try_once(at: &Process, user: &str) -> Result<Call, String> {
        Call::place(at, user, false).await
    }

    /// Gets through, sooner or later.
    pub async fn insist(at: &Process, user: &str) -> Call {
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

    pub async fn hang_up(self) {
        self.hang_up.notify_one();
        self.running.await.unwrap();
    }
}
