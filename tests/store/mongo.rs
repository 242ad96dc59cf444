//! What only the store in MongoDB does.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{
    IndexModel,
    bson::{DateTime, Document, doc, oid::ObjectId},
};
use tandem::store::{
    Store, StoreError,
    mongo::{MongoSettings, MongoStore, Names},
};
use uuid::Uuid;

use crate::bench::{Bench as _, Mongo};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn documents(bench: &Mongo, collection: &str) -> Vec<Document> {
    bench.database.collection(collection).find(doc! {}).await.unwrap().try_collect().await.unwrap()
}

/// The keys of a collection's indexes.
async fn indexes(bench: &Mongo, collection: &str) -> Vec<Document> {
    let collection = bench.database.collection::<Document>(collection);
    let indexes: Vec<_> = collection.list_indexes().await.unwrap().try_collect().await.unwrap();
    indexes.into_iter().map(|index| index.keys).collect()
}

/// After how many seconds the index by age removes a call; `None` without it.
async fn removed_after(bench: &Mongo) -> Option<Option<Duration>> {
    let sessions = bench.database.collection::<Document>("voice_sessions");
    let indexes: Vec<_> = sessions.list_indexes().await.unwrap().try_collect().await.unwrap();
    let by_age = indexes.into_iter().find(|index| index.keys == doc! { "began": 1 })?;
    Some(by_age.options.and_then(|options| options.expire_after))
}

#[tokio::test]
async fn users_are_found_by_every_form_of_their_ids_and_left_as_they_are() {
    let Some(bench) = Mongo::new().await else { return };
    let id = ObjectId::new();
    bench.insert("users", doc! { "_id": id, "name": "Maria", "__v": 0, "healthInfo": { "mood": "low" } }).await;
    bench.insert("users", doc! { "_id": 42, "name": "Sam", "healthInfo": ["odd"] }).await;
    let at = DateTime::from_millis(1_795_435_200_000);
    bench.insert("journalentries", doc! { "userId": id, "createdAt": at, "content": "by object id" }).await;
    let older = doc! { "userId": id.to_hex(), "createdAt": DateTime::from_millis(0), "content": "by text" };
    bench.insert("journalentries", older).await;
    bench.insert("journalentries", doc! { "userId": id, "createdAt": at, "content": { "not": "a text" } }).await;
    bench.insert("journalentries", doc! { "userId": 42_i64, "createdAt": "2026-11-22", "content": "by number" }).await;
    let before = (documents(&bench, "users").await, documents(&bench, "journalentries").await);
    let store = bench.open(None);
    let known = store.context(id.to_hex().into()).await.unwrap().unwrap();
    let texts = |entries: &[tandem::context::user::Entry]| -> Vec<String> {
        entries.iter().map(|entry| entry.text.expose().clone()).collect()
    };
    assert_eq!((known.name.expose().as_str(), known.health.mood.expose()), ("Maria", &vec!["low".to_owned()]));
    assert_eq!(texts(&known.journal), ["by object id", "by text"]);
    let sam = store.context("42".into()).await.unwrap().unwrap();
    assert_eq!((sam.name.expose().as_str(), texts(&sam.journal)), ("Sam", vec!["by number".to_owned()]));
    store.erase(id.to_hex().into()).await.unwrap();
    assert_eq!(before, (documents(&bench, "users").await, documents(&bench, "journalentries").await));
    bench.end().await;
}

#[tokio::test]
async fn collections_and_fields_have_the_names_that_they_are_said_to_have() {
    let Some(bench) = Mongo::new().await else { return };
    let own = |name: &str| name.to_owned();
    let names = Names {
        users: own("people"),
        user_id: own("auth.sub"),
        name: own("profile.name"),
        pronouns: own("profile.pronouns"),
        health: own("profile.health"),
        journal: own("notes"),
        journal_user: own("owner.id"),
        journal_date: own("written.at"),
        journal_text: own("written.text"),
    };
    let profile = doc! { "name": "Kim", "pronouns": "they/them", "health": { "goals": ["rest", "walk"] } };
    bench.insert("people", doc! { "auth": { "sub": "auth0|kim" }, "profile": profile }).await;
    let note = doc! { "at": "2026-11-22T08:00:00Z", "text": "Good morning." };
    bench.insert("notes", doc! { "owner": { "id": "auth0|kim" }, "written": note }).await;
    let store = MongoStore::new(MongoSettings { names, ..bench.settings() });
    let known = store.context("auth0|kim".into()).await.unwrap().unwrap();
    assert_eq!((known.name.expose().as_str(), known.pronouns.expose().as_str()), ("Kim", "they/them"));
    assert_eq!(known.health.goals.expose(), &["rest", "walk"]);
    assert_eq!(known.journal[0].text.expose(), "Good morning.");
    assert_eq!(known.journal[0].date, Some(jiff::civil::date(2026, 11, 22)));
    bench.end().await;
}

#[tokio::test]
async fn our_collections_are_made_once_and_the_index_by_age_follows_the_settings() {
    let Some(bench) = Mongo::new().await else { return };
    let open = |retention| Arc::new(MongoStore::new(MongoSettings { retention, ..bench.settings() }));
    let (one, two) = (open(None), open(None));
    let (first, second) = tokio::join!(one.prepare(), two.prepare());
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(removed_after(&bench).await, Some(None));
    open(Some(30 * DAY)).prepare().await.unwrap();
    assert_eq!(removed_after(&bench).await, Some(Some(30 * DAY)));
    open(Some(7 * DAY)).prepare().await.unwrap();
    assert_eq!(removed_after(&bench).await, Some(Some(7 * DAY)));
    open(Some(36_500 * DAY)).prepare().await.unwrap();
    assert_eq!(removed_after(&bench).await, Some(None), "an index cannot wait for so long");
    for collection in ["voice_sessions", "voice_transcripts"] {
        let by_user = indexes(&bench, collection).await.iter().any(|keys| keys.keys().next().unwrap() == "user");
        assert!(by_user, "whoever is erased is looked for in all of {collection}");
    }
    let lately = doc! { "began": 1, "user": 1 };
    assert!(indexes(&bench, "voice_transcripts").await.contains(&lately), "whose calls began lately is in it alone");
    let schema = bench.database.collection::<Document>("voice_schema");
    schema.update_one(doc! {}, doc! { "$set": { "version": 99_i64 } }).await.unwrap();
    let refused = open(None).prepare().await;
    assert!(matches!(refused, Err(StoreError::TooNew { found: 99, known: 1 })), "{refused:?}");
    bench.end().await;
}

#[tokio::test]
async fn a_look_says_what_is_missing_and_writes_nothing() {
    let Some(bench) = Mongo::new().await else { return };
    bench.insert("users", doc! { "name": "Maria", "health": {} }).await;
    let store = bench.open(None);
    let found = store.look().await.unwrap();
    assert!(found.facts.iter().any(|fact| fact == "1 documents in users"), "{found:?}");
    let told = found.warnings.join("\n");
    for sentence in ["has healthInfo.", "has pronouns.", "journalentries is empty, or not there"] {
        assert!(told.contains(sentence), "{told}");
    }
    assert!(!told.contains("has name.") && !format!("{found:?}").contains("Maria"), "{found:?}");
    bench.insert("journalentries", doc! { "userId": "x", "content": "y" }).await;
    let told = store.look().await.unwrap().warnings.join("\n");
    assert!(told.contains("has createdAt."), "{told}");
    assert!(told.contains("no index that begins with userId and createdAt: calls wait for all of it"), "{told}");
    assert!(!told.contains("users has no index") && !told.contains("has _id."), "{told}");
    let journal = bench.database.collection::<Document>("journalentries");
    let by = |keys| IndexModel::builder().keys(keys).build();
    journal.create_index(by(doc! { "userId": 1 })).await.unwrap();
    let told = store.look().await.unwrap().warnings.join("\n");
    assert!(told.contains("wait for all of a caller's documents to be read and sorted."), "{told}");
    journal.create_index(by(doc! { "userId": 1, "createdAt": -1, "mood": 1 })).await.unwrap();
    let names = Names { user_id: "auth.sub".into(), ..Names::default() };
    let told = MongoStore::new(MongoSettings { names, ..bench.settings() }).look().await.unwrap().warnings.join("\n");
    assert!(!told.contains("journalentries has no index"), "{told}");
    assert!(told.contains("of users has auth.sub."), "{told}");
    assert!(told.contains("createIndex({ \"auth.sub\": 1 })"), "{told}");
    let mut names = bench.database.list_collection_names().await.unwrap();
    names.sort();
    assert_eq!(names, ["journalentries", "users"]);
    bench.end().await;
}

#[tokio::test]
async fn a_lost_call_that_cannot_be_read_is_in_no_other_ones_way() {
    let Some(bench) = Mongo::new().await else { return };
    let until = DateTime::from_millis(1_000);
    let began = DateTime::from_millis(500);
    bench.insert("voice_sessions", doc! { "_id": 5, "origin": { "until": until } }).await;
    bench.insert("voice_sessions", doc! { "_id": "x", "began": began, "origin": { "until": until } }).await;
    assert_eq!(bench.open(None).close_lost("here".into(), Uuid::new_v4()).await.unwrap(), 2);
    let ends: Vec<_> = documents(&bench, "voice_sessions")
        .await
        .iter()
        .map(|it| it.get_datetime("ended").unwrap().to_owned())
        .collect();
    assert_eq!(ends, [until, until]);
    bench.end().await;
}

#[tokio::test]
async fn what_arrives_of_an_erased_user_when_its_sender_is_gone_goes_with_the_next_round() {
    let Some(bench) = Mongo::new().await else { return };
    let store = bench.open(None);
    store.erase("maria".into()).await.unwrap();
    let began = DateTime::from_millis(jiff::Timestamp::now().as_millisecond());
    for user in ["maria", "other"] {
        let session = Uuid::new_v4().to_string();
        let call = doc! { "_id": &session, "user": user, "persona": "listener", "began": began };
        bench.insert("voice_sessions", call).await;
        bench.insert("voice_transcripts", doc! { "_id": session, "user": user, "began": began }).await;
    }
    // Cut off between its two writes, the other way round.
    bench.insert("voice_transcripts", doc! { "_id": "x", "user": "maria", "began": began }).await;
    assert_eq!(store.expire().await.unwrap(), 1);
    for collection in ["voice_sessions", "voice_transcripts"] {
        let left = documents(&bench, collection).await;
        let users: Vec<_> = left.iter().map(|it| it.get_str("user").unwrap()).collect();
        assert_eq!(users, ["other"], "{collection}");
    }
    assert_eq!(store.expire().await.unwrap(), 0);
    bench.end().await;
}
