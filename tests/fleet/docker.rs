//! Docker's own ways.

use std::time::Duration;

use serde_json::json;
use tandem::fleet::provider::{
    PowerState, Provider, Started, Stopped,
    docker::{Daemon, Docker, Settings},
};
use tokio::sync::oneshot;

use super::{
    clouds::{SECRET, container, container_at},
    command::Desk,
    contract::settles,
    log::Log,
    stage::{Answer, Asked, PATIENCE, Stage},
};

#[actix_web::test]
async fn a_daemon_is_asked_over_its_socket() {
    let desk = Desk::new();
    let socket = desk.path("docker.sock");
    let settings = Settings { daemon: Daemon::Socket(socket.clone()), ..container_at("") };
    let it = Docker::new(settings, PATIENCE);
    assert_eq!(it.status().await.unwrap_err().code(), "transient", "nobody is there yet");
    let play = |asked: &Asked| match asked.method.as_str() {
        "GET" => Answer::json(200, &container(PowerState::Running)),
        _ => Answer::text(304, ""),
    };
    let stage = Stage::at_socket(&socket, play).await;
    assert_eq!(it.status().await.unwrap().state, PowerState::Running);
    assert_eq!(it.start().await, Ok(Started::AlreadyRunning));
    assert_eq!(stage.lines(), ["GET /containers/model/json", "POST /containers/model/start"]);
}

#[actix_web::test]
async fn each_status_has_its_state() {
    for (state, expected) in [
        (json!({ "Status": "created" }), PowerState::Stopped),
        (json!({ "Status": "running", "Health": { "Status": "starting" } }), PowerState::Running),
        (json!({ "Status": "restarting" }), PowerState::Starting),
        (json!({ "Status": "removing" }), PowerState::Stopping),
        (json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": false }), PowerState::Stopped),
        (json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": true }), PowerState::Failed),
        (json!({ "Status": "dead" }), PowerState::Failed),
        (json!({ "Status": "paused" }), PowerState::Unknown),
        (json!({ "Status": "melted" }), PowerState::Unknown),
        (json!({}), PowerState::Unknown),
    ] {
        let stage = Stage::repeating(Answer::json(200, &json!({ "State": state }))).await;
        let it = Docker::new(container_at(&stage.url), PATIENCE);
        assert_eq!(it.status().await.unwrap().state, expected, "{state}");
    }
}

#[actix_web::test]
async fn a_conflict_passes() {
    let stage = Stage::repeating(Answer::json(409, &json!({ "message": "container is paused" }))).await;
    let it = Docker::new(container_at(&stage.url), PATIENCE);
    assert_eq!(it.start().await.unwrap_err().code(), "transient");
    assert_eq!(it.stop().await.unwrap_err().code(), "transient");
    assert_eq!(it.stop().await.unwrap_err().code(), "transient", "the first one is over");
}

/// A daemon that answers a stop when it is told to; any other request at once.
async fn slow_daemon() -> (Stage, oneshot::Sender<()>) {
    let (done, mut is_done) = oneshot::channel::<()>();
    let stage = Stage::open(move |asked| match (asked.method.as_str(), is_done.try_recv()) {
        ("GET", Err(oneshot::error::TryRecvError::Empty)) => Answer::json(200, &container(PowerState::Running)),
        ("GET", _) => Answer::json(200, &container(PowerState::Stopped)),
        _ => Answer::Silence(String::new()),
    });
    (stage.await, done)
}

#[actix_web::test]
async fn a_stop_that_takes_its_time_goes_on_behind() {
    let (stage, done) = slow_daemon().await;
    let it = Docker::new(container_at(&stage.url), Duration::from_millis(50));
    assert_eq!(it.stop().await, Ok(Stopped::Accepted));
    assert_eq!(it.stop().await, Ok(Stopped::AlreadyStopped), "it is asked once");
    assert_eq!(it.status().await.unwrap().state, PowerState::Stopping);
    assert_eq!(it.start().await.unwrap_err().code(), "transient");
    assert_eq!(it.restart().await.unwrap_err().code(), "transient");
    done.send(()).unwrap();
    settles(&it, PowerState::Stopped, PowerState::Stopping).await;
    let asked = stage.lines().into_iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(asked, 1);
}

#[actix_web::test]
async fn a_restart_that_takes_its_time_is_over_when_another_run_began() {
    let begins = |at: &str, state: PowerState| {
        let mut said = container(state);
        said["State"]["StartedAt"] = json!(at);
        Answer::json(200, &said)
    };
    let mut looks = [
        begins("one", PowerState::Running),
        begins("one", PowerState::Running),
        begins("one", PowerState::Stopped),
        begins("two", PowerState::Running),
    ]
    .into_iter();
    let stage = Stage::open(move |asked| match asked.method.as_str() {
        "GET" => looks.next().unwrap(),
        _ => Answer::Silence(String::new()),
    });
    let stage = stage.await;
    let it = Docker::new(container_at(&stage.url), Duration::from_millis(200));
    assert_eq!(it.restart().await, Ok(()), "it goes on behind");
    for state in [PowerState::Starting, PowerState::Starting, PowerState::Running] {
        assert_eq!(it.status().await.unwrap().state, state);
    }
}

#[actix_web::test]
async fn the_environment_of_a_container_is_not_logged() {
    let log = Log::open();
    let mut inspected = container(PowerState::Running);
    inspected["Config"] = json!({ "Env": [format!("HF_TOKEN={SECRET}")] });
    for body in [inspected.to_string(), format!("[{inspected}]"), inspected.to_string().replace('}', "")] {
        let stage = Stage::repeating(Answer::text(200, &body)).await;
        let it = Docker::new(container_at(&stage.url), PATIENCE);
        let shown = format!("{:?}", it.status().await);
        assert!(!shown.contains(SECRET), "{shown}");
    }
    log.keeps(SECRET);
}
