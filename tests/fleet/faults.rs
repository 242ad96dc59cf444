//! What goes wrong on the way is told alike by every provider, and nothing secret with it.

use std::time::Duration;

use serde_json::json;
use tandem::fleet::provider::{Exchange, Provider, ProviderError};

use super::{
    clouds::{Kind, SECRET},
    stage::{Answer, PATIENCE, Stage},
};

const ACTIONS: [&str; 4] = ["start", "stop", "restart", "status"];

async fn fails(provider: &dyn Provider, action: &str) -> Option<ProviderError> {
    match action {
        "start" => provider.start().await.err(),
        "stop" => provider.stop().await.err(),
        "restart" => provider.restart().await.err(),
        _ => provider.status().await.err(),
    }
}

/// What every provider makes of this for every call, once those of a kind that differ were asked.
async fn all_say(url: &str, timeout: Duration, expected: impl Fn(Kind, &str) -> (&'static str, Option<u64>)) {
    for &kind in Kind::ALL {
        let provider = kind.at(url, timeout);
        for action in ACTIONS {
            let (code, seconds) = expected(kind, action);
            let error = fails(&*provider, action).await;
            let told = error.as_ref().map_or(("none", None), |error| (error.code(), error.retry_after()));
            assert_eq!(told, (code, seconds.map(Duration::from_secs)), "{kind:?} {action}: {error:?}");
            let shown = error.map(|error| format!("{error} {error:?}")).unwrap_or_default();
            let keeps = !kind.has_secret() || !format!("{shown} {provider:?}").contains(SECRET);
            assert!(keeps && !shown.contains("http://") && !shown.contains("https://"), "{shown}");
            assert!(shown.chars().all(|c| !c.is_control()), "{shown}");
        }
    }
}

async fn all_say_of(answer: Answer, code: &'static str, seconds: Option<u64>) {
    let stage = Stage::repeating(answer).await;
    all_say(&stage.url, PATIENCE, |_, _| (code, seconds)).await;
}

/// A body that repeats what it should not.
fn indiscreet(status: u16) -> Answer {
    let said = format!("no to {SECRET}\u{1b}[2J\nsee https://x.example/?key={SECRET} {}", "x".repeat(500));
    Answer::json(status, &json!({ "message": said, "success": false }))
}

#[actix_web::test]
async fn refusals_are_told_apart() {
    for (status, code) in [
        (401, "auth"),
        (403, "auth"),
        (404, "not_found"),
        (429, "rate_limited"),
        (422, "permanent"),
        (500, "transient"),
        (502, "transient"),
        (501, "unsupported"),
    ] {
        all_say_of(indiscreet(status), code, None).await;
    }
}

#[actix_web::test]
async fn waits_are_passed_on() {
    all_say_of(indiscreet(429).with("retry-after", "7"), "rate_limited", Some(7)).await;
    let dated = indiscreet(429).with("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    all_say_of(dated.with("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), "rate_limited", Some(30)).await;
    all_say_of(Answer::text(429, "API requests too frequent: endpoint threshold=2.0"), "rate_limited", None).await;
    let stage = Stage::repeating(Answer::text(503, "").with("retry-after", "9")).await;
    all_say(&stage.url, PATIENCE, |kind, action| match (kind, action) {
        // The one wire that is ours says so of hardware.
        (Kind::Webhook, "start" | "restart") => ("capacity", Some(9)),
        _ => ("rate_limited", Some(9)),
    })
    .await;
}

#[actix_web::test]
async fn pages_of_proxies_are_no_answers() {
    let page = format!("<!DOCTYPE html>\n<html>Access denied {SECRET}</html>");
    for (status, code) in [(403, "transient"), (502, "transient"), (524, "transient"), (404, "not_found")] {
        all_say_of(Answer::text(status, &page), code, None).await;
    }
    let stage = Stage::repeating(Answer::text(200, &page)).await;
    all_say(&stage.url, PATIENCE, |kind, action| match (kind, action) {
        (kind, "start" | "stop" | "restart") if !kind.has_answers() => ("none", None),
        _ => ("transient", None),
    })
    .await;
}

#[actix_web::test]
async fn redirects_are_not_followed() {
    let other = Stage::repeating(indiscreet(200)).await;
    let redirect = Answer::text(302, "").with("location", &other.url);
    all_say_of(redirect, "permanent", None).await;
    assert_eq!(other.lines(), Vec::<String>::new(), "a key goes to nobody else");
}

#[actix_web::test]
async fn broken_answers_are_transient() {
    let endless = "x".repeat(200 * 1024);
    all_say_of(Answer::json(500, &json!({ "message": endless })), "transient", None).await;
    all_say_of(Answer::Raw(String::new()), "transient", None).await;
    all_say_of(Answer::Raw("SSH-2.0-x\r\n".to_owned()), "transient", None).await;
    let overlong = json!({ "status": "RUNNING", "padding": endless, "data": {}, "instances": {}, "success": true });
    let halved = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\":".to_owned();
    for answer in [Answer::json(200, &overlong), Answer::Raw(halved)] {
        let stage = Stage::repeating(answer).await;
        all_say(&stage.url, PATIENCE, |kind, action| match (kind, action) {
            (kind, "start" | "stop" | "restart") if !kind.has_answers() => ("none", None),
            _ => ("transient", None),
        })
        .await;
    }
}

/// JSON, and what passes for it, in shapes that nobody documented.
fn odd_bodies() -> Vec<String> {
    let values = [
        json!(null),
        json!([[]]),
        json!({ "status": {}, "runtime": 7, "locked": [], "ports": {}, "success": "false", "error": [], "detail": {} }),
        json!({ "instances": { "actual_status": [], "ports": [], "public_ipaddr": {} }, "msg": 1e300, "data": "x" }),
        json!({ "errors": [[], {}, { "message": {} }], "data": [] }),
        json!({ "data": { "serviceInstance": { "latestDeployment": [], "activeDeployments": [1, {}, { "id": "" }] } } }),
        json!({ "spec": { "replicas": -1 }, "status": { "conditions": {}, "readyReplicas": "1" }, "State": { "Status": 1 } }),
        json!({ "machine": { "state": {}, "at": "[::" } }),
    ];
    let mut bodies: Vec<String> = values.iter().map(ToString::to_string).collect();
    bodies.extend([String::new(), "\"\\ud800\"".to_owned(), "[".repeat(10_000), "\u{feff}{}".to_owned()]);
    bodies
}

#[actix_web::test]
async fn whatever_comes_has_an_end() {
    for status in [200, 409] {
        for body in odd_bodies() {
            let stage = Stage::repeating(Answer::text(status, &body)).await;
            for &kind in Kind::ALL {
                let provider = kind.at(&stage.url, PATIENCE);
                for action in ACTIONS {
                    let told = fails(&*provider, action).await.map_or("none", |error| error.code());
                    let known = ["none", "transient", "permanent", "not_found"];
                    assert!(known.contains(&told), "{kind:?} {action} {body}: {told}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn silence_ends_with_the_time_out() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
    for said in ["", head] {
        let stage = Stage::repeating(Answer::Silence(said.to_owned())).await;
        #[cfg(feature = "docker")]
        let is_answered = !said.is_empty();
        all_say(&stage.url, Duration::from_millis(50), |kind, action| match (kind, action) {
            // What counts of its answers is the status, and that was said.
            #[cfg(feature = "docker")]
            (Kind::Docker, "start" | "stop" | "restart") if is_answered => ("none", None),
            // Stops are answered when they are done, which may take longer.
            #[cfg(feature = "docker")]
            (Kind::Docker, "stop") => ("none", None),
            #[cfg(feature = "docker")]
            (Kind::Docker, "restart") => ("transient", None),
            _ => ("timeout", None),
        })
        .await;
    }
}

/// Clients that try again by themselves would ask for what nobody wants any more.
#[actix_web::test]
async fn nothing_is_asked_twice() {
    for answer in [
        indiscreet(429).with("retry-after", "0"),
        indiscreet(503),
        indiscreet(504),
        Answer::text(409, ""),
        Answer::Raw(String::new()),
    ] {
        for &kind in Kind::ALL {
            let stage = Stage::repeating(answer.clone()).await;
            assert!(kind.at(&stage.url, PATIENCE).status().await.is_err(), "{kind:?}");
            assert_eq!(stage.lines().len(), 1, "{kind:?}: {:?}", stage.lines());
        }
    }
}

#[actix_web::test]
async fn nobody_there_is_transient_and_no_url_is_for_good() {
    all_say(&Stage::empty().await, PATIENCE, |_, _| ("transient", None)).await;
    for url in ["", "not a url", "ftp://127.0.0.1"] {
        all_say(url, PATIENCE, |_, _| ("permanent", None)).await;
    }
}

#[actix_web::test]
async fn keys_that_no_header_can_hold_are_for_good() {
    let stage = Stage::repeating(indiscreet(200)).await;
    let settings = super::clouds::pod_at(&stage.url);
    let settings =
        tandem::fleet::provider::runpod::Settings { api_key: format!("{SECRET}\r\nx: y").into(), ..settings };
    let pod = tandem::fleet::provider::runpod::RunPod::new(settings, &Exchange::new(PATIENCE));
    let error = pod.start().await.unwrap_err();
    assert_eq!(error.code(), "permanent");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    assert_eq!(stage.lines(), Vec::<String>::new());
}
