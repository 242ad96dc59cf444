//! Records that are late, refused or erased on their way, and what becomes of them.

use std::{sync::atomic::Ordering, time::Duration};

use tandem::store::{
    Store, StoreError,
    archive::Archive,
    record::Written,
    spool::{Room, TRIES},
};

use crate::{
    bench::File,
    moody::Moody,
    spool::{begun, ended, spool},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[tokio::test]
async fn ends_that_are_refused_while_beginnings_are_taken_wait_for_the_store_to_be_mended() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    store.ends_refused.store(true, Ordering::Relaxed);
    let call = begun("maria", 1);
    spool.keep(ended(&call)).await.unwrap();
    for number in 0..2 * i64::from(TRIES) {
        spool.keep(begun("other", number)).await.unwrap();
        let brought = spool.bring().await.unwrap();
        assert_eq!((brought.records, brought.set_aside), (1, 0));
    }
    store.ends_refused.store(false, Ordering::Relaxed);
    assert_eq!(spool.bring().await.unwrap().records, 1);
    assert_eq!(store.session(call.session).await.unwrap(), Some(ended(&call)));
}

#[tokio::test]
async fn what_was_set_aside_is_offered_again_and_taken_when_it_can_be() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    let [refused, erased, gone] = [1, 2, 3].map(|number| begun(Moody::REFUSED, number));
    for record in [&refused, &erased, &gone] {
        spool.keep(record.clone()).await.unwrap();
    }
    for number in 0..i64::from(TRIES) {
        spool.keep(begun("other", number)).await.unwrap();
        spool.bring().await.unwrap();
    }
    assert_eq!((spool.waiting().await.unwrap(), spool.aside().await.unwrap()), (0, 3));
    assert!(file.holds(&gone.session.to_string()));
    assert_eq!(spool.erase_session(gone.session).await.unwrap(), 1);
    assert_eq!(spool.aside().await.unwrap(), 2);
    assert!(store.session(gone.session).await.unwrap().is_none());
    // Somebody erased a call from another machine, which knows nothing of this file.
    store.erase_session(erased.session).await.unwrap();
    store.mended.store(true, Ordering::Relaxed);
    assert_eq!((spool.offer_again().await.unwrap(), spool.aside().await.unwrap()), (2, 0));
    assert_eq!(store.session(refused.session).await.unwrap(), Some(refused));
    assert_eq!(store.session(erased.session).await.unwrap(), None);
    assert!(!file.holds(Moody::REFUSED));
}

#[tokio::test]
async fn one_record_that_is_too_long_for_the_way_is_not_taken_for_a_store_that_is_down() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    spool.keep(begun(Moody::SLOW, 1)).await.unwrap();
    let alone = spool.bring().await.unwrap();
    assert!(alone.is_down && alone.trouble.unwrap().contains("did not answer"), "nothing else says that it is up");
    for number in 1..=TRIES {
        spool.keep(begun("maria", number.into())).await.unwrap();
        let brought = spool.bring().await.unwrap();
        assert_eq!((brought.records, brought.is_down, brought.set_aside), (1, false, u64::from(number == TRIES)));
    }
    assert_eq!((spool.waiting().await.unwrap(), spool.aside().await.unwrap()), (0, 1));
}

#[tokio::test]
async fn no_record_is_on_its_way_for_longer_than_it_may_be_kept() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let archive = Archive::open_at(&file.0.join("spool.sqlite"), store, Room::default()).unwrap();
    for began_ms in [now_ms() - 3 * 3_600_000, now_ms()] {
        archive.complete(ended(&begun("maria", began_ms))).await.unwrap();
    }
    assert!(archive.expire().await.is_ok() && archive.waiting().await.unwrap() == 2, "they may be kept for ever");
    let archive = archive.kept_for(Some(HOUR));
    assert_eq!(archive.expire().await.unwrap(), 1);
    assert_eq!(archive.waiting().await.unwrap(), 1);
}

#[tokio::test]
async fn what_was_set_aside_goes_by_its_age_too() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    for began_ms in [now_ms() - 3 * 3_600_000, now_ms()] {
        spool.keep(begun(Moody::REFUSED, began_ms)).await.unwrap();
    }
    for number in 0..i64::from(TRIES) {
        spool.keep(begun("other", number)).await.unwrap();
        spool.bring().await.unwrap();
    }
    assert_eq!(spool.aside().await.unwrap(), 2);
    let archive = Archive::open_at(&file.0.join("spool.sqlite"), store, Room::default()).unwrap();
    assert_eq!((archive.expire().await.unwrap(), spool.aside().await.unwrap()), (0, 2), "it was set aside just now");
    assert_eq!(archive.kept_for(Some(HOUR)).expire().await.unwrap(), 1, "it began three hours ago");
    assert_eq!(spool.aside().await.unwrap(), 1);
}

#[tokio::test]
async fn what_reaches_the_store_of_an_erased_call_after_all_is_removed_from_it() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let spool = spool(&file, &store, Room::default());
    let (hers, others) = (ended(&begun("maria", 1)), ended(&begun("other", 2)));
    spool.keep(hers.clone()).await.unwrap();
    spool.keep(others.clone()).await.unwrap();
    spool.erase("maria").await.unwrap();
    assert!(!file.holds("maria") && file.holds("other"));
    // A write that nobody waited for any more lands.
    store.down.store(false, Ordering::Relaxed);
    store.complete(hers.clone()).await.unwrap();
    store.complete(others.clone()).await.unwrap();
    assert_eq!(spool.clean(HOUR).await.unwrap(), 0, "more may be on its way");
    assert_eq!(spool.clean(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(store.session(hers.session).await.unwrap(), None);
    assert_eq!(store.session(others.session).await.unwrap(), Some(others));
    assert_eq!(spool.clean(Duration::ZERO).await.unwrap(), 0, "once is enough");
}

#[tokio::test]
async fn whoever_reads_the_store_keeps_no_erasure_from_what_is_on_its_way() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let archive = Archive::open_at(&file.0.join("spool.sqlite"), store.clone(), Room::default()).unwrap();
    let (hers, running, others) = (ended(&begun("maria", 1)), begun("maria", 2), ended(&begun("other", 3)));
    for record in [&hers, &others] {
        archive.complete(record.clone()).await.unwrap();
    }
    // Something is in the store of each of them, so that an erasure has something to remove there.
    store.down.store(false, Ordering::Relaxed);
    store.open(running.clone()).await.unwrap();
    store.open(others.clone()).await.unwrap();
    store.down.store(true, Ordering::Relaxed);
    let reader = rusqlite::Connection::open(records.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM sessions").unwrap();
    assert!(matches!(archive.erase("maria".into()).await, Err(StoreError::Traces)));
    assert!(!file.holds("maria") && file.holds("other"));
    assert!(matches!(archive.erase_session(others.session).await, Err(StoreError::Traces)));
    assert!(!file.holds("other"));
    for late in [ended(&running), others] {
        assert_eq!(archive.complete(late).await.unwrap(), Written::Erased);
    }
    reader.execute_batch("ROLLBACK").unwrap();
    assert_eq!(archive.erase("maria".into()).await.unwrap(), 0);
    assert!(!records.holds("maria"));
}

#[tokio::test]
async fn whoever_reads_the_spool_keeps_no_call_waiting() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), false);
    let spool = spool(&file, &store, Room::default());
    spool.keep(ended(&begun("maria", 1))).await.unwrap();
    let reader = rusqlite::Connection::open(file.0.join("spool.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM waiting").unwrap();
    let rounds = async {
        for number in 2..5 {
            let tidying = spool.bring();
            let keeping = async {
                // It comes behind the tidying, on the one thread that writes.
                spool.waiting().await.unwrap();
                spool.keep(begun("maria", number)).await.unwrap();
                spool.waiting().await.unwrap();
            };
            tokio::join!(tidying, keeping).0.unwrap();
        }
    };
    // Waiting for the reader would take two seconds in each round.
    tokio::time::timeout(Duration::from_secs(5), rounds).await.expect("a reader is waited for");
    assert!(file.holds("the lump"), "it is looked for in the right files");
    reader.execute_batch("ROLLBACK").unwrap();
    spool.expire(MINUTE, None).await.unwrap();
    assert!(!file.holds("the lump"));
}

#[tokio::test]
async fn an_erasure_that_a_reader_holds_up_in_the_log_is_done_by_the_next_round() {
    let (file, records) = (File::scratch(), File::scratch());
    let store = Moody::over(records.local(None), true);
    let archive = Archive::open_at(&file.0.join("spool.sqlite"), store, Room::default()).unwrap();
    let call = ended(&begun("maria", 1));
    assert_eq!(archive.complete(call).await.unwrap(), Written::Kept);
    let reader = rusqlite::Connection::open(file.0.join("spool.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM waiting").unwrap();
    assert!(matches!(archive.erase("maria".into()).await, Err(StoreError::Traces)));
    assert!(file.holds("the lump"), "it is looked for in the right files");
    reader.execute_batch("ROLLBACK").unwrap();
    archive.expire().await.unwrap();
    assert!(!file.holds("the lump"));
}
