//! Vast.ai's own ways.

use serde_json::{Value, json};
use tandem::fleet::provider::{Exchange, PowerState, Provider, ProviderError, Started, Stopped, vast::Vast};

use super::{
    clouds::{instance, instance_at},
    stage::{Answer, Asked, PATIENCE, Stage},
};

async fn instance_with(change: Answer, status: Answer) -> (Stage, Vast) {
    let play = move |asked: &Asked| if asked.method == "PUT" { change.clone() } else { status.clone() };
    let stage = Stage::open(play).await;
    let it = Vast::new(instance_at(&stage.url), &Exchange::new(PATIENCE));
    (stage, it)
}

fn stopped() -> Answer {
    Answer::json(200, &instance(PowerState::Stopped))
}

#[actix_web::test]
async fn a_success_that_says_it_is_none_is_an_error() {
    for (body, code) in [
        (json!({ "success": false, "error": "no_such_instance", "msg": "x" }), "not_found"),
        (json!({ "success": false, "error": "auth_error" }), "auth"),
        (json!({ "success": false, "error": "missing_billing" }), "permanent"),
        (json!({ "success": false, "error": "invalid_args", "msg": "bad state" }), "permanent"),
        (json!({ "success": false }), "permanent"),
        (json!({ "success": false, "msg": "Required resources are currently unavailable." }), "capacity"),
    ] {
        for status in [200, 400] {
            let (_stage, it) = instance_with(Answer::json(status, &body), stopped()).await;
            assert_eq!(it.start().await.unwrap_err().code(), code, "{status} {body}");
        }
    }
}

#[actix_web::test]
async fn a_start_that_waits_for_its_gpu_is_one() {
    let queued =
        json!({ "success": false, "msg": "Required resources are currently unavailable, state change queued." });
    let (_stage, it) = instance_with(Answer::json(200, &queued), stopped()).await;
    assert_eq!(it.start().await, Ok(Started::Accepted));
}

#[actix_web::test]
async fn what_is_meant_to_run_is_on_its_way() {
    let with = |actual: Value, intended: &str| {
        json!({ "instances": {
        "actual_status": actual, "intended_status": intended, "status_msg": "some\twords",
    } })
    };
    for (actual, intended, state) in [
        (json!(null), "running", PowerState::Starting),
        (json!("created"), "running", PowerState::Starting),
        (json!("loading"), "running", PowerState::Starting),
        (json!("scheduling"), "running", PowerState::Starting),
        (json!("rebooting"), "running", PowerState::Starting),
        (json!("exited"), "running", PowerState::Starting),
        (json!("running"), "running", PowerState::Running),
        (json!("running"), "stopped", PowerState::Stopping),
        (json!("loading"), "stopped", PowerState::Stopping),
        (json!("exited"), "stopped", PowerState::Stopped),
        (json!("stopped"), "stopped", PowerState::Stopped),
        (json!(null), "stopped", PowerState::Stopped),
        (json!("offline"), "running", PowerState::Failed),
        (json!("frozen"), "frozen", PowerState::Unknown),
        (json!("unknown"), "running", PowerState::Unknown),
        (json!("melted"), "running", PowerState::Unknown),
    ] {
        let (_stage, it) = instance_with(stopped(), Answer::json(200, &with(actual.clone(), intended))).await;
        assert_eq!(it.status().await.unwrap().state, state, "{actual} {intended}");
    }
    let (_stage, it) = instance_with(stopped(), Answer::json(200, &with(json!("loading"), "running"))).await;
    assert_eq!(it.status().await.unwrap().detail.unwrap().as_str(), "some words");
}

#[actix_web::test]
async fn an_instance_that_is_gone_is_not_found() {
    for body in [json!({ "instances": null }), json!({ "instances": [] }), json!({}), json!([])] {
        let (_stage, it) = instance_with(stopped(), Answer::json(200, &body)).await;
        assert_eq!(it.status().await, Err(ProviderError::NotFound), "{body}");
    }
}

#[actix_web::test]
async fn a_look_that_came_too_early_does_not_hold_up_a_change() {
    let early = Answer::text(429, "API requests too frequent: endpoint threshold=2.0");
    let done = Answer::json(200, &json!({ "success": true }));
    let (stage, it) = instance_with(done, early).await;
    assert_eq!(it.start().await, Ok(Started::Accepted));
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    let path = "/api/v0/instances/77/";
    assert_eq!(stage.lines(), ["GET", "PUT", "GET", "PUT"].map(|method| format!("{method} {path}")));
    assert_eq!(it.status().await.unwrap_err().code(), "rate_limited");
}

#[actix_web::test]
async fn the_address_is_the_one_of_now() {
    let mut body = instance(PowerState::Running);
    for (ip, port, address) in [
        (json!("70.1.2.3\n"), json!("40123"), Some("70.1.2.3:40123")),
        (json!("70.1.2.4"), json!(40124), Some("70.1.2.4:40124")),
        (json!(null), json!("40123"), None),
        (json!("70.1.2.3"), json!("x"), None),
    ] {
        body["instances"]["public_ipaddr"] = ip;
        body["instances"]["ports"]["8998/tcp"][0]["HostPort"] = port;
        let (_stage, it) = instance_with(stopped(), Answer::json(200, &body)).await;
        let read = it.status().await.unwrap().address.map(|address| address.to_string());
        assert_eq!(read.as_deref(), address);
    }
}

#[actix_web::test]
async fn a_reboot_does_not_run_before_it_was_seen() {
    let mut looks = [PowerState::Running, PowerState::Running, PowerState::Starting, PowerState::Running].into_iter();
    let play = move |asked: &Asked| match asked.method.as_str() {
        "PUT" => Answer::json(200, &json!({ "success": true })),
        _ => Answer::json(200, &instance(looks.next().unwrap())),
    };
    let stage = Stage::open(play).await;
    let it = Vast::new(instance_at(&stage.url), &Exchange::new(PATIENCE));
    assert_eq!(it.restart().await, Ok(()));
    for state in [PowerState::Starting, PowerState::Starting, PowerState::Running] {
        assert_eq!(it.status().await.unwrap().state, state);
    }
}
