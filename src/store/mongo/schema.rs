//! The collections of ours, and their indexes.

use std::time::Duration;

use mongodb::{
    Database, IndexModel,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::IndexOptions,
};

use super::link::{READ, WRITE, first, within};
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
/// How long an index may be in the making.
const INDEXING: Duration = Duration::from_secs(60);
/// The index is there with other options, or under another name.
const CONFLICTS: [i32; 2] = [85, 86];

/// Makes what is missing. Any number of processes may do so at once.
pub(super) async fn prepare(database: &Database, retention: Option<Duration>) -> Result<(), StoreError> {
    let schema = database.collection::<Document>(SCHEMA);
    let version = doc! { "$setOnInsert": { "version": VERSION } };
    first(WRITE, schema.update_one(doc! { "_id": "tandem" }, version).upsert(true)).await?;
    check(database).await?;
    let newest = IndexModel::builder()
        .keys(doc! { "user": 1, "began": -1, "_id": -1 })
        .options(IndexOptions::builder().name("tandem_newest".to_owned()).build())
        .build();
    let sessions = database.collection::<Document>(SESSIONS);
    within(INDEXING, sessions.create_index(newest)).await?;
    let open = IndexModel::builder()
        .keys(doc! { "ended": 1, "origin.home": 1 })
        .options(IndexOptions::builder().name("tandem_open".to_owned()).build())
        .build();
    within(INDEXING, sessions.create_index(open)).await?;
    for name in [SESSIONS, TRANSCRIPTS] {
        age(database, name, retention).await?;
    }
    Ok(())
}

/// Refuses what a later version has made.
pub(super) async fn check(database: &Database) -> Result<(), StoreError> {
    let schema = database.collection::<Document>(SCHEMA);
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
    let collection = database.collection::<Document>(name);
    let options = IndexOptions::builder().name(BY_AGE.to_owned()).expire_after(retention).build();
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
