//! What was erased, as it is remembered: users by a digest, calls by their names.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Database,
    bson::{DateTime, Document, doc},
};

use super::{
    link::{READ, REMOVE, WRITE, first, own, within},
    schema::ERASED,
};
use crate::store::{StoreError, digest, now_ms};

/// Users that are looked up at once.
const TOGETHER: usize = 500;

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
    let erased = own(database, ERASED);
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

/// The users of this collection of ours, of calls that began at this time or later, of whom nothing must be known: what
/// was on its way when they were erased has arrived, and whoever sent it may be gone.
pub(super) async fn arrived_since(
    database: &Database,
    collection: &str,
    since: DateTime,
) -> Result<Vec<String>, StoreError> {
    let users = [doc! { "$match": { "began": { "$gte": since } } }, doc! { "$group": { "_id": "$user" } }];
    let collection = own(database, collection);
    let finding = collection.aggregate(users).max_time(REMOVE);
    let mut found = within(REMOVE, async { Ok(finding.await?.ready_chunks(TOGETHER)) }).await?;
    let mut arrived = Vec::new();
    while let Some(chunk) =
        within(REMOVE, async { found.next().await.map(|it| it.into_iter().collect()).transpose() }).await?
    {
        let chunk: Vec<Document> = chunk;
        let named: HashMap<String, &str> =
            chunk.iter().filter_map(|it| it.get_str("_id").ok()).map(|name| (user(name), name)).collect();
        let keys: Vec<&String> = named.keys().collect();
        let erased = own(database, ERASED);
        let reading = async { erased.find(doc! { "_id": { "$in": keys } }).await?.try_collect::<Vec<_>>().await };
        let erased = within(READ, reading).await?;
        let names = erased.iter().filter_map(|it| named.get(it.get_str("_id").ok()?));
        arrived.extend(names.map(|name| (*name).to_owned()));
    }
    Ok(arrived)
}

async fn any(database: &Database, keys: &[String]) -> Result<bool, StoreError> {
    let erased = own(database, ERASED);
    Ok(within(READ, erased.find_one(doc! { "_id": { "$in": keys } })).await?.is_some())
}
