//! Records on their way to a store that does not take them now.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tandem::{
    context::{private::Private, user::Context},
    protocol::ending::Ending,
    store::{
        Findings, Store, StoreError, StoreFuture,
        local::LocalStore,
        record::{Ended, Line, Page, Record, Speaker, Written},
        spool::{Brought, Room, Spool},
    },
};
use uuid::Uuid;

use crate::bench::File;

/// Where the process that is killed finds its file.
const PLACE: &str = "TANDEM_TEST_SPOOL";

/// A store that can be down.
struct Moody {
    inner: LocalStore,
    down: AtomicBool,
}

impl Moody {
    fn in_this(file: &File, down: bool) -> Arc<Moody> {
        Arc::new(Moody { inner: file.local(None), down: down.into() })
    }

    fn write(&self, writing: impl FnOnce() -> StoreFuture<Written>) -> StoreFuture<Written> {
        match self.down.load(Ordering::Relaxed) {
            true => Box::pin(async { Err(StoreError::Unreachable("it is down".into())) }),
            false => writing(),
        }
    }
}

impl Store for Moody {
    fn context(&self, user: Private<String>) -> StoreFuture<Option<Context>> {
        self.inner.context(user)
    }

    fn open(&self, record: Record) -> StoreFuture<Written> {
        self.write(|| self.inner.open(record))
    }

    fn complete(&self, record: Record) -> StoreFuture<Written> {
        self.write(|| self.inner.complete(record))
    }

    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        self.inner.sessions(user, page)
    }

    fn session(&self, session: Uuid) -> StoreFuture<Option<Record>> {
        self.inner.session(session)
    }

    fn erase(&self, user: Private<String>) -> StoreFuture<u64> {
        self.inner.erase(user)
    }

    fn expire(&self) -> StoreFuture<u64> {
        self.inner.expire()
    }

    fn look(&self) -> StoreFuture<Findings> {
        self.inner.look()
    }
}

fn begun(user: &str, began_ms: i64) -> Record {
    Record { session: Uuid::new_v4(), user: user.into(), persona: "listener".into(), began_ms, ended: None }
}

fn ended(record: &Record) -> Record {
    let line = Line { speaker: Speaker::Caller, at_ms: 5, text: "I told nobody of the lump.".into() };
    let ended =
        Ended { at_ms: 9, ending: Ending::MaxDuration, talked_ms: 4, recap: "A lump.".into(), transcript: vec![line] };
    Record { ended: Some(ended), ..record.clone() }
}

fn spool(file: &File, store: &Arc<Moody>, room: Room) -> Spool {
    let store: Arc<dyn Store> = store.clone();
    Spool::open(&file.0.join("spool.sqlite"), store, room).unwrap()
}

#[tokio::test]
async fn what_a_store_does_not_take_waits_until_it_does() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::in_this(&records, true);
    let spool = spool(&file, &store, Room::default());
    let call = begun("maria", 1);
    let second = Record { persona: "second".into(), ..ended(&call) };
    for record in [&call, &call, &ended(&call), &second] {
        spool.keep(record).await.unwrap();
    }
    assert!(matches!(spool.bring().await, Err(StoreError::Unreachable(_))));
    assert_eq!((spool.waiting().await.unwrap(), store.session(call.session).await.unwrap()), (2, None));
    assert!(file.holds("the lump"), "it is looked for in the right files");
    store.down.store(false, Ordering::Relaxed);
    let other = rusqlite::Connection::open(file.0.join("spool.sqlite")).unwrap();
    let seconds = "SELECT count(*) FROM waiting WHERE record LIKE '%second%'";
    assert_eq!(other.query_row(seconds, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "the first one counts");
    drop(other);
    assert_eq!(spool.bring().await.unwrap(), Brought { records: 2, unreadable: 0 });
    assert_eq!(store.session(call.session).await.unwrap(), Some(ended(&call)));
    assert_eq!((spool.waiting().await.unwrap(), file.holds("the lump")), (0, false));
    assert_eq!(spool.bring().await.unwrap(), Brought { records: 0, unreadable: 0 });
}

#[tokio::test]
async fn what_waits_of_an_erased_user_is_dropped() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::in_this(&records, false);
    let spool = spool(&file, &store, Room::default());
    let call = begun("maria", 1);
    spool.keep(&ended(&call)).await.unwrap();
    store.erase("maria".into()).await.unwrap();
    assert_eq!(spool.bring().await.unwrap(), Brought { records: 1, unreadable: 0 });
    assert_eq!((store.session(call.session).await.unwrap(), file.holds("the lump")), (None, false));
}

#[tokio::test]
async fn what_cannot_be_read_does_not_hold_up_the_rest() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::in_this(&records, false);
    let spool = spool(&file, &store, Room::default());
    let (first, second) = (begun("maria", 1), begun("maria", 2));
    spool.keep(&first).await.unwrap();
    spool.keep(&second).await.unwrap();
    let other = rusqlite::Connection::open(file.0.join("spool.sqlite")).unwrap();
    other.execute("UPDATE waiting SET record = '{}' WHERE number = 1", []).unwrap();
    assert_eq!(spool.bring().await.unwrap(), Brought { records: 1, unreadable: 1 });
    assert_eq!(store.session(second.session).await.unwrap(), Some(second));
}

#[tokio::test]
async fn there_is_room_for_so_many_records_and_so_many_bytes() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::in_this(&records, true);
    let two = spool(&file, &store, Room { records: 2, bytes: 1 << 20 });
    two.keep(&begun("maria", 1)).await.unwrap();
    two.keep(&begun("maria", 2)).await.unwrap();
    assert!(matches!(two.keep(&begun("maria", 3)).await, Err(StoreError::Full)));
    let small = spool(&file, &store, Room { records: 9, bytes: 300 });
    assert!(matches!(small.keep(&ended(&begun("maria", 4))).await, Err(StoreError::Full)));
    assert_eq!(two.waiting().await.unwrap(), 2);
}

#[tokio::test]
async fn what_a_killed_process_kept_is_brought_by_the_next_one() {
    let (file, records) = (File::scratch(), File::scratch());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::a_process_that_is_killed", "--ignored", "--nocapture"])
        .env(PLACE, &file.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|line| line.split_once("KEPT ").map(|(_, id)| id.to_owned()));
    child.kill().unwrap();
    child.wait().unwrap();
    let session: Uuid = told.expect("it keeps a record").parse().unwrap();
    let store = Moody::in_this(&records, false);
    assert_eq!(spool(&file, &store, Room::default()).bring().await.unwrap().records, 1);
    assert_eq!(store.session(session).await.unwrap().unwrap().user.expose(), "maria");
}

#[tokio::test]
#[ignore = "a process of another test, which kills it"]
async fn a_process_that_is_killed() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let (file, records) = (std::mem::ManuallyDrop::new(File(place.into())), File::scratch());
    let spool = spool(&file, &Moody::in_this(&records, true), Room::default());
    let call = ended(&begun("maria", 1));
    spool.keep(&call).await.unwrap();
    println!("KEPT {}", call.session);
    std::future::pending::<()>().await;
}
