//! The shared store: an app's users and journals where they are, which are only read, and our records beside them.
//!
//! Users that were erased are remembered in a document of their own. A record is written, and then it is looked whether
//! its user was erased meanwhile; whoever erases writes that down first and removes afterwards. So of the two, one sees
//! the other, and no transactions are needed.

mod document;
mod erasure;
mod ledger;
mod link;
mod look;
mod names;
mod records;
mod schema;

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection, Database,
    bson::{DateTime, Document, doc},
};
use secrecy::SecretString;
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::link::{Link, READ, REMOVE, WRITE, first, own, within};
pub use self::{
    ledger::{EXPIRY, MongoLedger},
    link::check_address,
    names::{Names, is_path},
};
use super::{
    Findings, Store, StoreError, StoreFuture,
    bounds::{self, JOURNAL_ENTRIES, RECAPS, TEXT_BYTES},
    now_ms,
    record::{Page, Record, Written},
    seal::Seal,
};
use crate::context::{
    private::Private,
    user::{Context, Entry},
};

/// How long ago a call began at most that is looked at again, in case that its user was erased: longer than calls last and
/// writes take, and little enough to look at every hour.
const LATEST_MS: i64 = 2 * 24 * 60 * 60 * 1_000;
/// Calls that nobody carries any more which are closed in one round; whoever asks again closes more.
const LOST: i64 = 1_000;

/// How a MongoDB is reached, and where in it things are.
#[derive(Clone, Debug)]
pub struct MongoSettings {
    /// Its address, with a user and a password.
    pub uri: SecretString,
    /// The database; none: the one that the address names, or else `test`.
    pub database: Option<String>,
    /// Where the app keeps its users and journals.
    pub names: Names,
    /// How long records are kept; none: for ever.
    pub retention: Option<Duration>,
}

/// A MongoDB. Clones share its connections, which are made when they are first needed.
#[derive(Clone)]
pub struct MongoStore {
    link: Arc<Link>,
    names: Arc<Names>,
    retention: Option<Duration>,
    seal: Seal,
    prepared: Arc<OnceCell<()>>,
}

impl MongoStore {
    /// A store that is not connected yet.
    pub fn new(settings: MongoSettings) -> Self {
        Self {
            link: Arc::new(Link::new(settings.uri, settings.database)),
            names: Arc::new(settings.names),
            retention: settings.retention,
            seal: Seal::default(),
            prepared: Arc::default(),
        }
    }

    /// The same, with what is said in calls sealed by these keys.
    #[must_use]
    pub fn sealed(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// Makes our collections and indexes, if they are not there. Records are not written before this was done; whoever
    /// does it at the start spares the first of them the time.
    pub fn prepare(&self) -> StoreFuture<()> {
        let this = self.clone();
        Box::pin(async move { this.database().await.map(drop) })
    }

    /// The record of leases in this MongoDB, for the process `me`, a name that is never used twice. Its home is a
    /// directory's own name: what an earlier process from there has left is nobody's.
    pub fn ledger(&self, me: Uuid, home: String, expiry: Duration) -> MongoLedger {
        MongoLedger::new(Arc::clone(&self.link), me, home, expiry)
    }

    /// The database with all that we need in it.
    async fn database(&self) -> Result<&Database, StoreError> {
        let database = self.link.database().await?;
        self.prepared.get_or_try_init(|| schema::prepare(database, self.retention)).await?;
        Ok(database)
    }

    /// When the oldest call began that is still shown.
    fn since(&self) -> DateTime {
        DateTime::from_millis(self.since_ms())
    }

    fn since_ms(&self) -> i64 {
        let age_ms = self.retention.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        age_ms.map_or(i64::MIN, |age_ms| now_ms().saturating_sub(age_ms))
    }

    async fn known(&self, user: &str) -> Result<Option<Context>, StoreError> {
        // Reading needs nothing of ours: a user that may only read is enough for it.
        let database = self.link.database().await?;
        let ids = document::ids(user);
        let users = database.collection::<Document>(&self.names.users);
        let profile = users
            .find_one(doc! { &self.names.user_id: { "$in": ids.clone() } })
            .projection(self.names.projection())
            .max_time(READ);
        let (erased, profile, journal, recaps) = tokio::try_join!(
            erasure::of_user(database, user),
            within(READ, profile),
            self.journal(database, ids),
            self.recaps(database, user),
        )?;
        if erased || (profile.is_none() && journal.is_empty() && recaps.is_empty()) {
            return Ok(None);
        }
        let profile = profile.map(|user| document::profile(&user, &self.names)).unwrap_or_default();
        Ok(Some(bounds::bounded(Context { journal, recaps, ..profile })))
    }

    async fn journal(&self, database: &Database, ids: Vec<mongodb::bson::Bson>) -> Result<Vec<Entry>, StoreError> {
        let Names { journal, journal_user, journal_date, journal_text, .. } = &*self.names;
        let (date, text) = (format!("${journal_date}"), format!("${journal_text}"));
        let is_text = doc! { "$eq": [{ "$type": &text }, "string"] };
        // One more than is taken, so that a text that was cut is known to be.
        let beginning = doc! { "$substrCP": [&text, 0, TEXT_BYTES as i64 + 1] };
        let pipeline = [
            doc! { "$match": { journal_user: { "$in": ids } } },
            // By nothing but the date: an index on user and date is in this order already.
            doc! { "$sort": { journal_date: -1 } },
            doc! { "$limit": JOURNAL_ENTRIES as i64 },
            doc! { "$project": { "_id": 0, "date": date, "text": { "$cond": [is_text, beginning, ""] } } },
        ];
        let journal = database.collection::<Document>(journal);
        let reading = journal.aggregate(pipeline).max_time(READ);
        let entries = async { reading.await?.try_collect::<Vec<Document>>().await };
        Ok(within(READ, entries).await?.iter().filter_map(document::entry).collect())
    }

    async fn recaps(&self, database: &Database, user: &str) -> Result<Vec<Entry>, StoreError> {
        let told = doc! { "user": user, "began": { "$gte": self.since() }, "recap": { "$gt": "" } };
        let sessions = sessions(database);
        let reading = sessions
            .find(told)
            .sort(doc! { "began": -1, "_id": -1 })
            .limit(RECAPS as i64)
            .projection(doc! { "_id": 1, "date": "$began", "text": "$recap" })
            .max_time(READ);
        let recaps = async { reading.await?.try_collect::<Vec<Document>>().await };
        let open = |found: &Document| {
            let entry = document::entry(found)?;
            let text = self.seal.open_recap(found.get_str("_id").ok()?, entry.text.expose().clone())?;
            Some(Entry { text, ..entry })
        };
        Ok(within(READ, recaps).await?.iter().filter_map(open).collect())
    }

    async fn write(&self, record: &Record) -> Result<Written, StoreError> {
        let database = self.database().await?;
        let (id, user) = (record.session.to_string(), record.user.expose());
        if erasure::of_call(database, &id, user).await? {
            // What an attempt may have left that was cut off in the middle.
            remove(database, doc! { "_id": id, "user": user }, WRITE).await?;
            return Ok(Written::Erased);
        }
        let begun = doc! { "$setOnInsert": records::begun(record) };
        let mine = doc! { "_id": &id, "user": user };
        let came_first = first(WRITE, sessions(database).update_one(mine.clone(), begun).upsert(true)).await?;
        // A second attempt of ours may have been faster, or a call of another user has this name.
        let ours = came_first || within(READ, sessions(database).find_one(mine.clone())).await?.is_some();
        if let Some(ended) = record.ended.as_ref().filter(|_| ours) {
            if !ended.is_lost() {
                let lines = doc! { "$setOnInsert": records::transcript(record, ended) };
                first(WRITE, transcripts(database).update_one(mine.clone(), lines).upsert(true)).await?;
            }
            let which = records::without_end(&id, user, ended);
            within(WRITE, sessions(database).update_one(which, doc! { "$set": records::ended(ended)? })).await?;
        }
        if erasure::of_call(database, &id, user).await? {
            remove(database, mine, WRITE).await?;
            return Ok(Written::Erased);
        }
        Ok(Written::Kept)
    }

    async fn close(&self, home: &str, process: Uuid) -> Result<u64, StoreError> {
        let (database, now_ms) = (self.database().await?, now_ms());
        let sessions = sessions(database);
        let reading = sessions.find(records::uncarried(home, process, now_ms)).limit(LOST).max_time(READ);
        let found = within(READ, async { reading.await?.try_collect::<Vec<Document>>().await }).await?;
        let mut closed = 0;
        for document in found {
            let open = doc! { "_id": document.get("_id"), "ended": null };
            let end = doc! { "$set": records::ended(&records::lost(&document, now_ms))? };
            closed += within(WRITE, sessions.update_one(open, end)).await?.modified_count;
        }
        Ok(closed)
    }

    async fn forget_one(&self, session: Uuid) -> Result<bool, StoreError> {
        let (database, id) = (self.database().await?, session.to_string());
        erasure::remember(database, &erasure::call(&id)).await?;
        Ok(remove(database, doc! { "_id": id }, WRITE).await? > 0)
    }

    async fn improve(&self, session: Uuid, recap: &str) -> Result<bool, StoreError> {
        let which = doc! { "_id": session.to_string(), "ended": { "$ne": null } };
        // Never an upsert: a call that was erased meanwhile does not come back.
        let sessions = sessions(self.database().await?);
        let better = sessions.update_one(which, doc! { "$set": { "recap": recap } });
        Ok(within(WRITE, better).await?.matched_count > 0)
    }

    /// Removes what arrived of users after they were erased.
    async fn sweep(&self, database: &Database) -> Result<u64, StoreError> {
        let since = DateTime::from_millis(now_ms().saturating_sub(LATEST_MS));
        let mut calls = 0;
        for collection in [schema::SESSIONS, schema::TRANSCRIPTS] {
            let users = erasure::arrived_since(database, collection, since).await?;
            if !users.is_empty() {
                calls += remove(database, doc! { "user": { "$in": users } }, REMOVE).await?;
            }
        }
        Ok(calls)
    }

    async fn list(&self, user: Option<&str>, page: Page) -> Result<Vec<Record>, StoreError> {
        let database = self.database().await?;
        let sessions = sessions(database);
        let reading = sessions
            .find(records::page_of(user, page, self.since_ms()))
            .sort(doc! { "began": -1, "_id": -1 })
            .limit(page.size())
            .max_time(READ);
        let found = async { reading.await?.try_collect::<Vec<Document>>().await };
        let found: Result<_, _> = within(READ, found).await?.iter().map(records::record).collect();
        Ok(self.seal.open_list(found?))
    }

    async fn one(&self, session: Uuid) -> Result<Option<Record>, StoreError> {
        let database = self.database().await?;
        let id = session.to_string();
        let filter = doc! { "_id": &id, "began": { "$gte": self.since() } };
        let Some(found) = within(READ, sessions(database).find_one(filter)).await? else { return Ok(None) };
        let mut record = records::record(&found)?;
        if let Some(ended) = &mut record.ended {
            let which = doc! { "_id": id, "user": record.user.expose() };
            let transcript = within(READ, transcripts(database).find_one(which)).await?;
            ended.transcript = transcript.as_ref().map(records::lines).transpose()?.unwrap_or_default();
        }
        Ok(Some(self.seal.open_one(record)))
    }

    async fn forget(&self, user: &str) -> Result<u64, StoreError> {
        let database = self.database().await?;
        erasure::remember(database, &erasure::user(user)).await?;
        remove(database, doc! { "user": user }, REMOVE).await
    }
}

fn sessions(database: &Database) -> Collection<Document> {
    own(database, schema::SESSIONS)
}

fn transcripts(database: &Database) -> Collection<Document> {
    own(database, schema::TRANSCRIPTS)
}

/// Removes calls, transcripts first: a call whose transcript is gone can be removed once more.
async fn remove(database: &Database, which: Document, limit: Duration) -> Result<u64, StoreError> {
    within(limit, transcripts(database).delete_many(which.clone())).await?;
    Ok(within(limit, sessions(database).delete_many(which)).await?.deleted_count)
}

impl Store for MongoStore {
    fn context(&self, user: Private<String>) -> StoreFuture<Option<Context>> {
        let this = self.clone();
        Box::pin(async move { this.known(user.expose()).await })
    }

    fn open(&self, record: Record) -> StoreFuture<Written> {
        let (this, record) = (self.clone(), Record { ended: None, ..record });
        Box::pin(async move { this.write(&record).await })
    }

    fn complete(&self, record: Record) -> StoreFuture<Written> {
        let this = self.clone();
        Box::pin(async move { this.write(&this.seal.seal_record(record)?).await })
    }

    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        let this = self.clone();
        Box::pin(async move { this.list(Some(user.expose()), page).await })
    }

    fn all_sessions(&self, page: Page) -> StoreFuture<Vec<Record>> {
        let this = self.clone();
        Box::pin(async move { this.list(None, page).await })
    }

    fn session(&self, session: Uuid) -> StoreFuture<Option<Record>> {
        let this = self.clone();
        Box::pin(async move { this.one(session).await })
    }

    fn improve_recap(&self, session: Uuid, recap: Private<String>) -> StoreFuture<bool> {
        let this = self.clone();
        Box::pin(async move { this.improve(session, this.seal.seal_recap(session, &recap)?.expose()).await })
    }

    fn held(&self, _: Private<String>) -> StoreFuture<Option<Context>> {
        // What is known of users is the app's.
        Box::pin(async { Ok(None) })
    }

    fn erase(&self, user: Private<String>) -> StoreFuture<u64> {
        let this = self.clone();
        Box::pin(async move { this.forget(user.expose()).await })
    }

    fn erase_session(&self, session: Uuid) -> StoreFuture<bool> {
        let this = self.clone();
        Box::pin(async move { this.forget_one(session).await })
    }

    fn close_lost(&self, home: String, process: Uuid) -> StoreFuture<u64> {
        let this = self.clone();
        Box::pin(async move { this.close(&home, process).await })
    }

    fn expire(&self) -> StoreFuture<u64> {
        let this = self.clone();
        Box::pin(async move {
            let database = this.database().await?;
            let over = doc! { "began": { "$lt": this.since() } };
            let removed = if this.retention.is_none() { 0 } else { remove(database, over, REMOVE).await? };
            Ok(removed + this.sweep(database).await?)
        })
    }

    fn look(&self) -> StoreFuture<Findings> {
        let this = self.clone();
        Box::pin(async move { look::look(this.link.database().await?, &this.names).await })
    }
}
