//! Railway's own ways.

use serde_json::{Value, json};
use tandem::fleet::provider::{
    Exchange, PowerState, Provider, ProviderError, Started, Stopped,
    railway::{Railway, Settings, Token},
};

use super::{
    clouds::{SECRET, deployment, graphql_error, secret, service_at},
    stage::{Answer, Asked, PATIENCE, Stage},
};

fn service(latest: &Value, active: &[Value]) -> Answer {
    let service = json!({ "latestDeployment": latest, "activeDeployments": active });
    Answer::json(200, &json!({ "data": { "serviceInstance": service } }))
}

/// A service like this, of which these mutations are refused.
async fn service_with(service: Answer, refused: &'static [&'static str]) -> (Stage, Railway) {
    let play = move |asked: &Asked| {
        let query = asked.json()["query"].as_str().unwrap().to_owned();
        match refused.iter().any(|name| query.contains(name)) {
            _ if query.starts_with("query") => service.clone(),
            true => graphql_error("Deployment cannot do that"),
            false => Answer::json(200, &json!({ "data": { "it": true } })),
        }
    };
    let stage = Stage::open(play).await;
    let it = Railway::new(service_at(&stage.url), &Exchange::new(PATIENCE));
    (stage, it)
}

/// The mutations that were asked for, each with what it was asked of.
fn mutations(stage: &Stage) -> Vec<String> {
    let bodies = stage.asked().into_iter().map(|asked| asked.json());
    let of = |body: Value| {
        let fields = body["query"].as_str().unwrap().strip_prefix("mutation")?.split_once('{').unwrap().1;
        let name = fields.split('(').next().unwrap();
        let what = body["variables"]["id"].as_str().or(body["variables"]["s"].as_str()).unwrap();
        Some(format!("{name} {what}"))
    };
    bodies.filter_map(of).collect()
}

#[actix_web::test]
async fn errors_come_with_a_200() {
    for (message, code) in [
        ("Not Authorized", "auth"),
        ("Project Token not found", "auth"),
        ("ServiceInstance not found", "not_found"),
        ("Rate limit exceeded", "rate_limited"),
        ("Problem processing request", "transient"),
        ("Cannot query field \"x\"", "permanent"),
    ] {
        let stage = Stage::repeating(graphql_error(message)).await;
        let it = Railway::new(service_at(&stage.url), &Exchange::new(PATIENCE));
        assert_eq!(it.status().await.unwrap_err().code(), code, "{message}");
    }
    for (body, code) in [
        (json!({ "data": { "serviceInstance": null } }), "not_found"),
        (json!({ "errors": [{}] }), "permanent"),
        (json!([]), "not_found"),
        (json!("x"), "not_found"),
    ] {
        let stage = Stage::repeating(Answer::json(200, &body)).await;
        let it = Railway::new(service_at(&stage.url), &Exchange::new(PATIENCE));
        assert_eq!(it.status().await.unwrap_err().code(), code, "{body}");
    }
}

#[actix_web::test]
async fn each_kind_of_token_has_its_header() {
    let answer = service(&deployment("dep1", PowerState::Running), &[]);
    let stage = Stage::repeating(answer).await;
    for token in [Token::Project(secret()), Token::Account(secret())] {
        let it = Railway::new(Settings { token, ..service_at(&stage.url) }, &Exchange::new(PATIENCE));
        assert_eq!(it.status().await.unwrap().state, PowerState::Running);
    }
    let [project, account] = &stage.asked()[..] else { panic!("two requests") };
    assert_eq!((project.header("project-access-token"), project.header("authorization")), (Some(SECRET), None));
    let bearer = format!("Bearer {SECRET}");
    assert_eq!((account.header("project-access-token"), account.header("authorization")), (None, Some(&*bearer)));
}

#[actix_web::test]
async fn a_success_that_was_stopped_does_not_run() {
    let of = |status: &str, stopped: bool, instances: &[&str]| {
        let instances: Vec<_> = instances.iter().map(|status| json!({ "id": "i", "status": status })).collect();
        json!({ "id": "d", "status": status, "deploymentStopped": stopped, "instances": instances })
    };
    for (latest, state) in [
        (of("SUCCESS", false, &["RUNNING"]), PowerState::Running),
        (of("SUCCESS", false, &[]), PowerState::Running),
        (of("SUCCESS", false, &["CRASHED", "RUNNING"]), PowerState::Running),
        (of("SUCCESS", true, &["STOPPED"]), PowerState::Stopped),
        (of("SUCCESS", false, &["REMOVING"]), PowerState::Stopping),
        (of("SUCCESS", false, &["RESTARTING"]), PowerState::Starting),
        (of("SUCCESS", false, &["CRASHED"]), PowerState::Failed),
        (of("QUEUED", false, &[]), PowerState::Starting),
        (of("BUILDING", false, &[]), PowerState::Starting),
        (of("DEPLOYING", false, &[]), PowerState::Starting),
        (of("CRASHED", false, &[]), PowerState::Failed),
        (of("NEEDS_APPROVAL", false, &[]), PowerState::Failed),
        (of("REMOVED", false, &[]), PowerState::Stopped),
        (of("SLEEPING", false, &[]), PowerState::Stopped),
        (of("MELTED", false, &[]), PowerState::Unknown),
        (json!(null), PowerState::Stopped),
    ] {
        let (_stage, it) = service_with(service(&latest, &[]), &[]).await;
        assert_eq!(it.status().await.unwrap().state, state, "{latest}");
    }
}

#[actix_web::test]
async fn what_runs_behind_a_failed_deployment_is_seen_and_stopped() {
    let (failed, running) = (deployment("new", PowerState::Failed), deployment("old", PowerState::Running));
    let (stage, it) = service_with(service(&failed, std::slice::from_ref(&running)), &[]).await;
    assert_eq!(it.status().await.unwrap().state, PowerState::Running);
    assert_eq!(it.start().await, Ok(Started::AlreadyRunning));
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    assert_eq!(it.restart().await, Ok(()));
    assert_eq!(mutations(&stage), ["deploymentStop old", "deploymentRestart old"]);
    let (stage, it) = service_with(service(&failed, &[]), &[]).await;
    assert_eq!(it.stop().await, Ok(Stopped::AlreadyStopped));
    assert_eq!(it.start().await, Ok(Started::Accepted));
    assert_eq!(mutations(&stage), ["deploymentRedeploy new"]);
}

#[actix_web::test]
async fn a_deployment_that_is_being_built_is_cancelled_and_the_one_before_it_stopped() {
    let (new, old) = (deployment("new", PowerState::Starting), deployment("old", PowerState::Running));
    let (stage, it) = service_with(service(&new, std::slice::from_ref(&old)), &[]).await;
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    assert_eq!(mutations(&stage), ["deploymentCancel new", "deploymentStop old"]);
    let (stage, it) = service_with(service(&new, &[old]), &["deploymentCancel"]).await;
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    assert_eq!(mutations(&stage), ["deploymentCancel new", "deploymentStop new", "deploymentStop old"]);
}

#[actix_web::test]
async fn what_is_asked_for_is_in_the_schema() {
    let stopped = deployment("dep1", PowerState::Stopped);
    let (anew, it) = service_with(service(&stopped, &[]), &["deploymentRedeploy"]).await;
    it.start().await.unwrap();
    let (new, old) = (deployment("new", PowerState::Starting), deployment("old", PowerState::Running));
    let (stage, it) = service_with(service(&new, &[old]), &[]).await;
    it.stop().await.unwrap();
    it.restart().await.unwrap();
    let asked = [anew.asked(), stage.asked()].concat();
    let queries: Vec<_> = asked.iter().map(|asked| asked.json()["query"].as_str().unwrap().to_owned()).collect();
    let mutations: Vec<_> = queries.iter().filter_map(|query| query.strip_prefix("mutation")).collect();
    assert_eq!(
        mutations,
        [
            "($id:String!){deploymentRedeploy(id:$id,usePreviousImageTag:true){id status}}",
            "($s:String!,$e:String!){serviceInstanceRedeploy(serviceId:$s,environmentId:$e)}",
            "($id:String!){deploymentCancel(id:$id)}",
            "($id:String!){deploymentStop(id:$id)}",
            "($id:String!){deploymentRestart(id:$id)}",
        ]
    );
}

#[actix_web::test]
async fn what_cannot_be_redeployed_is_deployed_anew() {
    let stopped = deployment("dep1", PowerState::Stopped);
    let (stage, it) = service_with(service(&stopped, &[]), &["deploymentRedeploy"]).await;
    assert_eq!(it.start().await, Ok(Started::Accepted));
    assert_eq!(mutations(&stage), ["deploymentRedeploy dep1", "serviceInstanceRedeploy SVC"]);
    let (stage, it) = service_with(service(&json!(null), &[]), &[]).await;
    assert_eq!(it.start().await, Ok(Started::Accepted), "nothing to redeploy");
    assert_eq!(mutations(&stage), ["serviceInstanceRedeploy SVC"]);
    let (_stage, it) = service_with(service(&stopped, &[]), &["Redeploy"]).await;
    assert!(matches!(it.start().await, Err(ProviderError::Permanent(_))));
}

#[actix_web::test]
async fn a_restart_does_not_run_before_it_was_seen() {
    let mut running = deployment("dep1", PowerState::Running);
    running["instances"] = json!([{ "id": "i", "status": "RUNNING" }]);
    let (_stage, it) = service_with(service(&running, &[]), &[]).await;
    assert_eq!(it.status().await.unwrap().state, PowerState::Running);
    assert_eq!(it.restart().await, Ok(()));
    assert_eq!(it.status().await.unwrap().state, PowerState::Starting, "it may be the instance of before");
    let (_stage, refuses) = service_with(service(&running, &[]), &["deploymentRestart"]).await;
    assert_eq!(refuses.restart().await.unwrap_err().code(), "permanent");
    assert_eq!(refuses.status().await.unwrap().state, PowerState::Running);
}
