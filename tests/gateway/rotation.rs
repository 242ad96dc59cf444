//! Calls that outlast the model's window: another slot takes over, or the same one begins anew.

use std::time::Duration;

use futures_util::future::{join, join_all, join3};
use tandem::{
    pool::roster::SlotState,
    protocol::{ending::Ending, native::ExpiryReason},
    sim::{
        caller::{CallEvent, CallReport},
        upstream::{self, Answer, CallLog},
    },
};

use crate::{
    crowd::{Call, assert_nobody_meets, house, is_recap, of_caller, persona, reciting, talking},
    failover::read_stock_stream,
    house::{House, PATIENCE},
};

/// A server whose prompts are short, with words.
fn brisk() -> upstream::Settings {
    upstream::Settings { voice_steps: 1, step: Duration::from_millis(5), poll: Duration::ZERO, ..reciting() }
}

/// A window that leaves as little talk as can be before the next server is called: some 13 s after the first prompts,
/// which are short, and some 3 s after those with 120 tokens of recap. The other server has a second and a half then.
const SMALL: &[(&str, &str)] = &[("TANDEM__UPSTREAMS__VOICE_STEPS", "1"), ("TANDEM__ROTATION__WINDOW_STEPS", "220")];
/// The caller never begins anew in its own slot.
const ELSEWHERE_ONLY: (&str, &str) = ("TANDEM__ROTATION__WITHOUT_SLOT", "off");

fn is_rotated(event: &CallEvent) -> bool {
    matches!(event, CallEvent::Rotated { .. })
}

fn is_rotating(event: &CallEvent) -> bool {
    matches!(event, CallEvent::Rotating { .. })
}

fn is_recovering(event: &CallEvent) -> bool {
    matches!(event, CallEvent::Recovering)
}

fn is_expiring(event: &CallEvent) -> bool {
    matches!(event, CallEvent::Expiring { reason: ExpiryReason::Persona, .. })
}

/// Waits for so many rotations, each of which was announced.
async fn rotations(call: &mut Call, count: usize) {
    for _ in 0..count {
        let before = (call.count(is_expiring), call.count(is_rotated));
        call.until(is_rotated).await.unwrap_or_else(|| panic!("{:#?}", call.told()));
        assert!(call.count(is_expiring) > before.0, "announced: {:#?}", call.told());
    }
}

/// What the next server was given: the whole persona, and what was said.
fn is_memory(call: &CallLog, n: usize) -> bool {
    let asked = call.prompt_asked.as_ref().map_or("", |asked| asked.expose());
    asked.starts_with(&persona(n)) && asked.contains("you said: This is line")
}

/// The largest gap in a caller's sound, in milliseconds.
fn largest_gap_ms(report: &CallReport) -> u128 {
    report.gaps.iter().map(|gap| gap.lasts.as_millis()).max().unwrap_or_default()
}

async fn all_slots_free(house: &House) {
    house.slots_until(|slots| slots.iter().all(|slot| slot.state == SlotState::Free)).await;
}

/// The most sockets that were open at all servers together while `running` went on.
async fn most_sockets<T>(house: &House, running: impl Future<Output = T>) -> (T, usize) {
    let mut most = 0;
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let mut running = std::pin::pin!(running);
    loop {
        tokio::select! {
            done = &mut running => return (done, most),
            _ = look.tick() => most = most.max(house.servers.iter().map(|server| server.open_sockets()).sum()),
        }
    }
}

#[actix_web::test]
async fn a_long_call_passes_from_slot_to_slot_with_its_persona_and_its_words() {
    let house = house(brisk(), 2, SMALL).await;
    let mut ann = talking(&house, 1).await.remove(0);
    rotations(&mut ann, 2).await;
    ann.words(10).await;
    let report = ann.end().await;
    assert!(report.went_well(), "{report:?}");
    assert_eq!(ann.count(is_recovering) + ann.count(is_rotating), 0, "{:#?}", ann.told());
    println!("with a second slot: largest gap {} ms in 2 rotations", largest_gap_ms(&report));
    assert!(largest_gap_ms(&report) < 500, "{:?}", report.gaps);
    let mut records = of_caller(&house, 1);
    records.retain(|(_, call)| call.frames_out > 0);
    // The servers took turns.
    let turns = |at: usize| records.iter().filter(|(server, _)| *server == at).count();
    assert!(records.len() >= 3 && turns(0).abs_diff(turns(1)) <= 1, "{} and {} turns", turns(0), turns(1));
    let told = records.iter().filter(|(_, call)| is_memory(call, 1)).count();
    assert_eq!(told, records.len() - 1, "all but the first one know what was said");
    // Each heard the caller from its handshake on: backstage too, where nothing of it is heard.
    assert!(records.iter().all(|(_, call)| call.frames_in > 2 && call.frames_out > 2));
    let made: u64 = records.iter().map(|(_, call)| call.frames_out).sum();
    assert!(made as f64 * 0.08 > report.received_seconds, "two servers made sound for a while");
    assert_nobody_meets(&house, 1);
}

#[actix_web::test]
async fn several_calls_rotate_one_after_the_other() {
    let house = house(brisk(), 4, &[SMALL, &[ELSEWHERE_ONLY]].concat()).await;
    let mut calls = talking(&house, 3).await;
    let all = join_all(calls.iter_mut().map(|call| rotations(call, 1)));
    let (_, most) = most_sockets(&house, all).await;
    // A leg that closes is open until its server acknowledged that; the next rotation waits for it.
    assert_eq!(most, 4, "three calls and one slot more");
    for call in &mut calls {
        let report = call.end().await;
        assert!(report.went_well() && largest_gap_ms(&report) < 500, "{report:?}");
    }
    assert_nobody_meets(&house, 1);
    all_slots_free(&house).await;
}

#[actix_web::test]
async fn without_a_second_slot_each_call_begins_anew_in_its_own_and_nobody_takes_it() {
    let house = house(brisk(), 4, SMALL).await;
    let mut calls = talking(&house, 4).await;
    let mut eve = Call::dial(&house, 5);
    eve.until(|event| matches!(event, CallEvent::Queued { .. })).await.unwrap();
    join_all(calls.iter_mut().map(|call| rotations(call, 1))).await;
    join_all(calls.iter_mut().map(|call| call.words(10))).await;
    assert!(of_caller(&house, 5).is_empty(), "live calls keep their slots");
    for call in &mut calls {
        let report = call.end().await;
        assert!(report.went_well(), "{report:?}");
        assert_eq!((call.count(is_rotating), call.count(is_recovering)), (1, 0), "{:#?}", call.told());
        let legs = of_caller(&house, call.n);
        assert!(legs.len() == 2 && legs[0].0 == legs[1].0 && is_recap(&legs[1].1), "{} legs", legs.len());
        let handshake = legs[1].1.handshake_after.unwrap_or_default().as_millis();
        println!("without: largest gap {} ms, with a handshake of {handshake} ms", largest_gap_ms(&report));
    }
    eve.until(|event| matches!(event, CallEvent::Ready)).await.expect("who waits gets through");
    assert!(eve.end().await.went_well());
    // At each server the first socket was closed before the next one was opened.
    assert_nobody_meets(&house, 1);
    all_slots_free(&house).await;
}

#[actix_web::test]
async fn who_rotates_goes_before_who_waits_and_then_makes_room() {
    let house = house(brisk(), 2, &[SMALL, &[ELSEWHERE_ONLY]].concat()).await;
    let mut calls = talking(&house, 2).await;
    let (mut bob, mut ann) = (calls.pop().unwrap(), calls.pop().unwrap());
    let mut cid = Call::dial(&house, 3);
    cid.until(|event| matches!(event, CallEvent::Queued { .. })).await.unwrap();
    ann.until(is_expiring).await.unwrap();
    let (left, rotated) = join(bob.end(), ann.until(is_rotated)).await;
    assert!(left.went_well() && rotated.is_some(), "{left:?}");
    cid.until(|event| matches!(event, CallEvent::Ready)).await.expect("who waits gets through");
    let (stage, theirs) = (of_caller(&house, 1).iter().map(|(at, _)| *at).collect::<Vec<_>>(), of_caller(&house, 3));
    assert_eq!(theirs.len(), 1);
    assert_eq!(stage.len(), 2, "Ann was at both servers");
    let was_first = of_caller(&house, 1).iter().find(|(_, call)| call.end.is_some()).unwrap().0;
    assert_eq!(theirs[0].0, was_first, "Ann had Bob's slot, and Cid got Ann's");
    assert!(ann.end().await.went_well() && cid.end().await.went_well());
    assert_nobody_meets(&house, 1);
}

#[actix_web::test]
async fn without_a_second_slot_and_a_restart_the_call_goes_on_and_is_told_once() {
    let house = house(brisk(), 1, &[SMALL, &[ELSEWHERE_ONLY]].concat()).await;
    let mut ann = talking(&house, 1).await.remove(0);
    ann.until(is_expiring).await.unwrap();
    // The window has 21 frames more, each with a word.
    ann.words(30).await;
    let report = ann.end().await;
    assert!(report.went_well() && largest_gap_ms(&report) < 1_000, "{report:?}");
    assert_eq!((ann.count(is_expiring), ann.count(is_rotated), house.log().len()), (1, 0, 1));
}

/// Waits until the next server of Ann's call listens beside the one on stage; gives the numbers of both.
async fn next_one_listens(house: &House, ann: &mut Call) -> (usize, usize) {
    let stage = of_caller(house, 1).iter().find(|(_, call)| call.end.is_none()).unwrap().0;
    ann.until(is_expiring).await.unwrap();
    let next = 1 - stage;
    let listens = |calls: &[CallLog]| calls.iter().any(|call| call.end.is_none() && call.frames_in > 0);
    house.servers[next].wait_for(listens, PATIENCE).await.unwrap();
    (stage, next)
}

/// Servers of which the one on stage never pauses, so that there is no moment to switch before the window is full.
fn talkative() -> upstream::Settings {
    upstream::Settings { answer: Answer::Echo { delay: Duration::from_millis(160) }, ..brisk() }
}

/// Ann speaks without a pause, and hears herself.
async fn endless(house: &House) -> Call {
    let mut ann = Call::dial_with(house, 1, |settings| {
        // A vowel of a sort: the lower ones of the harmonics of 120 Hz.
        let tone = |n: u32, harmonic: u32| (std::f32::consts::TAU * 120.0 * (n * harmonic) as f32 / 24_000.0).sin();
        let vowel = |n: u32| (1..12).map(|harmonic| 0.15 / harmonic as f32 * tone(n % 200, harmonic)).sum();
        settings.source = (0..24_000 * 90).map(vowel).collect();
    });
    ann.until(|event| matches!(event, CallEvent::Ready)).await.unwrap();
    ann
}

async fn dies_backstage() {
    let house = house(talkative(), 2, SMALL).await;
    let mut ann = endless(&house).await;
    let (_, next) = next_one_listens(&house, &mut ann).await;
    house.servers[next].kill();
    house.servers[next].port_closed().await;
    // Nobody else can take over, so the same slot begins anew.
    ann.until(is_rotated).await.unwrap_or_else(|| panic!("{:#?}", ann.told()));
    assert_eq!((ann.count(is_rotating), ann.count(is_recovering)), (1, 0), "{:#?}", ann.told());
    assert_eq!(ann.end().await.ending, Some(Ending::ClientLeft));
}

/// Gives the gap that Ann was told of, in milliseconds.
async fn dies_on_stage() -> u64 {
    let house = house(talkative(), 2, SMALL).await;
    let mut ann = endless(&house).await;
    let (stage, _) = next_one_listens(&house, &mut ann).await;
    house.servers[stage].kill();
    let back = ann.until(|event| matches!(event, CallEvent::Recovered { .. })).await;
    let Some(CallEvent::Recovered { gap_ms }) = back else { panic!("{:#?}", ann.told()) };
    assert_eq!(of_caller(&house, 1).len(), 2, "no third leg was needed");
    assert_eq!(ann.end().await.ending, Some(Ending::ClientLeft));
    gap_ms
}

async fn ends_in_mid_rotation() {
    let house = house(talkative(), 2, SMALL).await;
    let mut ann = endless(&house).await;
    next_one_listens(&house, &mut ann).await;
    assert!(house.slots().await.iter().all(|slot| slot.state == SlotState::Leased));
    ann.end().await;
    all_slots_free(&house).await;
    assert!(house.servers.iter().all(|server| server.open_sockets() == 0));
}

#[actix_web::test]
async fn in_mid_rotation_the_next_server_the_one_on_stage_and_the_caller_may_leave() {
    // Side by side: each takes the time of a window.
    let ((), gap_ms, ()) = join3(dies_backstage(), dies_on_stage(), ends_in_mid_rotation()).await;
    println!("the one on stage dies while the next one listens: gap {gap_ms} ms");
    assert!(gap_ms < 1_000, "{gap_ms}");
}

#[actix_web::test]
async fn a_stock_client_hears_one_stream_through_rotations() {
    let house = house(brisk(), 2, SMALL).await;
    read_stock_stream(&house, async |_| house.log().iter().filter(|call| call.frames_out > 5).count() > 2).await;
    assert!(house.metric("tandem_rotations_total{result=\"elsewhere\"}").unwrap() >= 1.0);
}
