//! A container, asked by bollard.
//!
//! A stop is answered when the container has ended, which may take longer than a call may: it then goes on behind.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker as Client,
    errors::Error,
    models::{ContainerState, ContainerStateStatusEnum},
    query_parameters::{InspectContainerOptions, RestartContainerOptions, StartContainerOptions, StopContainerOptions},
};
use futures_util::future::LocalBoxFuture;
use hyper::{Response, StatusCode, body::Incoming};
use tokio::time::timeout;

use super::{Daemon, Settings};
use crate::fleet::provider::{
    Detail, PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{
        courier::{Courier, no_url, quietly, unboxed, unreadable},
        segment,
    },
};

/// Stands for the daemon in what bollard writes; where it is, the courier knows.
const HOST: &str = "http://docker";

/// A container.
#[derive(Debug)]
pub struct Docker {
    settings: Settings,
    timeout: Duration,
    is_stopping: Rc<Cell<bool>>,
}

/// How a container is made to end.
#[derive(Clone, Copy)]
enum End {
    Stop,
    Restart,
}

impl Docker {
    /// A container that nothing was asked of yet.
    pub fn new(settings: Settings, timeout: Duration) -> Self {
        Self { settings, timeout, is_stopping: Rc::default() }
    }

    /// The client for one call, which may take this long.
    fn client(&self, limit: Duration) -> Result<Client, ProviderError> {
        let (courier, base) = match &self.settings.daemon {
            Daemon::Socket(path) => (Courier::to_socket(path, limit), HOST.to_owned()),
            Daemon::Url(url) => (Courier::to_network(None, limit), url.clone()),
        };
        let transport = move |request: BollardRequest| {
            let (courier, base) = (courier.clone(), base.clone());
            async move { carry(&courier, &base, request).await }
        };
        // Its own limit is in whole seconds, and never the first to come.
        let seconds = limit.as_secs().saturating_add(1);
        Client::connect_with_custom_transport(transport, Some(HOST), seconds, API_DEFAULT_VERSION).map_err(failure)
    }

    fn name(&self) -> String {
        segment(&self.settings.container)
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        if self.is_stopping.get() {
            return Err(still_stopping());
        }
        let client = self.client(self.timeout)?;
        match client.start_container(&self.name(), None::<StartContainerOptions>).await {
            Ok(()) => Ok(Started::Accepted),
            Err(error) if is_unchanged(&error) => Ok(Started::AlreadyRunning),
            Err(error) => Err(failure(error)),
        }
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        if self.is_stopping.replace(true) {
            return Ok(Stopped::AlreadyStopped);
        }
        match self.end(End::Stop, Some(Rc::clone(&self.is_stopping))).await {
            None | Some(Ok(true)) => Ok(Stopped::Accepted),
            Some(Ok(false)) => Ok(Stopped::AlreadyStopped),
            Some(Err(error)) => Err(error),
        }
    }

    async fn begin_anew(&self) -> Result<(), ProviderError> {
        if self.is_stopping.get() {
            return Err(still_stopping());
        }
        self.end(End::Restart, None).await.map_or(Ok(()), |ended| ended.map(drop))
    }

    /// Asks for an end, and waits for it as long as a call may take: whether there was one. None: it goes on behind. The
    /// flag is taken down when it is over.
    async fn end(&self, how: End, flag: Option<Rc<Cell<bool>>>) -> Option<Result<bool, ProviderError>> {
        /// What the daemon itself takes, for a container that has to be killed.
        const MARGIN: Duration = Duration::from_secs(10);
        let limit = self.settings.grace + MARGIN;
        let (client, name) = (self.client(limit), self.name());
        let t = Some(i32::try_from(self.settings.grace.as_secs()).unwrap_or(i32::MAX));
        let ending = async move {
            let client = client?;
            let ended = match how {
                End::Stop => client.stop_container(&name, Some(StopContainerOptions { signal: None, t })).await,
                End::Restart => {
                    client.restart_container(&name, Some(RestartContainerOptions { signal: None, t })).await
                }
            };
            match ended {
                Err(error) if is_unchanged(&error) => Ok(false),
                other => other.map(|()| true).map_err(failure),
            }
        };
        let asked = tokio::task::spawn_local(async move {
            let ended = quietly(limit, ending).await;
            flag.inspect(|flag| flag.set(false));
            ended
        });
        match timeout(self.timeout, asked).await {
            Ok(Ok(ended)) => Some(ended),
            Ok(Err(_)) => Some(Err(ProviderError::Timeout)),
            Err(_) => None,
        }
    }

    async fn read(&self) -> Result<Status, ProviderError> {
        let client = self.client(self.timeout)?;
        let (state, said) = match client.inspect_container(&self.name(), None::<InspectContainerOptions>).await {
            Ok(container) => state_of(&container.state.unwrap_or_default()),
            Err(error) => (PowerState::Unknown, newer(&error).ok_or_else(|| failure(error))?),
        };
        let state = if self.is_stopping.get() && state.is_on() { PowerState::Stopping } else { state };
        Ok(Status::of(state).with_detail(Detail::said(&said, &[])))
    }
}

impl Provider for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        Box::pin(quietly(self.timeout, self.run()))
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        Box::pin(self.halt())
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(self.begin_anew())
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        Box::pin(quietly(self.timeout, self.read()))
    }
}

fn still_stopping() -> ProviderError {
    ProviderError::transient("the container is still stopping")
}

/// The daemon says that it is so already, which bollard would not tell from a success.
#[derive(Debug, thiserror::Error)]
#[error("it is so already")]
struct Unchanged;

/// Carries a request of bollard's to the daemon. What we have to say of its answer goes back as what an error can hold.
async fn carry(courier: &Courier, base: &str, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
    *request.uri_mut() = format!("{base}{target}").parse().map_err(|_| io::Error::other(no_url()))?;
    let answer = courier.carry(request).await.map_err(io::Error::other)?;
    if answer.status() == StatusCode::NOT_MODIFIED { Err(io::Error::other(Unchanged).into()) } else { Ok(answer) }
}

fn is_unchanged(error: &Error) -> bool {
    matches!(error, Error::IOError { err } if err.get_ref().is_some_and(|inner| inner.is::<Unchanged>()))
}

/// What a container does that bollard has no word for.
fn newer(error: &Error) -> Option<String> {
    match error {
        Error::JsonDataError { message, .. } if message.starts_with("unknown variant") => {
            Some("a state that is not known here".to_owned())
        }
        _ => None,
    }
}

fn failure(error: Error) -> ProviderError {
    match error {
        Error::IOError { err } => err.into_inner().and_then(unboxed).unwrap_or_else(unreadable),
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::HyperResponseError { .. } => unreadable(),
        Error::RequestTimeoutError => ProviderError::Timeout,
        _ => ProviderError::permanent("the request cannot be written: check the container's name and the daemon's URL"),
    }
}

fn state_of(state: &ContainerState) -> (PowerState, String) {
    use ContainerStateStatusEnum as Is;
    let ended = || match (state.oom_killed, state.exit_code) {
        (Some(true), _) => (PowerState::Failed, "it ended for lack of memory".to_owned()),
        (_, Some(code)) => (PowerState::Stopped, format!("it ended with status {code}")),
        (_, None) => (PowerState::Stopped, "it ended".to_owned()),
    };
    match state.status {
        Some(Is::CREATED) => (PowerState::Stopped, String::new()),
        Some(Is::RUNNING) => {
            let health = state.health.as_ref().and_then(|health| health.status);
            (PowerState::Running, health.map(|health| health.to_string()).unwrap_or_default())
        }
        Some(Is::RESTARTING) => (PowerState::Starting, "it ended, and its daemon starts it again".to_owned()),
        Some(Is::REMOVING | Is::STOPPING) => (PowerState::Stopping, String::new()),
        Some(Is::EXITED) => ended(),
        Some(Is::DEAD) => (PowerState::Failed, "dead: it cannot be started again".to_owned()),
        Some(Is::PAUSED) => (PowerState::Unknown, "paused: it keeps its GPU memory".to_owned()),
        Some(Is::EMPTY) | None => (PowerState::Unknown, String::new()),
    }
}
