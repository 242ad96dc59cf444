//! Model servers as processes of this machine. Each test works in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tandem::fleet::provider::{
    PowerState, Provider, Started, Stopped,
    command::{LocalProcess, Output, Settings},
};

use super::{
    clouds::{SECRET, secret},
    contract::settles,
    stage::PATIENCE,
};

/// A program that runs until it is told to end.
pub const SLEEPER: &str = "exec sleep 1000";

/// An empty folder, removed at the end.
pub struct Desk(PathBuf);

impl Desk {
    pub fn new() -> Desk {
        let path = std::env::temp_dir().join(format!("tandem-fleet-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Desk(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn settings(&self, script: &str, grace: Duration) -> Settings {
        Settings {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: Some(self.0.clone()),
            environment: vec![("MODEL_KEY".into(), secret())],
            grace,
            output: Output::File { path: self.path("words"), max_bytes: 1024 },
            pid_file: self.path("pid"),
        }
    }

    pub fn process(&self, script: &str, grace: Duration) -> LocalProcess {
        LocalProcess::new(self.settings(script, grace))
    }

    fn words(&self) -> String {
        fs::read_to_string(self.path("words")).unwrap_or_default()
    }

    /// Waits for the program to say this.
    async fn hears(&self, wanted: &str) {
        eventually(wanted, || self.words().contains(wanted)).await;
    }

    /// Waits for a file of this name to say this.
    pub async fn hears_in(&self, name: &str, wanted: &str) {
        let words = || fs::read_to_string(self.path(name)).unwrap_or_default();
        eventually(wanted, || words().contains(wanted)).await;
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.path("pid")).unwrap().split(' ').next().unwrap().to_owned()
    }
}

impl Drop for Desk {
    /// Processes outlive who started them: what a failed test left in this folder is ended here.
    fn drop(&mut self) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let pid = process.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            if let Some(pid) = pid.filter(|_| fs::read_link(process.path().join("cwd")).is_ok_and(|it| it == self.0)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether a process runs; one whose result nobody took does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[actix_web::test]
async fn a_stop_is_orderly() {
    let desk = Desk::new();
    let it = desk.process("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done", PATIENCE);
    it.start().await.unwrap();
    desk.hears("up").await;
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
    assert!(desk.words().ends_with("bye\n"), "it was not killed, and how it ended is its own affair");
    assert!(!desk.path("pid").exists());
}

#[actix_web::test]
async fn what_does_not_end_is_killed() {
    let desk = Desk::new();
    let it = desk.process("trap '' TERM; echo up; while :; do sleep 0.01; done", Duration::from_millis(50));
    it.start().await.unwrap();
    desk.hears("up").await;
    let pid = desk.pid();
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    assert_eq!(it.start().await.unwrap_err().code(), "transient", "two of them would share a GPU");
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
    assert!(!runs(&pid));
}

#[actix_web::test]
async fn what_it_started_ends_with_it() {
    let desk = Desk::new();
    let it = desk.process(FAMILY, PATIENCE);
    it.start().await.unwrap();
    let child = desk.child().await;
    assert!(runs(&child));
    it.stop().await.unwrap();
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
    assert!(!runs(&child));
}

#[actix_web::test]
async fn an_end_that_nobody_asked_for_is_a_failure() {
    for (script, state, said) in [
        ("exit 3", PowerState::Failed, Some("the process ended with status 3")),
        ("kill -9 $$", PowerState::Failed, Some("the process was ended by signal 9")),
        ("exit 0", PowerState::Stopped, None),
    ] {
        let desk = Desk::new();
        let it = desk.process(script, PATIENCE);
        it.start().await.unwrap();
        desk.ended().await;
        settles(&it, state, PowerState::Stopping).await;
        let detail = it.status().await.unwrap().detail;
        assert_eq!(detail.as_ref().map(|detail| detail.as_str()), said);
        assert_eq!(it.stop().await, Ok(Stopped::AlreadyStopped));
        assert_eq!(it.start().await, Ok(Started::Accepted), "it may be started again");
        desk.ended().await;
        settles(&it, state, PowerState::Stopping).await;
    }
}

#[actix_web::test]
async fn another_tandem_finds_the_process_again() {
    let desk = Desk::new();
    let first = desk.process(SLEEPER, PATIENCE);
    first.start().await.unwrap();
    drop(first);
    let second = desk.process(SLEEPER, PATIENCE);
    assert_eq!(second.start().await, Ok(Started::AlreadyRunning));
    assert_eq!(second.status().await.unwrap().state, PowerState::Running);
    let pid = desk.pid();
    assert_eq!(second.stop().await, Ok(Stopped::Accepted));
    settles(&second, PowerState::Stopped, PowerState::Stopping).await;
    assert!(!runs(&pid));
    assert_eq!(second.restart().await, Ok(()));
    assert_ne!(desk.pid(), pid);
    assert_eq!(second.stop().await, Ok(Stopped::Accepted));
    settles(&second, PowerState::Stopped, PowerState::Stopping).await;
}

#[actix_web::test]
async fn a_found_process_that_does_not_end_is_killed() {
    let desk = Desk::new();
    let script = "trap '' TERM; echo up; while :; do sleep 0.01; done";
    let first = desk.process(script, PATIENCE);
    first.start().await.unwrap();
    desk.hears("up").await;
    let second = desk.process(script, Duration::from_millis(50));
    assert_eq!(second.restart().await, Ok(()), "ends the old one and starts another");
    assert_eq!(second.stop().await, Ok(Stopped::Accepted));
    settles(&second, PowerState::Stopped, PowerState::Stopping).await;
}

/// Its child ignores what its parent is told, and says its number.
const FAMILY: &str = "(trap '' TERM; echo child; exec sleep 1000) & echo pid $!.; wait";

impl Desk {
    /// Starts it as a Tandem does that is gone before it ends.
    fn abandons(&self, script: &str) {
        let settings = self.settings(script, PATIENCE);
        let earlier = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { LocalProcess::new(settings).start().await.unwrap() })
        });
        assert_eq!(earlier.join().unwrap(), Started::Accepted);
    }

    /// Sends the process itself a signal, and not its children.
    async fn leader_ends(&self, signal: Signal) {
        let pid = self.pid();
        kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), signal).unwrap();
        self.ended().await;
    }

    /// Waits for the process itself to end, before anybody looks.
    async fn ended(&self) {
        let pid = self.pid();
        eventually("the process ends", || !runs(&pid)).await;
    }

    /// The number of the child, once it is there.
    async fn child(&self) -> String {
        self.hears("child").await;
        self.hears(".\n").await;
        let words = self.words();
        words.split("pid ").nth(1).unwrap().split('.').next().unwrap().to_owned()
    }
}

#[actix_web::test]
async fn what_a_found_process_leaves_behind_is_killed_before_it_counts_as_stopped() {
    for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let desk = Desk::new();
        desk.abandons(FAMILY);
        let child = desk.child().await;
        let it = desk.process(FAMILY, PATIENCE);
        assert_eq!(it.status().await.unwrap().state, PowerState::Running);
        match signal {
            None => assert_eq!(it.stop().await, Ok(Stopped::Accepted)),
            Some(signal) => desk.leader_ends(signal).await,
        }
        settles(&it, PowerState::Stopped, PowerState::Stopping).await;
        assert!(!runs(&child), "{signal:?}: it would keep the GPU");
        assert!(!desk.path("pid").exists());
    }
}

#[actix_web::test]
async fn what_a_process_left_behind_while_nobody_looked_is_killed() {
    let desk = Desk::new();
    desk.abandons(FAMILY);
    let child = desk.child().await;
    desk.leader_ends(Signal::KILL).await;
    assert!(runs(&child));
    let it = desk.process(SLEEPER, PATIENCE);
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
    assert!(!runs(&child));
    assert_eq!(it.start().await, Ok(Started::Accepted));
    it.stop().await.unwrap();
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
}

#[actix_web::test]
async fn a_number_that_is_another_process_now_is_left_alone() {
    let desk = Desk::new();
    let first = desk.process(SLEEPER, PATIENCE);
    first.start().await.unwrap();
    let record = fs::read_to_string(desk.path("pid")).unwrap();
    let [pid, started, session, boot] = record.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{record}") };
    let later = started.parse::<u64>().unwrap() + 1;
    for record in [
        format!("{pid} {later} {session} {boot}"),
        format!("{pid} {started} {session} another-boot"),
        "gibberish".to_owned(),
    ] {
        fs::write(desk.path("pid"), record).unwrap();
        let second = desk.process(SLEEPER, PATIENCE);
        assert_eq!(second.status().await.unwrap().state, PowerState::Stopped);
        assert_eq!(second.stop().await, Ok(Stopped::AlreadyStopped));
    }
    assert!(runs(pid), "nobody touched it");
    first.stop().await.unwrap();
    settles(&first, PowerState::Stopped, PowerState::Stopping).await;
}

#[actix_web::test]
async fn the_program_has_its_own_environment_and_nothing_secret_of_ours() {
    let desk = Desk::new();
    let it = desk.process("env; echo done; exec sleep 1000", PATIENCE);
    it.start().await.unwrap();
    desk.hears("done").await;
    let words = desk.words();
    assert!(words.contains(&format!("MODEL_KEY={SECRET}\n")) && words.contains("PATH="), "{words}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !words.contains("CARGO"), "{words}");
    assert!(!format!("{it:?} {:?}", it.status().await).contains(SECRET));
    it.stop().await.unwrap();
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
}

#[actix_web::test]
async fn its_words_take_bounded_room() {
    let desk = Desk::new();
    let it = desk.process("head -c 5000 /dev/zero; while [ ! -e go ]; do sleep 0.01; done; echo end", PATIENCE);
    it.start().await.unwrap();
    let length = || fs::metadata(desk.path("words")).unwrap().len();
    eventually("it has spoken", || length() == 5000).await;
    it.status().await.unwrap();
    assert_eq!(length(), 0);
    fs::write(desk.path("go"), "").unwrap();
    desk.ended().await;
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
    assert_eq!(desk.words(), "end\n", "it goes on at the beginning");
}

#[actix_web::test]
async fn what_cannot_be_run_says_so_without_its_path() {
    let desk = Desk::new();
    let settings = desk.settings(SLEEPER, PATIENCE);
    for settings in [
        Settings { program: desk.path("no-such-program"), ..settings.clone() },
        Settings { program: desk.0.clone(), ..settings.clone() },
        Settings { directory: Some(desk.path("no-such-folder")), ..settings.clone() },
        Settings { pid_file: desk.path("no/such/folder"), ..settings.clone() },
        Settings { output: Output::File { path: desk.0.clone(), max_bytes: 1 }, ..settings.clone() },
    ] {
        let it = LocalProcess::new(settings);
        let error = it.start().await.unwrap_err();
        assert_eq!(error.code(), "permanent", "{error}");
        assert!(!error.to_string().contains(desk.0.to_str().unwrap()), "{error}");
        assert_eq!(it.status().await.unwrap().state, PowerState::Stopped);
    }
}

#[actix_web::test]
async fn a_process_without_a_record_does_not_stay() {
    let desk = Desk::new();
    let script = "echo $$ > number; echo up; exec sleep 1000";
    let settings = Settings { pid_file: desk.path("no/such/folder"), ..desk.settings(script, PATIENCE) };
    LocalProcess::new(settings).start().await.unwrap_err();
    // It may have been killed before it said its number.
    let left = || fs::read_to_string(desk.path("number")).is_ok_and(|number| runs(&number));
    eventually("it is gone", || !left()).await;
}
