//! `tandem check`: is the configuration good, and are the model servers up?

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret as _;

use crate::config::{self, InForce, Settings};
use crate::context::cast::Cast;
use crate::context::persona::Persona;
use crate::fleet::provider::{BuildError, Exchange};
use crate::gateway::spans::trace_settings;
use crate::session::leg::upstream::connect::{ConnectTimeouts, UpstreamConnector};

use super::simulate::DEFAULT_PORT;
use super::state_lock::StateLockError;
use super::{ConfigArguments, private_file, server_certificate, server_report, store_report, terminal};

/// Which configuration to check.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Checks the configuration alone.
    #[arg(long)]
    offline: bool,
    /// Says besides what a Tandem that runs with this older file would take over of the configuration at a SIGHUP.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Checks nothing, but makes the key.pem and cert.pem of a model server in this directory, and prints the pin.
    #[arg(long, value_name = "DIR")]
    make_cert: Option<PathBuf>,
    /// A name or address under which Tandem reaches that server; may be given several times.
    #[arg(long, value_name = "NAME", requires = "make_cert")]
    host: Vec<String>,
}

/// Prints every problem, or the settings and how the model servers and their machines are; status 1 when something needs doing.
pub(super) async fn check(arguments: &CheckArguments) -> Result<ExitCode, String> {
    if let Some(directory) = &arguments.make_cert {
        return make_certificate(directory, &arguments.host);
    }
    let settings = arguments.config.load(&config::process_environment())?;
    show(&settings);
    if let Some(older) = &arguments.against {
        let older = ConfigArguments { config: Some(older.clone()) };
        show_reload(&older.load(&config::process_environment())?, &settings);
    }
    let cast = Cast::load(&settings.persona).map_err(|error| error.to_string())?;
    show_cast(&cast, &settings.persona.default);
    let connector = UpstreamConnector::new(ConnectTimeouts::default());
    try_out(&settings, &connector)?;
    let store = match arguments.offline {
        true => None,
        false => store_report::report(&settings).await.err(),
    };
    if arguments.offline || settings.upstreams.urls.is_empty() {
        if settings.upstreams.urls.is_empty() {
            terminal::say("\nNo model servers are set (PERSONAPLEX_SERVER_URL); simulated ones take the calls.");
        }
        return store.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    let count = server_report::report(&settings, &connector).await;
    let down = format!("{} of {} model servers cannot take calls", count.down, count.servers);
    let unknown =
        format!("{} of {} model servers are on machines that nobody says anything of", count.unknown, count.servers);
    let problems: Vec<String> = [(count.down, down), (count.unknown, unknown)]
        .into_iter()
        .filter_map(|(n, it)| (n > 0).then_some(it))
        .chain(store)
        .collect();
    if problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(problems.join("\ntandem: ")) }
}

/// Makes a server's key and certificate, and says how both ends use them.
fn make_certificate(directory: &Path, hosts: &[String]) -> Result<ExitCode, String> {
    let pin = server_certificate::make(directory, hosts).map_err(|error| error.to_string())?;
    let host = hosts.first().map_or("HOST", String::as_str);
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    let path = directory.display();
    terminal::say(format!("Made {path}/key.pem, which is secret, and {path}/cert.pem."));
    terminal::say(format!("Pin: {pin}"));
    terminal::status(format!(
        "Next: start the model server with --ssl and the path of that directory, and Tandem with\n  \
         PERSONAPLEX_SERVER_URL='wss://{host}:{DEFAULT_PORT}#pin={pin}'"
    ));
    Ok(ExitCode::SUCCESS)
}

/// Does what `serve` would do with files, and looks for machines that it cannot deal with, so that it fails here first.
fn try_out(settings: &Settings, connector: &UpstreamConnector) -> Result<(), String> {
    let files = settings.upstreams.trusts().into_iter();
    let files = files.filter_map(|trust| connector.prepare(&trust).err().map(|error| error.to_string()));
    let directory = &settings.state.dir;
    let state = private_file::make_directory(directory)
        .err()
        .map(|source| StateLockError::Unusable { directory: directory.display().to_string(), source }.to_string());
    let traces = trace_settings(settings).and_then(|traces| traces.check().err()).map(|error| error.to_string());
    let problems: Vec<String> = files.chain(state).chain(left_out(settings)).chain(traces).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\ntandem: ")) }
}

/// Prints who may speak in calls.
fn show_cast(cast: &Cast, default: &str) {
    terminal::say("\nPersonas:");
    let names = cast.all().map(|persona| persona.name.len()).max().unwrap_or_default();
    for persona in cast.all() {
        let Persona { name, voice, budget, description, .. } = persona.as_ref();
        let sees = if persona.sees_context() { " Knows its caller." } else { "" };
        let scope = persona.scope.as_ref().map(|scope| format!(" Needs the scope {scope}.")).unwrap_or_default();
        let chosen = if name == default { "   <- default" } else { "" };
        let tokens = budget.counter.of(persona.bare().expose_secret());
        // A prompt that is the same for everybody has no budget but the request line's.
        let most = if budget.tokens == u32::MAX { String::new() } else { format!(" to {}", budget.tokens) };
        let words = terminal::printable(&format!("{description}{sees}{scope}"));
        terminal::say(format!("  {name:names$}  {voice}  {tokens}{most} tokens  {words}{chosen}"));
    }
    for advice in cast.advice() {
        terminal::say(format!("\nWarning: {}", terminal::printable(&advice.to_string())));
    }
}

/// The machines whose providers this program was built without.
fn left_out(settings: &Settings) -> Vec<String> {
    let exchange = Exchange::new(Exchange::TIMEOUT);
    let machines = settings.upstreams.urls.iter().filter_map(|url| Some((url, url.options.machine.as_ref()?)));
    let told = machines.filter_map(|(url, machine)| match settings.fleet.provider(url, &exchange) {
        Err(error @ BuildError::NotBuiltIn(_)) => Some(terminal::printable(&format!("machine {machine}: {error}"))),
        _ => None,
    });
    told.collect()
}

/// Prints what would come of a reload.
fn show_reload(older: &Settings, newer: &Settings) {
    terminal::say("\nA reload:");
    if older.mode != newer.mode {
        return terminal::say("  nothing is taken over: the mode is another one, which needs a restart.");
    }
    if older.simulator.enabled != newer.simulator.enabled {
        return terminal::say("  nothing is taken over: simulated servers come and go with a restart.");
    }
    if older.auth.rules.tenant_claim.is_none() && newer.auth.rules.tenant_claim.is_some() {
        return terminal::say("  nothing is taken over: limits for tenants begin with a restart.");
    }
    let changes = config::changes(older.describe(), newer.describe());
    let keys = changes.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    for (key, in_force) in &changes {
        terminal::say(format!("  {key:keys$}  {}", in_force.word()));
    }
    if changes.is_empty() {
        terminal::say("  changes nothing.");
    }
}

fn show(settings: &Settings) {
    terminal::say("Settings:");
    let lines = settings.describe();
    let keys = lines.iter().map(|line| line.key.len()).max().unwrap_or_default();
    let words = [InForce::AtOnce, InForce::NextCall, InForce::Restart].map(|when| when.word().len());
    let words = words.into_iter().max().unwrap_or_default();
    for line in lines {
        let source = if line.source == "default" { String::new() } else { format!("   <- {}", line.source) };
        let reload = InForce::of(line.key).word();
        terminal::say(format!("  {:keys$}  {reload:words$}  {}{source}", line.key, terminal::printable(&line.value)));
    }
    terminal::say("The second column says when a change is in force after a SIGHUP.");
    if let Some(scribe) = &settings.recap {
        let host = terminal::printable(scribe.host());
        terminal::say(format!("\nTranscripts of calls go to {host}, which writes recaps of them (recap.url)."));
    }
    for warning in &settings.warnings {
        terminal::say(format!("\nWarning: {warning}"));
    }
}
