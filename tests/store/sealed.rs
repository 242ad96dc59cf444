//! What was said is encrypted where it is kept, if there is a key.

use std::sync::{Arc, atomic::Ordering};

use tandem::{
    protocol::ending::Ending,
    store::{
        Store,
        archive::Archive,
        record::{Ended, Line, Origin, Page, Record, Speaker, Written},
        seal::Seal,
        spool::Room,
    },
};
use uuid::Uuid;

use crate::{
    bench::{Bench, File, Mongo},
    moody::Moody,
};

pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub const OTHER: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

/// A call of Maria's in which somebody speaks of a lump.
fn call(began_ms: i64) -> Record {
    let line = |at_ms, text: &str| Line { speaker: Speaker::Caller, at_ms, text: text.into() };
    let ended = Ended {
        ending: Ending::ClientLeft,
        recap: "You spoke of a lump.".into(),
        transcript: vec![line(5, "I told nobody of the lump."), line(9, "It does not hurt.")],
        ..Ended::lost(began_ms + 10)
    };
    Record {
        session: Uuid::new_v4(),
        user: "maria".into(),
        persona: "listener".into(),
        began_ms,
        origin: Origin::default(),
        ended: Some(ended),
    }
}

async fn recaps(store: &Arc<dyn Store>) -> Vec<String> {
    let context = store.context("maria".into()).await.unwrap();
    context.into_iter().flat_map(|context| context.recaps).map(|entry| entry.text.expose().clone()).collect()
}

async fn listed(store: &Arc<dyn Store>) -> Vec<String> {
    let calls = store.sessions("maria".into(), Page::first(9)).await.unwrap();
    calls.into_iter().map(|call| call.ended.unwrap().recap.expose().clone()).collect()
}

const RECAP: &str = "You spoke of a lump.";

async fn is_written_and_read<B: Bench>() {
    let Some(bench) = B::new().await else { return };
    // Before there was a key.
    let (open, first, second) = (bench.open(None), call(1), call(2));
    assert_eq!(open.complete(first.clone()).await.unwrap(), Written::Kept);
    assert!(bench.says("lump").await, "it is looked for in the right place");
    let sealed = bench.sealed(KEY);
    assert_eq!(sealed.session(first.session).await.unwrap(), Some(first.clone()), "what was there stays readable");
    assert!(sealed.erase_session(first.session).await.unwrap());
    assert_eq!(sealed.complete(second.clone()).await.unwrap(), Written::Kept);
    for words in ["lump", "nobody", "hurt"] {
        assert!(!bench.says(words).await, "{words}");
    }
    assert_eq!(sealed.session(second.session).await.unwrap(), Some(second.clone()));
    assert_eq!((listed(&sealed).await, recaps(&sealed).await), (vec![RECAP.to_owned()], vec![RECAP.to_owned()]));
    // A better recap is sealed as well.
    for better in ["You spoke of a hump.", RECAP] {
        assert!(sealed.improve_recap(second.session, better.into()).await.unwrap());
        assert!(!bench.says("spoke").await, "{better}");
        assert_eq!((listed(&sealed).await, recaps(&sealed).await), (vec![better.to_owned()], vec![better.to_owned()]));
    }
    // Another key takes its place, and the old one still reads.
    let both = bench.sealed(&format!("{OTHER},{KEY}"));
    let third = call(3);
    both.complete(third.clone()).await.unwrap();
    assert_eq!((listed(&both).await.len(), recaps(&both).await.len()), (2, 2));
    // Without the old key its call is listed without words, and says what is missing.
    let other = bench.sealed(OTHER);
    assert_eq!(listed(&other).await, [RECAP.to_owned(), String::new()]);
    assert_eq!(recaps(&other).await, [RECAP]);
    assert_eq!(other.session(third.session).await.unwrap(), Some(third));
    let bare = |call: &Record| {
        let ended =
            call.ended.clone().map(|ended| Ended { recap: "".into(), transcript: Vec::new(), sealed: true, ..ended });
        Some(Record { ended, ..call.clone() })
    };
    assert_eq!(other.session(second.session).await.unwrap(), bare(&second));
    assert!(other.erase_session(second.session).await.unwrap(), "what nobody can read can be removed");
    assert_eq!(other.session(second.session).await.unwrap(), None);
    drop((open, sealed, both, other));
    bench.end().await;
}

#[tokio::test]
async fn what_was_said_is_sealed_in_a_file() {
    is_written_and_read::<File>().await;
}

#[tokio::test]
async fn what_was_said_is_sealed_in_mongodb() {
    is_written_and_read::<Mongo>().await;
}

#[tokio::test]
async fn a_text_that_is_put_in_another_place_is_not_taken_for_what_was_said_there() {
    let file = File::scratch();
    let store = file.sealed(KEY);
    let (first, second) = (call(1), call(2));
    for call in [&first, &second] {
        store.complete(call.clone()).await.unwrap();
    }
    let connection = rusqlite::Connection::open(file.path()).unwrap();
    let swap = "UPDATE lines SET text = (SELECT text FROM lines AS others WHERE others.session = lines.session \
                AND others.number = 1 - lines.number) WHERE session = ?1";
    assert_eq!(connection.execute(swap, [first.session.to_string()]).unwrap(), 2);
    let is_bare = |found: Option<Record>| {
        let ended = found.unwrap().ended.unwrap();
        ended.sealed && ended.transcript.is_empty() && ended.recap.expose().is_empty()
    };
    assert!(is_bare(store.session(first.session).await.unwrap()));
    let swap = "UPDATE sessions SET recap = (SELECT recap FROM sessions WHERE id = ?1) WHERE id = ?2";
    connection.execute(swap, [first.session.to_string(), second.session.to_string()]).unwrap();
    assert!(is_bare(store.session(second.session).await.unwrap()));
    assert_eq!(recaps(&store).await, [RECAP], "the next prompt has the one that is where it belongs");
}

#[tokio::test]
async fn what_waits_for_the_store_is_sealed_as_a_whole_and_waits_for_its_key() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let archive = |keys: &str| {
        let archive = Archive::open_at(&file.0.join("spool.sqlite"), store.clone(), Room::default()).unwrap();
        archive.sealed(Seal::read(&keys.into()).unwrap())
    };
    let (first, second) = (call(1), call(2));
    let waiting = archive(KEY);
    waiting.open(second.clone()).await.unwrap();
    waiting.complete(first.clone()).await.unwrap();
    for words in ["lump", "maria", "listener"] {
        assert!(!file.holds(words), "{words}");
    }
    drop(waiting);
    store.down.store(false, Ordering::Relaxed);
    let other = archive(OTHER);
    let brought = other.bring().await.unwrap();
    assert!(brought.trouble.is_some_and(|why| why.contains("store.encryption_key")));
    assert_eq!((brought.records, other.waiting().await.unwrap()), (0, 2), "nothing is lost");
    drop(other);
    assert_eq!(archive(&format!("{OTHER},{KEY}")).bring().await.unwrap().records, 2);
    assert_eq!(store.session(first.session).await.unwrap(), Some(first));
    assert_eq!(store.session(second.session).await.unwrap(), Some(Record { ended: None, ..second }));
}
