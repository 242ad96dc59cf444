//! Servers that are down, silent, too old, or none at all.

use std::{sync::Arc, time::Duration};

use mongodb::bson::{Document, doc};
use tandem::{
    context::source::{CONTEXT_TIMEOUT, ContextError, ContextSource as _},
    store::{
        Store, StoreError,
        mongo::{MongoSettings, MongoStore, Names},
        source::StoredContexts,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

fn store(port: u16) -> MongoStore {
    let uri = format!("mongodb://root:hush@127.0.0.1:{port}/app").into();
    MongoStore::new(MongoSettings { uri, database: None, names: Names::default(), retention: None })
}

fn contexts(store: MongoStore) -> StoredContexts {
    let store: Arc<dyn Store> = Arc::new(store);
    StoredContexts::new(&store)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_says_nothing_costs_a_call_two_seconds_at_most() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let (begun, contexts) = (Instant::now(), contexts(store(port)));
    let failed = contexts.load("maria".into()).await.unwrap_err();
    assert!(begun.elapsed() <= CONTEXT_TIMEOUT + Duration::from_millis(5), "{:?}", begun.elapsed());
    assert!(!failed.to_string().contains("hush"), "{failed}");
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_told_as_such_in_time() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let store = store(port);
    let begun = Instant::now();
    let failed = store.context("maria".into()).await.unwrap_err();
    assert!(matches!(failed, StoreError::Unreachable(_) | StoreError::Timeout(_)), "{failed}");
    assert!(begun.elapsed() <= CONTEXT_TIMEOUT + Duration::from_millis(5), "{:?}", begun.elapsed());
    assert!(!failed.to_string().contains("hush"), "{failed}");
    let failed = contexts(store).load("maria".into()).await.unwrap_err();
    assert!(matches!(failed, ContextError::Store(_) | ContextError::Timeout), "{failed}");
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_its_version() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let old = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let uri = format!("mongodb://127.0.0.1:{port}/app").into();
    let store = MongoStore::new(MongoSettings { uri, database: None, names: Names::default(), retention: None });
    let failed = store.context("maria".into()).await.unwrap_err();
    assert_eq!(failed.to_string(), "MongoDB is too old (wire version 7, which is 4.0): 4.4 or later is needed");
    old.abort();
}

/// Answers whatever is asked as a MongoDB of 2018 would introduce itself.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let said = doc! {
        "ok": 1.0, "ismaster": true, "isWritablePrimary": true, "helloOk": true, "version": "4.0.28",
        "minWireVersion": 0, "maxWireVersion": 7, "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
    };
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header).await?;
        let word = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(word(0)).unwrap() - header.len()];
        stream.read_exact(&mut body).await?;
        stream.write_all(&reply(word(4), word(12), &said)).await?;
    }
}

/// The answer to a request in the form of the request: OP_REPLY to the old OP_QUERY, else OP_MSG.
fn reply(request: i32, operation: i32, said: &Document) -> Vec<u8> {
    let (operation, mut body) = match operation {
        2004 => (1, [vec![0; 16], 1_i32.to_le_bytes().to_vec()].concat()),
        _ => (2013, vec![0; 5]),
    };
    body.extend(said.to_vec().unwrap());
    let bytes = i32::try_from(16 + body.len()).unwrap();
    [bytes, 1, request, operation].into_iter().flat_map(i32::to_le_bytes).chain(body).collect()
}
