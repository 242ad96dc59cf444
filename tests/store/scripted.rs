//! A server that says that it is the primary of several, answers what is asked of it, and writes down how it was asked.

use std::sync::{Arc, Mutex};

use mongodb::bson::{Bson, Document, doc};
use tandem::store::{
    Store as _, StoreError,
    mongo::{MongoSettings, MongoStore, Names},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::Duration,
};
use uuid::Uuid;

use crate::unreachable::reply;

/// What was asked, and who may go on.
#[derive(Clone)]
struct Script {
    commands: Arc<Mutex<Vec<Document>>>,
    /// Something is to be removed.
    removing: Arc<Semaphore>,
    /// It may be.
    remove: Arc<Semaphore>,
}

impl Script {
    fn new() -> Self {
        Self { commands: Arc::default(), removing: Arc::new(Semaphore::new(0)), remove: Arc::new(Semaphore::new(0)) }
    }

    /// A store that sends its readers to other servers, as far as its address has a say in that.
    async fn store(&self) -> (MongoStore, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (this, mut serving) = (self.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                connections.spawn(async move { this.serve(stream, port).await });
            }
        });
        let way = "replicaSet=rs&readPreference=secondaryPreferred&readConcernLevel=local&w=1";
        let uri = format!("mongodb://127.0.0.1:{port}/app?{way}").into();
        let settings = MongoSettings { uri, database: None, names: Names::default(), retention: None };
        (MongoStore::new(settings), serving)
    }

    async fn serve(self, mut stream: TcpStream, port: u16) -> std::io::Result<()> {
        let me = format!("127.0.0.1:{port}");
        let said = doc! {
            "ok": 1.0, "ismaster": true, "isWritablePrimary": true, "helloOk": true, "setName": "rs", "setVersion": 1,
            "hosts": [&me], "me": &me, "primary": &me, "minWireVersion": 0, "maxWireVersion": 21,
            "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
            "n": 3, "nModified": 1, "cursor": { "id": 0_i64, "ns": "app.any", "firstBatch": [] },
        };
        loop {
            let mut header = [0; 16];
            stream.read_exact(&mut header).await?;
            let word = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let mut body = vec![0; usize::try_from(word(0)).unwrap() - header.len()];
            stream.read_exact(&mut body).await?;
            // Flags, the kind of the first section, and the command; the old form is of greetings alone.
            if word(12) == 2013 {
                let command = Document::from_reader(&body[5..]).unwrap();
                let removes = command.contains_key("delete");
                self.commands.lock().unwrap().push(command);
                if removes {
                    self.removing.add_permits(1);
                    self.remove.acquire().await.unwrap().forget();
                }
            }
            stream.write_all(&reply(word(4), word(12), &said)).await?;
        }
    }
}

#[tokio::test]
async fn what_is_ours_is_read_from_where_it_is_written_whatever_the_address_says() {
    let script = Script::new();
    script.remove.add_permits(100);
    let (store, _serving) = script.store().await;
    let ledger = store.ledger(Uuid::new_v4(), "here".into(), Duration::from_secs(10));
    store.context("maria".into()).await.unwrap();
    store.erase("maria".into()).await.unwrap();
    store.session(Uuid::new_v4()).await.unwrap();
    tandem::pool::ledger::LeaseLedger::foreign(&ledger).await.unwrap();
    let commands = script.commands.lock().unwrap();
    let mut seen = Vec::new();
    for command in commands.iter() {
        let (operation, collection) = command.iter().next().unwrap();
        let Some(collection) = collection.as_str() else { continue };
        let concern = |name: &str, field: &str| command.get_document(name).ok().and_then(|it| it.get(field)).cloned();
        let way = concern("$readPreference", "mode").unwrap_or("primary".into());
        match (operation.as_str(), collection.starts_with("voice_")) {
            ("find" | "aggregate", true) => {
                assert_eq!(
                    (way, concern("readConcern", "level")),
                    ("primary".into(), Some("majority".into())),
                    "{command}"
                );
            }
            ("update" | "delete" | "findAndModify", true) => {
                assert_eq!(concern("writeConcern", "w"), Some(Bson::from("majority")), "{command}");
            }
            ("find" | "aggregate", false) => assert_eq!(way, "secondaryPreferred".into(), "the app's own: {command}"),
            _ => {}
        }
        seen.push((operation.as_str(), collection));
    }
    for one in [
        ("find", "users"),
        ("aggregate", "journalentries"),
        ("find", "voice_erased"),
        ("find", "voice_sessions"),
        ("find", "voice_schema"),
        ("aggregate", "voice_leases"),
        ("update", "voice_erased"),
        ("delete", "voice_transcripts"),
        ("delete", "voice_sessions"),
    ] {
        assert!(seen.contains(&one), "{one:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_user_with_many_calls_may_take_longer_to_remove_than_one_call_to_write() {
    let script = Script::new();
    let (store, _serving) = script.store().await;
    let erasing = tokio::spawn(store.erase("maria".into()));
    script.removing.acquire().await.unwrap().forget();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(59)).await;
    tokio::time::resume();
    script.remove.add_permits(2);
    assert_eq!(erasing.await.unwrap().unwrap(), 3);
    let erasing = tokio::spawn(store.erase("maria".into()));
    script.removing.acquire_many(2).await.unwrap().forget();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(matches!(erasing.await.unwrap(), Err(StoreError::Timeout(60_000))), "and does not take for ever");
}
