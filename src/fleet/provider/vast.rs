//! Instances of Vast.ai.
//!
//! Its traps: a refusal may be a 200 with `"success": false`; a 429 is plain text without Retry-After; a start waits in the
//! provider's queue when the GPU is taken, perhaps for ever, and until then the instance says that it is meant to run; each
//! address has to end in `/`.

use futures_util::future::LocalBoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Address, Detail, PowerState, Provider, ProviderError, Started, Status, Stopped,
    detail::tells_of_no_capacity,
    exchange::{Exchange, Reply, Request},
    renewal::{Renewal, Run, UNTOLD},
};

/// Which instance, and how it is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A key with `instance_read` and `instance_write`.
    pub api_key: SecretString,
    /// Where the API is, without a `/` at the end; [`Settings::BASE_URL`] is Vast's.
    pub base_url: String,
    /// The instance.
    pub instance_id: u64,
    /// The model server's port inside of the instance; none: the configured address holds.
    pub port: Option<u16>,
}

impl Settings {
    /// The API's own address.
    pub const BASE_URL: &'static str = "https://console.vast.ai/api/v0";
}

/// An instance.
#[derive(Debug)]
pub struct Vast {
    settings: Settings,
    exchange: Exchange,
    renewal: Renewal,
}

impl Vast {
    /// An instance that nothing was asked of yet.
    pub fn new(settings: Settings, exchange: &Exchange) -> Self {
        let exchange = exchange.keeping([settings.api_key.clone()]);
        Self { settings, exchange, renewal: Renewal::default() }
    }

    /// Asks for a change; what is refused with a 200 is an error as well.
    async fn put(&self, path: &str, body: &Value) -> Result<(), ProviderError> {
        let url = format!("{}/instances/{path}{}/", self.settings.base_url, self.settings.instance_id);
        let reply = self.exchange.send(Request::put(&url).bearer(&self.settings.api_key).json(body)).await?;
        if !reply.is_success() {
            return Err(refusal(&reply));
        }
        if reply.expect_json()?["success"] == false { judge_refusal(&reply) } else { Ok(()) }
    }

    async fn set(&self, state: &str) -> Result<(), ProviderError> {
        self.put("", &json!({ "state": state })).await
    }

    async fn read(&self) -> Result<Status, ProviderError> {
        let url = format!("{}/instances/{}/", self.settings.base_url, self.settings.instance_id);
        let reply = self.exchange.send(Request::get(&url).bearer(&self.settings.api_key)).await?;
        if !reply.is_success() {
            return Err(refusal(&reply));
        }
        let body = reply.expect_json()?;
        let instance = &body["instances"];
        if !instance.is_object() {
            return Err(if body["success"] == false { refusal(&reply) } else { ProviderError::NotFound });
        }
        let (state, said) = state_of(instance);
        let address = self.settings.port.and_then(|port| address_of(instance, port));
        let state = self.renewal.see(state, Run { address: address.clone(), ..Run::default() });
        Ok(Status { state, address, detail: reply.remark(said) })
    }

    /// The state before a change, if the provider tells it: it wants some time between two readings, and a change does
    /// no harm where it was not needed.
    async fn glance(&self) -> Result<PowerState, ProviderError> {
        match self.read().await {
            Err(ProviderError::RateLimited { .. }) => Ok(PowerState::Unknown),
            other => other.map(|status| status.state),
        }
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        if self.glance().await?.is_on() {
            return Ok(Started::AlreadyRunning);
        }
        self.set("running").await.map(|()| Started::Accepted)
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        if matches!(self.glance().await?, PowerState::Stopped | PowerState::Stopping) {
            return Ok(Stopped::AlreadyStopped);
        }
        self.set("stopped").await?;
        self.renewal.forget();
        Ok(Stopped::Accepted)
    }

    async fn begin_anew(&self) -> Result<(), ProviderError> {
        match self.glance().await? {
            PowerState::Stopped | PowerState::Stopping => self.set("running").await,
            // Keeps its place on the GPU, which a stop and a start would not.
            _ => {
                self.renewal.begin(UNTOLD);
                let answer = self.put("reboot/", &json!({})).await;
                self.renewal.answered(answer.as_ref());
                answer
            }
        }
    }
}

impl Provider for Vast {
    fn name(&self) -> &'static str {
        "vast"
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
        Box::pin(self.exchange.within(self.read()))
    }
}

/// What a refusal with `"success": false` means. A start that waits for its GPU is none.
fn judge_refusal(reply: &Reply) -> Result<(), ProviderError> {
    let words = reply.words();
    if words.to_lowercase().contains("queued") { Ok(()) } else { Err(refusal(reply)) }
}

fn refusal(reply: &Reply) -> ProviderError {
    let body = reply.json().unwrap_or_default();
    match body["error"].as_str() {
        Some("no_such_instance") => return ProviderError::NotFound,
        Some("auth_error") => return ProviderError::Auth,
        Some("missing_billing") => return ProviderError::permanent("the account has no way to pay, or no credit"),
        _ => {}
    }
    if reply.is_success() {
        let words = reply.words();
        if tells_of_no_capacity(&words) {
            return ProviderError::Capacity { retry_after: reply.retry_after };
        }
        return ProviderError::Permanent(reply.remark(&words).unwrap_or_else(|| Detail::own("no reason was given")));
    }
    reply.refusal_to_start()
}

fn state_of(instance: &Value) -> (PowerState, &str) {
    let word = |key: &str| instance[key].as_str().unwrap_or_default();
    let is_wanted = word("intended_status") == "running";
    let said = word("status_msg");
    match word("actual_status") {
        "running" if is_wanted => (PowerState::Running, said),
        "running" | "loading" if word("intended_status") == "stopped" => (PowerState::Stopping, said),
        "running" => (PowerState::Running, said),
        "scheduling" | "rebooting" => (PowerState::Starting, said),
        "offline" => (PowerState::Failed, "its host is offline"),
        "frozen" => (PowerState::Unknown, "frozen: its GPU is paid for"),
        "unknown" => (PowerState::Unknown, said),
        "" | "created" | "loading" if is_wanted => (PowerState::Starting, said),
        "stopped" | "exited" if is_wanted => (PowerState::Starting, "it waits for its GPU, or its container ended"),
        "" | "created" | "loading" | "stopped" | "exited" => (PowerState::Stopped, said),
        other => (PowerState::Unknown, other),
    }
}

fn address_of(instance: &Value, port: u16) -> Option<Address> {
    let mapped = &instance["ports"][format!("{port}/tcp")][0]["HostPort"];
    let public = mapped.as_u64().or_else(|| mapped.as_str()?.parse().ok())?;
    Address::read(instance["public_ipaddr"].as_str()?, public)
}
