//! Whatever can be told by HTTP to start and stop a machine: the wire is ours.
//!
//! `start`, `stop` and `restart` are POSTs of `{"action":"start","machine":"..."}`; `status` is a GET. With a signing key
//! each has `Tandem-Timestamp` (seconds since 1970) and `Tandem-Signature`, which is `sha256=` and the HMAC-SHA256 of the
//! timestamp, a `.` and the body in hexadecimal; the body of a GET is empty. `Idempotency-Key` is the same until what was
//! asked for is known to be done or refused. 200, 202 and 204 take it on, 409 says that it is so already, 429 that too much
//! is asked, and 503 that there is no hardware. After a restart `running` counts when another state or another address was
//! told, or a minute later: before, it may be the machine of before.

mod secret;
mod signature;

use std::{cell::RefCell, time::SystemTime};

use futures_util::future::LocalBoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use uuid::Uuid;

use self::signature::signature;
use super::{
    Address, PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{Exchange, Reply, Request, segment},
    renewal::{Renewal, Run, UNTOLD},
};

/// Whom to tell, and how. In each URL `{machine}` and `{action}` stand for what they say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the machine is called there.
    pub machine: String,
    /// The URL that starts it.
    pub start_url: SecretString,
    /// The URL that stops it.
    pub stop_url: SecretString,
    /// The URL that restarts it; none: it cannot be restarted.
    pub restart_url: Option<SecretString>,
    /// The URL that says what it does; none: nobody knows.
    pub status_url: Option<SecretString>,
    /// Where the answer of `status_url` has the state, as a JSON pointer such as `/state`: `running`, `stopped`, `starting`,
    /// `stopping` or `failed`.
    pub state_pointer: String,
    /// Where the answer of `status_url` has the address, as a JSON pointer to `host:port`; none: the configured one holds.
    pub address_pointer: Option<String>,
    /// The key that signs requests; none: they are not signed.
    pub signing_key: Option<SecretString>,
    /// Further headers, such as `Authorization`.
    pub headers: Vec<(String, SecretString)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    Restart,
    Status,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Status => "status",
        }
    }
}

/// A machine behind webhooks.
#[derive(Debug)]
pub struct Webhook {
    settings: Settings,
    exchange: Exchange,
    /// The key of what was asked for last, while nobody knows what came of it.
    open: RefCell<Option<(Action, Uuid)>>,
    renewal: Renewal,
}

impl Webhook {
    /// A machine that nothing was asked of yet.
    pub fn new(settings: Settings, exchange: &Exchange) -> Self {
        let exchange = exchange.keeping(secret::of(&settings));
        Self { settings, exchange, open: RefCell::new(None), renewal: Renewal::default() }
    }

    fn url(&self, template: &SecretString, action: Action) -> String {
        let url = template.expose_secret().replace("{action}", action.word());
        url.replace("{machine}", &segment(&self.settings.machine))
    }

    fn key(&self, action: Action) -> Uuid {
        let mut open = self.open.borrow_mut();
        match *open {
            Some((known, key)) if known == action => key,
            _ => open.insert((action, Uuid::new_v4())).1,
        }
    }

    fn signed<'a>(&'a self, request: Request<'a>, body: &str) -> Request<'a> {
        let headers = self.settings.headers.iter();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value.expose_secret()));
        let Some(key) = &self.settings.signing_key else { return request };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = request.header("tandem-timestamp", now.to_string());
        match signature(key, now, body) {
            Some(signature) => request.header("tandem-signature", signature),
            None => request,
        }
    }

    async fn tell(&self, action: Action, template: &SecretString) -> Result<Reply, ProviderError> {
        let url = self.url(template, action);
        let body = json!({ "action": action.word(), "machine": self.settings.machine });
        let request = Request::post(&url).json(&body).header("idempotency-key", self.key(action).to_string());
        let reply = self.exchange.send(self.signed(request, &body.to_string())).await?;
        if reply.status < 500 && reply.status != 429 {
            self.open.replace(None);
        }
        Ok(reply)
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        let reply = self.tell(Action::Start, &self.settings.start_url).await?;
        match reply.status {
            409 => Ok(Started::AlreadyRunning),
            _ => judge(&reply).map(|()| Started::Accepted),
        }
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        let reply = self.tell(Action::Stop, &self.settings.stop_url).await?;
        match reply.status {
            409 => Ok(Stopped::AlreadyStopped),
            _ if reply.is_success() => {
                self.renewal.forget();
                Ok(Stopped::Accepted)
            }
            _ => Err(reply.refusal()),
        }
    }

    async fn begin_anew(&self) -> Result<(), ProviderError> {
        let url = self.settings.restart_url.as_ref().ok_or(ProviderError::Unsupported)?;
        self.renewal.begin(UNTOLD);
        let answer = self.tell(Action::Restart, url).await.and_then(|reply| judge(&reply));
        self.renewal.answered(answer.as_ref());
        answer
    }

    async fn read(&self) -> Result<Status, ProviderError> {
        let Some(template) = &self.settings.status_url else { return Ok(Status::of(PowerState::Unknown)) };
        let url = self.url(template, Action::Status);
        let reply = self.exchange.send(self.signed(Request::get(&url), "")).await?;
        if !reply.is_success() {
            return Err(reply.refusal());
        }
        let body = reply.expect_json()?;
        let said = body.pointer(&self.settings.state_pointer).and_then(serde_json::Value::as_str);
        let word = said.unwrap_or_default().trim().to_ascii_lowercase();
        let known = PowerState::ALL.into_iter().find(|state| state.code() == word);
        let detail = match known {
            Some(_) => None,
            None => reply.remark(said.unwrap_or("there is no text where the state should be")),
        };
        let at = self.settings.address_pointer.as_deref().and_then(|at| body.pointer(at)?.as_str());
        let address = at.and_then(Address::parse);
        let run = Run { address: address.clone(), ..Run::default() };
        let state = self.renewal.see(known.unwrap_or(PowerState::Unknown), run);
        Ok(Status { state, address, detail })
    }
}

impl Provider for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
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

/// What came of something that needs hardware.
fn judge(reply: &Reply) -> Result<(), ProviderError> {
    match reply.status {
        200..=299 => Ok(()),
        503 => Err(ProviderError::Capacity { retry_after: reply.retry_after }),
        _ => Err(reply.refusal_to_start()),
    }
}
