//! How long a call waits for what is known of its caller: percentiles of both stores, with many users and long journals.
//!
//! `cargo bench --bench store`; with `MONGODB_TEST_URI` the store in MongoDB too, in a database of its own that is dropped
//! at the end. `TANDEM_BENCH_USERS` and `TANDEM_BENCH_ENTRIES` set how many there are (1000 users with 1000 entries each).
//! docs/benchmarks.md has results.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "a benchmark tells what it found")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::time::{Duration, Instant};

use mongodb::{
    Client,
    bson::{DateTime, Document, doc},
};
use rand::RngExt as _;
use tandem::{
    context::{
        private::Private,
        user::{Context, Entry, Health, User},
    },
    store::{
        Store,
        local::LocalStore,
        mongo::{MongoSettings, MongoStore, Names},
    },
};
use uuid::Uuid;

/// Contexts that are measured, after as many users were asked for once.
const SAMPLES: usize = 2_000;
/// Calls that begin at the same moment.
const AT_ONCE: usize = 16;
/// Users of one transaction, or entries of one message.
const BATCH: usize = 50;
/// The length of an entry, in bytes.
const ENTRY_BYTES: usize = 400;

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn text(at: usize) -> String {
    let words = format!("Entry {at}: slept well, walked by the river, and thought of the week that comes. ");
    words.repeat(ENTRY_BYTES / words.len() + 1)[..ENTRY_BYTES].to_owned()
}

fn user(id: usize, entries: usize) -> User {
    let first = jiff::civil::date(2024, 1, 1);
    let day = |at: usize| first.checked_add(jiff::Span::new().days(i64::try_from(at).unwrap())).unwrap();
    let journal = (0..entries).map(|at| Entry { date: Some(day(at)), text: text(at).into() }).collect();
    let health = Health { conditions: Private::new(vec!["asthma".into(), "migraine".into()]), ..Health::default() };
    User { id: id.to_string(), context: Context { name: "Maria".into(), health, journal, ..Context::default() } }
}

fn shown(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{name:32} p50 {:7.2} ms   p99 {:7.2} ms   max {:7.2} ms", at(0.5), at(0.99), at(1.0));
}

async fn measure(name: &str, store: &dyn Store, users: usize) {
    let mut random = rand::rng();
    let mut one = async || {
        let id = random.random_range(0..users).to_string();
        let begun = Instant::now();
        let context = store.context(id.into()).await.unwrap().unwrap();
        assert!(!context.journal.is_empty());
        begun.elapsed()
    };
    for _ in 0..SAMPLES {
        one().await;
    }
    let mut took = Vec::new();
    for _ in 0..SAMPLES {
        took.push(one().await);
    }
    shown(&format!("{name}, one after the other"), took);
    let mut took = Vec::new();
    for _ in 0..SAMPLES / AT_ONCE {
        let ids: Vec<String> = (0..AT_ONCE).map(|_| random.random_range(0..users).to_string()).collect();
        took.extend(
            futures_util::future::join_all(ids.into_iter().map(async |id| {
                let begun = Instant::now();
                store.context(id.into()).await.unwrap().unwrap();
                begun.elapsed()
            }))
            .await,
        );
    }
    shown(&format!("{name}, {AT_ONCE} at once"), took);
}

async fn embedded(users: usize, entries: usize) {
    let directory = std::env::temp_dir().join(format!("tandem-bench-{}", Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    let store = LocalStore::open(&directory.join("users.sqlite"), None).unwrap();
    let begun = Instant::now();
    for first in (0..users).step_by(BATCH) {
        let batch = (first..users.min(first + BATCH)).map(|id| user(id, entries)).collect();
        store.import(batch).await.unwrap();
    }
    println!("SQLite: {users} users with {entries} entries each, written in {:.0} s", begun.elapsed().as_secs_f64());
    measure("SQLite", &store, users).await;
    drop(store);
    std::fs::remove_dir_all(directory).unwrap();
}

async fn shared(uri: String, users: usize, entries: usize) {
    let database =
        Client::with_uri_str(&uri).await.unwrap().database(&format!("tandem_bench_{}", Uuid::new_v4().simple()));
    let journal = database.collection::<Document>("journalentries");
    let index = mongodb::IndexModel::builder().keys(doc! { "userId": 1, "createdAt": -1 }).build();
    journal.create_index(index).await.unwrap();
    let begun = Instant::now();
    for id in (0..users).map(|id| id.to_string()) {
        let user = doc! { "_id": &id, "name": "Maria", "healthInfo": { "conditions": ["asthma", "migraine"] } };
        database.collection("users").insert_one(user).await.unwrap();
        let entry = |at: usize| {
            let created = DateTime::from_millis(1_704_067_200_000 + 86_400_000 * i64::try_from(at).unwrap());
            doc! { "userId": &id, "createdAt": created, "content": text(at) }
        };
        if entries > 0 {
            journal.insert_many((0..entries).map(entry)).await.unwrap();
        }
    }
    println!("MongoDB: {users} users with {entries} entries each, written in {:.0} s", begun.elapsed().as_secs_f64());
    let name = Some(database.name().to_owned());
    let settings = MongoSettings { uri: uri.into(), database: name, names: Names::default(), retention: None };
    measure("MongoDB", &MongoStore::new(settings), users).await;
    database.drop().await.unwrap();
}

fn main() {
    let (users, entries) = (number("TANDEM_BENCH_USERS", 1_000), number("TANDEM_BENCH_ENTRIES", 1_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        embedded(users, entries).await;
        match std::env::var("MONGODB_TEST_URI") {
            Ok(uri) => shared(uri, users, entries).await,
            Err(_) => println!("MongoDB: SKIPPED, MONGODB_TEST_URI is not set"),
        }
    });
}
