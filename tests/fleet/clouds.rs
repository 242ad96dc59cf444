//! Clouds of one machine each, as their documentation has them, traps included.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
#[cfg(feature = "docker")]
use tandem::fleet::provider::docker;
#[cfg(feature = "kubernetes")]
use tandem::fleet::provider::kubernetes;
use tandem::fleet::provider::{Exchange, PowerState, Provider, railway, runpod, vast, webhook};

use super::stage::{Answer, Asked, Stage};

/// The secret of every provider here. It may not be seen anywhere.
pub const SECRET: &str = "marker-0123456789";

pub fn secret() -> SecretString {
    SECRET.into()
}

/// Which provider is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    RunPod,
    Vast,
    Railway,
    Webhook,
    #[cfg(feature = "kubernetes")]
    Kubernetes,
    #[cfg(feature = "docker")]
    Docker,
}

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::RunPod,
        Kind::Vast,
        Kind::Railway,
        Kind::Webhook,
        #[cfg(feature = "kubernetes")]
        Kind::Kubernetes,
        #[cfg(feature = "docker")]
        Kind::Docker,
    ];

    /// The provider of this kind that asks at this address.
    pub fn at(self, url: &str, timeout: Duration) -> Box<dyn Provider> {
        let exchange = &Exchange::new(timeout);
        match self {
            Kind::RunPod => Box::new(runpod::RunPod::new(pod_at(url), exchange)),
            Kind::Vast => Box::new(vast::Vast::new(instance_at(url), exchange)),
            Kind::Railway => Box::new(railway::Railway::new(service_at(url), exchange)),
            Kind::Webhook => Box::new(webhook::Webhook::new(hooks_at(url), exchange)),
            #[cfg(feature = "kubernetes")]
            Kind::Kubernetes => Box::new(kubernetes::Kubernetes::new(workload_at(url), timeout).unwrap()),
            #[cfg(feature = "docker")]
            Kind::Docker => Box::new(docker::Docker::new(container_at(url), timeout)),
        }
    }

    const fn is_docker(self) -> bool {
        match self {
            #[cfg(feature = "docker")]
            Kind::Docker => true,
            _ => false,
        }
    }

    /// Whether it has a secret that it could tell.
    pub fn has_secret(self) -> bool {
        !self.is_docker()
    }

    /// Whether the bodies of its answers to a start, a stop and a restart count.
    pub fn has_answers(self) -> bool {
        self != Kind::Webhook && !self.is_docker()
    }

    /// A cloud of this kind whose machine is stopped.
    pub async fn cloud(self) -> Stage {
        let mut machine = Machine { state: PowerState::Stopped };
        match self {
            Kind::RunPod => Stage::open(move |asked| machine.runpod(asked)).await,
            Kind::Vast => Stage::open(move |asked| machine.vast(asked)).await,
            Kind::Railway => Stage::open(move |asked| machine.railway(asked)).await,
            Kind::Webhook => Stage::open(move |asked| machine.webhook(asked)).await,
            #[cfg(feature = "kubernetes")]
            Kind::Kubernetes => Stage::open(move |asked| machine.kubernetes(asked)).await,
            #[cfg(feature = "docker")]
            Kind::Docker => Stage::open(move |asked| machine.docker(asked)).await,
        }
    }
}

pub fn pod_at(url: &str) -> runpod::Settings {
    runpod::Settings { api_key: secret(), base_url: format!("{url}/v2"), pod_id: "pod1".into(), port: Some(8998) }
}

pub fn instance_at(url: &str) -> vast::Settings {
    vast::Settings { api_key: secret(), base_url: format!("{url}/api/v0"), instance_id: 77, port: Some(8998) }
}

pub fn service_at(url: &str) -> railway::Settings {
    railway::Settings {
        token: railway::Token::Project(secret()),
        base_url: format!("{url}/graphql/v2"),
        service_id: "SVC".into(),
        environment_id: "ENV".into(),
    }
}

/// What signs the requests to webhooks.
pub const SIGNING_KEY: &str = "signed-4567890123";

/// Hooks whose key, header and URLs have each a secret of its own; those of the URLs are in the path and in the query.
pub fn hooks_at(url: &str) -> webhook::Settings {
    let to = |path: &str| SecretString::from(format!("{url}{path}"));
    webhook::Settings {
        machine: "gpu/1".into(),
        start_url: to("/hooks/st4rt-path/{machine}/{action}?token=st4rt-query"),
        stop_url: to("/hooks/st0p-path/{machine}/{action}?token=st0p-query"),
        restart_url: Some(to("/hooks/rest4rt-path/{machine}/{action}?token=rest4rt-query")),
        status_url: Some(to("/hooks/st4tus-path/{machine}/{action}?token=st4tus-query")),
        state_pointer: "/machine/state".into(),
        address_pointer: Some("/machine/at".into()),
        signing_key: Some(SIGNING_KEY.into()),
        headers: vec![("authorization".into(), format!("Bearer {SECRET}").into())],
    }
}

#[cfg(feature = "kubernetes")]
pub fn workload_at(url: &str) -> kubernetes::Settings {
    kubernetes::Settings {
        base_url: Some(url.to_owned()),
        ca_file: None,
        token: Some(kubernetes::Token::Fixed(secret())),
        namespace: "voice".into(),
        kind: kubernetes::Kind::Deployment,
        name: "model".into(),
        replicas: 2,
    }
}

#[cfg(feature = "docker")]
pub fn container_at(url: &str) -> docker::Settings {
    docker::Settings {
        daemon: docker::Daemon::Url(url.to_owned()),
        container: "model".into(),
        grace: Duration::from_secs(30),
    }
}

/// What Railway's schema has of what is to be known.
const READ: &str = "query($s: String!, $e: String!) { serviceInstance(serviceId: $s, environmentId: $e) {
    latestDeployment { id status deploymentStopped instances { id status } }
    activeDeployments { id status deploymentStopped instances { id status } }
} }";

/// A machine. What it does takes one look at it.
struct Machine {
    state: PowerState,
}

impl Machine {
    /// What it does, and does from now on.
    fn look(&mut self) -> PowerState {
        let seen = self.state;
        self.state = match seen {
            PowerState::Starting => PowerState::Running,
            PowerState::Stopping => PowerState::Stopped,
            other => other,
        };
        seen
    }

    fn is_off(&self) -> bool {
        matches!(self.state, PowerState::Stopped | PowerState::Stopping)
    }

    fn runpod(&mut self, asked: &Asked) -> Answer {
        let problem = |status: u16, detail: &str| {
            let body = json!({ "title": "Problem", "status": status, "detail": detail });
            Answer::Whole(status, vec![("content-type", "application/problem+json".into())], body.to_string())
        };
        if !has_bearer(asked) {
            return problem(401, "unauthorized");
        }
        match (asked.method.as_str(), asked.path.as_str(), &asked.json()) {
            ("GET", "/v2/pods/pod1", _) => Answer::json(200, &pod(self.look())),
            ("POST", "/v2/pods/pod1/action", body) if body.as_object().is_some_and(|body| body.len() == 1) => {
                match (body["action"].as_str().unwrap(), self.state) {
                    ("start", PowerState::Stopped) => self.state = PowerState::Starting,
                    ("stop", PowerState::Starting | PowerState::Running) => self.state = PowerState::Stopped,
                    ("restart", PowerState::Running) => self.state = PowerState::Starting,
                    _ => return problem(409, "action not valid for the pod's status"),
                }
                Answer::json(200, &pod(self.state))
            }
            ("POST", "/v2/pods/pod1/action", _) => problem(422, "additional properties not allowed"),
            _ => problem(404, "pod not found"),
        }
    }

    fn vast(&mut self, asked: &Asked) -> Answer {
        if !has_bearer(asked) {
            return Answer::json(401, &json!({ "success": false, "error": "auth_error", "msg": "Invalid user key" }));
        }
        match (asked.method.as_str(), asked.path.as_str(), asked.json()["state"].as_str()) {
            ("GET", "/api/v0/instances/77/", _) => return Answer::json(200, &instance(self.look())),
            ("PUT", "/api/v0/instances/77/", Some("running")) if self.is_off() => self.state = PowerState::Starting,
            ("PUT", "/api/v0/instances/77/", Some("stopped")) if !self.is_off() => self.state = PowerState::Stopping,
            ("PUT", "/api/v0/instances/77/", Some("running" | "stopped")) => {}
            ("PUT", "/api/v0/instances/reboot/77/", None) if !self.is_off() => self.state = PowerState::Starting,
            _ => return Answer::text(404, "<html>Not Found</html>"),
        }
        Answer::json(200, &json!({ "success": true }))
    }

    fn railway(&mut self, asked: &Asked) -> Answer {
        let data = |data: Value| Answer::json(200, &json!({ "data": data }));
        if asked.header("project-access-token") != Some(SECRET) {
            return graphql_error("Project Token not found");
        }
        let (body, state) = (asked.json(), self.state);
        let query = body["query"].as_str().unwrap();
        let is_ours = body["variables"] == json!({ "s": "SVC", "e": "ENV" });
        if query.replace(' ', "") == READ.replace([' ', '\n'], "") && is_ours {
            let deployment = deployment("dep1", self.look());
            return data(json!({ "serviceInstance": {
                "latestDeployment": deployment, "activeDeployments": [deployment],
            } }));
        }
        let (name, next) = match state {
            PowerState::Stopped => ("deploymentRedeploy", PowerState::Starting),
            PowerState::Starting => ("deploymentCancel", PowerState::Stopped),
            PowerState::Running if query.contains("deploymentRestart") => ("deploymentRestart", PowerState::Starting),
            _ => ("deploymentStop", PowerState::Stopping),
        };
        if !query.contains(name) || body["variables"] != json!({ "id": "dep1" }) {
            return graphql_error("Deployment cannot do that");
        }
        self.state = next;
        data(json!({ name: true }))
    }

    fn webhook(&mut self, asked: &Asked) -> Answer {
        if !has_bearer(asked) {
            return Answer::text(401, "");
        }
        let [_, "hooks", _, path] = asked.path.splitn(4, '/').collect::<Vec<_>>()[..] else {
            return Answer::text(404, "");
        };
        match (asked.method.as_str(), path.split('?').next().unwrap()) {
            ("GET", "gpu%2F1/status") => {
                return Answer::json(200, &json!({ "machine": { "state": self.look().code() } }));
            }
            ("POST", "gpu%2F1/start") if self.is_off() => self.state = PowerState::Starting,
            ("POST", "gpu%2F1/stop") if !self.is_off() => self.state = PowerState::Stopping,
            ("POST", "gpu%2F1/restart") => self.state = PowerState::Starting,
            ("POST", "gpu%2F1/start" | "gpu%2F1/stop") => return Answer::text(409, ""),
            _ => return Answer::text(404, ""),
        }
        Answer::text(202, "")
    }

    #[cfg(feature = "kubernetes")]
    fn kubernetes(&mut self, asked: &Asked) -> Answer {
        let failure = |code: u16, reason: &str| {
            let body =
                json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": "no", "code": code });
            Answer::json(code, &body)
        };
        if !has_bearer(asked) {
            return failure(401, "Unauthorized");
        }
        let path = "/apis/apps/v1/namespaces/voice/deployments/model";
        let Some(rest) = asked.path.strip_prefix(path) else { return failure(404, "NotFound") };
        let is_merge = asked.header("content-type") == Some("application/merge-patch+json");
        match (asked.method.as_str(), rest, &asked.json()["spec"]) {
            ("GET", "", _) => return Answer::json(200, &workload(self.look())),
            ("GET", "/scale", _) => return Answer::json(200, &scale(if self.is_off() { 0 } else { 2 })),
            ("PATCH", _, _) if !is_merge => return failure(415, "UnsupportedMediaType"),
            ("PATCH", "/scale", spec) if *spec == json!({ "replicas": 2 }) => self.state = PowerState::Starting,
            ("PATCH", "/scale", spec) if *spec == json!({ "replicas": 0 }) => self.state = PowerState::Stopping,
            ("PATCH", "", spec) if spec["template"].is_object() => {
                self.state = PowerState::Starting;
                return Answer::json(200, &workload(self.state));
            }
            _ => return failure(422, "Invalid"),
        }
        Answer::json(200, &scale(if self.is_off() { 0 } else { 2 }))
    }

    #[cfg(feature = "docker")]
    fn docker(&mut self, asked: &Asked) -> Answer {
        let (next, same) = match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/containers/model/json") => return Answer::json(200, &container(self.look())),
            ("POST", "/containers/model/start") => (PowerState::Running, !self.is_off()),
            ("POST", "/containers/model/stop?t=30") => (PowerState::Stopped, self.is_off()),
            ("POST", "/containers/model/restart?t=30") => (PowerState::Running, false),
            _ => return Answer::json(404, &json!({ "message": "No such container" })),
        };
        self.state = next;
        Answer::text(if same { 304 } else { 204 }, "")
    }
}

fn has_bearer(asked: &Asked) -> bool {
    asked.header("authorization") == Some(&format!("Bearer {SECRET}"))
}

pub fn graphql_error(message: &str) -> Answer {
    Answer::json(200, &json!({ "errors": [{ "message": message, "extensions": {} }], "data": null }))
}

/// A pod as RunPod describes it.
pub fn pod(state: PowerState) -> Value {
    let port = json!({ "private": 8998, "public": 34446, "type": "tcp", "ip": "195.26.233.3" });
    let runtime = json!({ "uptime": 3600, "ports": [port] });
    let (status, runtime) = match state {
        PowerState::Running => ("RUNNING", runtime),
        PowerState::Starting => ("STARTING", Value::Null),
        PowerState::Failed => ("ERROR", Value::Null),
        _ => ("EXITED", Value::Null),
    };
    json!({
        "id": "pod1", "status": status, "runtime": runtime, "ports": ["8998/tcp"], "locked": false, "cost": 0.44,
        "ssh": { "direct": { "host": "195.26.233.3", "port": 34447 } },
    })
}

/// An instance as Vast describes it.
pub fn instance(state: PowerState) -> Value {
    let (actual, intended) = match state {
        PowerState::Running => (json!("running"), "running"),
        PowerState::Starting => (json!("loading"), "running"),
        PowerState::Stopping => (json!("running"), "stopped"),
        _ => (json!("exited"), "stopped"),
    };
    json!({ "instances": {
        "id": 77, "actual_status": actual, "intended_status": intended, "cur_state": intended, "next_state": intended,
        "status_msg": null, "public_ipaddr": "70.1.2.3\n",
        "ports": { "8998/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "40123" }, { "HostIp": "::", "HostPort": "40123" }] },
    } })
}

/// A deployment as Railway describes it.
pub fn deployment(id: &str, state: PowerState) -> Value {
    let (status, stopped, instance) = match state {
        PowerState::Running => ("SUCCESS", false, "RUNNING"),
        PowerState::Starting => ("DEPLOYING", false, "CREATED"),
        PowerState::Stopping => ("SUCCESS", false, "REMOVING"),
        PowerState::Failed => ("FAILED", false, "CRASHED"),
        _ => ("SUCCESS", true, "STOPPED"),
    };
    json!({
        "id": id, "status": status, "deploymentStopped": stopped, "instances": [{ "id": "i", "status": instance }],
    })
}

/// A deployment as Kubernetes describes it.
#[cfg(feature = "kubernetes")]
pub fn workload(state: PowerState) -> Value {
    let (wanted, there, ready) = match state {
        PowerState::Running => (2, 2, 2),
        PowerState::Starting => (2, 2, 0),
        PowerState::Stopping => (0, 1, 1),
        _ => (0, 0, 0),
    };
    // Counts that are 0 are left out.
    let mut status = json!({ "observedGeneration": 3, "conditions": [], "terminatingReplicas": 0 });
    for (key, count) in [("replicas", there), ("updatedReplicas", there), ("readyReplicas", ready)] {
        if count > 0 {
            status[key] = json!(count);
        }
    }
    let metadata = json!({ "name": "model", "generation": 3 });
    let spec = json!({ "replicas": wanted });
    json!({ "kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec, "status": status })
}

/// How many replicas a workload is to have, as Kubernetes says it.
#[cfg(feature = "kubernetes")]
pub fn scale(wanted: u32) -> Value {
    // A count that is 0 is left out.
    let spec = if wanted == 0 { json!({}) } else { json!({ "replicas": wanted }) };
    let metadata = json!({ "name": "model", "namespace": "voice" });
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": { "replicas": 0 } })
}

/// A container as Docker describes it.
#[cfg(feature = "docker")]
pub fn container(state: PowerState) -> Value {
    let (status, code) = if state == PowerState::Running { ("running", 0) } else { ("exited", 143) };
    json!({ "Id": "7f", "Name": "/model", "State": {
        "Status": status, "Running": status == "running", "OOMKilled": false, "ExitCode": code,
    } })
}
