//! The record of leases in MongoDB, for processes on several machines that share model servers.
//!
//! A lease is a document whose key is the slot: of two processes that insert it one wins, and every change names the
//! owner that it expects. Each document holds until when its owner counts as living, by the clock of MongoDB; the
//! owner's beat moves that on. No process's own clock counts.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection, Database,
    bson::{Bson, Document, doc},
    options::ReturnDocument,
};
use uuid::Uuid;

use super::link::{Link, WRITE, first, own, within};
use crate::{
    pool::ledger::{Foreign, LeaseLedger, LedgerError, LedgerFuture, Opened, SlotKey},
    store::StoreError,
};

/// After how long without a beat a process counts as dead: longer than it takes another server to become the primary,
/// and than two servers' clocks may differ.
pub const EXPIRY: Duration = Duration::from_secs(30);

/// One for each slot that may be held.
const LEASES: &str = "voice_leases";
/// One for each process that lives.
const PROCESSES: &str = "voice_processes";

/// This process's side of the record.
#[derive(Clone)]
pub struct MongoLedger {
    link: Arc<Link>,
    me: String,
    home: String,
    expiry: Duration,
}

impl MongoLedger {
    /// The record of the process `me` (never used twice) with this home, which one process at a time has.
    pub(super) fn new(link: Arc<Link>, me: Uuid, home: String, expiry: Duration) -> Self {
        Self { link, me: me.to_string(), home, expiry }
    }

    fn run<T, W>(&self, work: impl FnOnce(Side) -> W + Send + 'static) -> LedgerFuture<T>
    where
        W: Future<Output = Result<T, StoreError>> + Send,
    {
        let this = self.clone();
        Box::pin(async move {
            let done = async {
                let database = this.link.database().await?.clone();
                work(Side { me: this.me, home: this.home, expiry: this.expiry, database }).await
            };
            done.await.map_err(|error: StoreError| LedgerError(error.to_string()))
        })
    }
}

/// What the work on the record needs.
struct Side {
    me: String,
    home: String,
    expiry: Duration,
    database: Database,
}

impl Side {
    fn leases(&self) -> Collection<Document> {
        own(&self.database, LEASES)
    }

    fn expiry_ms(&self) -> i64 {
        i64::try_from(self.expiry.as_millis()).unwrap_or(i64::MAX)
    }

    /// Until when an owner counts as living that says so now.
    fn expires(&self) -> Document {
        doc! { "$add": [now_ms(), self.expiry_ms()] }
    }

    async fn open(self, slot: SlotKey, generation: i64) -> Result<Opened, StoreError> {
        let mine = doc! { "_id": key(&slot), "process": &self.me, "orphan": false };
        let set = doc! { "$set": {
            "upstream": slot.upstream,
            "slot": i32::from(slot.slot),
            "home": &self.home,
            "generation": generation,
            "opened": "$$NOW",
            "expiresMs": self.expires(),
        } };
        // A document of another process, or one that was adopted, has the key already.
        let ours = first(WRITE, self.leases().update_one(mine, vec![set]).upsert(true)).await?;
        Ok(if ours { Opened::Ours } else { Opened::Theirs })
    }

    async fn adopt(self, slot: SlotKey, generation: i64) -> Result<Opened, StoreError> {
        let dead = doc! { "process": { "$ne": &self.me }, "$or": [
            { "home": &self.home },
            { "$expr": { "$lte": ["$expiresMs", now_ms()] } },
        ] };
        let own = doc! { "process": &self.me, "orphan": true };
        let filter = doc! { "_id": key(&slot), "$or": [dead, own] };
        let set = doc! { "$set": {
            "process": &self.me,
            "home": &self.home,
            "generation": generation,
            "orphan": true,
            "expiresMs": self.expires(),
        } };
        let changed = within(WRITE, self.leases().update_one(filter, vec![set])).await?;
        Ok(if changed.matched_count == 1 { Opened::Ours } else { Opened::Theirs })
    }

    async fn foreign(self) -> Result<Vec<Foreign>, StoreError> {
        let pipeline = [
            doc! { "$match": { "$or": [{ "process": { "$ne": &self.me } }, { "orphan": true }] } },
            doc! { "$sort": { "upstream": 1, "slot": 1 } },
            doc! { "$project": { "upstream": 1, "slot": 1, "alive": { "$and": [
                { "$ne": ["$process", &self.me] },
                { "$ne": ["$home", &self.home] },
                { "$gt": ["$expiresMs", now_ms()] },
            ] } } },
        ];
        let leases = self.leases();
        let rows = async { leases.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
        within(WRITE, rows).await?.iter().map(row).collect()
    }

    async fn beat(self) -> Result<bool, StoreError> {
        let expires = doc! { "$set": { "expiresMs": self.expires() } };
        within(WRITE, self.leases().update_many(doc! { "process": &self.me }, vec![expires])).await?;
        let ago = |ms: i64| doc! { "$lt": [{ "$add": ["$beatMs", ms] }, now_ms()] };
        // A process that is new has not beaten before, and is not late.
        let late = doc! { "$and": [{ "$gt": ["$beatMs", 0_i64] }, ago(self.expiry_ms())] };
        let set = vec![doc! { "$set": { "late": late } }, doc! { "$set": { "home": &self.home, "beatMs": now_ms() } }];
        let processes = own(&self.database, PROCESSES);
        let beating = processes
            .find_one_and_update(doc! { "_id": &self.me }, set)
            .upsert(true)
            .return_document(ReturnDocument::After);
        let process = within(WRITE, beating).await?;
        // Those that are dead are of no interest; what they have left is in their leases.
        let old = doc! { "_id": { "$ne": &self.me }, "$expr": ago(self.expiry_ms().saturating_mul(10)) };
        within(WRITE, processes.delete_many(old)).await?;
        Ok(!process.is_some_and(|process| process.get_bool("late").unwrap_or_default()))
    }

    async fn retire(self) -> Result<(), StoreError> {
        let over = doc! { "$set": { "expiresMs": 0_i64 } };
        within(WRITE, self.leases().update_many(doc! { "process": &self.me }, over)).await?;
        let processes = own(&self.database, PROCESSES);
        within(WRITE, processes.delete_one(doc! { "_id": &self.me })).await.map(drop)
    }

    async fn clear(self, slot: SlotKey, generation: i64) -> Result<(), StoreError> {
        let mine = doc! { "_id": key(&slot), "process": &self.me, "generation": { "$lte": generation } };
        within(WRITE, self.leases().delete_one(mine)).await.map(drop)
    }
}

/// The clock of MongoDB, in milliseconds since 1970. As a number: not all that speaks its protocol adds to dates.
fn now_ms() -> Document {
    doc! { "$toLong": "$$NOW" }
}

fn key(slot: &SlotKey) -> String {
    format!("{}#{}", slot.upstream, slot.slot)
}

fn row(document: &Document) -> Result<Foreign, StoreError> {
    let unreadable = || StoreError::Unreadable("a lease");
    let slot = match document.get("slot") {
        Some(Bson::Int32(slot)) => u16::try_from(*slot).ok(),
        Some(Bson::Int64(slot)) => u16::try_from(*slot).ok(),
        _ => None,
    };
    let upstream = document.get_str("upstream").map_err(|_| unreadable())?.to_owned();
    let alive = document.get_bool("alive").map_err(|_| unreadable())?;
    Ok(Foreign { slot: SlotKey { upstream, slot: slot.ok_or_else(unreadable)? }, alive })
}

fn signed(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

impl LeaseLedger for MongoLedger {
    fn open(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened> {
        self.run(move |side| side.open(slot, signed(generation)))
    }

    fn clear(&self, slot: SlotKey, generation: u64) -> LedgerFuture<()> {
        self.run(move |side| side.clear(slot, signed(generation)))
    }

    fn adopt(&self, slot: SlotKey, generation: u64) -> LedgerFuture<Opened> {
        self.run(move |side| side.adopt(slot, signed(generation)))
    }

    fn foreign(&self) -> LedgerFuture<Vec<Foreign>> {
        self.run(Side::foreign)
    }

    fn beat(&self) -> LedgerFuture<bool> {
        self.run(Side::beat)
    }

    fn retire(&self) -> LedgerFuture<()> {
        self.run(Side::retire)
    }

    fn expiry(&self) -> Duration {
        self.expiry
    }
}
