//! A model server that runs on this machine, as a process of its own.
//!
//! The program leads a process group, so that what it starts ends with it, and a terminal's Ctrl-C does not reach it. It
//! must not go into the background by itself. It outlives Tandem: the next one finds it by a file with its number and when
//! it began. Its words go to a file of bounded size or to Tandem's own output, never into the log.
//!
//! It is given the settings' environment and few variables of Tandem's own, because those may hold secrets.

mod identity;
mod line;

use std::{
    cell::RefCell,
    env, fs, io,
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use rustix::process::Signal;
use secrecy::{ExposeSecret, SecretString};
use tokio::{process::Command, sync::watch, time::timeout};

use self::identity::Identity;
pub use self::line::{CommandLine, CommandLineError};
use super::{Detail, PowerState, Provider, ProviderError, Started, Status, Stopped};

/// What to run, and how it ends.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// Its arguments; secrets belong into the environment, because every user of the machine can read arguments.
    pub arguments: Vec<String>,
    /// Where it runs; none: where Tandem does.
    pub directory: Option<PathBuf>,
    /// Its environment, next to the few variables that it has from Tandem.
    pub environment: Vec<(String, SecretString)>,
    /// How long it may take to end by itself before it is killed.
    pub grace: Duration,
    /// Where its words go.
    pub output: Output,
    /// The file that tells a later Tandem which process it is. Its folder exists.
    pub pid_file: PathBuf,
}

/// Where the words of the program go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    Discard,
    /// To Tandem's own output.
    Inherit,
    /// To the end of a file, which begins anew when a start or a look at the status finds it longer than this.
    File {
        /// The file; its folder exists.
        path: PathBuf,
        /// How long it may be, in bytes.
        max_bytes: u64,
    },
}

/// The variables of Tandem's own that the program gets, by name or by prefix: none that could hold a secret of Tandem's.
const INHERITED: [&str; 8] = ["HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"];
const INHERITED_PREFIXES: [&str; 3] = ["LC_", "CUDA_", "NVIDIA_"];

/// A local process, whether it runs or not.
#[derive(Debug)]
pub struct LocalProcess {
    settings: Settings,
    found: RefCell<Found>,
}

#[derive(Debug)]
enum Found {
    /// None is known.
    Nothing,
    /// It runs, as far as is known.
    Process(Process),
    /// It ended unasked.
    Ended(Detail),
}

#[derive(Clone, Debug)]
struct Process {
    identity: Identity,
    /// How it ended; none: an earlier Tandem started it, so only the kernel can be asked.
    end: Option<watch::Receiver<Option<ExitStatus>>>,
    is_stopping: bool,
}

impl LocalProcess {
    /// The process that these settings describe. One that an earlier Tandem started is found now, as is what such a one left
    /// behind: that is ended.
    pub fn new(settings: Settings) -> Self {
        let found = Identity::load(&settings.pid_file).filter(|identity| !identity.is_gone());
        let adopted = found.map(|identity| Process { identity, end: None, is_stopping: false });
        Self { settings, found: RefCell::new(adopted.map_or(Found::Nothing, Found::Process)) }
    }

    /// What there is now. Ends are noticed here.
    fn look(&self) -> Status {
        self.bound_output();
        let mut found = self.found.borrow_mut();
        if let Found::Process(process) = &*found
            && let Some(ended) = process.ended()
        {
            // The record of a process that is gone is in nobody's way: it names this one only.
            let _ = fs::remove_file(&self.settings.pid_file);
            *found = ended;
        }
        match &*found {
            Found::Nothing => Status::of(PowerState::Stopped),
            Found::Ended(detail) => Status::of(PowerState::Failed).with_detail(Some(detail.clone())),
            Found::Process(process) => {
                let is_ending = process.is_stopping || !process.identity.is_alive();
                let state = if is_ending { PowerState::Stopping } else { PowerState::Running };
                Status::of(state).with_detail(Some(process.identity.detail()))
            }
        }
    }

    fn run(&self) -> Result<Started, ProviderError> {
        match self.look().state {
            PowerState::Running => return Ok(Started::AlreadyRunning),
            PowerState::Stopping => return Err(ProviderError::transient("the process is still stopping")),
            _ => {}
        }
        let process = self.spawn()?;
        self.found.replace(Found::Process(process));
        Ok(Started::Accepted)
    }

    fn spawn(&self) -> Result<Process, ProviderError> {
        let mut child = self.command()?.spawn().map_err(|error| cannot("the program cannot be run", &error))?;
        let Some(identity) = child.id().and_then(Identity::of) else {
            let _ = child.start_kill();
            return Err(ProviderError::permanent("this machine does not tell which process is which (/proc)"));
        };
        if let Err(error) = identity.save(&self.settings.pid_file) {
            let _ = identity.signal(Signal::KILL);
            return Err(cannot("the pid file cannot be written", &error));
        }
        let (told, end) = watch::channel(None);
        let group = identity.clone();
        tokio::spawn(async move {
            let ended = child.wait().await;
            // What it started and left behind ends with it.
            gone(&group).await;
            told.send_replace(Some(ended.unwrap_or_default()));
        });
        Ok(Process { identity, end: Some(end), is_stopping: false })
    }

    fn command(&self) -> Result<Command, ProviderError> {
        let settings = &self.settings;
        let mut command = Command::new(&settings.program);
        command.args(&settings.arguments).env_clear().envs(env::vars_os().filter(|(name, _)| is_inherited(name)));
        command.envs(settings.environment.iter().map(|(name, value)| (name, value.expose_secret())));
        command.process_group(0).stdin(Stdio::null());
        if let Some(directory) = &settings.directory {
            command.current_dir(directory);
        }
        let (out, error) = self.output().map_err(|error| cannot("the output file cannot be opened", &error))?;
        command.stdout(out).stderr(error);
        Ok(command)
    }

    fn output(&self) -> io::Result<(Stdio, Stdio)> {
        match &self.settings.output {
            Output::Discard => Ok((Stdio::null(), Stdio::null())),
            Output::Inherit => Ok((Stdio::inherit(), Stdio::inherit())),
            Output::File { path, .. } => {
                let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                Ok((file.try_clone()?.into(), file.into()))
            }
        }
    }

    /// Lets an output file that is too long begin anew. The process writes at its end, wherever that is.
    fn bound_output(&self) {
        let Output::File { path, max_bytes } = &self.settings.output else { return };
        if fs::metadata(path).is_ok_and(|data| data.len() > *max_bytes) {
            // A file that cannot be shortened is looked at again the next time.
            let _ = fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0));
        }
    }

    fn halt(&self) -> Result<Stopped, ProviderError> {
        if self.look().state != PowerState::Running {
            return Ok(Stopped::AlreadyStopped);
        }
        let mut found = self.found.borrow_mut();
        let Found::Process(process) = &mut *found else { return Ok(Stopped::AlreadyStopped) };
        process.identity.signal(Signal::TERM).map_err(|error| cannot("the process cannot be told to end", &error))?;
        process.is_stopping = true;
        tokio::spawn(process.clone().kill_after(self.settings.grace));
        Ok(Stopped::Accepted)
    }

    /// Stops what runs and waits for its end, then starts.
    async fn begin_anew(&self) -> Result<(), ProviderError> {
        self.halt()?;
        let process = match &*self.found.borrow() {
            Found::Process(process) => Some(process.clone()),
            _ => None,
        };
        if let Some(process) = process {
            // What is killed takes a moment to be gone.
            let patience = self.settings.grace + Duration::from_secs(5);
            timeout(patience, process.gone()).await.map_err(|_| ProviderError::Timeout)?;
        }
        self.run().map(drop)
    }
}

impl Process {
    /// What it became, once it has ended.
    fn ended(&self) -> Option<Found> {
        let status = match &self.end {
            Some(end) => Some((*end.borrow())?),
            None if !self.identity.is_gone() => return None,
            None => None,
        };
        let failed = status.filter(|status| !self.is_stopping && !status.success());
        Some(failed.map_or(Found::Nothing, |status| Found::Ended(how(status))))
    }

    /// Comes back when it has ended, and with it all that it started.
    async fn gone(mut self) {
        match &mut self.end {
            Some(end) => _ = end.wait_for(Option::is_some).await,
            None => gone(&self.identity).await,
        }
    }

    async fn kill_after(self, grace: Duration) {
        let identity = self.identity.clone();
        if timeout(grace, self.gone()).await.is_err() && identity.is_alive() {
            // Nobody is left to tell; the next look finds what came of it.
            let _ = identity.signal(Signal::KILL);
        }
    }
}

impl Provider for LocalProcess {
    fn name(&self) -> &'static str {
        "command"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        Box::pin(async { self.run() })
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        Box::pin(async { self.halt() })
    }

    /// Takes as long as the process takes to end, which is at most its grace and five seconds.
    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(self.begin_anew())
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        Box::pin(async { Ok(self.look()) })
    }
}

/// Comes back when a process and its group are gone, which only the kernel can be asked.
async fn gone(identity: &Identity) {
    const LOOK: Duration = Duration::from_millis(100);
    while !identity.is_gone() {
        tokio::time::sleep(LOOK).await;
    }
}

fn is_inherited(name: &std::ffi::OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn how(status: ExitStatus) -> Detail {
    match (status.code(), status.signal()) {
        (Some(code), _) => Detail::own(format!("the process ended with status {code}")),
        (None, Some(signal)) => Detail::own(format!("the process was ended by signal {signal}")),
        (None, None) => Detail::own("the process ended"),
    }
}

/// What the system refused: for good, unless it is short of something. Paths and arguments are not repeated.
fn cannot(what: &str, error: &io::Error) -> ProviderError {
    let sentence = format!("{what} ({}): check the settings and who Tandem runs as", error.kind());
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted => {
            ProviderError::transient(sentence)
        }
        _ => ProviderError::permanent(sentence),
    }
}
