//! Records on their way to a store that does not take them now.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tandem::{
    protocol::ending::Ending,
    store::{
        Store, StoreError,
        archive::Archive,
        details::Details,
        record::{Ended, Line, Origin, Record, Speaker, Written},
        spool::{Brought, Room, Spool, TRIES},
    },
};
use uuid::Uuid;

use crate::{bench::File, moody::Moody};

const MINUTE: Duration = Duration::from_secs(60);
/// Where the process that is killed finds its file.
const PLACE: &str = "TANDEM_TEST_SPOOL";

pub fn begun(user: &str, began_ms: i64) -> Record {
    let origin = Origin { home: "here".into(), process: Uuid::new_v4(), until_ms: 99 };
    Record { session: Uuid::new_v4(), user: user.into(), persona: "listener".into(), began_ms, origin, ended: None }
}

pub fn ended(record: &Record) -> Record {
    let line = Line { speaker: Speaker::Caller, at_ms: 5, text: "I told nobody of the lump.".into() };
    let ended = Ended {
        at_ms: 9,
        ending: Ending::MaxDuration,
        talked_ms: 4,
        recap: "A lump.".into(),
        details: Details { attempts: 3, ..Details::default() },
        transcript: vec![line],
        sealed: false,
    };
    Record { ended: Some(ended), ..record.clone() }
}

pub fn spool(file: &File, store: &Arc<Moody>, room: Room) -> Spool {
    let store: Arc<dyn Store> = store.clone();
    Spool::open(&file.0.join("spool.sqlite"), store, room).unwrap()
}

fn took(records: u64) -> Brought {
    Brought { records, ..Brought::default() }
}

#[tokio::test]
async fn what_a_store_does_not_take_waits_until_it_does() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let spool = spool(&file, &store, Room::default());
    let (call, second) = (begun("maria", 1), begun("maria", 2));
    for record in [&call, &call, &ended(&call), &Record { persona: "late".into(), ..ended(&call) }, &second] {
        assert_eq!(spool.keep(record.clone()).await.unwrap(), Written::Kept);
    }
    let brought = spool.bring().await.unwrap();
    assert!(brought.is_down && brought.records == 0 && brought.trouble.unwrap().contains("MongoDB cannot be reached"));
    assert_eq!((spool.waiting().await.unwrap(), store.session(call.session).await.unwrap()), (2, None));
    assert!(file.holds("the lump"), "it is looked for in the right files");
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(spool.bring().await.unwrap(), took(2));
    assert_eq!(store.session(call.session).await.unwrap(), Some(ended(&call)), "the first end counts");
    assert_eq!(store.session(second.session).await.unwrap(), Some(second));
    assert_eq!((spool.waiting().await.unwrap(), file.holds("the lump")), (0, false));
    assert_eq!(spool.bring().await.unwrap(), took(0));
}

#[tokio::test]
async fn what_waits_of_an_erased_user_is_dropped() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    let call = begun("maria", 1);
    spool.keep(ended(&call)).await.unwrap();
    store.erase("maria".into()).await.unwrap();
    assert_eq!(spool.bring().await.unwrap(), Brought { erased: 1, ..took(0) });
    assert_eq!((store.session(call.session).await.unwrap(), file.holds("the lump")), (None, false));
}

#[tokio::test]
async fn an_erasure_reaches_what_is_on_its_way_before_it_is_acknowledged() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let archive = Archive::open_at(&file.0.join("spool.sqlite"), store.clone(), Room::default()).unwrap();
    let (hers, running, others) = (begun("maria", 1), begun("maria", 2), begun("other", 3));
    for record in [ended(&hers), running.clone(), ended(&others)] {
        archive.complete(record).await.unwrap();
    }
    // Only writes of records fail in this store: erasing works.
    assert_eq!(archive.erase("maria".into()).await.unwrap(), 0);
    assert!(!file.holds("maria") && file.holds("other"));
    assert_eq!(archive.complete(ended(&running)).await.unwrap(), Written::Erased);
    assert!(archive.erase_session(others.session).await.unwrap(), "it was on its way");
    assert!(!file.holds("other") && !archive.erase_session(others.session).await.unwrap());
    assert_eq!(archive.complete(ended(&others)).await.unwrap(), Written::Erased);
    assert_eq!(archive.waiting().await.unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_does_not_hold_up_the_rest() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    let (first, second) = (begun("maria", 1), begun("maria", 2));
    spool.keep(first).await.unwrap();
    spool.keep(second.clone()).await.unwrap();
    let other = rusqlite::Connection::open(file.0.join("spool.sqlite")).unwrap();
    other.execute("UPDATE waiting SET record = '{}' WHERE number = 1", []).unwrap();
    assert_eq!(spool.bring().await.unwrap(), Brought { set_aside: 1, ..took(1) });
    assert_eq!(store.session(second.session).await.unwrap(), Some(second));
    assert_eq!((spool.waiting().await.unwrap(), spool.aside().await.unwrap()), (0, 1));
    assert_eq!(spool.expire(MINUTE, None).await.unwrap(), 0);
    other.execute("UPDATE aside SET at_ms = 0", []).unwrap();
    assert_eq!(spool.expire(MINUTE, None).await.unwrap(), 1);
}

#[tokio::test]
async fn a_record_that_is_refused_while_others_are_taken_is_set_aside() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    spool.keep(begun(Moody::REFUSED, 1)).await.unwrap();
    for _ in 0..=TRIES {
        let brought = spool.bring().await.unwrap();
        assert_eq!((brought.records, brought.set_aside, brought.is_down), (0, 0, false));
        assert!(brought.trouble.unwrap().contains("DocumentValidationFailure"));
    }
    assert_eq!(spool.waiting().await.unwrap(), 1, "a store that takes nothing may be at fault itself");
    for number in 1..=TRIES {
        let call = begun("maria", i64::from(number));
        spool.keep(call.clone()).await.unwrap();
        let brought = spool.bring().await.unwrap();
        assert_eq!((brought.records, brought.set_aside), (1, u64::from(number == TRIES)));
        assert_eq!(store.session(call.session).await.unwrap(), Some(call));
    }
    assert_eq!((spool.waiting().await.unwrap(), spool.aside().await.unwrap()), (0, 1));
    assert_eq!(spool.offer_again().await.unwrap(), 0);
    assert_eq!(spool.erase(Moody::REFUSED).await.unwrap(), 1);
    assert!(!file.holds(Moody::REFUSED));
}

#[tokio::test]
async fn there_is_room_for_so_many_records_and_so_many_bytes() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let five = spool(&file, &store, Room { records: 5, bytes: 1 << 20 });
    let calls: Vec<_> = (0..6).map(|began_ms| begun("maria", began_ms)).collect();
    for call in &calls[..4] {
        five.keep(call.clone()).await.unwrap();
    }
    let full = five.keep(calls[4].clone()).await.unwrap_err();
    assert!(full.to_string().starts_with("the spool is full: 5 records or 1048576 bytes"), "{full}");
    // An end takes the place of its beginning, or a place that is for ends.
    five.keep(ended(&calls[0])).await.unwrap();
    five.keep(ended(&calls[4])).await.unwrap();
    five.keep(ended(&calls[1])).await.unwrap();
    assert!(matches!(five.keep(ended(&calls[5])).await, Err(StoreError::SpoolFull { .. })));
    assert_eq!(five.waiting().await.unwrap(), 5);
    drop(five);
    // What an earlier process has left counts, and a beginning that no end may replace stays.
    let small = spool(&file, &store, Room { records: 9, bytes: 300 });
    assert!(matches!(small.keep(ended(&calls[2])).await, Err(StoreError::SpoolFull { .. })));
    assert_eq!(small.waiting().await.unwrap(), 5);
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(small.bring().await.unwrap(), took(5));
    let empty = spool(&File::scratch(), &store, Room { records: 9, bytes: 300 });
    assert!(matches!(empty.keep(ended(&calls[2])).await, Err(StoreError::SpoolFull { .. })), "it is longer than that");
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
    let store = Moody::over(records.local(None), false);
    assert_eq!(spool(&file, &store, Room::default()).bring().await.unwrap().records, 1);
    assert_eq!(store.session(session).await.unwrap().unwrap().user.expose(), "maria");
}

#[tokio::test]
#[ignore = "a process of another test, which kills it"]
async fn a_process_that_is_killed() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let (file, records) = (std::mem::ManuallyDrop::new(File(place.into())), File::scratch());
    let spool = spool(&file, &Moody::over(records.local(None), true), Room::default());
    let call = ended(&begun("maria", 1));
    spool.keep(call.clone()).await.unwrap();
    println!("KEPT {}", call.session);
    std::future::pending::<()>().await;
}
