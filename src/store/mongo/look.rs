//! A look at a MongoDB, for people: is it there, and is what is looked for where it is looked for?

use futures_util::TryStreamExt as _;
use mongodb::{
    Database, IndexModel,
    bson::{Bson, Document, doc},
};

use super::{
    document::field,
    link::{READ, own, version, within},
    names::Names,
    schema,
};
use crate::store::{Findings, StoreError};

/// The newest documents that are looked at; only whether a field is there is told.
const SAMPLE: i64 = 20;

/// Looks, and changes nothing.
pub(super) async fn look(database: &Database, names: &Names) -> Result<Findings, StoreError> {
    schema::check(database).await?;
    let mut findings = Findings::default();
    findings.facts.push(format!("MongoDB {}, database {}", version(database).await, database.name()));
    let users = [&names.user_id, &names.name, &names.pronouns, &names.health];
    collection(database, &names.users, &users, &mut findings).await?;
    let journal = [&names.journal_user, &names.journal_date, &names.journal_text];
    collection(database, &names.journal, &journal, &mut findings).await?;
    let calls = within(READ, own(database, schema::SESSIONS).estimated_document_count()).await?;
    findings.facts.push(format!("{calls} calls in {}", schema::SESSIONS));
    index(database, &names.users, &[(&names.user_id, 1)], &mut findings).await?;
    index(database, &names.journal, &[(&names.journal_user, 1), (&names.journal_date, -1)], &mut findings).await?;
    Ok(findings)
}

async fn collection(
    database: &Database,
    name: &str,
    paths: &[&String],
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let collection = database.collection::<Document>(name);
    let count = within(READ, collection.estimated_document_count()).await?;
    findings.facts.push(format!("{count} documents in {name}"));
    if count == 0 {
        findings.warnings.push(format!("{name} is empty, or not there: nothing is known of callers from it."));
        return Ok(());
    }
    let reading = collection.find(doc! {}).sort(doc! { "_id": -1 }).limit(SAMPLE).max_time(READ);
    let sample = within(READ, async { reading.await?.try_collect::<Vec<Document>>().await }).await?;
    for path in paths {
        let has = |document: &&Document| field(document, path).is_some_and(|value| *value != Bson::Null);
        if sample.iter().find(has).is_none() {
            findings.warnings.push(format!("None of the newest {} documents of {name} has {path}.", sample.len()));
        }
    }
    Ok(())
}

/// Says so if what calls look for is not found by an index that begins with these fields.
async fn index(
    database: &Database,
    name: &str,
    keys: &[(&String, i32)],
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let collection = database.collection::<Document>(name);
    let listed = async { collection.list_indexes().await?.try_collect::<Vec<IndexModel>>().await };
    // Of a collection that is not there, nothing can be listed.
    let indexes = within(READ, listed).await.unwrap_or_default();
    let begins =
        |index: &IndexModel, length: usize| index.keys.keys().take(length).eq(keys[..length].iter().map(|key| key.0));
    if indexes.is_empty() || indexes.iter().any(|index| begins(index, keys.len())) {
        return Ok(());
    }
    let wait = match indexes.iter().any(|index| begins(index, 1)) {
        false => "calls wait for all of it to be read",
        true => "calls wait for all of a caller's documents to be read and sorted",
    };
    let fields = keys.iter().map(|key| key.0.as_str()).collect::<Vec<_>>().join(" and ");
    let keys = keys.iter().map(|(key, order)| format!("\"{key}\": {order}")).collect::<Vec<_>>().join(", ");
    findings.warnings.push(format!(
        "{name} has no index that begins with {fields}: {wait}. One is made with db.{name}.createIndex({{ {keys} }})."
    ));
    Ok(())
}
