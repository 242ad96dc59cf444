//! `tandem serve`: answers calls.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::UserId;
use crate::config::{self, ConfigError, Environment, LedgerPlace, LogFormat, Settings};
use crate::gateway::{Gateway, Rehearsal, Reloader, Source};
use crate::http::identity::unix_now_seconds;
use crate::telemetry;

use super::hangup::{Hangup, Hangups};
use super::simulators::Simulators;
use super::state_lock::StateLock;
use super::{ConfigArguments, DevState, StopSignals, terminal};

/// How long the token lives that a development server hands out.
const DEVELOPMENT_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How to serve; what is not said is taken from the configuration.
#[derive(Clone, Debug, Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The IP address to listen on.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) host: Option<IpAddr>,
    /// The TCP port to listen on; 0 takes any free one.
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Demands secrets and model servers, as production does.
    #[arg(long)]
    pub(super) production: bool,
}

impl ServeArguments {
    /// The settings that come of these arguments, or every problem.
    pub(super) fn load(&self, environment: Environment) -> Result<Settings, ConfigError> {
        self.config.judge(&self.over(environment))
    }

    /// What the flags say, as the variables that they stand for; a flag is stronger than a variable.
    fn over(&self, mut environment: Environment) -> Environment {
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        if let Some(host) = self.host {
            set("TANDEM__LISTEN__HOST", host.to_string());
        }
        if let Some(port) = self.port {
            set("TANDEM__LISTEN__PORT", port.to_string());
        }
        if self.production {
            set("TANDEM__MODE", "production".to_owned());
        }
        environment
    }
}

/// Reads the configuration and serves until it is told to stop.
pub(super) fn serve(arguments: &ServeArguments) -> Result<ExitCode, String> {
    let settings = arguments.load(config::process_environment()).map_err(|error| error.to_string())?;
    let arguments = arguments.clone();
    run(settings, Arc::new(move || arguments.load(config::process_environment())))
}

/// Serves with these settings until a signal, or until something that cannot be lived without is gone.
fn run(mut settings: Settings, source: Source) -> Result<ExitCode, String> {
    telemetry::start(log_format(settings.logging.format), settings.logging.level.word());
    // Held until the end: two processes would not know of each other's calls.
    let _lock = StateLock::take(&settings.state.dir).map_err(|error| error.to_string())?;
    settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let simulators = match settings.simulator.enabled {
        true => Some(Simulators::start(&settings.simulator)?),
        false => None,
    };
    if let Some(simulators) = &simulators {
        settings.upstreams.urls = simulators.urls.clone();
        // They end with this process: what it leaves open is nobody's trouble.
        settings.state.ledger = LedgerPlace::Off;
    }
    let secret = secret(&settings)?;
    let system = actix_rt::System::new();
    let code = system.block_on(async {
        let gateway = Gateway::start(&settings, &secret, Rehearsal::default()).map_err(|error| error.to_string())?;
        let deaf = |error: std::io::Error| format!("signals cannot be heard: {error}");
        let (signals, hangups) = (StopSignals::listen().map_err(deaf)?, Hangups::listen().map_err(deaf)?);
        greet(&settings, &gateway)?;
        let reloader = Reloader::new(source, &settings);
        actix_rt::spawn(stop_when_told(gateway, signals, hangups, reloader));
        Ok::<(), String>(())
    });
    let stopped = code.and_then(|()| system.run_with_code().map_err(|error| format!("the system failed: {error}")));
    DevState::remove(&settings.state.dir);
    drop(simulators);
    Ok(ExitCode::from(u8::try_from(stopped?).unwrap_or(1)))
}

/// Ends in order at the first signal, and hurries at the second. The status is 1 if calls were cut off without a word.
/// Until then the configuration is read again whenever that is asked for.
async fn stop_when_told(gateway: Gateway, mut signals: StopSignals, hangups: Hangups, reloader: Reloader) {
    tokio::select! {
        () = signals.next() => {}
        () = read_again_when_told(&gateway, hangups, reloader) => {}
        () = gateway.told_to_stop() => {}
    }
    let stopping = gateway.stop();
    tokio::pin!(stopping);
    let cut_off = tokio::select! {
        cut_off = &mut stopping => cut_off,
        () = signals.next() => {
            gateway.hurry();
            stopping.await
        }
    };
    if let Some(system) = actix_rt::System::try_current() {
        system.stop_with_code(status_of(cut_off));
    }
}

/// A platform starts a process again that ended with a failure: one that had to cut off calls without a word.
const fn status_of(cut_off: usize) -> i32 {
    if cut_off > 0 { 1 } else { 0 }
}

/// Reads the configuration again at every SIGHUP and whenever a door asks for it, one time after the other, until the
/// terminal is gone.
async fn read_again_when_told(gateway: &Gateway, mut hangups: Hangups, mut reloader: Reloader) {
    let Some(mut orders) = gateway.doors.reloads.attend() else { return };
    loop {
        tokio::select! {
            hangup = hangups.next() => match hangup {
                // What comes of it is logged and counted.
                Hangup::Reload => drop(reloader.reload(gateway).await),
                Hangup::TerminalGone => return,
            },
            Some(order) = orders.recv() => {
                if !order.is_given_up() {
                    order.done(reloader.reload(gateway).await);
                }
            }
        }
    }
}

/// The configured secret, or in development one that is kept in the state directory.
fn secret(settings: &Settings) -> Result<SecretString, String> {
    match &settings.auth.jwt_secret {
        Some(secret) => Ok(secret.clone()),
        None => super::development_secret(&settings.state.dir).map_err(|error| error.to_string()),
    }
}

/// Says where it listens and, in development, what to do next.
fn greet(settings: &Settings, gateway: &Gateway) -> Result<(), String> {
    let url = format!("http://{}", gateway.address);
    tracing::info!(url, version = env!("CARGO_PKG_VERSION"), "listening");
    if settings.is_exposed() {
        return Ok(());
    }
    let user = UserId::new("developer").map_err(|error| error.to_string())?;
    let token = gateway
        .doors
        .tokens
        .mint(&user, DEVELOPMENT_TOKEN_LIFE, unix_now_seconds())
        .map_err(|error| error.to_string())?;
    let state = DevState { url: url.clone(), token: token.clone() };
    state.write(&settings.state.dir).map_err(|error| error.to_string())?;
    let servers = match settings.simulator.enabled {
        true => "a simulated PersonaPlex server answers: you hear yourself after a pause".to_owned(),
        false => format!("{} model server(s) configured", settings.upstreams.urls.len()),
    };
    let program = std::env::args().next().unwrap_or_else(|| "tandem".to_owned());
    terminal::status(format!(
        "Tandem listens on {url} ({servers}).\n\n\
         Call it from another terminal in this directory:\n  \
         {program} call speech.wav --out reply.wav\n\n\
         A token for other clients, good for 24 hours:\n  {}\n\n\
         Metrics: {url}/metrics   Readiness: {url}/readyz   Stop: Ctrl-C",
        token.expose_secret()
    ));
    Ok(())
}

const fn log_format(format: LogFormat) -> telemetry::Format {
    match format {
        LogFormat::Auto => telemetry::Format::Auto,
        LogFormat::Pretty => telemetry::Format::Pretty,
        LogFormat::Json => telemetry::Format::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_cut_off_calls_ends_with_a_failure() {
        assert_eq!([0, 1, 300].map(status_of), [0, 1, 1]);
    }

    #[test]
    fn flags_are_stronger_than_variables() {
        let arguments = ServeArguments {
            config: ConfigArguments::default(),
            host: Some("127.0.0.9".parse().unwrap()),
            port: Some(0),
            production: false,
        };
        let environment = [("PORT", "1"), ("TANDEM__LISTEN__PORT", "2"), ("TANDEM__LISTEN__HOST", "127.0.0.2")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = config::load(None, &arguments.over(environment)).unwrap();
        assert_eq!(settings.listen.address(), "127.0.0.9:0".parse().unwrap());
        let arguments = ServeArguments { production: true, ..arguments };
        let error = config::load(None, &arguments.over(Environment::new())).unwrap_err();
        assert!(error.to_string().contains("JWT_SECRET"), "{error}");
    }
}
