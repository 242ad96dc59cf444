//! The care of machines that are local processes: one whose server is stuck begins anew.

use crate::{
    machines::{Sleepy, ask, hang_up, operator},
    refusals::{bearer, event, knock},
};

/// After its first call, which the gateway makes without a caller, the server goes on with each call as far as the
/// handshake, and then neither reads nor writes: its lock stays with that call.
const LOCKED: &str = "--fault vanish:0@calls:2-9";

#[actix_web::test]
async fn a_server_whose_lock_hangs_begins_anew_and_the_next_call_talks() {
    let sleepy = Sleepy::with(
        LOCKED,
        &[("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "100"), ("TANDEM__FLEET__RESTART_STUCK_SECONDS", "1")],
    );
    sleepy.is("asleep").await;
    let mut ann = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "ann")]).await.socket();
    event(&mut ann, "session.ready").await;
    hang_up(&mut ann).await;
    let mut bob = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "bob")]).await.socket();
    event(&mut bob, "session.ready").await;
    let restarts = "tandem_machine_restarts_total{upstream=\"1\",result=\"ready\"}";
    assert_eq!(sleepy.house.metric(restarts), Some(1.0));
    let asked = |what: &str| {
        let series = format!("tandem_provider_requests_total{{provider=\"command\",request=\"{what}\",result=\"ok\"}}");
        sleepy.house.metric(&series)
    };
    assert_eq!((asked("start"), asked("restart"), asked("stop")), (Some(1.0), Some(1.0), None));
}

#[actix_web::test]
async fn an_operators_restart_cuts_no_call() {
    let sleepy = Sleepy::with("", &[]);
    sleepy.is("asleep").await;
    let restart = async |name: &str| {
        let told = ask("POST", &sleepy.url(&format!("/v1/upstreams/{name}/restart")), Some(operator()), None).await;
        let word = told.body["code"].as_str().or(told.body["state"].as_str());
        (told.status, word.unwrap_or_default().to_owned())
    };
    let refused = |status, code: &str| (status, code.to_owned());
    assert_eq!(restart("9").await, refused(404, "unknown_machine"));
    assert_eq!(restart("1").await, refused(409, "machine_not_awake"));
    let mut ann = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "ann")]).await.socket();
    event(&mut ann, "session.ready").await;
    assert_eq!(restart("1").await, refused(409, "machine_in_use"));
    hang_up(&mut ann).await;
    let slots = sleepy.house.slots_until(|slots| slots[0].label.code() == "free").await;
    assert_eq!(slots.len(), 1);
    assert_eq!(restart("1").await, (202, "waking".to_owned()));
    assert_eq!(restart("1").await, refused(409, "restart_under_way"));
    let mut bob = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "bob")]).await.socket();
    event(&mut bob, "session.ready").await;
    assert_eq!(sleepy.house.metric("tandem_machine_restarts_total{upstream=\"1\",result=\"ready\"}"), Some(1.0));
}
