//! Reads the configuration again, from where it was read at the start, whoever asks for it.

use std::{sync::Arc, time::Duration};

use actix_web::web;
use tokio::time::timeout;

use super::Gateway;
use crate::{
    config::{self, ConfigError, InForce, SettingLine, Settings, UpstreamUrl},
    http::{
        identity::unix_now_seconds,
        reload::{ChangedServers, ChangedSetting, NotReloaded, Reloaded},
    },
    metrics::Reload,
};

/// For a file of a megabyte at the most.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a configuration comes from.
pub type Source = Arc<dyn Fn() -> Result<Settings, ConfigError> + Send + Sync>;

/// Knows what a gateway runs with, and where there may be something else by now.
pub struct Reloader {
    source: Source,
    /// What is in force, and what of it was read last: these differ in what needs a restart.
    in_force: Vec<SettingLine>,
    read: Vec<SettingLine>,
    /// The simulated servers, if it is those that take the calls.
    simulated: Option<Vec<UpstreamUrl>>,
}

impl Reloader {
    /// For a process that runs with these settings.
    pub fn new(source: Source, running: &Settings) -> Self {
        let simulated = running.simulator.enabled.then(|| running.upstreams.urls.clone());
        let lines = running.describe().to_vec();
        Self { source, in_force: lines.clone(), read: lines, simulated }
    }

    /// Takes over what can be, or says everything that keeps it from that; then all stays as it was.
    pub async fn reload(&mut self, gateway: &Gateway) -> Result<Reloaded, NotReloaded> {
        let outcome = self.read_again(gateway).await;
        let result = match &outcome {
            Ok(_) => Reload::Ok,
            Err(NotReloaded::Wrong) => Reload::Wrong,
            Err(NotReloaded::Refused) => Reload::Refused,
        };
        gateway.doors.metrics.reloaded(result, unix_now_seconds());
        outcome
    }

    async fn read_again(&mut self, gateway: &Gateway) -> Result<Reloaded, NotReloaded> {
        let mut settings = self.settings().await?;
        if settings.simulator.enabled != self.simulated.is_some() {
            tracing::error!("simulated servers come and go with a restart only; nothing is changed");
            return Err(NotReloaded::Refused);
        }
        if let Some(simulated) = &self.simulated {
            settings.upstreams.urls.clone_from(simulated);
        }
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let servers = gateway.reload(&settings).await.map_err(|error| {
            tracing::error!(%error, "the configuration cannot be taken over; the old one stays");
            NotReloaded::Refused
        })?;
        for address in &servers.changed {
            tracing::warn!(address, "more than the address of this server has changed, which needs a restart");
        }
        let changed = config::changes(&self.read, settings.describe());
        self.remember(settings.describe());
        let needs_restart: Vec<_> =
            config::changes(&self.in_force, &self.read).into_iter().map(|(key, _)| key).collect();
        for key in &needs_restart {
            tracing::warn!(key, "this setting has changed and needs a restart");
        }
        let servers = ChangedServers { joined: servers.joined, parted: servers.parted, need_restart: servers.changed };
        let keys: Vec<_> = changed.iter().map(|(key, _)| *key).collect();
        tracing::info!(changed = ?keys, joined = ?servers.joined, parted = ?servers.parted, "the configuration was read again");
        let changed = changed.into_iter().map(|(key, in_force)| ChangedSetting::new(key, in_force)).collect();
        Ok(Reloaded { changed, needs_restart, servers, warnings: settings.warnings })
    }

    /// What the source says now, if that has no flaw.
    async fn settings(&self) -> Result<Settings, NotReloaded> {
        let source = Arc::clone(&self.source);
        match timeout(FILE_TIMEOUT, web::block(move || source())).await {
            Ok(Ok(Ok(settings))) => Ok(settings),
            Ok(Ok(Err(error))) => {
                for flaw in &error.flaws {
                    tracing::error!("{flaw}");
                }
                tracing::error!(flaws = error.flaws.len(), "the configuration is wrong; the old one stays");
                Err(NotReloaded::Wrong)
            }
            Ok(Err(_)) | Err(_) => {
                let seconds = FILE_TIMEOUT.as_secs();
                tracing::error!(seconds, "the configuration could not be read in time; the old one stays");
                Err(NotReloaded::Refused)
            }
        }
    }

    /// These were taken over, but for what needs a restart.
    fn remember(&mut self, lines: &[SettingLine]) {
        self.read = lines.to_vec();
        for line in lines.iter().filter(|line| InForce::of(line.key) != InForce::Restart) {
            if let Some(known) = self.in_force.iter_mut().find(|known| known.key == line.key) {
                known.clone_from(line);
            }
        }
    }
}
