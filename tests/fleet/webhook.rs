//! The wire of webhooks, as the other side sees it.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tandem::fleet::provider::{
    Exchange, PowerState, Provider, Started, Stopped,
    webhook::{Settings, Webhook},
};

use super::{
    clouds::{SECRET, SIGNING_KEY, hooks_at},
    stage::{Answer, Asked, PATIENCE, Stage},
};

async fn hooks_with(answer: Answer) -> (Stage, Webhook) {
    let stage = Stage::repeating(answer).await;
    let it = Webhook::new(hooks_at(&stage.url), &Exchange::new(PATIENCE));
    (stage, it)
}

/// Whether the one who knows the key sent this body now.
fn is_signed(asked: &Asked) -> bool {
    let timestamp = asked.header("tandem-timestamp").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now - timestamp.parse::<u64>().unwrap() <= PATIENCE.as_secs());
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_KEY.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{}", asked.body).as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    asked.header("tandem-signature") == Some(&format!("sha256={digits}"))
}

#[actix_web::test]
async fn each_request_says_what_it_wants_and_is_signed() {
    let (stage, it) = hooks_with(Answer::json(200, &json!({ "machine": { "state": "running" } }))).await;
    it.start().await.unwrap();
    it.stop().await.unwrap();
    it.restart().await.unwrap();
    it.status().await.unwrap();
    assert_eq!(
        stage.lines(),
        [
            "POST /hooks/st4rt-path/gpu%2F1/start?token=st4rt-query",
            "POST /hooks/st0p-path/gpu%2F1/stop?token=st0p-query",
            "POST /hooks/rest4rt-path/gpu%2F1/restart?token=rest4rt-query",
            "GET /hooks/st4tus-path/gpu%2F1/status?token=st4tus-query",
        ]
    );
    let asked = stage.asked();
    assert!(asked.iter().all(is_signed), "{asked:?}");
    for (asked, action) in asked.iter().zip(["start", "stop", "restart"]) {
        assert_eq!(asked.json(), json!({ "action": action, "machine": "gpu/1" }));
    }
    assert_eq!(asked[3].body, "");
}

#[actix_web::test]
async fn without_a_key_nothing_is_signed() {
    let stage = Stage::repeating(Answer::text(204, "")).await;
    let settings = Settings { signing_key: None, ..hooks_at(&stage.url) };
    Webhook::new(settings, &Exchange::new(PATIENCE)).start().await.unwrap();
    assert_eq!(stage.asked()[0].header("tandem-signature"), None);
}

#[actix_web::test]
async fn a_request_whose_fate_is_unknown_is_repeated_under_its_key() {
    let mut answers = [500, 429, 202, 202, 400, 202].into_iter();
    let stage = Stage::open(move |_| Answer::text(answers.next().unwrap(), "")).await;
    let it = Webhook::new(hooks_at(&stage.url), &Exchange::new(PATIENCE));
    for _ in 0..6 {
        let _ = it.start().await;
    }
    let asked = stage.asked();
    let keys: Vec<_> = asked.iter().map(|asked| asked.header("idempotency-key").unwrap()).collect();
    assert!(keys[0] == keys[1] && keys[1] == keys[2], "until it was taken on: {keys:?}");
    let unique: std::collections::BTreeSet<_> = keys[2..].iter().collect();
    assert_eq!(unique.len(), 4, "after that each is another: {keys:?}");
}

#[actix_web::test]
async fn another_action_has_another_key() {
    let (stage, it) = hooks_with(Answer::text(500, "")).await;
    it.start().await.unwrap_err();
    it.stop().await.unwrap_err();
    let asked = stage.asked();
    assert_ne!(asked[0].header("idempotency-key"), asked[1].header("idempotency-key"));
}

#[actix_web::test]
async fn what_is_so_already_is_no_error() {
    let (_stage, it) = hooks_with(Answer::text(409, "")).await;
    assert_eq!(it.start().await, Ok(Started::AlreadyRunning));
    assert_eq!(it.stop().await, Ok(Stopped::AlreadyStopped));
    for status in [200, 202, 204] {
        let (_stage, it) = hooks_with(Answer::text(status, "")).await;
        assert_eq!((it.start().await, it.stop().await), (Ok(Started::Accepted), Ok(Stopped::Accepted)));
    }
}

#[actix_web::test]
async fn no_hardware_is_a_503() {
    let (_stage, it) = hooks_with(Answer::text(503, "")).await;
    assert_eq!(it.start().await.unwrap_err().code(), "capacity");
    assert_eq!(it.stop().await.unwrap_err().code(), "transient", "a stop needs none");
}

#[actix_web::test]
async fn the_state_is_where_the_pointer_says() {
    for (body, state, address) in [
        (
            json!({ "machine": { "state": "Running", "at": "10.0.0.7:8998" } }),
            PowerState::Running,
            Some("10.0.0.7:8998"),
        ),
        (json!({ "machine": { "state": "stopped" } }), PowerState::Stopped, None),
        (json!({ "machine": { "state": "starting", "at": 7 } }), PowerState::Starting, None),
        (json!({ "machine": { "state": "stopping" } }), PowerState::Stopping, None),
        (json!({ "machine": { "state": "failed" } }), PowerState::Failed, None),
        (json!({ "machine": { "state": "melted" } }), PowerState::Unknown, None),
        (json!({ "state": "running" }), PowerState::Unknown, None),
        (json!([]), PowerState::Unknown, None),
    ] {
        let (_stage, it) = hooks_with(Answer::json(200, &body)).await;
        let status = it.status().await.unwrap();
        assert_eq!((status.state, status.address.map(|at| at.to_string()).as_deref()), (state, address), "{body}");
    }
    let (_stage, it) = hooks_with(Answer::json(200, &json!({ "machine": { "state": "melted\n" } }))).await;
    assert_eq!(it.status().await.unwrap().detail.unwrap().as_str(), "melted");
}

#[actix_web::test]
async fn what_is_not_set_up_is_not_asked() {
    let stage = Stage::repeating(Answer::text(500, "")).await;
    let settings = Settings { status_url: None, restart_url: None, ..hooks_at(&stage.url) };
    let it = Webhook::new(settings, &Exchange::new(PATIENCE));
    assert_eq!(it.status().await.unwrap().state, PowerState::Unknown);
    assert_eq!(it.restart().await.unwrap_err().code(), "unsupported");
    assert_eq!(stage.lines(), Vec::<String>::new());
}

/// Servers that say what they were asked with, whole or in parts.
#[actix_web::test]
async fn a_refusal_that_repeats_what_it_was_asked_with_keeps_it() {
    for status in [400, 422, 500] {
        let stage = Stage::open(move |asked| {
            let credential = asked.header("authorization").unwrap().to_owned();
            let token = credential.split(' ').nth(1).unwrap();
            let (path, query) = asked.path.split_once('?').unwrap();
            let value = query.split_once('=').unwrap().1;
            let said = format!("Cannot {} {path} with {value}, {token}, {credential}, {SIGNING_KEY}", asked.method);
            Answer::json(status, &json!({ "message": said }))
        });
        let stage = stage.await;
        let it = Webhook::new(hooks_at(&stage.url), &Exchange::new(PATIENCE));
        let told = [
            it.start().await.unwrap_err(),
            it.stop().await.unwrap_err(),
            it.restart().await.unwrap_err(),
            it.status().await.unwrap_err(),
        ];
        for (error, action) in told.iter().zip(["start", "stop", "restart", "status"]) {
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("/gpu%2F1/") && shown.contains(action), "what is no secret is still said: {shown}");
            for secret in [SECRET, SIGNING_KEY, "st4rt", "st0p", "st4tus", "-path", "-query"] {
                assert!(!shown.contains(secret), "{action} {status}: {shown}");
            }
        }
    }
}

#[actix_web::test]
async fn a_restart_does_not_run_before_it_was_seen() {
    let (_stage, it) = hooks_with(Answer::json(200, &json!({ "machine": { "state": "running" } }))).await;
    assert_eq!(it.status().await.unwrap().state, PowerState::Running);
    assert_eq!(it.restart().await, Ok(()));
    assert_eq!(it.status().await.unwrap().state, PowerState::Starting, "it may be the machine of before");
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    assert_eq!(it.status().await.unwrap().state, PowerState::Running, "what a stop is worth, others know");
}
