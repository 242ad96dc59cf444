//! Services of Railway, by its GraphQL API.
//!
//! Its traps: errors come in a 200; a stopped deployment still has the status `SUCCESS`, and says `deploymentStopped`; a
//! deployment that fails may leave the one before it running, so all that are active count. Railway has no GPUs: this is
//! for what stands beside them.

use futures_util::future::LocalBoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Detail, PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{Exchange, Reply, Request},
    renewal::{Renewal, Run, UNTOLD},
};

/// Which service, and how it is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The token.
    pub token: Token,
    /// Where the API is; [`Settings::BASE_URL`] is Railway's.
    pub base_url: String,
    /// The service.
    pub service_id: String,
    /// The environment that it is deployed in.
    pub environment_id: String,
}

impl Settings {
    /// The API's own address.
    pub const BASE_URL: &'static str = "https://backboard.railway.com/graphql/v2";
}

/// A token, by its kind: each has a header of its own.
#[derive(Clone, Debug)]
pub enum Token {
    /// For one environment of one project; the right one for this.
    Project(SecretString),
    /// For an account or a workspace.
    Account(SecretString),
}

/// A service.
#[derive(Debug)]
pub struct Railway {
    settings: Settings,
    exchange: Exchange,
    renewal: Renewal,
}

const READ: &str = "query($s:String!,$e:String!){serviceInstance(serviceId:$s,environmentId:$e){\
    latestDeployment{id status deploymentStopped instances{id status}}\
    activeDeployments{id status deploymentStopped instances{id status}}}}";
const STOP: &str = "mutation($id:String!){deploymentStop(id:$id)}";
const CANCEL: &str = "mutation($id:String!){deploymentCancel(id:$id)}";
const RESTART: &str = "mutation($id:String!){deploymentRestart(id:$id)}";
const REDEPLOY: &str = "mutation($id:String!){deploymentRedeploy(id:$id,usePreviousImageTag:true){id status}}";
const REDEPLOY_SERVICE: &str =
    "mutation($s:String!,$e:String!){serviceInstanceRedeploy(serviceId:$s,environmentId:$e)}";

impl Railway {
    /// A service that nothing was asked of yet.
    pub fn new(settings: Settings, exchange: &Exchange) -> Self {
        let (Token::Project(token) | Token::Account(token)) = &settings.token;
        let exchange = exchange.keeping([token.clone()]);
        Self { settings, exchange, renewal: Renewal::default() }
    }

    async fn ask(&self, query: &str, variables: &Value) -> Result<Value, ProviderError> {
        let request = Request::post(&self.settings.base_url).json(&json!({ "query": query, "variables": variables }));
        let request = match &self.settings.token {
            Token::Project(token) => request.header("project-access-token", token.expose_secret()),
            Token::Account(token) => request.bearer(token),
        };
        let reply = self.exchange.send(request).await?;
        let errors = reply.json().and_then(|body| body["errors"].as_array().filter(|it| !it.is_empty()).cloned());
        match errors {
            Some(errors) if reply.is_success() || reply.status == 400 => Err(refusal(&reply, &errors)),
            _ if !reply.is_success() => Err(reply.refusal()),
            _ => Ok(reply.expect_json()?.get("data").cloned().unwrap_or_default()),
        }
    }

    async fn ask_of(&self, deployment: &Deployment, mutation: &str) -> Result<(), ProviderError> {
        self.ask(mutation, &json!({ "id": deployment.id })).await.map(drop)
    }

    fn service(&self) -> Value {
        json!({ "s": self.settings.service_id, "e": self.settings.environment_id })
    }

    async fn read(&self) -> Result<Service, ProviderError> {
        let data = self.ask(READ, &self.service()).await?;
        match &data["serviceInstance"] {
            Value::Object(service) => Ok(Service::read(&Value::Object(service.clone()))),
            _ => Err(ProviderError::NotFound),
        }
    }

    async fn run(&self) -> Result<Started, ProviderError> {
        let service = self.read().await?;
        if service.state().is_on() {
            return Ok(Started::AlreadyRunning);
        }
        self.wake(&service).await.map(|()| Started::Accepted)
    }

    /// Deploys the last image again; where that is refused, the service as it is set up.
    async fn wake(&self, service: &Service) -> Result<(), ProviderError> {
        if let Some(latest) = &service.latest {
            match self.ask_of(latest, REDEPLOY).await {
                Err(ProviderError::Auth | ProviderError::NotFound | ProviderError::Permanent(_)) => {}
                other => return other,
            }
        }
        self.ask(REDEPLOY_SERVICE, &self.service()).await.map(drop)
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        let service = self.read().await?;
        let mut stopped = Stopped::AlreadyStopped;
        for deployment in service.all().filter(|it| it.state.is_on()) {
            self.end(deployment).await?;
            self.renewal.forget();
            stopped = Stopped::Accepted;
        }
        Ok(stopped)
    }

    async fn end(&self, deployment: &Deployment) -> Result<(), ProviderError> {
        if !deployment.is_deployed {
            // Only what has no image yet can be cancelled; what has one is stopped.
            match self.ask_of(deployment, CANCEL).await {
                Err(ProviderError::Auth | ProviderError::NotFound | ProviderError::Permanent(_)) => {}
                other => return other,
            }
        }
        self.ask_of(deployment, STOP).await
    }

    async fn begin_anew(&self) -> Result<(), ProviderError> {
        let service = self.read().await?;
        match service.all().find(|it| it.state == PowerState::Running) {
            Some(running) => {
                self.renewal.begin(UNTOLD);
                let answer = self.ask_of(running, RESTART).await;
                self.renewal.answered(answer.as_ref());
                answer
            }
            None if service.state() == PowerState::Starting => Ok(()),
            None => self.wake(&service).await,
        }
    }
}

impl Provider for Railway {
    fn name(&self) -> &'static str {
        "railway"
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
            let service = self.read().await?;
            let state = self.renewal.see(service.state(), Run::default());
            Ok(Status::of(state).with_detail(service.detail()))
        }))
    }
}

/// What GraphQL errors mean; they have no codes that could be relied on.
fn refusal(reply: &Reply, errors: &[Value]) -> ProviderError {
    let said: Vec<&str> = errors.iter().filter_map(|error| error["message"].as_str()).collect();
    let said = said.join("; ");
    let lower = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let is_internal = errors.iter().any(|error| error["extensions"]["code"] == "INTERNAL_SERVER_ERROR");
    let detail = || reply.remark(&said).unwrap_or_else(|| Detail::own("no reason was given"));
    if says(&["not authorized", "unauthorized", "project token not found", "invalid token"]) {
        ProviderError::Auth
    } else if says(&["rate limit", "too many requests"]) {
        ProviderError::RateLimited { retry_after: reply.retry_after }
    } else if says(&["not found"]) {
        ProviderError::NotFound
    } else if is_internal || says(&["internal server error", "problem processing request"]) {
        ProviderError::Transient(detail())
    } else {
        ProviderError::Permanent(detail())
    }
}

/// What the API says of a service.
struct Service {
    latest: Option<Deployment>,
    active: Vec<Deployment>,
}

impl Service {
    fn read(value: &Value) -> Self {
        let latest = Deployment::read(&value["latestDeployment"]);
        let active = value["activeDeployments"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_other = |it: &Deployment| latest.as_ref().is_none_or(|latest| latest.id != it.id);
        let active = active.iter().filter_map(Deployment::read).filter(is_other).collect();
        Self { latest, active }
    }

    fn all(&self) -> impl Iterator<Item = &Deployment> {
        self.latest.iter().chain(&self.active)
    }

    /// What costs the most counts: whatever runs, then what will, then what still does.
    fn state(&self) -> PowerState {
        let states = [PowerState::Running, PowerState::Starting, PowerState::Stopping];
        let found = states.into_iter().find(|state| self.all().any(|it| it.state == *state));
        found.or_else(|| self.latest.as_ref().map(|latest| latest.state)).unwrap_or(PowerState::Stopped)
    }

    fn detail(&self) -> Option<Detail> {
        let word = self.latest.as_ref().map_or("NONE", |latest| latest.word);
        Some(Detail::own(format!("its latest deployment is {word}")))
    }
}

/// What the API says of a deployment.
struct Deployment {
    id: String,
    state: PowerState,
    /// Whether it has an image that runs or ran.
    is_deployed: bool,
    word: &'static str,
}

/// Statuses of deployments, and what they are while none of their instances says otherwise.
const STATUSES: [(&str, PowerState); 13] = [
    ("BUILDING", PowerState::Starting),
    ("CRASHED", PowerState::Failed),
    ("DEPLOYING", PowerState::Starting),
    ("FAILED", PowerState::Failed),
    ("INITIALIZING", PowerState::Starting),
    ("NEEDS_APPROVAL", PowerState::Failed),
    ("QUEUED", PowerState::Starting),
    ("REMOVED", PowerState::Stopped),
    ("REMOVING", PowerState::Stopping),
    ("SKIPPED", PowerState::Stopped),
    // Woken by traffic; what asks for its start is no such traffic.
    ("SLEEPING", PowerState::Stopped),
    ("SUCCESS", PowerState::Running),
    ("WAITING", PowerState::Starting),
];

impl Deployment {
    fn read(value: &Value) -> Option<Self> {
        let id = value["id"].as_str()?.to_owned();
        let status = STATUSES.iter().find(|(word, _)| value["status"] == *word);
        let (word, state) = status.copied().unwrap_or(("UNKNOWN", PowerState::Unknown));
        let state = match (word, &value["deploymentStopped"]) {
            ("SUCCESS", Value::Bool(true)) => PowerState::Stopped,
            ("SUCCESS", _) => state_of_instances(&value["instances"]),
            _ => state,
        };
        Some(Self { id, state, is_deployed: word == "SUCCESS", word })
    }
}

fn state_of_instances(instances: &Value) -> PowerState {
    let states: Vec<&str> =
        instances.as_array().into_iter().flatten().filter_map(|instance| instance["status"].as_str()).collect();
    let any = |words: &[&str]| states.iter().any(|state| words.contains(state));
    if states.is_empty() || any(&["RUNNING"]) {
        PowerState::Running
    } else if any(&["CREATED", "INITIALIZING", "RESTARTING"]) {
        PowerState::Starting
    } else if any(&["CRASHED"]) {
        PowerState::Failed
    } else {
        PowerState::Stopping
    }
}
