//! The provider of a model server's machine, made from the settings.

use std::{env, path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{
    Exchange, Machine, Provider, ProviderError,
    command::{self, CommandLine, LocalProcess, Output},
    docker, kubernetes,
    none::AlwaysOn,
    railway::{self, Railway},
    runpod::{self, RunPod},
    vast::{self, Vast},
    webhook::{self, Webhook},
};

/// What each provider needs to know, for all of its machines; none: nobody said so.
///
/// `Debug` shows no secret.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// RunPod's.
    pub runpod: Option<CloudAccess>,
    /// Vast.ai's.
    pub vast: Option<CloudAccess>,
    /// Railway's.
    pub railway: Option<RailwayAccess>,
    /// Docker's.
    pub docker: Option<DockerAccess>,
    /// Kubernetes'.
    pub kubernetes: Option<KubernetesAccess>,
    /// For processes of this machine.
    pub command: Option<CommandAccess>,
    /// For webhooks; its `machine` is filled in for each.
    pub webhook: Option<webhook::Settings>,
}

/// A cloud whose machines have other addresses after each start.
#[derive(Clone, Debug)]
pub struct CloudAccess {
    /// The key.
    pub api_key: SecretString,
    /// Where the API is, without a `/` at its end.
    pub base_url: String,
    /// The model server's port inside of a machine; none: the configured addresses hold.
    pub port: Option<u16>,
}

/// Railway.
#[derive(Clone, Debug)]
pub struct RailwayAccess {
    /// The token.
    pub token: railway::Token,
    /// Where the API is.
    pub base_url: String,
}

/// Docker.
#[derive(Clone, Debug)]
pub struct DockerAccess {
    /// Where the daemon listens.
    pub daemon: docker::Daemon,
    /// How long a container may take to end by itself before it is killed.
    pub grace: Duration,
}

/// Kubernetes.
#[derive(Clone, Debug)]
pub struct KubernetesAccess {
    /// Where the API is, without a `/` at its end; none: where the kubeconfig says, or inside of a cluster its own.
    pub base_url: Option<String>,
    /// The cluster's own authorities; with a `base_url` next to the system's, else in place of the kubeconfig's.
    pub ca_file: Option<PathBuf>,
    /// Who asks; none: who the kubeconfig says, or inside of a cluster the pod's service account.
    pub token: Option<kubernetes::Token>,
    /// How many replicas a workload has when it runs.
    pub replicas: u32,
}

/// How processes of this machine are run. In the names of files `{name}` stands for the machine's.
#[derive(Clone, Debug)]
pub struct CommandAccess {
    /// What is run.
    pub start: CommandLine,
    /// The variables of Tandem's own that it is given besides the usual ones, by name.
    pub variables: Vec<String>,
    /// Where it runs; none: where Tandem does.
    pub directory: Option<PathBuf>,
    /// How long it may take to end by itself before it is killed.
    pub grace: Duration,
    /// Where its words go.
    pub output: CommandOutput,
    /// The file that tells a later Tandem which process it is. Its folder exists.
    pub pid_file: String,
}

/// Where the words of processes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutput {
    /// Nowhere.
    Discard,
    /// To Tandem's own output.
    Inherit,
    /// To files.
    File {
        /// The name, with `{name}` in it. Its folder exists.
        path: String,
        /// How long one may be, in bytes.
        max_bytes: u64,
    },
}

/// Where the model server on the machine is said to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Name or IP address, IPv6 in brackets.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
}

/// Why there is no provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Its provider needs something that was not said.
    #[error("nothing says how {0} is asked: set what [providers.{0}] needs")]
    NoAccess(&'static str),
    /// A variable that the program is to be given does not exist.
    #[error(
        "the variable {0} is not set, which the model server is to be given: set it, or take it out of \
         providers.command.environment"
    )]
    NoVariable(String),
    /// What asks its provider was left out of this program.
    #[error(
        "this Tandem was built without {0}: build it with `cargo build --release --features {0}`, or have the machine \
         started by provider=command or provider=webhook"
    )]
    NotBuiltIn(&'static str),
    /// The provider cannot be asked at all.
    #[error(transparent)]
    Unusable(#[from] ProviderError),
}

/// RunPod's proxy, which leads to a pod wherever it runs.
const RUNPOD_PROXY: &str = ".proxy.runpod.net";

/// Makes the provider of one machine; without a machine, one that is always on. Nothing is asked yet.
pub fn build(
    machine: Option<&Machine>,
    place: Place<'_>,
    access: &Access,
    exchange: &Exchange,
) -> Result<Box<dyn Provider>, BuildError> {
    let Some(machine) = machine else { return Ok(Box::new(AlwaysOn)) };
    let missing = BuildError::NoAccess(machine.provider());
    Ok(match machine {
        Machine::RunPod(pod) => Box::new(runpod(pod, place, access.runpod.as_ref().ok_or(missing)?, exchange)),
        Machine::Vast(instance) => Box::new(vast(*instance, access.vast.as_ref().ok_or(missing)?, exchange)),
        Machine::Railway { environment, service } => {
            let RailwayAccess { token, base_url } = access.railway.clone().ok_or(missing)?;
            let (service_id, environment_id) = (service.clone(), environment.clone());
            Box::new(Railway::new(railway::Settings { token, base_url, service_id, environment_id }, exchange))
        }
        #[cfg(feature = "docker")]
        Machine::Docker(container) => {
            let DockerAccess { daemon, grace } = access.docker.clone().ok_or(missing)?;
            let settings = docker::Settings { daemon, container: container.clone(), grace };
            Box::new(docker::Docker::new(settings, Exchange::TIMEOUT))
        }
        #[cfg(feature = "kubernetes")]
        Machine::Kubernetes { namespace, kind, name } => {
            let access = access.kubernetes.as_ref().ok_or(missing)?;
            Box::new(kubernetes::Kubernetes::new(workload(namespace, *kind, name, access), Exchange::TIMEOUT)?)
        }
        #[cfg(not(feature = "docker"))]
        Machine::Docker(_) => return Err(BuildError::NotBuiltIn(machine.provider())),
        #[cfg(not(feature = "kubernetes"))]
        Machine::Kubernetes { .. } => return Err(BuildError::NotBuiltIn(machine.provider())),
        Machine::Command(name) => {
            let access = access.command.as_ref().ok_or(missing)?;
            Box::new(LocalProcess::new(process(name, place, access)?))
        }
        Machine::Webhook(id) => {
            let settings = access.webhook.clone().ok_or(missing)?;
            Box::new(Webhook::new(webhook::Settings { machine: id.clone(), ..settings }, exchange))
        }
    })
}

fn runpod(pod: &str, place: Place<'_>, access: &CloudAccess, exchange: &Exchange) -> RunPod {
    let CloudAccess { api_key, base_url, port } = access.clone();
    // The proxy's address never changes, and leads to the port that it names.
    let port = port.filter(|_| !place.host.ends_with(RUNPOD_PROXY));
    RunPod::new(runpod::Settings { api_key, base_url, pod_id: pod.to_owned(), port }, exchange)
}

fn vast(instance_id: u64, access: &CloudAccess, exchange: &Exchange) -> Vast {
    let CloudAccess { api_key, base_url, port } = access.clone();
    Vast::new(vast::Settings { api_key, base_url, instance_id, port }, exchange)
}

#[cfg(feature = "kubernetes")]
fn workload(namespace: &str, kind: kubernetes::Kind, name: &str, access: &KubernetesAccess) -> kubernetes::Settings {
    let KubernetesAccess { base_url, ca_file, token, replicas } = access.clone();
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    kubernetes::Settings { base_url, ca_file, token, namespace, kind, name, replicas }
}

fn process(name: &str, place: Place<'_>, access: &CommandAccess) -> Result<command::Settings, BuildError> {
    let variable = |variable: &String| match env::var(variable) {
        Ok(value) => Ok((variable.clone(), SecretString::from(value))),
        Err(_) => Err(BuildError::NoVariable(variable.clone())),
    };
    let mut words = access.start.fill(name, place.host.trim_matches(['[', ']']), place.port).into_iter();
    let file = |path: &str| PathBuf::from(path.replace("{name}", name));
    Ok(command::Settings {
        program: words.next().unwrap_or_default().into(),
        arguments: words.collect(),
        directory: access.directory.clone(),
        environment: access.variables.iter().map(variable).collect::<Result<_, _>>()?,
        grace: access.grace,
        output: match &access.output {
            CommandOutput::Discard => Output::Discard,
            CommandOutput::Inherit => Output::Inherit,
            CommandOutput::File { path, max_bytes } => Output::File { path: file(path), max_bytes: *max_bytes },
        },
        pid_file: file(&access.pid_file),
    })
}
