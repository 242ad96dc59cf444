//! The record that every call leaves.

use std::{fs, path::PathBuf, sync::atomic::Ordering, time::Duration};

use tandem::{
    gateway::Rehearsal,
    protocol::ending::Ending,
    sim::caller::{Audio, CallEvent, CallReport, Wire},
    store::{
        archive::Archive,
        details::ContextUse,
        local::LocalStore,
        record::{Ended, Record, Speaker},
        spool::{FILE_NAME, Room},
    },
};
use uuid::Uuid;

use crate::{
    crowd::{Call, house, reciting},
    house::{House, PATIENCE, quiet},
    moody::Moody,
    refusals::{bearer, event, knock},
};

/// A directory for state, gone at the end.
pub struct State(PathBuf);

impl State {
    pub fn new() -> State {
        let path = std::env::temp_dir().join(format!("tandem-records-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        State(path)
    }

    pub fn path(&self) -> String {
        self.0.display().to_string()
    }

    pub fn store(&self) -> LocalStore {
        LocalStore::open(&self.0.join("records.sqlite"), None).unwrap()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The records that reached the store: a beginning and an end for each call, the end alone if both came at once.
pub async fn brought(house: &House, session: Uuid) -> Record {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let asking = async {
        loop {
            look.tick().await;
            if let Some(record) = house.gateway.doors.archive.session(session).await.unwrap()
                && record.ended.is_some()
            {
                return record;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("a record with an end")
}

async fn end_of(house: &House, report: &CallReport) -> Ended {
    brought(house, report.session_id.as_ref().unwrap().parse().unwrap()).await.ended.unwrap()
}

fn lines(ended: &Ended) -> Vec<&str> {
    ended.transcript.iter().map(|line| line.text.expose().as_str()).collect()
}

#[actix_web::test]
async fn a_call_leaves_one_record_that_says_how_it_went_and_what_was_said() {
    let house = house(reciting(), 1, &[]).await;
    let mut call = Call::dial(&house, 1);
    call.words(60).await;
    let report = call.end().await;
    let session = report.session_id.as_ref().unwrap().parse().unwrap();
    let record = brought(&house, session).await;
    assert_eq!((record.user.expose().as_str(), record.persona.as_str()), ("user 1", "assistant"));
    let listed = house.gateway.doors.archive.sessions("user 1".into(), tandem::store::record::Page::first(9));
    assert_eq!(listed.await.unwrap().len(), 1);
    let ended = record.ended.unwrap();
    let Ended { at_ms, ending, talked_ms, details, transcript, .. } = &ended;
    assert_eq!((*ending, details.protocol.as_str(), details.attempts), (Ending::ClientLeft, "native", 1));
    assert_eq!((details.upstreams.as_slice(), details.context), (["1".to_owned()].as_slice(), ContextUse::NotWanted));
    let phases = details.phases;
    let sum = phases.preparing_ms + phases.waiting_ms + phases.handshaking_ms + phases.talking_ms + phases.closing_ms;
    let lasted = u64::try_from(at_ms - record.began_ms).unwrap();
    assert!((lasted.saturating_sub(30)..=lasted).contains(&sum), "{phases:?} of {lasted} ms");
    assert_eq!(*talked_ms, i64::try_from(phases.talking_ms).unwrap());
    assert!(details.setup_ms.is_some() && details.first_audio_ms >= details.setup_ms, "{details:?}");
    assert!(details.audio.down_ms > 0 && details.lag.is_none() == (phases.talking_ms < 1_000), "{details:?}");
    // What the caller read, as whole sentences.
    let said = lines(&ended);
    assert!(said.len() >= 2 && said.iter().rev().skip(1).all(|line| line.ends_with('.')), "{said:?}");
    let heard: String = report.transcript.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.join(" ").starts_with(&heard), "{said:?} against {heard}");
    assert!(transcript.iter().all(|line| line.speaker == Speaker::Assistant));
    assert!(transcript.is_sorted_by_key(|line| line.at_ms) && transcript[0].at_ms > 0);
}

#[actix_web::test]
async fn every_way_to_end_is_in_the_record() {
    let grace = [("TANDEM__SESSION__RESUME_GRACE_SECONDS", "0"), ("TANDEM__SESSION__RECOVERY_SECONDS", "0")];
    let house = house(reciting(), 2, &grace).await;
    let mut dropped = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    let session = event(&mut dropped, "session.created").await["session_id"].as_str().unwrap().parse().unwrap();
    event(&mut dropped, "session.ready").await;
    drop(dropped);
    assert_eq!(brought(&house, session).await.ended.unwrap().ending, Ending::ClientLost);
    house.settle().await;
    let mut call = Call::dial(&house, 1);
    call.words(2).await;
    house.servers.iter().for_each(tandem::sim::upstream::Simulator::kill);
    call.until(|event| matches!(event, CallEvent::Ended { .. })).await.unwrap();
    let ended = end_of(&house, &call.end().await).await;
    assert_eq!(ended.ending, Ending::UpstreamLost);
    // Nobody is left.
    let mut waiting = Call::dial(&house, 2);
    waiting.until(|event| matches!(event, CallEvent::Created { .. })).await.unwrap();
    house.gateway.hurry();
    waiting.until(|event| matches!(event, CallEvent::Ended { .. })).await.unwrap();
    let ended = end_of(&house, &waiting.end().await).await;
    assert_eq!((ended.ending, ended.details.upstreams.len(), ended.talked_ms), (Ending::Drained, 0, 0));
    assert!(ended.transcript.is_empty());
}

#[actix_web::test]
async fn a_lost_server_is_in_the_record_with_the_one_that_went_on() {
    let house = house(reciting(), 2, &[]).await;
    let mut call = Call::dial(&house, 1);
    call.words(5).await;
    let on_stage = usize::from(house.servers[0].open_sockets() == 0);
    house.servers[on_stage].kill();
    call.until(|event| matches!(event, CallEvent::Recovered { .. })).await.unwrap();
    call.words(5).await;
    let Ended { details, .. } = end_of(&house, &call.end().await).await;
    let names = [(on_stage + 1).to_string(), (2 - on_stage).to_string()];
    assert_eq!((details.upstreams.as_slice(), details.attempts), (names.as_slice(), 2));
    assert_eq!((details.failovers, details.failover_list.len()), (1, 1));
    let failover = &details.failover_list[0];
    assert_eq!((failover.reason.as_str(), failover.same, failover.gap_ms.is_some()), ("lost", false, true));
}

#[actix_web::test]
async fn a_store_that_is_down_keeps_no_call_from_beginning_and_gets_every_record_later() {
    let state = State::new();
    let store = Moody::over(state.store(), true);
    let rehearsal = Rehearsal { store: Some(store.clone()), ..Rehearsal::default() };
    let house = House::with(quiet(), 1, &[], rehearsal).await;
    let report = tandem::sim::caller::call(house.caller("ann", Wire::Native(Audio::Opus))).await;
    assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
    house.metric_until("tandem_records_waiting", 1.0).await;
    assert_eq!(house.metric("tandem_records_total{result=\"brought\"}"), Some(0.0));
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(end_of(&house, &report).await.ending, Ending::ClientLeft);
    house.metric_until("tandem_records_waiting", 0.0).await;
    assert_eq!(house.metric("tandem_records_total{result=\"kept\"}"), Some(2.0), "its beginning and its end");
}

#[actix_web::test]
async fn what_the_store_did_not_take_is_brought_at_the_next_start() {
    let state = State::new();
    let dir = state.0.display().to_string();
    let variables = [("TANDEM__STATE__DIR", dir.as_str()), ("TANDEM__DRAIN__DEADLINE_SECONDS", "1")];
    let down = Rehearsal { store: Some(Moody::over(state.store(), true)), ..Rehearsal::default() };
    let first = House::with(quiet(), 1, &variables, down).await;
    let report = tandem::sim::caller::call(first.caller("ann", Wire::Native(Audio::Opus))).await;
    let began = tokio::time::Instant::now();
    assert_eq!(first.gateway.stop().await, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "a store that is down does not keep the process");
    let up = Rehearsal { store: Some(Moody::over(state.store(), false)), ..Rehearsal::default() };
    let second = House::with(quiet(), 1, &variables, up).await;
    assert_eq!(end_of(&second, &report).await.ending, Ending::ClientLeft);
}

#[actix_web::test]
async fn a_call_of_a_process_that_is_gone_is_closed_at_the_next_start_and_a_live_one_is_not() {
    let state = State::new();
    let dir = state.0.display().to_string();
    let variables = [("TANDEM__STATE__DIR", dir.as_str())];
    let first = House::set(quiet(), 1, &variables).await;
    let mut socket = knock(&first, "/v1/voice", &[bearer(&first, "ann")]).await.socket();
    let session = event(&mut socket, "session.created").await["session_id"].as_str().unwrap().parse().unwrap();
    event(&mut socket, "session.ready").await;
    first.metric_until("tandem_records_waiting", 0.0).await;
    // Another process starts from this directory: that of the call must be gone.
    let second = House::set(quiet(), 1, &variables).await;
    assert_eq!(brought(&second, session).await.ended.unwrap().ending, Ending::GatewayLost);
    second.metric_until("tandem_records_total{result=\"lost\"}", 1.0).await;
    // It was not gone after all: what it saw is truer.
    drop(socket);
    first.gateway.hurry();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while brought(&second, session).await.ended.unwrap().ending != Ending::Drained {
        look.tick().await;
    }
}

#[actix_web::test]
async fn a_spool_without_room_costs_records_and_no_calls() {
    let state = State::new();
    let store = Moody::over(state.store(), true);
    let none = Rehearsal { store: Some(store), spool: Room { records: 0, bytes: 0 }, ..Rehearsal::default() };
    let house = House::with(quiet(), 1, &[], none).await;
    let report = tandem::sim::caller::call(house.caller("ann", Wire::Native(Audio::Opus))).await;
    assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
    house.metric_until("tandem_records_total{result=\"not_kept\"}", 2.0).await;
}

#[actix_web::test]
async fn what_cannot_be_tidied_up_keeps_no_record_from_the_store_and_is_left_alone_for_a_while() {
    let state = State::new();
    let store = Moody::over(state.store(), false);
    store.untidy.store(true, Ordering::Relaxed);
    let rehearsal = Rehearsal { store: Some(store.clone()), ..Rehearsal::default() };
    let house = House::with(quiet(), 1, &[], rehearsal).await;
    for _ in 0..3 {
        let report = tandem::sim::caller::call(house.caller("ann", Wire::Native(Audio::Opus))).await;
        assert_eq!(end_of(&house, &report).await.ending, Ending::ClientLeft);
        house.metric_until("tandem_records_waiting", 0.0).await;
    }
    // At the start; and once more at most, if all this took longer than 10 s.
    let tidied = store.tidied.load(Ordering::Relaxed);
    assert!((1..=2).contains(&tidied), "{tidied} times in three calls");
}

/// Waits until so many records are on their way.
async fn waiting(house: &House, records: u64) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let looking = async {
        while house.gateway.doors.archive.waiting().await.unwrap() != records {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("so many that wait");
}

#[actix_web::test]
async fn a_record_that_waits_for_its_store_goes_when_its_time_is_over() {
    let state = State::new();
    let store = Moody::over(state.store(), true);
    let archive = Archive::open_at(&state.0.join(FILE_NAME), store.clone(), Room::default()).unwrap();
    archive.open(crate::archives::open("ann", 3 * 24 * 60)).await.unwrap();
    archive.open(crate::archives::open("ann", 60)).await.unwrap();
    drop(archive);
    let directory = state.path();
    let variables = [("TANDEM__STATE__DIR", directory.as_str()), ("TANDEM__STORE__RETENTION_DAYS", "2")];
    let house = House::with(quiet(), 1, &variables, Rehearsal { store: Some(store), ..Rehearsal::default() }).await;
    waiting(&house, 1).await;
}

#[actix_web::test]
async fn a_gateway_that_runs_on_tidies_up_again_and_again() {
    let state = State::new();
    let store = Moody::over(state.store(), false);
    let tidy_every = Duration::from_millis(20);
    let rehearsal = Rehearsal { store: Some(store.clone()), tidy_every, ..Rehearsal::default() };
    let _house = House::with(quiet(), 1, &[], rehearsal).await;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let looking = async {
        while store.tidied.load(Ordering::Relaxed) < 3 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("a third round, with no call in between");
}

#[actix_web::test]
async fn records_of_who_was_erased_are_counted_as_such_and_do_not_wait() {
    let house = House::new(quiet(), 1).await;
    house.gateway.doors.archive.erase("ann".into()).await.unwrap();
    let report = tandem::sim::caller::call(house.caller("ann", Wire::Native(Audio::Opus))).await;
    assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
    house.metric_until("tandem_records_total{result=\"erased\"}", 2.0).await;
    assert_eq!(house.metric("tandem_records_total{result=\"kept\"}"), Some(0.0));
    assert_eq!(house.metric("tandem_records_waiting"), Some(0.0));
}
