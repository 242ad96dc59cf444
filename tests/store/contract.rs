//! What every store promises.

use std::time::Duration;

use tandem::{
    context::{
        private::Private,
        user::{Context, Entry, Health, User},
    },
    protocol::ending::Ending,
    store::{
        Store,
        bounds::{JOURNAL_ENTRIES, RECAPS, TEXT_BYTES},
        details::{ContextUse, Details},
        record::{Ended, Origin, Page, Record, Written},
    },
};
use uuid::Uuid;

use crate::{
    bench::{Bench, File, Mongo},
    calls::{begun, ended},
};

/// 2026-11-23, 12:00 UTC.
const NOON_MS: i64 = 1_795_435_200_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs each test on each kind of store.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $name() {
                super::on::<super::File>(async |bench| super::$name(bench).await).await;
            })+
        }
        mod over_mongodb {
            $(#[tokio::test]
            async fn $name() {
                super::on::<super::Mongo>(async |bench| super::$name(bench).await).await;
            })+
        }
    };
}

contract!(
    what_is_known_of_a_user_is_given_within_bounds,
    nobody_is_known_by_another_name,
    a_call_is_written_down_once,
    a_call_may_end_in_the_record_before_it_began_there,
    calls_are_listed_page_by_page,
    an_erased_user_stays_erased,
    whoever_writes_while_a_user_is_erased_leaves_nothing,
    what_is_too_old_is_not_shown_and_goes,
    two_stores_see_the_same,
    calls_whose_process_is_gone_are_closed_once,
    an_end_that_was_seen_takes_the_place_of_one_that_was_not,
    an_erased_call_stays_erased,
    everybodys_calls_are_listed_page_by_page,
    a_better_recap_takes_the_place_of_the_first_one_and_brings_nothing_back,
    a_call_is_whose_it_was_first,
    calls_that_a_later_version_wrote_down_are_listed,
);

async fn on<B: Bench>(test: impl AsyncFnOnce(&B)) {
    let Some(bench) = B::new().await else { return };
    test(&bench).await;
    bench.end().await;
}

fn who(user: &str) -> Private<String> {
    user.into()
}

fn without_transcript(mut record: Record) -> Record {
    record.ended.as_mut().unwrap().transcript.clear();
    record
}

async fn listed(store: &dyn Store, user: &str) -> Vec<Record> {
    store.sessions(who(user), Page::first(Page::MOST)).await.unwrap()
}

fn texts(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.text.expose().as_str()).collect()
}

async fn what_is_known_of_a_user_is_given_within_bounds(bench: &impl Bench) {
    let day = |number: i8| jiff::civil::date(2026, 1 + (number - 1) / 28, 1 + (number - 1) % 28);
    let mut journal: Vec<Entry> =
        (1..=60).map(|number| Entry { date: Some(day(number)), text: format!("day {number}").into() }).collect();
    journal[59].text = "€".repeat(TEXT_BYTES).into();
    let health = Health {
        conditions: Private::new(vec!["asthma".into(), "migraine".into()]),
        sleep: Private::new(vec!["badly".into()]),
        ..Health::default()
    };
    let context = Context {
        name: "Maria".into(),
        pronouns: "she/her".into(),
        health: health.clone(),
        journal,
        ..Context::default()
    };
    bench.put(User { id: "maria".into(), context }).await;
    let store = bench.open(None);
    for day in 0..5 {
        let record = begun("maria", NOON_MS + day * 86_400_000);
        store.complete(ended(&record, &format!("recap {day}"))).await.unwrap();
    }
    store.complete(ended(&begun("maria", NOON_MS + 9 * 86_400_000), "")).await.unwrap();
    let known = store.context(who("maria")).await.unwrap().unwrap();
    assert_eq!((known.name, known.pronouns, known.health), ("Maria".into(), "she/her".into(), health));
    assert_eq!(known.journal.len(), JOURNAL_ENTRIES);
    assert_eq!(known.journal[0].date, Some(day(60)));
    assert_eq!(known.journal[0].text.expose().len(), TEXT_BYTES - 1, "whole characters of three bytes");
    assert_eq!((texts(&known.journal)[1], texts(&known.journal)[49]), ("day 59", "day 11"));
    assert_eq!(texts(&known.recaps), ["recap 4", "recap 3", "recap 2"]);
    assert_eq!((known.recaps.len(), known.recaps[0].date), (RECAPS, Some(jiff::civil::date(2026, 11, 27))));
}

async fn nobody_is_known_by_another_name(bench: &impl Bench) {
    bench.put(User { id: "maria".into(), context: Context { name: "Maria".into(), ..Context::default() } }).await;
    let store = bench.open(None);
    for other in ["", "Maria", "maria ", "{\"$ne\": null}", "maria' OR '1'='1", "\0", "%"] {
        assert_eq!(store.context(who(other)).await.unwrap(), None, "{other}");
    }
    assert!(store.context(who("maria")).await.unwrap().is_some());
}

async fn a_call_is_written_down_once(bench: &impl Bench) {
    let store = bench.open(None);
    let record = begun("maria", NOON_MS);
    assert_eq!(store.open(record.clone()).await.unwrap(), Written::Kept);
    assert_eq!(store.open(Record { persona: "other".into(), ..record.clone() }).await.unwrap(), Written::Kept);
    assert_eq!(store.session(record.session).await.unwrap(), Some(record.clone()));
    let first = ended(&record, "first");
    assert_eq!(store.complete(first.clone()).await.unwrap(), Written::Kept);
    assert_eq!(store.complete(first.clone()).await.unwrap(), Written::Kept);
    assert_eq!(store.complete(ended(&record, "second")).await.unwrap(), Written::Kept);
    assert_eq!(store.open(record.clone()).await.unwrap(), Written::Kept, "a late beginning reopens nothing");
    assert_eq!(store.session(record.session).await.unwrap(), Some(first.clone()));
    assert_eq!(listed(&*store, "maria").await, [without_transcript(first)]);
    assert_eq!(store.session(Uuid::new_v4()).await.unwrap(), None);
}

async fn a_call_may_end_in_the_record_before_it_began_there(bench: &impl Bench) {
    let store = bench.open(None);
    let record = ended(&begun("maria", NOON_MS), "alone");
    assert_eq!(store.complete(record.clone()).await.unwrap(), Written::Kept);
    assert_eq!(store.session(record.session).await.unwrap(), Some(record));
}

async fn calls_are_listed_page_by_page(bench: &impl Bench) {
    let store = bench.open(None);
    for began_ms in [NOON_MS, NOON_MS + 1, NOON_MS + 1, NOON_MS + 1, NOON_MS + 2] {
        store.open(begun("maria", began_ms)).await.unwrap();
    }
    store.open(begun("other", NOON_MS)).await.unwrap();
    let (mut page, mut found) = (Page::first(2), Vec::new());
    loop {
        let records = store.sessions(who("maria"), page).await.unwrap();
        let Some(last) = records.last() else { break };
        assert!(records.len() <= 2);
        page.after = Some(last.mark());
        found.extend(records);
    }
    assert_eq!(found, listed(&*store, "maria").await);
    let mut order: Vec<_> = found.iter().map(|record| (record.began_ms, record.session.to_string())).collect();
    assert_eq!(order.len(), 5);
    assert!(order.windows(2).all(|pair| pair[0] > pair[1]), "{order:?}");
    order.dedup();
    assert_eq!(order.len(), 5);
}

async fn everybodys_calls_are_listed_page_by_page(bench: &impl Bench) {
    let store = bench.open(None);
    for (user, began_ms) in [("a", 3), ("b", 1), ("c", 3), ("a", 2), ("b", 3), ("c", 0)] {
        store.complete(ended(&begun(user, NOON_MS + began_ms), "")).await.unwrap();
    }
    let (mut page, mut found) = (Page::first(4), Vec::new());
    loop {
        let records = store.all_sessions(page).await.unwrap();
        let Some(last) = records.last() else { break };
        page.after = Some(last.mark());
        found.extend(records);
    }
    let order: Vec<_> = found.iter().map(|record| (record.began_ms, record.session.to_string())).collect();
    assert_eq!(order.len(), 6);
    assert!(order.windows(2).all(|pair| pair[0] > pair[1]), "{order:?}");
    assert!(found.iter().all(|record| record.ended.as_ref().unwrap().transcript.is_empty()));
}

async fn a_better_recap_takes_the_place_of_the_first_one_and_brings_nothing_back(bench: &impl Bench) {
    let store = bench.open(None);
    let (over, open) = (begun("maria", NOON_MS), begun("maria", NOON_MS + 1));
    store.complete(ended(&over, "extracted")).await.unwrap();
    store.open(open.clone()).await.unwrap();
    assert!(store.improve_recap(over.session, "better".into()).await.unwrap());
    let mut better = ended(&over, "extracted");
    better.ended.as_mut().unwrap().recap = "better".into();
    assert_eq!(store.session(over.session).await.unwrap(), Some(better), "and nothing else changes");
    assert_eq!(texts(&store.context(who("maria")).await.unwrap().unwrap().recaps), ["better"]);
    for session in [open.session, Uuid::new_v4()] {
        assert!(!store.improve_recap(session, "too early".into()).await.unwrap());
    }
    assert_eq!(store.session(open.session).await.unwrap(), Some(open));
    store.erase(who("maria")).await.unwrap();
    assert!(!store.improve_recap(over.session, "too late".into()).await.unwrap());
    assert_eq!(store.session(over.session).await.unwrap(), None);
    assert_eq!(listed(&*store, "maria").await, []);
}

async fn an_erased_user_stays_erased(bench: &impl Bench) {
    bench.put(User { id: "maria".into(), context: Context { name: "Maria".into(), ..Context::default() } }).await;
    let store = bench.open(None);
    let (before, running) = (begun("maria", NOON_MS), begun("maria", NOON_MS + 1));
    let others = ended(&begun("other", NOON_MS), "kept");
    store.complete(ended(&before, "secret")).await.unwrap();
    store.open(running.clone()).await.unwrap();
    store.complete(others.clone()).await.unwrap();
    assert!(bench.keeps("I slept secretly.").await, "it is looked for in the right places");
    assert_eq!(store.erase(who("maria")).await.unwrap(), 2);
    let again = bench.open(None);
    for store in [&store, &again] {
        assert_eq!(store.complete(ended(&running, "late")).await.unwrap(), Written::Erased);
        assert_eq!(store.open(begun("maria", NOON_MS + 2)).await.unwrap(), Written::Erased);
        assert_eq!(store.context(who("maria")).await.unwrap(), None);
        assert_eq!(listed(&**store, "maria").await, []);
        assert_eq!(store.session(before.session).await.unwrap(), None);
        assert_eq!(store.session(running.session).await.unwrap(), None);
        assert_eq!(store.session(others.session).await.unwrap(), Some(others.clone()));
    }
    assert_eq!(store.erase(who("maria")).await.unwrap(), 0);
    for words in ["I slept secretly.", "I slept lately."] {
        assert!(!bench.keeps(words).await, "{words}");
    }
    assert!(bench.keeps("I slept keptly.").await);
}

async fn whoever_writes_while_a_user_is_erased_leaves_nothing(bench: &impl Bench) {
    let (writer, eraser) = (bench.open(None), bench.open(None));
    writer.open(begun("maria", NOON_MS)).await.unwrap();
    // Both are connected and have made what they need.
    assert_eq!(listed(&*eraser, "maria").await.len(), 1);
    let records: Vec<Record> = (0..16).map(|number| ended(&begun("maria", NOON_MS + number), "late")).collect();
    let writing = futures_util::future::join_all(records.iter().map(|record| writer.complete(record.clone())));
    // Whoever erases begins: its tombstone comes after the writers' first look, and their writes after its removal.
    let (erased, written) = tokio::join!(eraser.erase(who("maria")), writing);
    erased.unwrap();
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(listed(&*eraser, "maria").await, []);
    for record in records {
        assert_eq!(eraser.session(record.session).await.unwrap(), None);
    }
    assert!(!bench.keeps("I slept lately.").await);
}

async fn what_is_too_old_is_not_shown_and_goes(bench: &impl Bench) {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (old, new) = (begun("maria", now_ms - 3 * 86_400_000), begun("maria", now_ms - 86_400_000));
    let forever = bench.open(None);
    forever.complete(ended(&old, "old")).await.unwrap();
    forever.complete(ended(&new, "new")).await.unwrap();
    assert_eq!(forever.expire().await.unwrap(), 0);
    let store = bench.open(Some(2 * DAY));
    assert_eq!(listed(&*store, "maria").await, [without_transcript(ended(&new, "new"))]);
    assert_eq!(store.session(old.session).await.unwrap(), None);
    assert_eq!(texts(&store.context(who("maria")).await.unwrap().unwrap().recaps), ["new"]);
    assert!(bench.keeps("I slept oldly.").await, "it is looked for in the right places");
    assert_eq!(store.expire().await.unwrap(), 1);
    assert_eq!(store.expire().await.unwrap(), 0);
    assert!(!bench.keeps("I slept oldly.").await && bench.keeps("I slept newly.").await);
    assert_eq!(listed(&*forever, "maria").await.len(), 1);
}

async fn two_stores_see_the_same(bench: &impl Bench) {
    let (one, two) = (bench.open(None), bench.open(None));
    let record = begun("maria", NOON_MS);
    one.open(record.clone()).await.unwrap();
    two.complete(ended(&record, "by the other")).await.unwrap();
    assert_eq!(one.session(record.session).await.unwrap(), Some(ended(&record, "by the other")));
    let found = one.look().await.unwrap();
    assert!(found.facts.iter().any(|fact| fact.contains("1 calls")), "{found:?}");
}

async fn calls_whose_process_is_gone_are_closed_once(bench: &impl Bench) {
    let (store, me) = (bench.open(None), Uuid::new_v4());
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let open = async |home: &str, process, until_ms| {
        let origin = Origin { home: home.into(), process, until_ms };
        let record = Record { origin, ..begun("maria", now_ms - 60_000) };
        store.open(record.clone()).await.unwrap();
        record
    };
    let (later, over) = (now_ms + 3_600_000, now_ms - 30_000);
    let mine = open("here", me, later).await;
    let gone = open("here", Uuid::new_v4(), later).await;
    let elsewhere = open("there", Uuid::new_v4(), later).await;
    let vanished = open("a host that is no more", Uuid::new_v4(), over).await;
    let done = ended(&open("here", Uuid::new_v4(), over).await, "done");
    store.complete(done.clone()).await.unwrap();
    assert_eq!(store.close_lost("here".into(), me).await.unwrap(), 2);
    assert_eq!(store.close_lost("here".into(), me).await.unwrap(), 0);
    for same in [mine, elsewhere, done] {
        assert_eq!(store.session(same.session).await.unwrap(), Some(same));
    }
    let found = store.session(gone.session).await.unwrap().unwrap();
    let at_ms = found.ended.as_ref().unwrap().at_ms;
    assert!((now_ms..=now_ms + 60_000).contains(&at_ms), "{at_ms}");
    assert_eq!(found, Record { ended: Some(Ended::lost(at_ms)), ..gone });
    let found = store.session(vanished.session).await.unwrap().unwrap();
    assert_eq!(found, Record { ended: Some(Ended::lost(over)), ..vanished }, "it cannot have lasted longer");
}

async fn an_end_that_was_seen_takes_the_place_of_one_that_was_not(bench: &impl Bench) {
    let store = bench.open(None);
    let record = Record { origin: Origin { until_ms: NOON_MS, ..Origin::default() }, ..begun("maria", NOON_MS) };
    store.open(record.clone()).await.unwrap();
    // Whoever finds a call lost and then hears that it was not, and the other way round.
    let lost = Record { ended: Some(Ended::lost(NOON_MS)), ..record.clone() };
    store.complete(lost.clone()).await.unwrap();
    assert_eq!(store.session(record.session).await.unwrap(), Some(lost.clone()));
    let seen = ended(&record, "seen");
    for late in [&seen, &lost, &ended(&record, "second")] {
        assert_eq!(store.complete(late.clone()).await.unwrap(), Written::Kept);
        assert_eq!(store.session(record.session).await.unwrap(), Some(seen.clone()));
    }
    assert_eq!(store.close_lost("anywhere".into(), Uuid::new_v4()).await.unwrap(), 0);
}

async fn an_erased_call_stays_erased(bench: &impl Bench) {
    let store = bench.open(None);
    let (first, other) = (begun("maria", NOON_MS), ended(&begun("maria", NOON_MS + 1), "kept"));
    store.complete(ended(&first, "secret")).await.unwrap();
    store.complete(other.clone()).await.unwrap();
    assert!(store.erase_session(first.session).await.unwrap());
    assert!(!store.erase_session(first.session).await.unwrap());
    assert_eq!(store.complete(ended(&first, "late")).await.unwrap(), Written::Erased);
    assert_eq!(store.open(first.clone()).await.unwrap(), Written::Erased);
    assert_eq!(store.session(first.session).await.unwrap(), None);
    assert_eq!(listed(&*store, "maria").await, [without_transcript(other)]);
    assert_eq!(texts(&store.context(who("maria")).await.unwrap().unwrap().recaps), ["kept"]);
    for words in ["I slept secretly.", "I slept lately."] {
        assert!(!bench.keeps(words).await, "{words}");
    }
}

async fn a_call_is_whose_it_was_first(bench: &impl Bench) {
    let store = bench.open(None);
    let hers = begun("maria", NOON_MS);
    let others = Record { user: who("other"), ..hers.clone() };
    store.open(hers.clone()).await.unwrap();
    store.complete(ended(&others, "strange")).await.unwrap();
    assert_eq!(store.session(hers.session).await.unwrap(), Some(hers.clone()));
    assert!(!bench.keeps("I slept strangely.").await);
    store.complete(ended(&hers, "secret")).await.unwrap();
    assert_eq!(store.session(hers.session).await.unwrap(), Some(ended(&hers, "secret")));
    assert_eq!(listed(&*store, "other").await, []);
    assert_eq!(store.erase(who("other")).await.unwrap(), 0);
    assert_eq!(store.complete(ended(&others, "late")).await.unwrap(), Written::Erased);
    assert_eq!(
        store.session(hers.session).await.unwrap(),
        Some(ended(&hers, "secret")),
        "the other one's end is not hers"
    );
    assert_eq!(store.erase(who("maria")).await.unwrap(), 1);
    assert!(!bench.keeps("I slept").await);
}

async fn calls_that_a_later_version_wrote_down_are_listed(bench: &impl Bench) {
    let store = bench.open(None);
    let over = ended(&begun("maria", NOON_MS), "kept");
    store.complete(over.clone()).await.unwrap();
    bench.write_later().await;
    let running = begun("maria", NOON_MS + 1);
    store.open(running.clone()).await.unwrap();
    let mut later = over.clone();
    let told = later.ended.as_mut().unwrap();
    told.ending = Ending::Unknown;
    told.details = Details { attempts: 7, context: ContextUse::Unknown, ..Details::default() };
    assert_eq!(listed(&*store, "maria").await, [running, without_transcript(later.clone())]);
    assert_eq!(store.session(over.session).await.unwrap(), Some(later.clone()));
    assert_eq!(store.complete(over).await.unwrap(), Written::Kept, "and stay as they are");
    assert_eq!(store.session(later.session).await.unwrap(), Some(later));
}
