//! Providers as they come out of a configuration: whom they ask, for what, and with which credential.

use tandem::{
    config::{self, ConfigFile, Environment, Settings},
    fleet::provider::{BuildError, Exchange, PowerState, Provider},
};

use super::{
    command::Desk,
    contract::settles,
    stage::{Answer, Asked, PATIENCE, Stage},
};

fn settings(text: &str) -> Settings {
    config::load(Some(&ConfigFile { name: "tandem.toml".into(), text: text.into() }), &Environment::new()).unwrap()
}

/// The provider of the one server that is configured.
fn provider(text: &str) -> Result<Box<dyn Provider>, BuildError> {
    let settings = settings(text);
    settings.fleet.provider(&settings.upstreams.urls[0], &Exchange::new(PATIENCE))
}

/// What is asked for the status of the machine of this server, with these settings of its provider.
async fn asked(url: &str, section: &str, keys: &str) -> Asked {
    let stage = Stage::repeating(Answer::text(500, "")).await;
    let keys = keys.replace("STAGE", &stage.url);
    let made = provider(&format!("[upstreams]\nurls = [\"{url}\"]\n[providers.{section}]\n{keys}")).unwrap();
    assert_eq!(made.name(), section);
    assert_eq!(made.status().await.unwrap_err().code(), "transient");
    stage.asked().remove(0)
}

#[actix_web::test]
async fn a_pod_is_asked_for_with_its_id_and_the_key() {
    let asked = asked("ws://a:1#provider=runpod:p0d", "runpod", "api_key = \"k3y\"\nbase_url = \"STAGE/v2/\"").await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/v2/pods/p0d"));
    assert_eq!(asked.header("authorization"), Some("Bearer k3y"));
}

#[actix_web::test]
async fn an_instance_is_asked_for_with_its_number_and_the_key() {
    let asked = asked("ws://a:1#provider=vast:42", "vast", "api_key = \"k3y\"\nbase_url = \"STAGE\"").await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/instances/42/"));
    assert_eq!(asked.header("authorization"), Some("Bearer k3y"));
}

#[actix_web::test]
async fn a_service_is_asked_for_with_its_environment_and_the_token_of_its_kind() {
    for (key, header, value) in
        [("project_token", "project-access-token", "t0ken"), ("account_token", "authorization", "Bearer t0ken")]
    {
        let keys = format!("{key} = \"t0ken\"\nbase_url = \"STAGE/graphql\"");
        let asked = asked("ws://a:1#provider=railway:env/svc", "railway", &keys).await;
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/graphql"));
        assert_eq!(asked.header(header), Some(value));
        let variables = &asked.json()["variables"];
        assert_eq!((&variables["s"], &variables["e"]), (&"svc".into(), &"env".into()));
    }
}

#[actix_web::test]
async fn a_webhook_is_asked_with_what_the_machine_is_called_there_signed_and_authorized() {
    let keys = "start_url = \"STAGE/x\"\nstop_url = \"STAGE/x\"\nstatus_url = \"STAGE/{machine}/{action}\"\n\
                secret = \"whsec\"\nauthorization = \"Basic x\"";
    let asked = asked("ws://a:1#provider=webhook:rack/1", "webhook", keys).await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/rack%2F1/status"));
    assert_eq!(asked.header("authorization"), Some("Basic x"));
    assert!(asked.header("tandem-signature").is_some_and(|signature| signature.starts_with("sha256=")));
}

#[cfg(feature = "docker")]
#[actix_web::test]
async fn a_container_is_asked_for_by_its_name() {
    let container = asked("ws://a:1#provider=docker:voice", "docker", "daemon = \"STAGE/far\"").await;
    assert_eq!((container.method.as_str(), container.path.as_str()), ("GET", "/far/containers/voice/json"));
}

#[cfg(feature = "kubernetes")]
#[actix_web::test]
async fn a_workload_is_asked_for_by_its_name_and_with_the_token() {
    let keys = "base_url = \"STAGE/far\"\ntoken = \"t0ken\"";
    let workload = asked("ws://a:1#provider=kubernetes:ns/statefulset/voice", "kubernetes", keys).await;
    assert_eq!(workload.path, "/far/apis/apps/v1/namespaces/ns/statefulsets/voice");
    assert_eq!(workload.header("authorization"), Some("Bearer t0ken"));
}

#[actix_web::test]
async fn a_provider_that_is_not_built_in_says_how_it_would_be() {
    for (machine, name, is_on) in [
        ("docker:voice", "docker", cfg!(feature = "docker")),
        ("kubernetes:ns/deployment/voice", "kubernetes", cfg!(feature = "kubernetes")),
    ] {
        let made = provider(&format!("[upstreams]\nurls = [\"ws://a:1#provider={machine}\"]\n"));
        let told = made.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(matches!(&made, Err(BuildError::NotBuiltIn(told)) if *told == name), !is_on, "{made:?}");
        assert_eq!(told.contains(&format!("--features {name}")) && told.contains("provider=webhook"), !is_on, "{told}");
    }
}

/// The settings of a local process that says its words and one variable, and waits.
fn local(desk: &Desk, variable: &str) -> String {
    let state = desk.path("").display().to_string();
    format!(
        "[upstreams]\nurls = [\"ws://[::1]:8998#provider=command:big\"]\n[state]\ndir = \"{state}\"\n[providers.command]\n\
         start = \"sh -c 'echo $0 $@ $CARGO_PKG_NAME $CARGO_PKG_VERSION; exec sleep 1000' {{name}} {{host}} '{{port}} x'\"\n\
         environment = [\"{variable}\"]\ngrace_seconds = 1\noutput = \"{state}/command-{{name}}.log\"\n"
    )
}

#[actix_web::test]
async fn a_process_gets_its_name_host_and_port_and_the_variables_that_are_named() {
    let desk = Desk::new();
    let made = provider(&local(&desk, "CARGO_PKG_NAME")).unwrap();
    made.start().await.unwrap();
    settles(&*made, PowerState::Running, PowerState::Starting).await;
    desk.hears_in("command-big.log", "big ::1 8998 x tandem\n").await;
    assert!(desk.path("command-big.pid").exists(), "a later Tandem finds it");
    let later = provider(&local(&desk, "CARGO_PKG_NAME")).unwrap();
    assert_eq!(later.status().await.unwrap().state, PowerState::Running);
    made.stop().await.unwrap();
    settles(&*made, PowerState::Stopped, PowerState::Stopping).await;
}

#[actix_web::test]
async fn a_variable_that_is_not_there_is_told_by_its_name() {
    let desk = Desk::new();
    let error = provider(&local(&desk, "TANDEM_NO_SUCH_VARIABLE")).unwrap_err();
    assert_eq!(error, BuildError::NoVariable("TANDEM_NO_SUCH_VARIABLE".to_owned()));
}

#[actix_web::test]
async fn a_server_without_a_machine_is_always_on() {
    let made = provider("[upstreams]\nurls = [\"ws://a:1\"]\n").unwrap();
    assert_eq!((made.name(), made.status().await.unwrap().state), ("none", PowerState::Running));
}

#[actix_web::test]
async fn a_pod_has_the_address_that_its_status_tells_unless_it_is_reached_through_the_proxy() {
    let pod = serde_json::json!({
        "id": "p0d", "status": "RUNNING", "ports": ["8998/tcp"],
        "runtime": { "ports": [{ "type": "tcp", "private": 8998, "public": 40123, "ip": "1.2.3.4" }] },
    });
    let stage = Stage::repeating(Answer::json(200, &pod)).await;
    for (host, port, found) in [
        ("wss://p0d.internal", 8998, Some("1.2.3.4:40123")),
        ("wss://p0d.internal", 9000, None),
        ("wss://p0d.internal", 0, None),
        ("wss://p0d-8998.proxy.runpod.net", 8998, None),
    ] {
        let url = &stage.url;
        let made = provider(&format!(
            "[upstreams]\nurls = [\"{host}#provider=runpod:p0d\"]\n[providers.runpod]\napi_key = \"k\"\nbase_url = \"{url}\"\n\
             port = {port}\n"
        ));
        let status = made.unwrap().status().await.unwrap();
        assert_eq!(status.state, PowerState::Running);
        assert_eq!(status.address.map(|address| address.to_string()).as_deref(), found, "{host} {port}");
    }
}
