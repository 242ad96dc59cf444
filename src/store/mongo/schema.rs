//! The collections of ours, and their indexes.

use std::time::Duration;

use mongodb::{
    Database, IndexModel,
    bson::doc,
    error::{Error, ErrorKind},
    options::IndexOptions,
};

use super::link::{READ, WRITE, first, own, within};
use crate::store::StoreError;

/// One for each call.
pub(super) const SESSIONS: &str = "voice_sessions";
/// One for each call that ended.
pub(super) const TRANSCRIPTS: &str = "voice_transcripts";
/// One for each user, and for each call, that was erased.
pub(super) const ERASED: &str = "voice_erased";
/// One document, which says what has been made.
const SCHEMA: &str = "voice_schema";

/// The version of all that.
const VERSION: i64 = 1;
/// The index by age, which has MongoDB remove what is older than it may be.
const BY_AGE: &str = "tandem_by_age";
/// The longest age that such an index can have, about 68 years: what is to go later is removed by us alone.
const OLDEST: Duration = Duration::from_secs(i32::MAX as u64);
/// How long an index may be in the making.
const INDEXING: Duration = Duration::from_secs(60);
/// The index is there with other options, or under another name.
const CONFLICTS: [i32; 2] = [85, 86];

/// Makes what is missing. Any number of processes may do so at once.
pub(super) async fn prepare(database: &Database, retention: Option<Duration>) -> Result<(), StoreError> {
    let schema = own(database, SCHEMA);
    let version = doc! { "$setOnInsert": { "version": VERSION } };
    first(WRITE, schema.update_one(doc! { "_id": "tandem" }, version).upsert(true)).await?;
    check(database).await?;
    let newest = IndexModel::builder()
        .keys(doc! { "user": 1, "began": -1, "_id": -1 })
        .options(IndexOptions::builder().name("tandem_newest".to_owned()).build())
        .build();
    let sessions = own(database, SESSIONS);
    within(INDEXING, sessions.create_index(newest)).await?;
    // The one by age has MongoDB remove things, and may have no second field.
    let all = IndexModel::builder()
        .keys(doc! { "began": -1, "_id": -1 })
        .options(IndexOptions::builder().name("tandem_all".to_owned()).build())
        .build();
    within(INDEXING, sessions.create_index(all)).await?;
    let open = IndexModel::builder()
        .keys(doc! { "ended": 1, "origin.home": 1 })
        .options(IndexOptions::builder().name("tandem_open".to_owned()).build())
        .build();
    within(INDEXING, sessions.create_index(open)).await?;
    // Whoever erases a user goes by it.
    let whose = IndexModel::builder()
        .keys(doc! { "user": 1 })
        .options(IndexOptions::builder().name("tandem_whose".to_owned()).build())
        .build();
    let transcripts = own(database, TRANSCRIPTS);
    within(INDEXING, transcripts.create_index(whose)).await?;
    // Whose calls began lately is asked once an hour: answered by this alone, and not by reading what was said.
    let lately = IndexModel::builder()
        .keys(doc! { "began": 1, "user": 1 })
        .options(IndexOptions::builder().name("tandem_lately".to_owned()).build())
        .build();
    within(INDEXING, transcripts.create_index(lately)).await?;
    for name in [SESSIONS, TRANSCRIPTS] {
        age(database, name, retention).await?;
    }
    Ok(())
}

/// Refuses what a later version has made.
pub(super) async fn check(database: &Database) -> Result<(), StoreError> {
    let schema = own(database, SCHEMA);
    let found = within(READ, schema.find_one(doc! { "_id": "tandem" })).await?;
    match found.and_then(|found| found.get_i64("version").ok()) {
        Some(found) if found > VERSION => {
            let number = |version| usize::try_from(version).unwrap_or_default();
            Err(StoreError::TooNew { found: number(found), known: number(VERSION) })
        }
        _ => Ok(()),
    }
}

/// Makes the index by age; one with another retention gives way to it.
async fn age(database: &Database, name: &str, retention: Option<Duration>) -> Result<(), StoreError> {
    let collection = own(database, name);
    let age = retention.filter(|age| *age <= OLDEST);
    let options = IndexOptions::builder().name(BY_AGE.to_owned()).expire_after(age).build();
    let index = IndexModel::builder().keys(doc! { "began": 1 }).options(options).build();
    let create = async {
        match collection.create_index(index.clone()).await {
            Err(error) if is_conflict(&error) => {
                // Of two processes that drop it, one comes too late.
                let _ = collection.drop_index(BY_AGE).await;
                collection.create_index(index).await
            }
            made => made,
        }
    };
    within(INDEXING, create).await.map(drop)
}

fn is_conflict(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if CONFLICTS.contains(&error.code))
}
