//! Stores to test: each with a place of its own, gone at the end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use futures_util::TryStreamExt as _;
use jiff::{
    civil::{Date, Time},
    tz::TimeZone,
};
use mongodb::{
    Client, Database,
    bson::{DateTime, Document, doc},
};
use secrecy::SecretString;
use tandem::{
    context::user::{Entry, User},
    store::{
        Store,
        local::LocalStore,
        mongo::{MongoSettings, MongoStore, Names},
        seal::Seal,
    },
};
use uuid::Uuid;

/// A place in which stores of one kind are opened.
pub trait Bench: Sized {
    /// None if it cannot be had here.
    async fn new() -> Option<Self>;
    /// Opens it once more.
    fn open(&self, retention: Option<Duration>) -> Arc<dyn Store>;
    /// The same with what was said sealed by these keys.
    fn sealed(&self, keys: &str) -> Arc<dyn Store>;
    /// Whether these words are anywhere in what is kept.
    async fn says(&self, words: &str) -> bool;
    /// Has a user known to it, in the way in which users become known to it.
    async fn put(&self, user: User);
    /// Whether these words are anywhere in what is ours, whether or not a store would show them.
    async fn keeps(&self, words: &str) -> bool;
    /// Has all calls that ended look as if a later version of Tandem had written them down.
    async fn write_later(&self);
    async fn end(self);
}

/// A directory for a SQLite file.
pub struct File(pub PathBuf);

impl File {
    pub fn path(&self) -> PathBuf {
        self.0.join("store.sqlite")
    }

    pub fn local(&self, retention: Option<Duration>) -> LocalStore {
        LocalStore::open(&self.path(), retention).unwrap()
    }

    pub fn scratch() -> File {
        let directory = std::env::temp_dir().join(format!("tandem-store-{}", Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        File(directory)
    }

    /// Whether these words are anywhere in the files.
    pub fn holds(&self, words: &str) -> bool {
        let holds = |path: &Path| {
            // In another process: closing a file of SQLite's takes this one's locks away.
            let bytes = Command::new("cat").arg(path).output().unwrap().stdout;
            bytes.windows(words.len()).any(|window| window == words.as_bytes())
        };
        std::fs::read_dir(&self.0).unwrap().any(|file| holds(&file.unwrap().path()))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Bench for File {
    async fn new() -> Option<Self> {
        Some(File::scratch())
    }

    fn open(&self, retention: Option<Duration>) -> Arc<dyn Store> {
        Arc::new(self.local(retention))
    }

    fn sealed(&self, keys: &str) -> Arc<dyn Store> {
        Arc::new(self.local(None).sealed(Seal::read(&keys.into()).unwrap()))
    }

    async fn says(&self, words: &str) -> bool {
        self.holds(words)
    }

    async fn put(&self, user: User) {
        self.local(None).import(vec![user]).await.unwrap();
    }

    async fn keeps(&self, words: &str) -> bool {
        self.holds(words)
    }

    async fn write_later(&self) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let sql = r#"UPDATE sessions SET ending = 'abducted', details = '{"context": "sung", "attempts": 7}'
                     WHERE ended_ms IS NOT NULL"#;
        assert!(connection.execute(sql, []).unwrap() > 0);
    }

    async fn end(self) {}
}

/// A database of its own.
pub struct Mongo {
    pub uri: SecretString,
    pub database: Database,
}

impl Mongo {
    pub fn settings(&self) -> MongoSettings {
        MongoSettings {
            uri: self.uri.clone(),
            database: Some(self.database.name().to_owned()),
            names: Names::default(),
            retention: None,
        }
    }

    pub async fn insert(&self, collection: &str, document: Document) {
        self.database.collection(collection).insert_one(document).await.unwrap();
    }
}

impl Bench for Mongo {
    async fn new() -> Option<Self> {
        let Ok(uri) = std::env::var("MONGODB_TEST_URI") else {
            assert!(std::env::var("TANDEM_TEST_REQUIRE_ALL").is_err(), "set MONGODB_TEST_URI");
            eprintln!("SKIPPED: MONGODB_TEST_URI is not set");
            return None;
        };
        let client = Client::with_uri_str(&uri).await.unwrap();
        let database = client.database(&format!("tandem_{}", Uuid::new_v4().simple()));
        Some(Mongo { uri: uri.into(), database })
    }

    fn open(&self, retention: Option<Duration>) -> Arc<dyn Store> {
        Arc::new(MongoStore::new(MongoSettings { retention, ..self.settings() }))
    }

    fn sealed(&self, keys: &str) -> Arc<dyn Store> {
        Arc::new(MongoStore::new(self.settings()).sealed(Seal::read(&keys.into()).unwrap()))
    }

    async fn says(&self, words: &str) -> bool {
        let mut text = String::new();
        for name in self.database.list_collection_names().await.unwrap() {
            let mut documents = self.database.collection::<Document>(&name).find(doc! {}).await.unwrap();
            while documents.advance().await.unwrap() {
                text += &documents.deserialize_current().unwrap().to_string();
            }
        }
        text.contains(words)
    }

    async fn put(&self, User { id, context }: User) {
        let health = context.health;
        let document = doc! {
            "_id": &id,
            "name": context.name.expose(),
            "pronouns": context.pronouns.expose(),
            "healthInfo": {
                "conditions": health.conditions.expose(),
                "medication": health.medication.expose(),
                "sleep": health.sleep.expose(),
                "mood": health.mood.expose(),
                "goals": health.goals.expose(),
                "allergies": health.allergies.expose(),
            },
        };
        self.insert("users", document).await;
        for Entry { date, text } in context.journal {
            let midnight =
                |date: Date| TimeZone::UTC.to_timestamp(date.to_datetime(Time::midnight())).unwrap().as_millisecond();
            let at = date.map(midnight).map(DateTime::from_millis);
            let entry = doc! { "userId": &id, "createdAt": at, "content": text.expose() };
            self.insert("journalentries", entry).await;
        }
    }

    async fn keeps(&self, words: &str) -> bool {
        let names = self.database.list_collection_names().await.unwrap();
        for name in names.iter().filter(|name| name.starts_with("voice_")) {
            let found = self.database.collection::<Document>(name).find(doc! {}).await.unwrap();
            let documents: Vec<Document> = found.try_collect().await.unwrap();
            if documents.iter().any(|document| document.to_string().contains(words)) {
                return true;
            }
        }
        false
    }

    async fn write_later(&self) {
        let sessions = self.database.collection::<Document>("voice_sessions");
        let later = doc! { "ending": "abducted", "details": { "context": "sung", "attempts": 7 } };
        let written = sessions.update_many(doc! { "ended": { "$ne": null } }, doc! { "$set": later }).await.unwrap();
        assert!(written.modified_count > 0);
    }

    async fn end(self) {
        self.database.drop().await.unwrap();
    }
}
