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

use self::link::{Link, READ, WRITE, first, within};
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
};
use crate::context::{
    private::Private,
    user::{Context, Entry},
};

/// Calls that nobody carries any more which are closed at once; the rest is closed the next time.
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
    prepared: Arc<OnceCell<()>>,
}

impl MongoStore {
    /// A store that is not connected yet.
    pub fn new(settings: MongoSettings) -> Self {
        Self {
            link: Arc::new(Link::new(settings.uri, settings.database)),
            names: Arc::new(settings.names),
            retention: settings.retention,
            prepared: Arc::default(),
        }
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
        let beginning = doc! { "$substrCP": [&text, 0, TEXT_BYTES as i64] };
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
            .projection(doc! { "_id": 0, "date": "$began", "text": "$recap" })
            .max_time(READ);
        let recaps = async { reading.await?.try_collect::<Vec<Document>>().await };
        Ok(within(READ, recaps).await?.iter().filter_map(document::entry).collect())
    }

    async fn write(&self, record: &Record) -> Result<Written, StoreError> {
        let database = self.database().await?;
        let (id, user) = (record.session.to_string(), record.user.expose());
        if erasure::of_call(database, &id, user).await? {
            // What an attempt may have left that was cut off in the middle.
            remove(database, doc! { "_id": id }).await?;
            return Ok(Written::Erased);
        }
        let begun = doc! { "$setOnInsert": records::begun(record) };
        first(WRITE, sessions(database).update_one(doc! { "_id": &id }, begun).upsert(true)).await?;
        if let Some(ended) = &record.ended {
            if !ended.is_lost() {
                let lines = doc! { "$setOnInsert": records::transcript(record, ended) };
                let transcripts = database.collection::<Document>(schema::TRANSCRIPTS);
                first(WRITE, transcripts.update_one(doc! { "_id": &id }, lines).upsert(true)).await?;
            }
            let which = records::without_end(&id, user, ended);
            within(WRITE, sessions(database).update_one(which, doc! { "$set": records::ended(ended)? })).await?;
        }
        if erasure::of_call(database, &id, user).await? {
            remove(database, doc! { "_id": id }).await?;
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
            let end = doc! { "$set": records::ended(&records::lost(&document, now_ms)?)? };
            closed += within(WRITE, sessions.update_one(open, end)).await?.modified_count;
        }
        Ok(closed)
    }

    async fn forget_one(&self, session: Uuid) -> Result<bool, StoreError> {
        let (database, id) = (self.database().await?, session.to_string());
        erasure::remember(database, &erasure::call(&id)).await?;
        Ok(remove(database, doc! { "_id": id }).await? > 0)
    }

    async fn list(&self, user: &str, page: Page) -> Result<Vec<Record>, StoreError> {
        let database = self.database().await?;
        let sessions = sessions(database);
        let reading = sessions
            .find(records::page_of(user, page, self.since_ms()))
            .sort(doc! { "began": -1, "_id": -1 })
            .limit(page.size())
            .max_time(READ);
        let found = async { reading.await?.try_collect::<Vec<Document>>().await };
        within(READ, found).await?.iter().map(records::record).collect()
    }

    async fn one(&self, session: Uuid) -> Result<Option<Record>, StoreError> {
        let database = self.database().await?;
        let id = session.to_string();
        let filter = doc! { "_id": &id, "began": { "$gte": self.since() } };
        let Some(found) = within(READ, sessions(database).find_one(filter)).await? else { return Ok(None) };
        let mut record = records::record(&found)?;
        if let Some(ended) = &mut record.ended {
            let transcripts = database.collection::<Document>(schema::TRANSCRIPTS);
            let transcript = within(READ, transcripts.find_one(doc! { "_id": id })).await?;
            ended.transcript = transcript.as_ref().map(records::lines).transpose()?.unwrap_or_default();
        }
        Ok(Some(record))
    }

    async fn forget(&self, user: &str) -> Result<u64, StoreError> {
        let database = self.database().await?;
        erasure::remember(database, &erasure::user(user)).await?;
        remove(database, doc! { "user": user }).await
    }
}

fn sessions(database: &Database) -> Collection<Document> {
    database.collection(schema::SESSIONS)
}

/// Removes calls, transcripts first: a call whose transcript is gone can be removed once more.
async fn remove(database: &Database, which: Document) -> Result<u64, StoreError> {
    let transcripts = database.collection::<Document>(schema::TRANSCRIPTS);
    within(WRITE, transcripts.delete_many(which.clone())).await?;
    Ok(within(WRITE, sessions(database).delete_many(which)).await?.deleted_count)
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
        Box::pin(async move { this.write(&record).await })
    }

    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>> {
        let this = self.clone();
        Box::pin(async move { this.list(user.expose(), page).await })
    }

    fn session(&self, session: Uuid) -> StoreFuture<Option<Record>> {
        let this = self.clone();
        Box::pin(async move { this.one(session).await })
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
            let over = doc! { "began": { "$lt": this.since() } };
            if this.retention.is_none() { Ok(0) } else { remove(this.database().await?, over).await }
        })
    }

    fn look(&self) -> StoreFuture<Findings> {
        let this = self.clone();
        Box::pin(async move { look::look(this.link.database().await?, &this.names).await })
    }
}
