//! What was erased, as it is remembered: users by a digest, calls by their names.

use mongodb::{
    Database,
    bson::{DateTime, Document, doc},
};

use super::{
    link::{READ, WRITE, first, within},
    schema::ERASED,
};
use crate::store::{StoreError, digest, now_ms};

/// The key of a user.
pub(super) fn user(user: &str) -> String {
    digest(user).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of a call: no digest has a colon in it.
pub(super) fn call(session: &str) -> String {
    format!("session:{session}")
}

/// Remembers that what has this key was erased.
pub(super) async fn remember(database: &Database, key: &str) -> Result<(), StoreError> {
    let erased = database.collection::<Document>(ERASED);
    let at = doc! { "$setOnInsert": { "at": DateTime::from_millis(now_ms()) } };
    first(WRITE, erased.update_one(doc! { "_id": key }, at).upsert(true)).await.map(drop)
}

/// Whether nothing must be known of this user.
pub(super) async fn of_user(database: &Database, name: &str) -> Result<bool, StoreError> {
    any(database, &[user(name)]).await
}

/// Whether nothing must be written of this call of this user.
pub(super) async fn of_call(database: &Database, session: &str, name: &str) -> Result<bool, StoreError> {
    any(database, &[user(name), call(session)]).await
}

async fn any(database: &Database, keys: &[String]) -> Result<bool, StoreError> {
    let erased = database.collection::<Document>(ERASED);
    Ok(within(READ, erased.find_one(doc! { "_id": { "$in": keys } })).await?.is_some())
}
