//! `tandem check`: is the configuration good, and are the model servers up?

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;

use crate::config::{self, Settings, UpstreamUrl};
use crate::session::leg::upstream::connect::{ConnectTimeouts, TlsTrust, UpstreamConnector};
use crate::sim::caller::{Address, CallerError, HttpAnswer, Trust, http_get};

use super::state_lock::StateLockError;
use super::{ConfigArguments, private_file, terminal};

/// The longest wait for each of connecting, TLS and the answer; a busy model server answers late.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which configuration to check.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Checks the configuration alone.
    #[arg(long)]
    offline: bool,
}

/// Prints every problem, or the settings and how the model servers are; status 1 when something needs doing.
pub(super) async fn check(arguments: &CheckArguments) -> Result<ExitCode, String> {
    let settings = arguments.config.load(&config::process_environment())?;
    show(&settings);
    try_out(&settings)?;
    if arguments.offline || settings.upstreams.urls.is_empty() {
        if settings.upstreams.urls.is_empty() {
            terminal::say("\nNo model servers are set (PERSONAPLEX_SERVER_URL); simulated ones take the calls.");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let probes = settings.upstreams.urls.iter().map(|url| probe(url, &settings));
    let findings = join_all(probes).await;
    terminal::say("\nModel servers:");
    let width = settings.upstreams.urls.iter().map(|url| url.to_string().len()).max().unwrap_or_default();
    for (url, finding) in settings.upstreams.urls.iter().zip(&findings) {
        let (state, sentence) = match finding {
            Ok(()) => ("up  ", "answers as a PersonaPlex server"),
            Err(sentence) => ("down", sentence.as_str()),
        };
        terminal::say(format!("  {:width$}  {state}  {sentence}", url.to_string()));
    }
    match findings.iter().filter(|finding| finding.is_err()).count() {
        0 => Ok(ExitCode::SUCCESS),
        down => Err(format!("{down} of {} model servers cannot take calls", findings.len())),
    }
}

/// Does what `serve` would do with files, so that it fails here first.
fn try_out(settings: &Settings) -> Result<(), String> {
    let trust = TlsTrust { ca_file: settings.upstreams.ca_file.clone(), insecure: settings.upstreams.insecure_tls };
    let connector = UpstreamConnector::new(&trust, ConnectTimeouts::default()).err().map(|error| error.to_string());
    let directory = &settings.state.dir;
    let state = private_file::make_directory(directory)
        .err()
        .map(|source| StateLockError::Unusable { directory: directory.display().to_string(), source }.to_string());
    let problems: Vec<String> = connector.into_iter().chain(state).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\ntandem: ")) }
}

fn show(settings: &Settings) {
    terminal::say("Settings:");
    let lines = settings.describe();
    let keys = lines.iter().map(|line| line.key.len()).max().unwrap_or_default();
    for line in lines {
        let source = if line.source == "default" { String::new() } else { format!("   <- {}", line.source) };
        terminal::say(format!("  {:keys$}  {}{source}", line.key, terminal::printable(&line.value)));
    }
    for warning in &settings.warnings {
        terminal::say(format!("\nWarning: {warning}"));
    }
}

/// Asks for the call path without an upgrade, which a model server refuses before it touches anybody's prompts.
async fn probe(url: &UpstreamUrl, settings: &Settings) -> Result<(), String> {
    let address = Address {
        tls: url.tls,
        host: url.host.trim_matches(['[', ']']).to_owned(),
        port: url.port,
        prefix: url.prefix.clone(),
    };
    let trust = match &settings.upstreams.ca_file {
        _ if settings.upstreams.insecure_tls => Trust::Any,
        Some(file) => Trust::AlsoFile(file.clone()),
        None => Trust::System,
    };
    judge(http_get(&address, "/api/chat", &trust, PROBE_TIMEOUT).await)
}

fn judge(answer: Result<HttpAnswer, CallerError>) -> Result<(), String> {
    match answer {
        Ok(HttpAnswer { status: 400, .. }) => Ok(()),
        Ok(HttpAnswer { status: 404, .. }) => {
            Err("answers, but has no /api/chat: is the path before it right, and is it a PersonaPlex server?"
                .to_owned())
        }
        Ok(HttpAnswer { status: status @ (301 | 302 | 307 | 308), .. }) => {
            Err(format!("redirects (HTTP {status}): use the address it redirects to, wss:// perhaps"))
        }
        Ok(HttpAnswer { status: status @ (502..=504), .. }) => {
            Err(format!("a proxy answers (HTTP {status}), the server behind it does not: is it started or asleep?"))
        }
        Ok(HttpAnswer { status, .. }) => Err(format!("answers with HTTP {status} instead of 400: is it PersonaPlex?")),
        Err(CallerError::NotTls { .. }) => {
            Err("answers plain HTTP where wss:// expects TLS: use ws://, or start it with --ssl".to_owned())
        }
        Err(CallerError::Tls { reason, .. }) => Err(format!(
            "TLS failed ({}): set upstreams.ca_file to its authority, or upstreams.insecure_tls on a private network",
            terminal::printable(&reason)
        )),
        Err(CallerError::Refused { .. }) => Err("nothing listens there: is the server started?".to_owned()),
        Err(CallerError::NoAnswer { .. }) => {
            Err("no answer within 5 s: asleep, behind a firewall, or stuck in a model step?".to_owned())
        }
        Err(CallerError::NotHttp { .. }) => {
            Err("does not answer with HTTP: is it TLS (wss://) or another port?".to_owned())
        }
        Err(other) => Err(terminal::printable(&other.to_string())),
    }
}
