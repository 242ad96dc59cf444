//! SIGHUP while serving: the list of model servers is read again, without disturbing a call.

use std::future::pending;
use std::io::{self, IsTerminal as _, stdin};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, SettingLine, Settings};
use crate::gateway::Gateway;
use crate::http::identity::unix_now_seconds;
use crate::metrics::Reload;

use super::serve::ServeArguments;

/// What a SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Somebody wants the configuration to be read again.
    Reload,
    /// The terminal that it was started from is gone, and with it whoever could stop it by Ctrl-C.
    TerminalGone,
}

/// Listens for SIGHUP from when it is made.
pub(super) struct Hangups {
    signal: Signal,
    had_terminal: bool,
}

impl Hangups {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::hangup())?, had_terminal: stdin().is_terminal() })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Hangup {
        match self.signal.recv().await {
            Some(()) if self.had_terminal && !stdin().is_terminal() => Hangup::TerminalGone,
            Some(()) => Hangup::Reload,
            // No more of them will come.
            None => pending().await,
        }
    }
}

/// Reads the configuration again, from where it was read at the start.
pub(super) struct Reloader {
    arguments: ServeArguments,
    running: Vec<SettingLine>,
    simulates: bool,
}

/// The one setting that counts without a restart.
const SERVERS: &str = "upstreams.urls";

impl Reloader {
    /// For a process that was started with these arguments and runs with these settings.
    pub(super) fn new(arguments: &ServeArguments, running: &Settings) -> Self {
        let simulates = running.simulator.enabled;
        Self { arguments: arguments.clone(), running: running.describe().to_vec(), simulates }
    }

    /// Takes the list of servers over, or says everything that keeps it from that; then all stays as it was.
    pub(super) async fn reload(&mut self, gateway: &Gateway) {
        let result = self.read_again(gateway).await;
        gateway.doors.metrics.reloaded(result, unix_now_seconds());
    }

    async fn read_again(&self, gateway: &Gateway) -> Reload {
        let settings = match self.arguments.load(config::process_environment()) {
            Ok(settings) => settings,
            Err(error) => {
                for flaw in &error.flaws {
                    tracing::error!("{flaw}");
                }
                tracing::error!(flaws = error.flaws.len(), "the configuration is wrong; the old one stays");
                return Reload::Wrong;
            }
        };
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        if self.simulates || settings.simulator.enabled {
            tracing::warn!("simulated servers come and go with a restart only; nothing is changed");
            return Reload::Refused;
        }
        for (new, old) in settings.describe().iter().zip(&self.running) {
            if new.key != SERVERS && new.value != old.value {
                tracing::warn!(key = new.key, "this setting has changed and needs a restart");
            }
        }
        match gateway.reload(&settings).await {
            Err(error) => {
                tracing::error!(%error, "the model servers stay as they were");
                Reload::Refused
            }
            Ok(told) => {
                for address in &told.changed {
                    tracing::warn!(address, "more than the address of this server has changed, which needs a restart");
                }
                let (joined, parted) = (told.joined, told.parted);
                tracing::info!(?joined, ?parted, "the list of model servers was read again");
                Reload::Ok
            }
        }
    }
}
