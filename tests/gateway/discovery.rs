//! Model servers that come and go while calls are in progress.

use std::{collections::BTreeMap, time::Duration};

use tandem::{
    config::{self, Settings},
    gateway::Rehearsal,
    pool::roster::{SlotSnapshot, SlotState},
    sim::{
        caller::{self, Audio, CallReport, HangUp, Wire},
        upstream::Simulator,
    },
};

use crate::house::{House, PATIENCE, gateway_over, quiet};

/// Settings that differ from those of the gateway by their list of servers.
fn settings(urls: &str) -> Settings {
    config::load(None, &BTreeMap::from([("PERSONAPLEX_SERVER_URL".to_owned(), urls.to_owned())])).unwrap()
}

async fn call(house: &House, user: &str, hang_up: HangUp) -> CallReport {
    let mut settings = house.caller(user, Wire::Native(Audio::Opus));
    settings.hang_up = hang_up;
    tokio::time::timeout(PATIENCE, caller::call(settings)).await.unwrap()
}

fn names(slots: &[SlotSnapshot], wanted: SlotState) -> Vec<&str> {
    slots.iter().filter(|slot| slot.state == wanted).map(|slot| slot.upstream.as_str()).collect()
}

#[actix_web::test]
async fn a_server_that_is_taken_off_the_list_ends_its_call_in_peace_and_the_next_one_goes_to_the_new_server() {
    let house = House::new(quiet(), 1).await;
    let newcomer = Simulator::start(quiet()).await.unwrap();
    let (live, ()) = tokio::join!(call(&house, "ann", HangUp::After(Duration::from_secs(2))), async {
        house.servers[0].wait_for(|calls| calls.iter().any(|call| call.frames_in > 2), PATIENCE).await.unwrap();
        let told = house.gateway.reload(&settings(&newcomer.url())).await.unwrap();
        assert_eq!((told.joined.len(), told.parted.len()), (1, 1));
        let slots = house.slots().await;
        assert_eq!((names(&slots, SlotState::Leased), names(&slots, SlotState::Free)), (vec!["1"], vec!["2"]));
        let next = call(&house, "ben", HangUp::After(Duration::from_millis(200))).await;
        assert!(next.went_well(), "{next:?}");
    });
    assert!(live.went_well() && live.received_seconds > 1.0, "{live:?}");
    let slots = house.slots_until(|slots| slots.len() == 1).await;
    assert_eq!(names(&slots, SlotState::Free), ["2"]);
    assert_eq!((house.log().len(), newcomer.log().len()), (1, 1), "each had one call");
}

#[actix_web::test]
async fn a_list_with_a_file_that_cannot_be_used_changes_nothing() {
    let house = House::new(quiet(), 1).await;
    let error = house.gateway.reload(&settings("wss://127.0.0.1:9#ca=no.pem")).await.unwrap_err();
    assert!(error.to_string().contains("no.pem"), "{error}");
    assert_eq!(names(&house.slots().await, SlotState::Free), ["1"]);
    let report = call(&house, "ann", HangUp::After(Duration::from_millis(200))).await;
    assert!(report.went_well(), "{report:?}");
}

#[actix_web::test]
async fn the_servers_behind_a_name_take_calls_by_their_own_addresses() {
    let server = Simulator::start(quiet()).await.unwrap();
    let url = format!("ws://localhost:{}#dns&region=here", server.addr().port());
    let house = House { gateway: gateway_over(&url, &[], Rehearsal::default()), servers: vec![server] };
    let slots = house.slots_until(|slots| !slots.is_empty()).await;
    assert_eq!(names(&slots, SlotState::Free), ["1.1"]);
    let report = call(&house, "ann", HangUp::After(Duration::from_millis(200))).await;
    assert!(report.went_well(), "{report:?}");
    assert_eq!(house.metric("tandem_upstream_attempts_total{upstream=\"1.1\",result=\"ready\"}"), Some(1.0));
    assert_eq!(house.log().len(), 1);
}
