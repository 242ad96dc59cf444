//! What only the embedded store does.

use std::os::unix::fs::PermissionsExt as _;

use tandem::{
    context::{
        private::Private,
        user::{Context, Entry, User, Users},
    },
    store::{
        Store, StoreError,
        local::LocalStore,
        record::{Ended, Origin, Record},
    },
};

use crate::bench::File;

fn user(id: &str, text: &str) -> User {
    let journal = vec![Entry { date: Some(jiff::civil::date(2026, 11, 22)), text: text.into() }];
    User { id: id.into(), context: Context { name: id.into(), journal, ..Context::default() } }
}

async fn journal(store: &LocalStore, id: &str) -> Vec<String> {
    let context = store.context(id.into()).await.unwrap();
    context.into_iter().flat_map(|context| context.journal).map(|entry| entry.text.expose().clone()).collect()
}

#[tokio::test]
async fn a_user_is_taken_in_in_place_of_what_was_known_of_it() {
    let file = File::scratch();
    let store = file.local(None);
    store.import(vec![user("a", "first"), user("b", "stays")]).await.unwrap();
    let imported = store.import(vec![user("a", "second")]).await.unwrap();
    assert_eq!((imported.users, imported.erased), (1, 0));
    assert_eq!((journal(&store, "a").await, journal(&store, "b").await), (vec!["second".into()], vec!["stays".into()]));
    store.erase("a".into()).await.unwrap();
    let imported = store.import(vec![user("a", "third"), user("b", "new")]).await.unwrap();
    assert_eq!((imported.users, imported.erased), (1, 1), "who was erased does not come back with an old export");
    assert_eq!((journal(&store, "a").await, journal(&store, "b").await), (vec![], vec!["new".into()]));
}

#[tokio::test]
async fn nothing_of_an_erased_user_is_left_in_the_files() {
    let file = File::scratch();
    let store = file.local(None);
    store.import(vec![user("maria-stuart", "I told nobody of the lump."), user("other", "Nice day.")]).await.unwrap();
    assert!(file.holds("the lump") && file.holds("maria-stuart"), "it is looked for in the right files");
    store.erase("maria-stuart".into()).await.unwrap();
    assert!(!file.holds("the lump") && !file.holds("maria-stuart"));
    assert!(file.holds("Nice day."));
}

#[tokio::test]
async fn nothing_of_erased_users_is_left_in_pages_that_were_split_and_joined() {
    let file = File::scratch();
    let store = file.local(None);
    let record = |user: usize, call: usize, words: usize| {
        let recap = format!("RECAP-{user:03} {}", "word ".repeat(words));
        Record {
            // In no order, as names of calls come.
            session: uuid::Uuid::from_u128(
                (user as u128 * 1000 + call as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15 << 64 | 77),
            ),
            user: format!("user-{user:03}").as_str().into(),
            persona: "listener".into(),
            began_ms: call as i64,
            origin: Origin::default(),
            ended: (words > 0).then(|| Ended { recap: recap.as_str().into(), ..Ended::lost(1) }),
        }
    };
    let each = || (0..40).flat_map(|call| (0..20).map(move |user| (user, call)));
    for (user, call) in each() {
        store.open(record(user, call, 0)).await.unwrap();
        if call > 0 {
            store.complete(record(user, call - 1, 1 + (user * 7 + call * 13) % 90)).await.unwrap();
        }
    }
    for user in 0..10 {
        store.erase(format!("user-{user:03}").as_str().into()).await.unwrap();
    }
    let left: Vec<_> = (0..20).filter(|user| file.holds(&format!("RECAP-{user:03}"))).collect();
    assert_eq!(left, (10..20).collect::<Vec<_>>());
    let left: Vec<_> = (0..20).filter(|user| file.holds(&format!("user-{user:03}"))).collect();
    assert_eq!(left, (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_reader_keeps_in_the_log_is_removed_from_it_later() {
    let file = File::scratch();
    let store = file.local(Some(std::time::Duration::from_secs(60)));
    let ended = Ended { recap: "I told nobody of the lump.".into(), ..Ended::lost(1) };
    let (session, origin) = (uuid::Uuid::new_v4(), Origin::default());
    let (user, persona) = ("maria".into(), "listener".into());
    store.complete(Record { session, user, persona, began_ms: 0, origin, ended: Some(ended) }).await.unwrap();
    let reader = rusqlite::Connection::open(file.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM sessions").unwrap();
    // It is gone for everybody who looks, and still in the log.
    assert!(matches!(store.expire().await, Err(StoreError::Traces)));
    assert!(file.holds("the lump"), "it is looked for in the right files");
    reader.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.expire().await.unwrap(), 0);
    assert!(!file.holds("the lump"));
}

#[tokio::test]
async fn users_for_a_trial_come_once_and_never_to_others() {
    let file = File::scratch();
    let store = file.local(None);
    assert!(store.import_demo().await.unwrap() > 0);
    assert!(!journal(&store, "developer").await.is_empty());
    assert_eq!(store.import_demo().await.unwrap(), 0);
    let (file, erased) = (File::scratch(), Private::from("maria"));
    let store = file.local(None);
    store.erase(erased).await.unwrap();
    assert_eq!(store.import_demo().await.unwrap(), 0, "somebody was here");
}

#[tokio::test]
async fn a_file_is_its_owners_alone_and_one_of_a_later_version_is_left_alone() {
    let file = File::scratch();
    assert!(LocalStore::look_at(&file.path()).unwrap().facts[0].contains("not there yet"));
    assert!(!file.path().exists(), "a look makes nothing");
    drop(file.local(None));
    assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let found = LocalStore::look_at(&file.path()).unwrap();
    assert!(found.facts[0].ends_with("0 users (0 erased), 0 journal entries, 0 calls"), "{found:?}");
    let connection = rusqlite::Connection::open(file.path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(LocalStore::open(&file.path(), None), Err(StoreError::TooNew { found: 99, .. })));
    assert!(matches!(LocalStore::look_at(&file.path()), Err(StoreError::TooNew { .. })));
    let file = File::scratch();
    std::fs::write(file.path(), "no store at all, but as long as one could be, in other words a text").unwrap();
    assert!(matches!(LocalStore::look_at(&file.path()), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn what_is_held_of_a_user_is_all_of_it() {
    let (file, mut maria) = (File::scratch(), user("maria", "the first"));
    let store = file.local(None);
    maria.context.journal.extend((0..200).map(|_| Entry { date: None, text: "x".repeat(5_000).into() }));
    maria.context.health.goals = Private::new((0..60).map(|goal| format!("goal {goal}")).collect());
    store.import(vec![maria.clone()]).await.unwrap();
    assert_eq!(store.held("maria".into()).await.unwrap(), Some(maria.context));
    assert_eq!(store.held("other".into()).await.unwrap(), None);
    store.erase("maria".into()).await.unwrap();
    assert_eq!(store.held("maria".into()).await.unwrap(), None);
}

#[tokio::test]
async fn the_users_of_a_file_come_out_as_they_went_in() {
    let users = Users::read(include_str!("../context/users.json")).unwrap().users;
    let file = File::scratch();
    let store = file.local(None);
    assert_eq!(store.import(users.clone()).await.unwrap().users, users.len());
    for User { id, context } in users {
        let known = store.context(id.as_str().into()).await.unwrap().unwrap();
        assert_eq!(known, tandem::store::bounds::bounded(context), "{id}");
    }
}
