//! Many records on their way, of which the store takes some, or none: who is asked how often, and what stays.

use std::sync::{Arc, atomic::Ordering};

use tandem::store::{
    Store, StoreError,
    record::Record,
    seal::Seal,
    spool::{Brought, Room, Spool, TRIES},
};

use crate::{
    bench::File,
    moody::Moody,
    sealed::{KEY, OTHER},
    spool::{begun, ended, spool},
};

/// Records that are offered at once.
const BATCH: usize = 16;

async fn keep_many(spool: &Spool, user: &str, count: usize) -> Vec<Record> {
    let calls: Vec<_> = (0..count).map(|number| begun(user, number as i64)).collect();
    for call in &calls {
        spool.keep(call.clone()).await.unwrap();
    }
    calls
}

/// How often the store is given a record while this is brought, and what came of it.
async fn round(spool: &Spool, store: &Moody) -> (usize, Brought) {
    let before = store.given.load(Ordering::Relaxed);
    let brought = spool.bring().await.unwrap();
    (store.given.load(Ordering::Relaxed) - before, brought)
}

#[tokio::test]
async fn a_store_that_refuses_everything_is_not_given_the_whole_backlog_each_time() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    let calls = keep_many(&spool, "maria", 3 * BATCH).await;
    store.all_refused.store(true, Ordering::Relaxed);
    for _ in 0..3 * TRIES {
        let (given, brought) = round(&spool, &store).await;
        assert!(given <= BATCH, "{given} at once");
        assert!(brought.trouble.unwrap().contains("NotAllowed") && brought.set_aside == 0);
        // The last of each way through is an empty batch.
        assert_eq!(brought.is_down, given == BATCH, "it is left alone");
    }
    store.all_refused.store(false, Ordering::Relaxed);
    let mut records = 0;
    for _ in 0..3 {
        records += spool.bring().await.unwrap().records;
    }
    assert_eq!((records, spool.waiting().await.unwrap()), (3 * BATCH as u64, 0));
    for call in calls {
        assert_eq!(store.session(call.session).await.unwrap(), Some(call));
    }
}

#[tokio::test]
async fn records_that_are_never_taken_are_not_in_front_of_the_others_for_ever() {
    for (user, sentence) in [(Moody::REFUSED, "DocumentValidationFailure"), (Moody::SLOW, "did not answer")] {
        let (file, records) = (File::scratch(), File::scratch());
        let store = Moody::over(records.local(None), false);
        let spool = spool(&file, &store, Room::default());
        keep_many(&spool, user, 2 * BATCH).await;
        let others = keep_many(&spool, "maria", 2).await;
        let mut trouble = Vec::new();
        for _ in 0..3 {
            let brought = spool.bring().await.unwrap();
            trouble.push(brought.trouble.unwrap());
        }
        assert!(trouble.iter().all(|why| why.contains(sentence)), "{trouble:?}");
        for other in others {
            assert_eq!(store.session(other.session).await.unwrap(), Some(other));
        }
        for number in 1..i64::from(TRIES) {
            spool.keep(begun("maria", number)).await.unwrap();
            for _ in 0..3 {
                spool.bring().await.unwrap();
            }
        }
        assert_eq!((spool.waiting().await.unwrap(), spool.aside().await.unwrap()), (0, 2 * BATCH as u64));
    }
}

#[tokio::test]
async fn what_has_no_key_here_is_read_once() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let sealed = |key: &str| spool(&file, &store, Room::default()).sealed(Seal::read(&key.into()).unwrap());
    let old = keep_many(&sealed(KEY), "maria", 2 * BATCH).await;
    let other = sealed(OTHER);
    let first = other.bring().await.unwrap();
    assert!(first.trouble.unwrap().contains("store.encryption_key"));
    assert_eq!(other.bring().await.unwrap(), Brought::default(), "nothing more is said of them");
    let new = begun("maria", 99);
    other.keep(new.clone()).await.unwrap();
    assert_eq!(other.bring().await.unwrap(), Brought { records: 1, ..Brought::default() });
    assert_eq!(other.waiting().await.unwrap(), 2 * BATCH as u64, "nothing is lost");
    assert_eq!(other.erase("maria").await.unwrap(), 2 * BATCH as u64, "nor kept of who is erased");
    let again = keep_many(&sealed(KEY), "other", 1).await;
    assert_eq!(sealed(KEY).bring().await.unwrap().records, 1, "the next process has the key");
    assert_eq!(store.session(old[0].session).await.unwrap(), None);
    for call in [&new, &again[0]] {
        assert_eq!(store.session(call.session).await.unwrap().as_ref(), Some(call));
    }
}

#[tokio::test]
async fn what_is_set_aside_has_a_bound_and_what_falls_out_is_counted() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    // A quarter of it is for what is set aside: two records of these.
    let spool = spool(&file, &store, Room { records: 99, bytes: 8_000 });
    let calls: Vec<_> = (0..4).map(|number| ended(&begun(Moody::REFUSED, number))).collect();
    for call in &calls {
        spool.keep(call.clone()).await.unwrap();
    }
    let mut all = Brought::default();
    for number in 0..i64::from(TRIES) {
        spool.keep(ended(&begun("maria", number))).await.unwrap();
        let brought = spool.bring().await.unwrap();
        (all.set_aside, all.dropped) = (all.set_aside + brought.set_aside, all.dropped + brought.dropped);
    }
    assert_eq!((all.set_aside, all.dropped, spool.aside().await.unwrap()), (4, 2, 2));
    store.mended.store(true, Ordering::Relaxed);
    assert_eq!(spool.offer_again().await.unwrap(), 2);
    let found: Vec<_> = futures_util::future::join_all(calls.iter().map(|call| store.session(call.session))).await;
    let found: Vec<_> = found.into_iter().map(|found| found.unwrap().is_some()).collect();
    assert_eq!(found, [false, false, true, true], "the oldest fell out");
}

#[tokio::test]
async fn what_an_earlier_version_left_counts_against_the_room() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let room = Room { records: 5, bytes: 1 << 20 };
    keep_many(&spool(&file, &store, room), "maria", 4).await;
    let earlier = rusqlite::Connection::open(file.0.join("spool.sqlite")).unwrap();
    let triggers = ["waiting", "aside"].map(|table| ["comes", "goes", "changes"].map(|what| format!("{table}_{what}")));
    for trigger in triggers.concat() {
        earlier.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    earlier.execute_batch("DROP TABLE held; PRAGMA user_version = 2").unwrap();
    drop(earlier);
    let spool: Spool = spool(&file, &(store as Arc<Moody>), room);
    assert_eq!((spool.waiting().await.unwrap(), spool.aside().await.unwrap()), (4, 0));
    assert!(matches!(spool.keep(begun("maria", 9)).await, Err(StoreError::SpoolFull { .. })));
    assert!(spool.keep(ended(&begun("maria", 9))).await.is_ok());
}
