//! Kubernetes' own ways, and TLS to whom the system does not know.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tandem::fleet::provider::{
    PowerState, Provider, Started,
    kubernetes::{Kind, Kubernetes, Settings, Token},
};

use super::{
    clouds::{SECRET, scale, workload, workload_at},
    command::Desk,
    log::Log,
    stage::{Answer, Asked, PATIENCE, Stage},
};

async fn workload_with(answer: Answer) -> (Stage, Kubernetes) {
    let stage = Stage::repeating(answer).await;
    let it = Kubernetes::new(workload_at(&stage.url), PATIENCE).unwrap();
    (stage, it)
}

#[actix_web::test]
async fn what_is_wanted_and_what_is_ready_make_the_state() {
    let of = |spec: Value, status: Value| json!({ "spec": spec, "status": status });
    let condition = |kind: &str, status: &str| {
        json!({ "conditions": [
        { "type": "Available", "status": "False", "reason": "Minimum", "message": "x" },
        { "type": kind, "status": status, "reason": "Reason", "message": "words" },
    ] })
    };
    let failed = |there: u32, terminating: u32| {
        let mut status = condition("ReplicaFailure", "True");
        (status["replicas"], status["updatedReplicas"]) = (json!(there), json!(there));
        status["terminatingReplicas"] = json!(terminating);
        status
    };
    for (body, state, said) in [
        (of(json!({ "replicas": 0 }), json!({ "terminatingReplicas": 0 })), PowerState::Stopped, None),
        (of(json!({ "replicas": 0 }), json!({ "terminatingReplicas": 1 })), PowerState::Stopping, None),
        (of(json!({ "replicas": 0 }), json!({ "replicas": 1 })), PowerState::Stopping, None),
        (of(json!({ "replicas": 1 }), json!({})), PowerState::Starting, Some("0 of 1 ready")),
        (of(json!({ "replicas": 2 }), json!({ "readyReplicas": 1 })), PowerState::Running, Some("1 of 2 ready")),
        (of(json!({}), json!({ "readyReplicas": 1 })), PowerState::Running, Some("1 of 1 ready")),
        (of(json!({ "replicas": 1 }), condition("Progressing", "False")), PowerState::Starting, Some("Reason: words")),
        (of(json!({ "replicas": 1 }), failed(0, 0)), PowerState::Failed, Some("Reason: words")),
        (of(json!({ "replicas": 1 }), failed(1, 0)), PowerState::Starting, Some("Reason: words")),
        (of(json!({ "replicas": 1 }), failed(0, 1)), PowerState::Starting, Some("Reason: words")),
        (json!({}), PowerState::Starting, Some("0 of 1 ready")),
    ] {
        let (_stage, it) = workload_with(Answer::json(200, &body)).await;
        let status = it.status().await.unwrap();
        assert_eq!((status.state, status.detail.as_ref().map(|it| it.as_str())), (state, said), "{body}");
    }
}

#[actix_web::test]
async fn two_who_write_at_once_are_told_to_try_again() {
    let (_stage, it) = workload_with(Answer::json(409, &json!({ "reason": "Conflict", "message": "modified" }))).await;
    assert_eq!(it.start().await.unwrap_err().code(), "transient");
}

#[actix_web::test]
async fn a_stateful_set_has_its_own_path_and_at_least_one_replica() {
    let stage = Stage::repeating(Answer::json(200, &scale(0))).await;
    let settings = Settings { kind: Kind::StatefulSet, name: "a/b".into(), replicas: 0, ..workload_at(&stage.url) };
    assert_eq!(Kubernetes::new(settings, PATIENCE).unwrap().start().await, Ok(Started::Accepted));
    let path = "/apis/apps/v1/namespaces/voice/statefulsets/a%2Fb";
    assert_eq!(stage.lines(), [format!("GET {path}/scale"), format!("PATCH {path}/scale")]);
    assert_eq!(stage.asked()[1].json(), json!({ "spec": { "replicas": 1 } }));
}

#[actix_web::test]
async fn a_token_in_a_file_is_read_for_each_call() {
    let (desk, stage) = (Desk::new(), Stage::repeating(Answer::json(200, &workload(PowerState::Stopped))).await);
    let settings = Settings { token: Some(Token::File(desk.path("token"))), ..workload_at(&stage.url) };
    let it = Kubernetes::new(settings, PATIENCE).unwrap();
    let error = it.status().await.unwrap_err();
    assert!(error.code() == "permanent" && error.to_string().contains("token"), "{error}");
    for token in ["first", "second"] {
        fs::write(desk.path("token"), format!("{token}\n")).unwrap();
        it.status().await.unwrap();
    }
    let asked = stage.asked();
    let sent: Vec<_> = asked.iter().map(|asked| asked.header("authorization").unwrap()).collect();
    assert_eq!(sent, ["Bearer first", "Bearer second"]);
}

#[actix_web::test]
async fn who_signed_the_certificate_has_to_be_known() {
    let (desk, answers) = (Desk::new(), |_: &_| Answer::json(200, &workload(PowerState::Running)));
    let (stage, pem) = Stage::behind_tls(answers).await;
    let stranger = Kubernetes::new(workload_at(&stage.url), PATIENCE).unwrap();
    let error = stranger.status().await.unwrap_err();
    assert!(error.code() == "permanent" && error.to_string().contains("certificate"), "{error}");
    assert_eq!(stage.lines(), Vec::<String>::new(), "the token was not sent");
    let file = desk.path("ca.crt");
    let settings = Settings { ca_file: Some(file.clone()), ..workload_at(&stage.url) };
    for unusable in ["no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&file, unusable).unwrap();
        assert!(Kubernetes::new(settings.clone(), PATIENCE).unwrap_err().to_string().contains("PEM"), "{unusable}");
    }
    fs::write(&file, pem).unwrap();
    let it = Kubernetes::new(settings, PATIENCE).unwrap();
    assert_eq!(it.status().await.unwrap().state, PowerState::Running);
}

#[actix_web::test]
async fn a_stateful_set_is_read_as_what_it_is() {
    let of = |kind: &str| {
        let mut body = workload(PowerState::Running);
        body["kind"] = json!(kind);
        Answer::json(200, &body)
    };
    for (kind, state) in [("StatefulSet", Ok(PowerState::Running)), ("Deployment", Err("transient"))] {
        let stage = Stage::repeating(of(kind)).await;
        let settings = Settings { kind: Kind::StatefulSet, ..workload_at(&stage.url) };
        let status = Kubernetes::new(settings, PATIENCE).unwrap().status().await;
        assert_eq!(status.map(|status| status.state).map_err(|error| error.code()), state, "{kind}");
    }
}

#[actix_web::test]
async fn what_is_no_scale_starts_and_stops_nothing() {
    let (stage, it) = workload_with(Answer::text(200, "{}")).await;
    assert_eq!(it.start().await.unwrap_err().code(), "transient");
    assert_eq!(it.stop().await.unwrap_err().code(), "transient");
    assert!(stage.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", stage.lines());
}

#[actix_web::test]
async fn the_environment_of_a_pod_is_not_logged() {
    let log = Log::open();
    let mut said = workload(PowerState::Running);
    said["spec"]["template"] = json!({ "spec": { "containers": [{ "env": [{ "name": "KEY", "value": SECRET }] }] } });
    let mut odd = said.clone();
    odd["status"]["readyReplicas"] = json!("two");
    for (status, body) in [(200, said), (200, odd.clone()), (500, odd)] {
        let (_stage, it) = workload_with(Answer::json(status, &body)).await;
        let shown = format!("{:?}", it.status().await);
        assert!(!shown.contains(SECRET), "{shown}");
    }
    log.keeps(SECRET);
}

#[actix_web::test]
async fn an_old_pod_that_is_ready_does_not_make_a_restart_done() {
    let of = |observed: u32, there: u32, updated: u32| {
        let mut body = workload(PowerState::Running);
        body["metadata"]["generation"] = json!(4);
        body["status"]["observedGeneration"] = json!(observed);
        (body["status"]["replicas"], body["status"]["updatedReplicas"]) = (json!(there), json!(updated));
        body
    };
    for (body, state) in [
        (of(3, 2, 2), PowerState::Starting),
        (of(4, 3, 1), PowerState::Starting),
        (of(4, 2, 0), PowerState::Starting),
        (of(4, 2, 2), PowerState::Running),
        (of(5, 1, 1), PowerState::Running),
    ] {
        let (_stage, it) = workload_with(Answer::json(200, &body)).await;
        assert_eq!(it.status().await.unwrap().state, state, "{body}");
    }
    let (mut on_delete, mut paused) = (of(4, 2, 0), of(4, 2, 0));
    (on_delete["kind"], on_delete["spec"]["updateStrategy"]) = (json!("StatefulSet"), json!({ "type": "OnDelete" }));
    paused["spec"]["paused"] = json!(true);
    for (body, kind) in [(on_delete, Kind::StatefulSet), (paused, Kind::Deployment)] {
        let stage = Stage::repeating(Answer::json(200, &body)).await;
        let it = Kubernetes::new(Settings { kind, ..workload_at(&stage.url) }, PATIENCE).unwrap();
        assert_eq!(it.status().await.unwrap().state, PowerState::Running, "{kind:?} stays as it is on purpose");
    }
}

/// A workload without replicas in a cluster that does not count pods that end. Its pods are answered like this, and may
/// take so long to end.
async fn scaled_down(mut pods: impl FnMut() -> Answer + Send + 'static, grace_seconds: u32) -> (Stage, Kubernetes) {
    let mut said = workload(PowerState::Stopped);
    said["status"]["terminatingReplicas"] = json!(null);
    said["spec"]["selector"] = json!({ "matchLabels": { "app": "model" } });
    said["spec"]["template"] = json!({ "spec": { "containers": [], "terminationGracePeriodSeconds": grace_seconds } });
    let play = move |asked: &Asked| match asked.path.starts_with("/api/v1/namespaces/voice/pods?") {
        true => pods(),
        false => Answer::json(200, &said),
    };
    let stage = Stage::open(play).await;
    let it = Kubernetes::new(workload_at(&stage.url), PATIENCE).unwrap();
    (stage, it)
}

fn pods(items: &Value, rest: &str) -> Answer {
    let metadata = json!({ "continue": rest });
    let kind = "PartialObjectMetadataList";
    Answer::json(200, &json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items }))
}

#[actix_web::test]
async fn a_workload_is_stopped_when_its_last_pod_has_ended() {
    let pod = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "name": "p" } });
    let mut answers = [pods(&json!([pod]), ""), pods(&json!([]), "more"), pods(&json!([]), "")].into_iter();
    let (stage, it) = scaled_down(move || answers.next().unwrap(), 0).await;
    for state in [PowerState::Stopping, PowerState::Stopping, PowerState::Stopped] {
        assert_eq!(it.status().await.unwrap().state, state);
    }
    let line = &stage.lines()[1];
    assert!(line.contains("labelSelector=app%3Dmodel") && line.contains("limit=1"), "{line}");
}

#[actix_web::test]
async fn who_may_not_list_pods_waits_as_long_as_they_may_take() {
    let forbidden = || Answer::json(403, &json!({ "reason": "Forbidden", "message": "no" }));
    let (_stage, it) = scaled_down(forbidden, 30).await;
    assert_eq!(it.status().await.unwrap().state, PowerState::Stopping);
    for (seconds, state) in [(34, PowerState::Stopping), (2, PowerState::Stopped)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        assert_eq!(it.status().await.unwrap().state, state, "{seconds}");
    }
    let (_stage, it) = scaled_down(|| Answer::text(500, ""), 30).await;
    assert_eq!(it.status().await.unwrap_err().code(), "transient", "a failure proves nothing");
}
