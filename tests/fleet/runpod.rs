//! RunPod's own ways.

use serde_json::{Value, json};
use tandem::fleet::provider::{
    Exchange, PowerState, Provider, ProviderError, Started, Stopped,
    runpod::{RunPod, Settings},
};

use super::{
    clouds::{pod, pod_at, secret},
    stage::{Answer, PATIENCE, Stage},
};

/// A pod whose every action is answered like this, and its status like that.
async fn pod_with(action: Answer, status: Value) -> (Stage, RunPod) {
    let play = move |asked: &super::stage::Asked| match asked.method.as_str() {
        "POST" => action.clone(),
        _ => Answer::json(200, &status),
    };
    let stage = Stage::open(play).await;
    let pod = RunPod::new(pod_at(&stage.url), &Exchange::new(PATIENCE));
    (stage, pod)
}

fn problem(status: u16, detail: &str) -> Answer {
    Answer::json(status, &json!({ "title": "Problem", "status": status, "detail": detail }))
}

#[actix_web::test]
async fn a_taken_gpu_is_no_fault_of_ours() {
    for (status, detail) in [
        (400, "There are not enough free GPUs on the host machine to start this pod."),
        (409, "not enough free GPUs on the host machine"),
        (500, "this GPU and data center combination could not be placed"),
    ] {
        let (_stage, it) = pod_with(problem(status, detail), pod(PowerState::Stopped)).await;
        assert_eq!(it.start().await, Err(ProviderError::Capacity { retry_after: None }), "{detail}");
        assert_ne!(it.stop().await.err().map(|error| error.code()), Some("capacity"), "a stop needs no GPU");
    }
}

#[actix_web::test]
async fn a_conflict_is_settled_by_the_status() {
    let conflict = || problem(409, "action not valid");
    let with = |state: &str| json!({ "status": state, "locked": state == "RUNNING", "runtime": null });
    for (state, started, stopped) in [
        ("PROVISIONING", Ok(Started::AlreadyRunning), Err("permanent")),
        ("STARTING", Ok(Started::AlreadyRunning), Err("permanent")),
        ("RUNNING", Ok(Started::AlreadyRunning), Err("permanent")),
        ("EXITED", Err("permanent"), Ok(Stopped::AlreadyStopped)),
        ("ERROR", Err("permanent"), Ok(Stopped::AlreadyStopped)),
        ("TERMINATED", Err("not_found"), Ok(Stopped::AlreadyStopped)),
        ("MELTED", Err("permanent"), Err("permanent")),
    ] {
        let (_stage, it) = pod_with(conflict(), with(state)).await;
        assert_eq!(it.start().await.map_err(|error| error.code()), started, "{state}");
        assert_eq!(it.stop().await.map_err(|error| error.code()), stopped, "{state}");
    }
    let (_stage, it) = pod_with(conflict(), with("RUNNING")).await;
    assert!(it.stop().await.unwrap_err().to_string().contains("unlock"));
}

#[actix_web::test]
async fn each_status_has_its_state() {
    for (word, state) in [
        ("PROVISIONING", PowerState::Starting),
        ("STARTING", PowerState::Starting),
        ("RUNNING", PowerState::Running),
        ("EXITED", PowerState::Stopped),
        ("ERROR", PowerState::Failed),
        ("TERMINATED", PowerState::Failed),
        ("MELTED", PowerState::Unknown),
    ] {
        let (_stage, it) = pod_with(problem(409, ""), json!({ "status": word })).await;
        assert_eq!(it.status().await.unwrap().state, state, "{word}");
    }
    for body in [json!([]), json!("RUNNING"), json!(null), json!({ "status": 7, "runtime": [] })] {
        let (_stage, it) = pod_with(problem(409, ""), body).await;
        assert_eq!(it.status().await.unwrap().state, PowerState::Unknown);
    }
}

#[actix_web::test]
async fn an_answer_of_64_kib_is_read_and_a_longer_one_is_not() {
    let frame = json!({ "status": "RUNNING", "padding": "" }).to_string().len();
    for (bytes, state) in [(64 * 1024, Some(PowerState::Running)), (64 * 1024 + 1, None)] {
        let body = json!({ "status": "RUNNING", "padding": "x".repeat(bytes - frame) });
        let (_stage, it) = pod_with(problem(409, ""), body).await;
        assert_eq!(it.status().await.ok().map(|status| status.state), state, "{bytes}");
    }
}

#[actix_web::test]
async fn the_address_is_read_anew_each_time() {
    let at = |ports: Value| json!({ "status": "RUNNING", "ports": ["8998/http"], "runtime": { "ports": ports } });
    let tcp = |ip: &str, public: Value| {
        json!([
            { "private": 22, "public": 9, "type": "tcp", "ip": ip },
            { "private": 8998, "public": public, "type": "tcp", "ip": ip },
        ])
    };
    let proxy = Some(("pod1-8998.proxy.runpod.net:443".to_owned(), Some(true)));
    for (status, address) in [
        (pod(PowerState::Running), Some(("195.26.233.3:34446".to_owned(), None))),
        (at(tcp("100.65.0.9", json!(41000))), Some(("100.65.0.9:41000".to_owned(), None))),
        (at(tcp("100.65.0.9", json!(0))), proxy.clone()),
        (at(tcp("not an address", json!(1))), proxy.clone()),
        (at(json!([])), proxy),
        (json!({ "status": "RUNNING", "ports": ["8998/tcp"], "runtime": { "ports": [] } }), None),
        (pod(PowerState::Starting), None),
    ] {
        let (_stage, it) = pod_with(problem(409, ""), status.clone()).await;
        let read = it.status().await.unwrap().address.map(|address| (address.to_string(), address.tls));
        assert_eq!(read, address, "{status}");
    }
    let (stage, _) = pod_with(problem(409, ""), pod(PowerState::Running)).await;
    let settings = Settings { port: None, ..pod_at(&stage.url) };
    let it = RunPod::new(settings, &Exchange::new(PATIENCE));
    assert_eq!(it.status().await.unwrap().address, None, "the configured one holds");
}

#[actix_web::test]
async fn the_id_stays_in_its_place() {
    let stage = Stage::repeating(problem(404, "")).await;
    let settings = Settings { pod_id: "../x?y=z".into(), ..pod_at(&stage.url) };
    let it = RunPod::new(settings, &Exchange::new(PATIENCE));
    assert_eq!(it.start().await, Err(ProviderError::NotFound));
    assert_eq!(stage.lines(), ["POST /v2/pods/..%2Fx%3Fy%3Dz/action"]);
}

#[actix_web::test]
async fn tls_where_there_is_none_is_transient() {
    let stage = Stage::repeating(Answer::json(200, &pod(PowerState::Running))).await;
    let settings = pod_at(&stage.url.replace("http://", "https://"));
    let it = RunPod::new(settings, &Exchange::new(PATIENCE));
    assert_eq!(it.status().await.unwrap_err().code(), "transient");
    assert!(!format!("{it:?} {:?}", secret()).contains("marker"));
}

#[actix_web::test]
async fn a_certificate_that_nobody_known_signed_is_for_good() {
    let (stage, _) = Stage::behind_tls(|_| Answer::json(200, &pod(PowerState::Running))).await;
    let error = RunPod::new(pod_at(&stage.url), &Exchange::new(PATIENCE)).status().await.unwrap_err();
    assert!(error.code() == "permanent" && error.to_string().contains("certificate"), "{error}");
    assert_eq!(stage.lines(), Vec::<String>::new(), "the key was not sent");
}

#[actix_web::test]
async fn a_restart_is_over_when_another_run_is_seen() {
    let runs = |uptime: u64| json!({ "status": "RUNNING", "runtime": { "uptime": uptime, "ports": [] } });
    let began = |at: &str| json!({ "status": "RUNNING", "startedAt": at, "runtime": { "ports": [] } });
    for looks in [[runs(50), runs(55), runs(2)], [began("one"), began("one"), began("two")]] {
        let mut looks = looks.into_iter();
        let play = move |asked: &super::stage::Asked| match asked.method.as_str() {
            "POST" => Answer::json(200, &json!({})),
            _ => Answer::json(200, &looks.next().unwrap()),
        };
        let stage = Stage::open(play).await;
        let it = RunPod::new(pod_at(&stage.url), &Exchange::new(PATIENCE));
        assert_eq!(it.restart().await, Ok(()));
        assert_eq!(it.status().await.unwrap().state, PowerState::Starting, "the run of before");
        assert_eq!(it.status().await.unwrap().state, PowerState::Running);
    }
}
