//! Gateways and stores that are killed while calls end: every call leaves one record all the same.

use std::{
    collections::BTreeMap,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use rusqlite::{Connection, OpenFlags};
use secrecy::SecretString;
use tandem::{
    auth::{SigningKey, TokenRules, Tokens, UserId},
    http::identity::unix_now_seconds,
    sim::{
        caller::{self, Audio, CallEvent, CallReport, CallerSettings, Credential, HangUp, Wire},
        upstream::{self, Simulator},
    },
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    house::{House, PATIENCE, SECRET, port_for_later, quiet},
    process::{Desk, Process},
};

const ROUNDS: usize = 20;
const CALLS: usize = 50;

/// A call that hangs up as soon as the model listens; the id that it is told is written down at once.
async fn brief(url: String, user: String, told: Arc<Mutex<Vec<Uuid>>>) -> CallReport {
    let tokens = Tokens::new(SigningKey::new(&SecretString::from(SECRET)).unwrap(), TokenRules::default());
    let token = tokens.mint(&UserId::new(&user).unwrap(), Duration::from_secs(60), unix_now_seconds()).unwrap();
    let (events, mut heard) = mpsc::channel(1024);
    let settings = CallerSettings {
        wire: Wire::Native(Audio::Opus),
        credential: Credential::Bearer(token),
        hang_up: HangUp::WhenTold,
        events: Some(events),
        ..CallerSettings::new(url)
    };
    let hang_up = Arc::clone(&settings.hang_up_now);
    let calling = caller::call(settings);
    let listening = async {
        while let Some(event) = heard.recv().await {
            match event {
                CallEvent::Created { session_id } => told.lock().unwrap().push(session_id.parse().unwrap()),
                CallEvent::Ready => hang_up.notify_one(),
                _ => {}
            }
        }
    };
    tokio::join!(calling, listening).0
}

/// Which calls the store's file knows, and whether each has an end.
fn records(state: &Path) -> BTreeMap<Uuid, bool> {
    let file = Connection::open_with_flags(state.join("users.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut select = file.prepare("SELECT id, ended_ms IS NOT NULL FROM sessions").unwrap();
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?.parse().unwrap(), row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[actix_web::test]
async fn a_gateway_killed_twenty_times_under_fifty_ending_calls_loses_none() {
    let server = Simulator::start(upstream::Settings { calls_at_once: 4 * CALLS, ..quiet() }).await.unwrap();
    let url = format!("{}#capacity={}", server.url(), 4 * CALLS);
    let (desk, told) = (Desk::new(), Arc::new(Mutex::new(Vec::new())));
    let variables = [("TANDEM__STATE__LEDGER", "off"), ("TANDEM__TURNS__SHARE", "0")];
    for round in 0..ROUNDS {
        let mut gateway = Process::set(&desk, "one", &url, &variables).await;
        let call = |n| brief(gateway.url.clone(), format!("user {round} {n}"), Arc::clone(&told));
        let mut calls: FuturesUnordered<_> = (0..CALLS).map(call).collect();
        // Killed when so many calls are over, and the others begin, talk or end.
        for _ in 0..=round * CALLS / ROUNDS {
            tokio::time::timeout(PATIENCE, calls.next()).await.unwrap();
        }
        gateway.kill();
        while tokio::time::timeout(PATIENCE, calls.next()).await.unwrap().is_some() {}
    }
    let told = told.lock().unwrap().clone();
    assert!(told.len() > ROUNDS * CALLS / 3, "only {} calls were told their names", told.len());
    let _gateway = Process::set(&desk, "one", &url, &variables).await;
    let state = desk.0.join("one");
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let missing = |records: &BTreeMap<Uuid, bool>| told.iter().filter(|id| !records.contains_key(id)).count();
    let all = async {
        loop {
            look.tick().await;
            let records = records(&state);
            if missing(&records) == 0 && records.values().all(|ended| *ended) {
                break;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        let records = records(&state);
        let open = records.values().filter(|ended| !**ended).count();
        panic!("{} of {} calls have no record, {open} records no end", missing(&records), told.len());
    }
}

/// A server that speaks MongoDB's protocol, which can be killed and started again on the same files.
struct Database {
    program: PathBuf,
    desk: Desk,
    port: u16,
    running: Option<Child>,
}

impl Database {
    /// None where there is no program.
    #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
    fn new() -> Option<Database> {
        let Ok(program) = std::env::var("MONGODB_TEST_SERVER") else {
            assert!(std::env::var("TANDEM_TEST_REQUIRE_ALL").is_err(), "set MONGODB_TEST_SERVER");
            eprintln!("SKIPPED: MONGODB_TEST_SERVER is not set");
            return None;
        };
        Some(Database { program: program.into(), desk: Desk::new(), port: port_for_later(), running: None })
    }

    /// Starts it, and waits until it listens.
    async fn start(&mut self) {
        let child = Command::new(&self.program)
            .args([
                "--port",
                &self.port.to_string(),
                "--sync-on-commit",
                "--cache-size",
                "64M",
                "--log-file-max",
                "16MB",
                "--storage-path",
            ])
            .arg(&self.desk.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running = Some(child.unwrap());
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let listening = async {
            while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
                look.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("it listens in time");
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

#[actix_web::test]
async fn a_store_killed_while_records_are_written_has_each_of_them_once_it_is_back() {
    let Some(mut database) = Database::new() else { return };
    database.start().await;
    let uri = format!("mongodb://127.0.0.1:{}/app", database.port);
    let variables = [("MONGODB_URI", uri.as_str()), ("TANDEM__TURNS__SHARE", "0")];
    let house = House::set(quiet(), 4, &variables).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut finished = Vec::new();
    for round in 0..3 {
        let call = |n| brief(house.url(), format!("user {round} {n}"), Arc::clone(&told));
        let mut calls: FuturesUnordered<_> = (0..8).map(call).collect();
        for _ in 0..=round {
            finished.extend(calls.next().await);
        }
        database.kill();
        finished.extend(calls.collect::<Vec<_>>().await);
        database.start().await;
    }
    assert!(finished.iter().all(CallReport::went_well), "a store that is down keeps nobody from calling");
    house.metric_until("tandem_records_waiting", 0.0).await;
    let archive = &house.gateway.doors.archive;
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 3 * 8);
    for session in told {
        let record = archive.session(session).await.unwrap().expect("it has a record");
        assert_eq!(record.ended.expect("and an end").ending, tandem::protocol::ending::Ending::ClientLeft);
        let listed = archive.sessions(record.user, tandem::store::record::Page::first(9)).await.unwrap();
        assert_eq!(listed.len(), 1);
    }
}
