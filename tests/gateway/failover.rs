//! Model servers that die, hang and vanish in mid-call: the calls go on with others, or end truly.

use std::time::Duration;

use futures_util::future::join_all;
use tandem::{
    pool::roster::{QuarantineReason, SlotState},
    protocol::ending::Ending,
    sim::{
        caller::{CallEvent, CallReport},
        upstream::{self, CallLog, Fault, Faults, Plight, Simulator},
    },
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::{
        Call, assert_nobody_meets, distribution, house, is_recap, of_caller, predicted_handshake, reciting, talking,
    },
    house::{House, PATIENCE, quiet},
    refusals::{bearer, knock, next},
};

const CAPACITY: usize = 10;

/// A short handshake limit, and no long wait for acknowledgements that never come.
const PROMPT: &[(&str, &str)] = &[
    ("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "3000"),
    ("TANDEM__UPSTREAMS__HANDSHAKE_STEP_MS", "50"),
    ("TANDEM__UPSTREAMS__UPGRADE_TIMEOUT_MS", "1000"),
    ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "500"),
];

fn several() -> upstream::Settings {
    upstream::Settings { calls_at_once: CAPACITY, ..reciting() }
}

fn is_recovered(event: &CallEvent) -> bool {
    matches!(event, CallEvent::Recovered { .. })
}

fn failed_connects(house: &House) -> f64 {
    let of = |name: usize| {
        house.metric(&format!("tandem_upstream_attempts_total{{upstream=\"{name}\",result=\"connect_failed\"}}"))
    };
    (1..=house.servers.len()).filter_map(of).sum()
}

/// Until the call is back and then hung up, or is over by itself.
async fn back_or_over(mut call: Call) -> (Call, bool, CallReport) {
    let back = call.until(is_recovered).await.is_some();
    if back {
        // Somebody speaks.
        call.words(5).await;
    }
    let report = call.end().await;
    (call, back, report)
}

/// The longest time in which this caller heard nothing.
fn silence(report: &CallReport) -> Duration {
    report.gaps.iter().map(|gap| gap.lasts).max().unwrap_or_default()
}

#[actix_web::test]
async fn thirty_calls_outlive_a_dead_a_hung_and_a_vanished_server() {
    // Time enough for each to get the first server that it tries, however busy the machine is: then three servers are full,
    // and the others are free for those who need another one.
    let patient = [
        ("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "15000"),
        ("TANDEM__UPSTREAMS__UPGRADE_TIMEOUT_MS", "10000"),
        ("TANDEM__UPSTREAMS__CONNECT_TIMEOUT_MS", "10000"),
    ];
    let house = house(several(), 6, &[PROMPT, &patient].concat()).await;
    let calls = talking(&house, 30).await;
    let mut servers: Vec<usize> = (0..6).collect();
    servers.sort_by_key(|at| std::cmp::Reverse(house.servers[*at].open_sockets()));
    let [dead, hung, gone] = [servers[0], servers[1], servers[2]];
    // The first server that a call tried may not be the one that it got.
    let is_talking = |call: &CallLog| call.end.is_none() && call.handshake_after.is_some();
    let at = |n: usize| of_caller(&house, n).iter().find(|(_, call)| is_talking(call)).expect("it talks").0;
    let was_at: Vec<usize> = calls.iter().map(|call| at(call.n)).collect();
    house.servers[dead].kill();
    house.servers[hung].suffer(Plight::Hung);
    house.servers[gone].suffer(Plight::Vanished);
    let (hit, spared): (Vec<Call>, Vec<Call>) =
        calls.into_iter().partition(|call| [dead, hung, gone].contains(&was_at[call.n - 1]));
    assert!(hit.len() >= 15, "only {} calls were hit", hit.len());
    let mut times = [const { Vec::new() }; 3];
    let mut beyond = [Duration::ZERO; 3];
    let (hit_count, mut lost) = (hit.len(), 0);
    for (call, back, report) in join_all(hit.into_iter().map(back_or_over)).await {
        if !back {
            // Of servers that fall silent nobody knows at first: whoever is sent to two of them has had its tries.
            let ending = report.ending;
            let is_true = matches!(ending, Some(Ending::UpstreamLost | Ending::HandshakeTimeout));
            assert!(is_true, "caller {}: {ending:?} {:#?}", call.n, call.told());
            lost += 1;
            continue;
        }
        assert_eq!(report.ending, Some(Ending::ClientLeft), "{report:?}");
        let kind = [dead, hung, gone].iter().position(|at| *at == was_at[call.n - 1]).unwrap();
        times[kind].push(silence(&report));
        let records = of_caller(&house, call.n);
        let last = &records.iter().max_by_key(|(_, call)| call.handshake_after.is_some() && is_recap(call)).unwrap().1;
        assert!(is_recap(last), "caller {} has no recap", call.n);
        beyond[kind] = beyond[kind].max(silence(&report).saturating_sub(predicted_handshake(last)));
    }
    assert!(lost * 5 <= hit_count, "{lost} of {hit_count} calls were lost");
    println!("{lost} of {hit_count} calls ended");
    for (kind, name) in ["killed", "hung", "vanished"].into_iter().enumerate() {
        let beyond = beyond[kind].as_millis();
        println!("{name}: silence in ms {}; at most {beyond} beyond the handshake", distribution(&times[kind]));
    }
    for mut call in spared {
        let report = call.end().await;
        assert_eq!(call.count(|event| matches!(event, CallEvent::Recovering)), 0, "{:#?}", call.told());
        assert!(report.went_well(), "{report:?}");
    }
    assert_nobody_meets(&house, CAPACITY);
    let vanished = house.servers[gone].log().iter().filter(|call| call.end.is_none()).count();
    let name = (gone + 1).to_string();
    let slots = house
        .slots_until(|slots| {
            let quarantined = slots.iter().filter(|slot| matches!(slot.state, SlotState::Quarantined(_))).count();
            slots.iter().all(|slot| slot.state != SlotState::Leased) && quarantined == vanished
        })
        .await;
    for slot in slots.iter().filter(|slot| slot.state != SlotState::Free) {
        assert_eq!(slot.upstream, name, "out of use where a server vanished, and nowhere else");
        assert_eq!(slot.state, SlotState::Quarantined(QuarantineReason::NoCloseReply));
    }
}

#[actix_web::test]
async fn a_server_that_comes_back_gets_its_call_back_and_a_hung_one_too() {
    let house = house(reciting(), 1, PROMPT).await;
    let mut ann = talking(&house, 1).await.remove(0);
    // It stands still for as long as it takes to be noticed.
    house.servers[0].suffer(Plight::Hung);
    ann.until(|event| matches!(event, CallEvent::Recovering)).await.unwrap();
    house.servers[0].suffer(Plight::Sound);
    ann.until(is_recovered).await.expect("the same server goes on");
    assert_eq!(house.log().len(), 1);
    // The process dies, and another one is started when it was looked for in vain for a while.
    house.servers[0].kill();
    house.servers[0].port_closed().await;
    ann.until(|event| matches!(event, CallEvent::Recovering)).await.unwrap();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let in_vain = async {
        while failed_connects(&house) < 2.0 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, in_vain).await.expect("it is looked for");
    let reborn = Simulator::start(upstream::Settings { address: house.servers[0].addr(), ..reciting() }).await.unwrap();
    let Some(CallEvent::Recovered { gap_ms }) = ann.until(is_recovered).await else { panic!("{:#?}", ann.told()) };
    ann.words(5).await;
    println!("alone, reborn after 2 tries in vain: {gap_ms} ms of silence");
    assert_eq!((reborn.log().len(), reborn.peak_open_sockets()), (1, 1));
    assert!(is_recap(&reborn.log()[0]));
    assert!(ann.end().await.went_well());
}

#[actix_web::test]
async fn servers_that_refuse_the_same_prompt_twice_end_the_call() {
    let house = house(reciting(), 3, PROMPT).await;
    let mut ann = talking(&house, 1).await.remove(0);
    let at = of_caller(&house, 1)[0].0;
    for (other, server) in house.servers.iter().enumerate().filter(|(other, _)| *other != at) {
        server.set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
        assert_ne!(other, at);
    }
    house.servers[at].kill();
    assert!(ann.until(is_recovered).await.is_none());
    let report = ann.end().await;
    assert_eq!(report.ending, Some(Ending::PromptRejected), "{:#?}", ann.told());
    assert_eq!(of_caller(&house, 1).len(), 3, "one call, and two more tries");
    assert!(house.settle().await.iter().all(|slot| slot.state == SlotState::Free));
}

#[actix_web::test]
async fn a_mass_death_ends_every_call_in_time_and_opens_no_storm() {
    let variables = [PROMPT, &[("TANDEM__SESSION__RECOVERY_SECONDS", "6")]].concat();
    let house = house(upstream::Settings { calls_at_once: 4, ..reciting() }, 3, &variables).await;
    let calls = talking(&house, 12).await;
    house.servers.iter().for_each(Simulator::kill);
    for (_, back, report) in join_all(calls.into_iter().map(back_or_over)).await {
        assert!(!back && report.ending == Some(Ending::UpstreamLost), "{report:?}");
        // Nothing of another server was heard, and no later word of the old one.
        assert!(silence(&report) < Duration::from_secs(1), "{report:?}");
    }
    house.slots_until(|slots| slots.iter().all(|slot| slot.state == SlotState::Free)).await;
    // Once for each call, and what the budget has for the first ten seconds: 3, and one for five calls.
    let tries = failed_connects(&house);
    println!("12 calls, every server dead: {tries} tries");
    assert!((1.0..=12.0 + 5.0).contains(&tries), "{tries} tries");
}

/// Reads a stock client's messages until `done`, and checks its stream: one handshake, one head, pages that go on.
pub async fn read_stock_stream(house: &House, mut step: impl AsyncFnMut(usize) -> bool) {
    let mut socket = knock(house, "/api/chat", &[bearer(house, "stock")]).await.socket();
    let (mut handshakes, mut heads, mut last) = (0, 0, None::<(u32, u32, u64)>);
    let mut pages = 0;
    while !step(pages).await {
        let message = tokio::time::timeout(3 * PATIENCE, next(&mut socket)).await.expect("something comes");
        let Some(Message::Binary(bytes)) = message else {
            assert!(matches!(message, Some(Message::Ping(_) | Message::Pong(_))), "{message:?}");
            continue;
        };
        match bytes[0] {
            0 => handshakes += 1,
            1 => {
                let page = &bytes[1..];
                assert_eq!(&page[..4], b"OggS");
                let number = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
                let granule = u64::from_le_bytes(page[6..14].try_into().unwrap());
                heads += usize::from(page[5] & 2 != 0);
                let now = (number(14), number(18), granule);
                if let Some((serial, sequence, before)) = last {
                    assert_eq!((now.0, now.1), (serial, sequence + 1), "one stream, page by page");
                    assert!(granule >= before && granule - before <= 48_000, "{before} and then {granule}");
                }
                last = Some(now);
                pages += 1;
            }
            _ => {}
        }
    }
    assert_eq!((handshakes, heads), (1, 1));
}

#[actix_web::test]
async fn a_stock_client_hears_one_stream_of_two_servers() {
    let house = house(upstream::Settings { voice_steps: 5, ..reciting() }, 2, PROMPT).await;
    let mut pages_at_death = None;
    read_stock_stream(&house, async |pages| {
        if pages == 30 && pages_at_death.is_none() {
            let at = house.servers.iter().position(|server| server.open_sockets() == 1).unwrap();
            house.servers[at].kill();
            pages_at_death = Some(pages);
        }
        pages >= 70
    })
    .await;
    assert_eq!(house.log().len(), 2, "another server went on");
    assert_eq!(pages_at_death, Some(30));
    assert!(house.log()[1].frames_out > 10);
}

#[actix_web::test]
async fn a_caller_who_leaves_in_mid_failover_leaves_nothing_behind() {
    let house = house(upstream::Settings { answer: quiet().answer, ..reciting() }, 2, PROMPT).await;
    let mut ann = Call::dial(&house, 1);
    ann.until(|event| matches!(event, CallEvent::Ready)).await.unwrap();
    let at = of_caller(&house, 1)[0].0;
    house.servers[at].kill();
    ann.until(|event| matches!(event, CallEvent::Connecting { attempt: 2 })).await.unwrap();
    let other = &house.servers[1 - at];
    other.wait_for(|calls| calls.iter().any(|call| call.steps > 3), PATIENCE).await.unwrap();
    ann.end().await;
    house.slots_until(|slots| slots.iter().all(|slot| slot.state == SlotState::Free)).await;
    assert_eq!(other.open_sockets(), 0);
}
