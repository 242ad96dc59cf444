//! Deployments and stateful sets of a Kubernetes cluster: they run when they have replicas.
//!
//! By the cluster's own HTTP API, of which five requests are needed: no client library is. A service account needs `get` on
//! `deployments` or `statefulsets` of the group `apps`, `patch` on their `scale`, and for restarts `patch` on themselves. An
//! autoscaler that owns the same replicas would undo what is asked for here: it has to be paused.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use futures_util::future::LocalBoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{Exchange, Reply, Request, segment},
};

/// Which workload, and how its cluster is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API is, without a `/` at the end; [`Settings::BASE_URL`] inside of a cluster.
    pub base_url: String,
    /// The cluster's own authorities, next to the system's; [`Settings::CA_FILE`] inside of a cluster.
    pub ca_file: Option<PathBuf>,
    /// Who asks.
    pub token: Token,
    /// The namespace.
    pub namespace: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How many replicas it has when it runs, at least 1.
    pub replicas: u32,
}

impl Settings {
    /// The API's address inside of a cluster.
    pub const BASE_URL: &'static str = "https://kubernetes.default.svc";
    /// Where a pod has its cluster's authorities.
    pub const CA_FILE: &'static str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    /// Where a pod has its token.
    pub const TOKEN_FILE: &'static str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
}

/// A bearer token.
#[derive(Clone, Debug)]
pub enum Token {
    /// In a file that is read for every call: a pod's token is replaced within the hour.
    File(PathBuf),
    /// As it is.
    Fixed(SecretString),
}

/// What has the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A deployment. A restart needs room for a second pod, unless its strategy is `Recreate`.
    Deployment,
    /// A stateful set.
    StatefulSet,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
        }
    }
}

/// A workload.
#[derive(Debug)]
pub struct Kubernetes {
    settings: Settings,
    exchange: Exchange,
}

impl Kubernetes {
    /// A workload that nothing was asked of yet. Fails if the CA file cannot be used.
    pub fn new(settings: Settings, timeout: Duration) -> Result<Self, ProviderError> {
        let exchange = match &settings.ca_file {
            Some(file) => Exchange::with_authorities(timeout, file)?,
            None => Exchange::new(timeout),
        };
        Ok(Self { settings, exchange })
    }

    fn url(&self, rest: &str) -> String {
        let Settings { base_url, namespace, kind, name, .. } = &self.settings;
        let (namespace, name) = (segment(namespace), segment(name));
        format!("{base_url}/apis/apps/v1/namespaces/{namespace}/{}/{name}{rest}", kind.path())
    }

    async fn send(&self, request: Request<'_>) -> Result<Reply, ProviderError> {
        let token = match &self.settings.token {
            Token::Fixed(token) => token.clone(),
            Token::File(file) => {
                let unreadable = |_| ProviderError::permanent("the token's file cannot be read");
                SecretString::from(fs::read_to_string(file).map_err(unreadable)?.trim().to_owned())
            }
        };
        let reply = self.exchange.keeping([token.clone()]).send(request.bearer(&token)).await?;
        if reply.is_success() { Ok(reply) } else { Err(refusal(&reply)) }
    }

    async fn change(&self, rest: &str, patch: &Value) -> Result<(), ProviderError> {
        let url = self.url(rest);
        self.send(Request::merge(&url, patch)).await?.expect_json().map(drop)
    }

    async fn read(&self) -> Result<Workload, ProviderError> {
        let url = self.url("");
        let reply = self.send(Request::get(&url)).await?;
        Ok(Workload { body: reply.expect_json()?, reply })
    }

    async fn scale(&self, replicas: u32) -> Result<(), ProviderError> {
        self.change("/scale", &json!({ "spec": { "replicas": replicas } })).await
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        if self.read().await?.wanted() > 0 {
            return Ok(Started::AlreadyRunning);
        }
        self.scale(self.settings.replicas.max(1)).await.map(|()| Started::Accepted)
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        if self.read().await?.wanted() == 0 {
            return Ok(Stopped::AlreadyStopped);
        }
        self.scale(0).await.map(|()| Stopped::Accepted)
    }

    /// Replaces every pod, as `kubectl rollout restart` does.
    async fn begin_anew(&self) -> Result<(), ProviderError> {
        if self.run().await? == Started::Accepted {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mark = json!({ "tandem/restarted-at": now.to_string() });
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": mark } } } });
        self.change("", &patch).await
    }
}

impl Provider for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        Box::pin(self.exchange.within(self.run()))
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        Box::pin(self.exchange.within(self.halt()))
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(self.exchange.within(self.begin_anew()))
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        Box::pin(self.exchange.within(async {
            let workload = self.read().await?;
            let (state, said) = workload.state();
            Ok(Status::of(state).with_detail(workload.reply.remark(&said)))
        }))
    }
}

/// What the cluster says of a workload.
struct Workload {
    body: Value,
    reply: Reply,
}

impl Workload {
    fn count(&self, pointer: &str) -> Option<u64> {
        self.body.pointer(pointer).and_then(Value::as_u64)
    }

    fn wanted(&self) -> u64 {
        // What is not said is 1, by the API's own rules.
        self.count("/spec/replicas").unwrap_or(1)
    }

    fn condition(&self, kind: &str, status: &str) -> Option<String> {
        let conditions = self.body.pointer("/status/conditions").and_then(Value::as_array)?;
        let found = conditions.iter().find(|it| it["type"] == kind && it["status"] == status)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Some(format!("{}: {}", text("reason"), text("message")))
    }

    fn state(&self) -> (PowerState, String) {
        let wanted = self.wanted();
        let ready = self.count("/status/readyReplicas").unwrap_or(0);
        if wanted == 0 {
            let are_gone = self.count("/status/replicas").unwrap_or(0) == 0;
            return (if are_gone { PowerState::Stopped } else { PowerState::Stopping }, String::new());
        }
        let how_many = format!("{ready} of {wanted} ready");
        if ready > 0 {
            return (PowerState::Running, how_many);
        }
        match self.condition("ReplicaFailure", "True") {
            Some(reason) => (PowerState::Failed, reason),
            // A node with a GPU may take longer than the cluster finds normal: that alone is no failure.
            None => (PowerState::Starting, self.condition("Progressing", "False").unwrap_or(how_many)),
        }
    }
}

/// Two who write at once are told to try again.
fn refusal(reply: &Reply) -> ProviderError {
    match (reply.status, reply.refusal()) {
        (409, ProviderError::Permanent(said)) => ProviderError::Transient(said),
        (_, other) => other,
    }
}
