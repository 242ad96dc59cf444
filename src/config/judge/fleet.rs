//! The rules of machines that sleep: how they are dealt with, and what their providers need to know.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::{Judge, set};
use crate::config::authority::Authority;
use crate::config::flaw::{Flaw, quoted};
use crate::config::raw::{
    RawCloud, RawCommand, RawDocker, RawFleet, RawKubernetes, RawProviders, RawRailway, RawWebhook,
};
use crate::config::settings::{FleetSettings, UpstreamSettings};
use crate::fleet::lifecycle::Policy;
use crate::fleet::provider::{
    Access, CloudAccess, CommandAccess, CommandOutput, DockerAccess, KubernetesAccess, RailwayAccess,
    command::CommandLineError, docker::Daemon, kubernetes, railway::Token, webhook,
};
use crate::fleet::schedule::{Schedule, ScheduleError};
use crate::pool::endpoint::is_loopback;

/// What a provider needs, and why.
struct Need {
    provider: &'static str,
    key: &'static str,
    reason: &'static str,
}

const RUNPOD: Need = Need {
    provider: "runpod",
    key: "providers.runpod.api_key",
    reason: "an address with provider=runpod needs a key of RunPod that may read and write pods; set RUNPOD_API_KEY",
};
const VAST: Need = Need {
    provider: "vast",
    key: "providers.vast.api_key",
    reason: "an address with provider=vast needs a key of Vast.ai with instance_read and instance_write; set VAST_API_KEY",
};
const RAILWAY: Need = Need {
    provider: "railway",
    key: "providers.railway.project_token",
    reason: "an address with provider=railway needs a token for the project's environment; set RAILWAY_TOKEN (or, for a \
             token of the account, RAILWAY_API_TOKEN)",
};
const KUBERNETES: Need = Need {
    provider: "kubernetes",
    key: "providers.kubernetes.token",
    reason: "an address with provider=kubernetes needs the token of a service account where the cluster's URL is set; set \
             TANDEM__PROVIDERS__KUBERNETES__TOKEN, or TANDEM__PROVIDERS__KUBERNETES__TOKEN_FILE to a file that has it",
};
const COMMAND: Need = Need {
    provider: "command",
    key: "providers.command.start",
    reason: "an address with provider=command needs the command line that starts its model server; set \
             TANDEM__PROVIDERS__COMMAND__START",
};
const WEBHOOK_START: Need = Need {
    provider: "webhook",
    key: "providers.webhook.start_url",
    reason: "an address with provider=webhook needs the URL that starts its machine; set \
             TANDEM__PROVIDERS__WEBHOOK__START_URL",
};
const WEBHOOK_STOP: Need = Need {
    provider: "webhook",
    key: "providers.webhook.stop_url",
    reason: "an address with provider=webhook needs the URL that stops its machine; set \
             TANDEM__PROVIDERS__WEBHOOK__STOP_URL",
};

impl Judge {
    pub(super) fn fleet(
        &mut self,
        raw: &RawFleet,
        providers: RawProviders,
        upstreams: &UpstreamSettings,
        state: &Path,
    ) -> FleetSettings {
        let keep_warm = raw.keep_warm.parse().unwrap_or_else(|error: ScheduleError| {
            self.value("fleet.keep_warm", quoted(&raw.keep_warm), error.to_string());
            Schedule::default()
        });
        let policy = Policy {
            idle: Duration::from_secs(raw.idle_seconds),
            min_awake: Duration::from_secs(raw.min_awake_seconds),
            wake_deadline: Duration::from_secs(raw.wake_timeout_seconds),
            reconcile: Duration::from_secs(raw.reconcile_seconds),
            warm_up: raw.warm_up,
            ..Policy::default()
        };
        FleetSettings {
            policy,
            ticket_hold: Some(Duration::from_secs(raw.ticket_hold_seconds)).filter(|hold| !hold.is_zero()),
            restart_stuck: Duration::from_secs(raw.restart_stuck_seconds),
            keep_warm,
            access: self.access(providers, upstreams, state),
        }
    }

    fn access(&mut self, raw: RawProviders, upstreams: &UpstreamSettings, state: &Path) -> Access {
        let runpod = self.cloud(raw.runpod, "providers.runpod.base_url", &RUNPOD, upstreams);
        let vast = self.cloud(raw.vast, "providers.vast.base_url", &VAST, upstreams);
        let railway = self.railway(raw.railway, upstreams);
        let docker = self.docker(&raw.docker);
        let kubernetes = self.kubernetes(raw.kubernetes, upstreams);
        let command = self.command(raw.command, upstreams, state);
        let webhook = self.webhook(raw.webhook, upstreams);
        Access { runpod, vast, railway, docker, kubernetes, command, webhook }
    }

    /// Says that something is missing where an address needs it.
    fn need(&mut self, need: &Need, upstreams: &UpstreamSettings) {
        if machines(upstreams, need.provider) > 0 {
            self.flaws.push(Flaw::Missing { key: need.key, reason: need.reason });
        }
    }

    fn cloud(
        &mut self,
        raw: RawCloud,
        base_url: &'static str,
        need: &Need,
        upstreams: &UpstreamSettings,
    ) -> Option<CloudAccess> {
        let base_url = self.base_url(base_url, &raw.base_url);
        let Some(api_key) = secret(&raw.api_key) else {
            self.need(need, upstreams);
            return None;
        };
        Some(CloudAccess { api_key, base_url, port: Some(raw.port).filter(|port| *port > 0) })
    }

    fn railway(&mut self, raw: RawRailway, upstreams: &UpstreamSettings) -> Option<RailwayAccess> {
        let base_url = self.base_url("providers.railway.base_url", &raw.base_url);
        let account = || secret(&raw.account_token).map(Token::Account);
        let Some(token) = secret(&raw.project_token).map(Token::Project).or_else(account) else {
            self.need(&RAILWAY, upstreams);
            return None;
        };
        Some(RailwayAccess { token, base_url })
    }

    fn docker(&mut self, raw: &RawDocker) -> Option<DockerAccess> {
        let written = raw.daemon.trim_end_matches('/');
        let daemon = match written.strip_prefix("http://") {
            Some(rest) if !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']) => Daemon::Url(written.to_owned()),
            None if written.starts_with('/') => Daemon::Socket(written.into()),
            _ => {
                let expected = "the path of a socket such as /var/run/docker.sock, or a URL that begins with http://";
                self.value("providers.docker.daemon", "a value that is not shown", expected);
                return None;
            }
        };
        Some(DockerAccess { daemon, grace: Duration::from_secs(raw.grace_seconds) })
    }

    fn kubernetes(&mut self, raw: RawKubernetes, upstreams: &UpstreamSettings) -> Option<KubernetesAccess> {
        let base_url = set(raw.base_url).map(|url| self.base_url("providers.kubernetes.base_url", &url));
        let in_pod = base_url.as_deref() == Some(kubernetes::Settings::IN_POD_URL);
        let pods = |file: &'static str| in_pod.then(|| file.to_owned());
        let ca_file = set(raw.ca_file).or_else(|| pods(kubernetes::Settings::IN_POD_CA_FILE)).map(Into::into);
        let file = set(raw.token_file).or_else(|| pods(kubernetes::Settings::IN_POD_TOKEN_FILE));
        let file = file.map(|file| kubernetes::Token::File(file.into()));
        let token = secret(&raw.token).map(kubernetes::Token::Fixed).or(file);
        if base_url.is_some() && token.is_none() {
            self.need(&KUBERNETES, upstreams);
            return None;
        }
        Some(KubernetesAccess { base_url, ca_file, token, replicas: raw.replicas })
    }

    fn command(&mut self, raw: RawCommand, upstreams: &UpstreamSettings, state: &Path) -> Option<CommandAccess> {
        for (at, name) in raw.environment.iter().enumerate() {
            if !is_variable(name) {
                let shown = format!("wrong in its part {}", at + 1);
                self.value("providers.command.environment", shown, "names of variables, without their values");
            }
        }
        let output = self.output(&raw, upstreams);
        if raw.start.is_empty() {
            self.need(&COMMAND, upstreams);
            return None;
        }
        let start = raw.start.parse().map_err(|error: CommandLineError| {
            self.value("providers.command.start", quoted(&raw.start), error.to_string());
        });
        Some(CommandAccess {
            start: start.ok()?,
            variables: raw.environment,
            directory: set(raw.directory).map(Into::into),
            grace: Duration::from_secs(raw.grace_seconds),
            output,
            pid_file: state.join("command-{name}.pid").display().to_string(),
        })
    }

    fn output(&mut self, raw: &RawCommand, upstreams: &UpstreamSettings) -> CommandOutput {
        let path = match raw.output.as_str() {
            "off" | "" => return CommandOutput::Discard,
            "inherit" => return CommandOutput::Inherit,
            path => path.to_owned(),
        };
        if !path.contains("{name}") && machines(upstreams, "command") > 1 {
            let expected = "a path with {name} in it, because there are several such machines";
            self.value("providers.command.output", quoted(&path), expected);
        }
        CommandOutput::File { path, max_bytes: raw.output_bytes }
    }

    fn webhook(&mut self, raw: RawWebhook, upstreams: &UpstreamSettings) -> Option<webhook::Settings> {
        let state_pointer = self.pointer("providers.webhook.state_pointer", raw.state_pointer);
        let address_pointer = self.pointer("providers.webhook.address_pointer", raw.address_pointer);
        let restart_url = self.url("providers.webhook.restart_url", &raw.restart_url);
        let status_url = self.url("providers.webhook.status_url", &raw.status_url);
        let start_url = self.url("providers.webhook.start_url", &raw.start_url);
        let stop_url = self.url("providers.webhook.stop_url", &raw.stop_url);
        for (url, need) in [(&start_url, &WEBHOOK_START), (&stop_url, &WEBHOOK_STOP)] {
            if url.is_none() {
                self.need(need, upstreams);
            }
        }
        let authorization = secret(&raw.authorization).map(|value| ("authorization".to_owned(), value));
        Some(webhook::Settings {
            machine: String::new(),
            start_url: start_url?,
            stop_url: stop_url?,
            restart_url,
            status_url,
            state_pointer,
            address_pointer: set(address_pointer),
            signing_key: secret(&raw.secret),
            headers: authorization.into_iter().collect(),
        })
    }

    /// A URL of others, which may hold a token and so is never shown.
    fn url(&mut self, key: &'static str, written: &str) -> Option<SecretString> {
        let url = written.trim();
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let good =
            rest.is_some_and(|rest| !rest.is_empty()) && !url.contains(|c: char| c.is_whitespace() || c.is_control());
        if !good && !url.is_empty() {
            self.value(key, "a value that is not shown", "a URL that begins with https:// or http://");
        }
        // What is wrong is told once, and not as missing besides.
        set(url.to_owned()).map(SecretString::from)
    }

    fn pointer(&mut self, key: &'static str, pointer: String) -> String {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            self.value(key, quoted(&pointer), "a JSON pointer such as /state");
        }
        pointer
    }

    /// Where an API is, without a `/` at its end: others could read the key on their way unless it is on this machine.
    fn base_url(&mut self, key: &'static str, written: &str) -> String {
        let url = written.trim_end_matches('/');
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = Authority::parse(authority).ok().map(|authority| authority.host);
        let good = host.is_some_and(|host| scheme == "https" || (scheme == "http" && is_loopback(&host)));
        if !good || path.contains(|c: char| "?#".contains(c) || c.is_whitespace() || c.is_control()) {
            let expected = "https:// with a host and a path, without user and ? (or http:// on this machine)";
            self.value(key, "a value that is not shown", expected);
        }
        url.to_owned()
    }
}

/// How many machines of one provider there are.
fn machines(upstreams: &UpstreamSettings, provider: &str) -> usize {
    let machines = upstreams.urls.iter().filter_map(|url| url.options.machine.as_ref());
    machines.filter(|machine| machine.provider() == provider).count()
}

/// Keys and tokens have no blanks around them, but files and variables may.
fn secret(text: &str) -> Option<SecretString> {
    set(text.trim().to_owned()).map(SecretString::from)
}

fn is_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(legal) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}
