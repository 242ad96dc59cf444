//! Which machine a model server runs on, as it is written: `runpod:POD`.

use std::{fmt, str::FromStr};

use super::kubernetes::Kind;

/// The longest name or id, in bytes.
const MAX_ID_BYTES: usize = 64;

/// A machine, by its provider's name for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// A pod of RunPod, `runpod:POD`.
    RunPod(String),
    /// An instance of Vast.ai, `vast:INSTANCE`.
    Vast(u64),
    /// A service of Railway, `railway:ENVIRONMENT/SERVICE`.
    Railway {
        /// The environment's id.
        environment: String,
        /// The service's id.
        service: String,
    },
    /// A container of Docker, `docker:CONTAINER`.
    Docker(String),
    /// A workload of Kubernetes, `kubernetes:NAMESPACE/KIND/NAME`.
    Kubernetes {
        /// Its namespace.
        namespace: String,
        /// What it is: `deployment` or `statefulset`.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A process on this machine, `command:NAME`.
    Command(String),
    /// Whatever webhooks start and stop, `webhook:ID`.
    Webhook(String),
}

/// Why a text names no machine. No message repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// A provider that there is not.
    #[error(
        "provider= and one of runpod, vast, railway, docker, kubernetes, command and webhook, with a : and the machine's id behind it"
    )]
    Provider,
    /// Not a pod.
    #[error("provider=runpod: and the pod's id, 1 to {MAX_ID_BYTES} letters, digits, _ and -")]
    RunPod,
    /// Not an instance.
    #[error("provider=vast: and the instance's number")]
    Vast,
    /// Not a service.
    #[error(
        "provider=railway: and the ids of the environment and of the service, as ENVIRONMENT/SERVICE, each of 1 to \
         {MAX_ID_BYTES} letters, digits, _ and -"
    )]
    Railway,
    /// Not a container.
    #[error("provider=docker: and the container's name or id, 1 to {MAX_ID_BYTES} letters, digits, _, - and .")]
    Docker,
    /// Not a workload.
    #[error(
        "provider=kubernetes: and NAMESPACE/deployment/NAME or NAMESPACE/statefulset/NAME, each name of 1 to \
         {MAX_ID_BYTES} letters, digits, - and ."
    )]
    Kubernetes,
    /// Not a name.
    #[error("provider=command: and a name of 1 to {MAX_ID_BYTES} letters, digits, _, - and ., which begins with no .")]
    Command,
    /// Not an id.
    #[error(
        "provider=webhook: and what the machine is called there, 1 to {MAX_ID_BYTES} letters, digits and . _ - : /"
    )]
    Webhook,
}

impl Machine {
    /// Whose it is, as in the settings and in metrics.
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::RunPod(_) => "runpod",
            Self::Vast(_) => "vast",
            Self::Railway { .. } => "railway",
            Self::Docker(_) => "docker",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Command(_) => "command",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl FromStr for Machine {
    type Err = MachineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, id) = text.split_once(':').unwrap_or((text, ""));
        match provider {
            "runpod" => read(id, b"_-").map(Self::RunPod).ok_or(MachineError::RunPod),
            "vast" => number(id).map(Self::Vast).ok_or(MachineError::Vast),
            "railway" => railway(id).ok_or(MachineError::Railway),
            // It becomes a part of file names.
            "command" if id.starts_with('.') => Err(MachineError::Command),
            "command" => read(id, b"_-.").map(Self::Command).ok_or(MachineError::Command),
            "webhook" => read(id, b"._-:/").map(Self::Webhook).ok_or(MachineError::Webhook),
            "docker" if id.starts_with('.') => Err(MachineError::Docker),
            "docker" => read(id, b"_-.").map(Self::Docker).ok_or(MachineError::Docker),
            "kubernetes" => kubernetes(id).ok_or(MachineError::Kubernetes),
            _ => Err(MachineError::Provider),
        }
    }
}

/// An id of letters, digits and these.
fn read(id: &str, others: &[u8]) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    let good = (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(legal);
    good.then(|| id.to_owned())
}

fn number(id: &str) -> Option<u64> {
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    id.parse().ok().filter(|number| digits && *number > 0)
}

fn railway(id: &str) -> Option<Machine> {
    let (environment, service) = id.split_once('/')?;
    Some(Machine::Railway { environment: read(environment, b"_-")?, service: read(service, b"_-")? })
}

/// The kinds of workload, as they are written.
const KINDS: [(&str, Kind); 2] = [("deployment", Kind::Deployment), ("statefulset", Kind::StatefulSet)];

fn kubernetes(id: &str) -> Option<Machine> {
    let (namespace, rest) = id.split_once('/')?;
    let (kind, name) = rest.split_once('/')?;
    let (_, kind) = KINDS.into_iter().find(|(word, _)| *word == kind)?;
    // A name of points alone would lead elsewhere in a URL.
    let name_of = |text: &str| read(text, b"-.").filter(|name| !name.starts_with('.'));
    Some(Machine::Kubernetes { namespace: name_of(namespace)?, kind, name: name_of(name)? })
}

impl fmt::Display for Machine {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.provider())?;
        match self {
            Self::RunPod(id) | Self::Docker(id) | Self::Command(id) | Self::Webhook(id) => f.write_str(id),
            Self::Vast(instance) => write!(f, "{instance}"),
            Self::Railway { environment, service } => write!(f, "{environment}/{service}"),
            Self::Kubernetes { namespace, kind, name } => {
                let word = KINDS.into_iter().find(|(_, known)| known == kind).map_or("", |(word, _)| word);
                write!(f, "{namespace}/{word}/{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn machines_are_read_and_written_the_same() {
        for text in [
            "runpod:abc123xyz",
            "vast:12345678",
            "railway:0f8fad5b-d9cb-469f-a165-70867728950e/7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "docker:voice_1.big-2",
            "kubernetes:models/deployment/voice-0",
            "kubernetes:models/statefulset/voice.big",
            "command:gpu-0.big",
            "webhook:rack:3/gpu-1",
        ] {
            let machine: Machine = text.parse().unwrap();
            assert_eq!(machine.to_string(), text);
            assert!(text.starts_with(machine.provider()));
        }
        assert_eq!("vast:007".parse(), Ok(Machine::Vast(7)));
    }

    #[test]
    fn each_mistake_says_what_is_expected() {
        use MachineError::{Command, Docker, Kubernetes, Provider, Railway, RunPod, Vast, Webhook};
        let long = format!("runpod:{}", "x".repeat(65));
        for (text, expected) in [
            ("", Provider),
            ("hush", Provider),
            ("RunPod:x", Provider),
            ("aws:hush", Provider),
            ("docker:", Docker),
            ("docker:..", Docker),
            ("docker:a/b", Docker),
            ("kubernetes:ns/voice", Kubernetes),
            ("kubernetes:ns/pod/voice", Kubernetes),
            ("kubernetes:ns/deployment/", Kubernetes),
            ("kubernetes:ns/deployment/..", Kubernetes),
            ("kubernetes:/deployment/voice", Kubernetes),
            ("kubernetes:ns/deployment/voice/x", Kubernetes),
            ("runpod", RunPod),
            ("runpod:", RunPod),
            ("runpod:a/b", RunPod),
            ("runpod:a b", RunPod),
            (&long, RunPod),
            ("vast:", Vast),
            ("vast:0", Vast),
            ("vast:+1", Vast),
            ("vast:hush", Vast),
            ("vast:99999999999999999999", Vast),
            ("railway:one", Railway),
            ("railway:/x", Railway),
            ("railway:x/", Railway),
            ("railway:x/y/z", Railway),
            ("command:", Command),
            ("command:..", Command),
            ("command:a/b", Command),
            ("command:{name}", Command),
            ("webhook:", Webhook),
            ("webhook:a?b", Webhook),
        ] {
            assert_eq!(text.parse::<Machine>(), Err(expected), "{text}");
            assert!(!expected.to_string().contains("hush"));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            text in "(runpod|vast|railway|docker|kubernetes|command|webhook):[a-z0-9./:_-]{0,12}|kubernetes:[a-z.]{1,3}/deployment/[a-z.]{1,3}|vast:[0-9]{1,20}|.{0,20}"
        ) {
            if let Ok(machine) = text.parse::<Machine>() {
                prop_assert_eq!(machine.to_string().parse::<Machine>(), Ok(machine));
            }
        }
    }
}
