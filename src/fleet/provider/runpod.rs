//! Pods of RunPod, by its REST API v2.
//!
//! A stopped pod stays tied to its host: when its GPU was rented out meanwhile, a start fails, and the API has no code for
//! that but a sentence. The public port changes with each start. A 409 says that the pod's status does not allow what was
//! asked, mostly because it is so already: its status is read then.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Address, PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{Exchange, Reply, Request, segment},
    renewal::{Renewal, Run},
};

/// Which pod, and how it is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A key that may read and write pods.
    pub api_key: SecretString,
    /// Where the API is, without a `/` at the end; [`Settings::BASE_URL`] is RunPod's.
    pub base_url: String,
    /// The pod.
    pub pod_id: String,
    /// The model server's port inside of the pod; none: the configured address holds.
    pub port: Option<u16>,
}

impl Settings {
    /// The API's own address.
    pub const BASE_URL: &'static str = "https://api.runpod.io/v2";
}

/// A pod.
#[derive(Debug)]
pub struct RunPod {
    settings: Settings,
    exchange: Exchange,
    renewal: Renewal,
}

impl RunPod {
    /// A pod that nothing was asked of yet.
    pub fn new(settings: Settings, exchange: &Exchange) -> Self {
        let exchange = exchange.keeping([settings.api_key.clone()]);
        Self { settings, exchange, renewal: Renewal::default() }
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/pods/{}{rest}", self.settings.base_url, segment(&self.settings.pod_id))
    }

    async fn act(&self, action: &str) -> Result<Reply, ProviderError> {
        let url = self.url("/action");
        let request = Request::post(&url).bearer(&self.settings.api_key).json(&json!({ "action": action }));
        self.exchange.send(request).await
    }

    async fn read(&self) -> Result<Pod, ProviderError> {
        let url = self.url("");
        let reply = self.exchange.send(Request::get(&url).bearer(&self.settings.api_key)).await?;
        if reply.is_success() { Pod::read(&reply) } else { Err(reply.refusal()) }
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        let reply = self.act("start").await?;
        if reply.is_success() {
            return reply.expect_json().map(|_| Started::Accepted);
        }
        if reply.status != 409 {
            return Err(reply.refusal_to_start());
        }
        match self.read().await? {
            pod if pod.state.is_on() => Ok(Started::AlreadyRunning),
            pod if pod.is_gone() => Err(ProviderError::NotFound),
            _ => Err(reply.refusal_to_start()),
        }
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        let reply = self.act("stop").await?;
        if reply.is_success() {
            self.renewal.forget();
            return reply.expect_json().map(|_| Stopped::Accepted);
        }
        if reply.status != 409 {
            return Err(reply.refusal());
        }
        match self.read().await? {
            pod if matches!(pod.state, PowerState::Stopped | PowerState::Failed) => Ok(Stopped::AlreadyStopped),
            pod if pod.is_locked => Err(ProviderError::permanent("the pod is locked: unlock it at the provider")),
            _ => Err(reply.refusal()),
        }
    }

    async fn begin_anew(&self) -> Result<(), ProviderError> {
        /// A container that is told to end and begins anew takes less.
        const PATIENCE: Duration = Duration::from_secs(5 * 60);
        // The run that is to end is the one of now.
        self.see(&self.read().await?);
        self.renewal.begin(PATIENCE);
        let reply = self.act("restart").await?;
        let answer = match reply.status {
            200..=299 => return reply.expect_json().map(drop),
            409 => self.run().await.map(drop),
            _ => Err(reply.refusal_to_start()),
        };
        if reply.status < 500 {
            self.renewal.forget();
        }
        answer
    }

    /// What it does, and where it is reached.
    fn see(&self, pod: &Pod) -> (PowerState, Option<Address>) {
        let address = self.settings.port.and_then(|port| pod.address(&self.settings.pod_id, port));
        let began = ["startedAt", "lastStartedAt"].iter().find_map(|key| pod.body[*key].as_str());
        let uptime = pod.body.pointer("/runtime/uptime").and_then(Value::as_u64);
        let run = Run { began: began.map(str::to_owned), uptime, address: address.clone() };
        (self.renewal.see(pod.state, run), address)
    }
}

impl Provider for RunPod {
    fn name(&self) -> &'static str {
        "runpod"
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
            let pod = self.read().await?;
            let (state, address) = self.see(&pod);
            Ok(Status { state, address, detail: pod.said })
        }))
    }
}

/// What the API says of a pod.
struct Pod {
    state: PowerState,
    is_locked: bool,
    said: Option<super::Detail>,
    body: Value,
}

impl Pod {
    fn read(reply: &Reply) -> Result<Self, ProviderError> {
        let body = reply.expect_json()?;
        let word = body["status"].as_str().unwrap_or_default();
        let is_locked = body["locked"] == true;
        let (state, said) = match word {
            "RUNNING" if !body["runtime"].is_object() => (PowerState::Running, "its container has not begun"),
            "RUNNING" if is_locked => (PowerState::Running, "locked: it cannot be stopped"),
            "RUNNING" => (PowerState::Running, ""),
            "PROVISIONING" | "STARTING" => (PowerState::Starting, ""),
            "EXITED" => (PowerState::Stopped, ""),
            "ERROR" => (PowerState::Failed, "the pod is in error"),
            "TERMINATED" => (PowerState::Failed, "terminated: it cannot be started again"),
            other => (PowerState::Unknown, other),
        };
        Ok(Self { state, is_locked, said: reply.remark(said), body })
    }

    fn is_gone(&self) -> bool {
        self.body["status"] == "TERMINATED"
    }

    /// Where this port is reached: by a port of the host's own, or else by the provider's proxy, which speaks TLS.
    fn address(&self, id: &str, port: u16) -> Option<Address> {
        let ports = self.body.pointer("/runtime/ports").and_then(Value::as_array)?;
        let direct = ports.iter().find(|it| it["type"] == "tcp" && it["private"] == port).and_then(|it| {
            let public = it["public"].as_u64()?;
            Address::read(it["ip"].as_str()?, public)
        });
        let is_proxied = || self.body["ports"].as_array()?.iter().find(|it| **it == format!("{port}/http"));
        let proxy = || is_proxied().and_then(|_| Address::read(&format!("{id}-{port}.proxy.runpod.net"), 443));
        direct.or_else(|| proxy().map(Address::with_tls))
    }
}
