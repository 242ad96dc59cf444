//! What every record of leases promises to processes that share model servers.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use tandem::{
    pool::ledger::{Foreign, LeaseLedger, Opened, SlotKey},
    store::{embedded::Embedded, ledger::SqliteLedger, mongo::MongoStore},
};
use uuid::Uuid;

use crate::bench::{Bench, File, Mongo};

const EXPIRY: Duration = Duration::from_secs(10);

/// One process's side, which has said that it lives.
struct Process {
    id: Uuid,
    ledger: Box<dyn LeaseLedger>,
}

impl std::ops::Deref for Process {
    type Target = dyn LeaseLedger;

    fn deref(&self) -> &Self::Target {
        &*self.ledger
    }
}

/// A record that processes share.
trait Shared: Bench {
    fn ledger(&self, me: Uuid, home: &str) -> Box<dyn LeaseLedger>;

    /// Has it be longer ago that the process said that it lives.
    async fn age(&self, process: &Process, by: Duration);

    async fn process(&self, home: &str) -> Process {
        let id = Uuid::new_v4();
        let process = Process { id, ledger: self.ledger(id, home) };
        process.beat().await.unwrap();
        process
    }
}

impl Shared for File {
    fn ledger(&self, me: Uuid, home: &str) -> Box<dyn LeaseLedger> {
        // A connection of its own, as in life.
        Box::new(SqliteLedger::new(Embedded::open(&self.path()).unwrap(), me, home, EXPIRY))
    }

    async fn age(&self, process: &Process, by: Duration) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let sql = "UPDATE processes SET beat_ms = beat_ms - ?1 WHERE id = ?2";
        let by = i64::try_from(by.as_millis()).unwrap();
        assert_eq!(connection.execute(sql, (by, process.id.to_string())).unwrap(), 1);
    }
}

impl Shared for Mongo {
    fn ledger(&self, me: Uuid, home: &str) -> Box<dyn LeaseLedger> {
        Box::new(MongoStore::new(self.settings()).ledger(me, home.to_owned(), EXPIRY))
    }

    async fn age(&self, process: &Process, by: Duration) {
        let earlier = |field: &str| {
            let by = i64::try_from(by.as_millis()).unwrap();
            doc! { "$inc": { field: -by } }
        };
        let id = process.id.to_string();
        let (leases, processes) = ("voice_leases", "voice_processes");
        let leases = self.database.collection::<Document>(leases);
        leases.update_many(doc! { "process": &id }, earlier("expiresMs")).await.unwrap();
        let processes = self.database.collection::<Document>(processes);
        let aged = processes.update_one(doc! { "_id": &id }, earlier("beatMs")).await.unwrap();
        assert_eq!(aged.matched_count, 1);
    }
}

/// Runs each test on each kind of record.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $name() {
                super::on::<super::File>(async |bench| super::$name(bench).await).await;
            })+
        }
        mod over_mongodb {
            $(#[tokio::test]
            async fn $name() {
                super::on::<super::Mongo>(async |bench| super::$name(bench).await).await;
            })+
        }
    };
}

contract!(
    one_slot_has_one_process_and_rows_are_cleared_by_generation,
    of_many_that_want_a_slot_one_gets_it,
    what_a_dead_process_left_is_taken_over_once,
    a_beat_keeps_what_a_process_has,
    a_successor_in_the_same_home_and_a_farewell_need_no_patience,
    a_process_learns_that_it_was_taken_for_dead,
);

async fn on<B: Bench>(test: impl AsyncFnOnce(&B)) {
    let Some(bench) = B::new().await else { return };
    test(&bench).await;
    bench.end().await;
}

fn slot(slot: u16) -> SlotKey {
    SlotKey { upstream: "10.0.0.7:8998".into(), slot }
}

async fn one_slot_has_one_process_and_rows_are_cleared_by_generation(bench: &impl Shared) {
    let (a, b) = (bench.process("x").await, bench.process("y").await);
    assert_eq!(a.open(slot(0), 1).await, Ok(Opened::Ours));
    assert_eq!(b.open(slot(0), 1).await, Ok(Opened::Theirs));
    assert_eq!(b.open(slot(1), 1).await, Ok(Opened::Ours));
    assert_eq!(a.open(slot(0), 2).await, Ok(Opened::Ours), "a process replaces its own row");
    assert_eq!(a.adopt(slot(0), 3).await, Ok(Opened::Theirs), "what it has open is nobody's to take over");
    a.clear(slot(0), 1).await.unwrap();
    b.clear(slot(0), 9).await.unwrap();
    assert_eq!(b.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: true }]), "neither cleared it");
    a.clear(slot(0), 2).await.unwrap();
    assert_eq!(b.foreign().await, Ok(vec![]));
}

async fn of_many_that_want_a_slot_one_gets_it(bench: &impl Shared) {
    let processes =
        futures_util::future::join_all((0..16).map(|number| async move { bench.process(&number.to_string()).await }))
            .await;
    let opened = futures_util::future::join_all(processes.iter().map(|process| process.open(slot(0), 1))).await;
    assert_eq!(opened.iter().filter(|opened| **opened == Ok(Opened::Ours)).count(), 1, "{opened:?}");
    assert_eq!(opened.iter().filter(|opened| **opened == Ok(Opened::Theirs)).count(), 15, "{opened:?}");
    let owner = opened.iter().position(|opened| *opened == Ok(Opened::Ours)).unwrap();
    bench.age(&processes[owner], EXPIRY).await;
    let heirs = processes.iter().enumerate().filter(|(number, _)| *number != owner);
    let adopted = futures_util::future::join_all(heirs.map(|(_, process)| process.adopt(slot(0), 0))).await;
    assert_eq!(adopted.iter().filter(|adopted| **adopted == Ok(Opened::Ours)).count(), 1, "{adopted:?}");
}

async fn what_a_dead_process_left_is_taken_over_once(bench: &impl Shared) {
    let dead = bench.process("x").await;
    dead.open(slot(0), 7).await.unwrap();
    let (a, b) = (bench.process("y").await, bench.process("z").await);
    assert_eq!(a.adopt(slot(0), 0).await, Ok(Opened::Theirs), "it lives");
    bench.age(&dead, EXPIRY).await;
    assert_eq!(a.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: false }]));
    assert_eq!(a.open(slot(0), 1).await, Ok(Opened::Theirs), "a dead one's row is not overwritten");
    assert_eq!(a.adopt(slot(0), 0).await, Ok(Opened::Ours));
    assert_eq!(b.adopt(slot(0), 0).await, Ok(Opened::Theirs));
    assert_eq!(b.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: true }]));
    assert_eq!(a.open(slot(0), 1).await, Ok(Opened::Theirs), "the heir has to settle it first");
    assert_eq!(a.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: false }]), "and is reminded of it");
    assert_eq!(dead.open(slot(0), 8).await, Ok(Opened::Theirs), "one that was taken for dead has lost it");
    dead.clear(slot(0), 9).await.unwrap();
    assert_eq!(b.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: true }]), "and clears nothing of its heir");
    assert_eq!(a.adopt(slot(0), 0).await, Ok(Opened::Ours));
    a.clear(slot(0), 3).await.unwrap();
    assert_eq!(a.open(slot(0), 4).await, Ok(Opened::Ours));
}

async fn a_beat_keeps_what_a_process_has(bench: &impl Shared) {
    let (a, b) = (bench.process("x").await, bench.process("y").await);
    a.open(slot(0), 1).await.unwrap();
    for _ in 0..3 {
        bench.age(&a, EXPIRY * 3 / 4).await;
        assert_eq!(a.beat().await, Ok(true));
        assert_eq!(b.adopt(slot(0), 0).await, Ok(Opened::Theirs));
    }
    assert_eq!(b.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: true }]));
}

async fn a_successor_in_the_same_home_and_a_farewell_need_no_patience(bench: &impl Shared) {
    bench.process("home").await.open(slot(0), 1).await.unwrap();
    let second = bench.process("home").await;
    assert_eq!(second.foreign().await, Ok(vec![Foreign { slot: slot(0), alive: false }]));
    let other = bench.process("elsewhere").await;
    other.open(slot(1), 1).await.unwrap();
    other.retire().await.unwrap();
    let alive: Vec<bool> = second.foreign().await.unwrap().iter().map(|row| row.alive).collect();
    assert_eq!(alive, [false, false]);
    assert_eq!(second.adopt(slot(0), 0).await, Ok(Opened::Ours));
    assert_eq!(second.adopt(slot(1), 0).await, Ok(Opened::Ours));
}

async fn a_process_learns_that_it_was_taken_for_dead(bench: &impl Shared) {
    let a = bench.process("x").await;
    assert_eq!(a.beat().await, Ok(true));
    bench.age(&a, EXPIRY).await;
    assert_eq!(a.beat().await, Ok(false));
    assert_eq!(a.beat().await, Ok(true));
}
