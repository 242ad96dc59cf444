//! Containers of a Docker daemon, or of what speaks its API.
//!
//! By its HTTP API, over its socket or over TCP: four requests, so no client library is needed. Whoever may write to the
//! daemon's socket is root on its host; a proxy in front that lets through these four is better.
//!
//! A stop is answered when the container has ended, which may take longer than a call may: it then goes on behind.

use std::{cell::Cell, path::PathBuf, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{Exchange, Reply, Request, segment},
};

/// Which container, and where its daemon is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the daemon listens.
    pub daemon: Daemon,
    /// The container's name or id.
    pub container: String,
    /// How long it may take to end by itself before it is killed.
    pub grace: Duration,
}

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// At a socket, such as `/var/run/docker.sock`.
    Socket(PathBuf),
    /// At an `http` URL, without a `/` at the end.
    Url(String),
}

/// A container.
#[derive(Debug)]
pub struct Docker {
    settings: Settings,
    exchange: Exchange,
    is_stopping: Rc<Cell<bool>>,
}

impl Docker {
    /// A container that nothing was asked of yet.
    pub fn new(settings: Settings, timeout: Duration) -> Self {
        let exchange = match &settings.daemon {
            Daemon::Socket(path) => Exchange::over_socket(timeout, path),
            Daemon::Url(_) => Exchange::new(timeout),
        };
        Self { settings, exchange, is_stopping: Rc::default() }
    }

    fn url(&self, rest: &str) -> String {
        let base = match &self.settings.daemon {
            Daemon::Socket(_) => "http://docker",
            Daemon::Url(url) => url,
        };
        format!("{base}/containers/{}/{rest}", segment(&self.settings.container))
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        if self.is_stopping.get() {
            return Err(ProviderError::transient("the container is still stopping"));
        }
        let reply = self.exchange.send(Request::post(&self.url("start"))).await?;
        match reply.status {
            304 => Ok(Started::AlreadyRunning),
            _ if reply.is_success() => Ok(Started::Accepted),
            _ => Err(refusal(&reply)),
        }
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        if self.is_stopping.replace(true) {
            return Ok(Stopped::AlreadyStopped);
        }
        let stopped = self.end("stop", Some(Rc::clone(&self.is_stopping))).await;
        match stopped {
            None => Ok(Stopped::Accepted),
            Some(reply) => match reply? {
                reply if reply.status == 304 => Ok(Stopped::AlreadyStopped),
                reply if reply.is_success() => Ok(Stopped::Accepted),
                reply => Err(refusal(&reply)),
            },
        }
    }

    async fn begin_anew(&self) -> Result<(), ProviderError> {
        if self.is_stopping.get() {
            return Err(ProviderError::transient("the container is still stopping"));
        }
        match self.end("restart", None).await {
            Some(reply) => reply.and_then(|reply| if reply.is_success() { Ok(()) } else { Err(refusal(&reply)) }),
            None => Ok(()),
        }
    }

    /// Asks for an end, and waits for it as long as a call may take. None: it goes on behind. The flag is taken down when
    /// it is over.
    async fn end(&self, how: &str, flag: Option<Rc<Cell<bool>>>) -> Option<Result<Reply, ProviderError>> {
        /// What the daemon itself takes, for a container that has to be killed.
        const MARGIN: Duration = Duration::from_secs(10);
        let url = self.url(&format!("{how}?t={}", self.settings.grace.as_secs()));
        let exchange = self.exchange.taking(self.settings.grace + MARGIN);
        let asked = tokio::task::spawn_local(async move {
            let reply = exchange.send(Request::post(&url)).await;
            flag.inspect(|flag| flag.set(false));
            reply
        });
        match timeout(self.exchange.timeout(), asked).await {
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(_)) => Some(Err(ProviderError::Timeout)),
            Err(_) => None,
        }
    }

    async fn read(&self) -> Result<Status, ProviderError> {
        let reply = self.exchange.send(Request::get(&self.url("json"))).await?;
        if !reply.is_success() {
            return Err(refusal(&reply));
        }
        let body = reply.expect_json()?;
        let (state, said) = state_of(&body["State"]);
        let state = if self.is_stopping.get() && state.is_on() { PowerState::Stopping } else { state };
        Ok(Status::of(state).with_detail(reply.remark(&said)))
    }
}

impl Provider for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        Box::pin(self.exchange.within(self.run()))
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        Box::pin(self.halt())
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(self.begin_anew())
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        Box::pin(self.exchange.within(self.read()))
    }
}

fn state_of(state: &Value) -> (PowerState, String) {
    let ended = || match (&state["OOMKilled"], &state["ExitCode"]) {
        (Value::Bool(true), _) => (PowerState::Failed, "it ended for lack of memory".to_owned()),
        (_, code) => (PowerState::Stopped, format!("it ended with status {code}")),
    };
    match state["Status"].as_str().unwrap_or_default() {
        "created" => (PowerState::Stopped, String::new()),
        "running" => (PowerState::Running, state["Health"]["Status"].as_str().unwrap_or_default().to_owned()),
        "restarting" => (PowerState::Starting, "it ended, and its daemon starts it again".to_owned()),
        "removing" => (PowerState::Stopping, String::new()),
        "exited" => ended(),
        "dead" => (PowerState::Failed, "dead: it cannot be started again".to_owned()),
        "paused" => (PowerState::Unknown, "paused: it keeps its GPU memory".to_owned()),
        other => (PowerState::Unknown, other.to_owned()),
    }
}

/// A container that is being removed or is paused conflicts with what is asked, for now.
fn refusal(reply: &Reply) -> ProviderError {
    match (reply.status, reply.refusal()) {
        (409, ProviderError::Permanent(said)) => ProviderError::Transient(said),
        (_, other) => other,
    }
}
