//! New settings in a gateway that runs: what can be exchanged is, all of it or nothing, and no call notices.

use std::time::Duration;

use actix_web::web;
use tokio::time::timeout;

use super::{Gateway, MachineError, TlsError, doors, roster_tuning, seat_limits};
use crate::{
    config::Settings,
    context::cast::{Cast, CastError},
    pool::{actor::Tune, discovery::Configured},
    telemetry,
};

/// The pool answers from memory.
const POOL_TIMEOUT: Duration = Duration::from_secs(2);
/// For the files of personas, and a tokenizer of some megabytes.
const FILES_TIMEOUT: Duration = Duration::from_secs(20);

/// Why new settings are not taken; the old ones stay, all of them.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What may be said of everything else depends on it.
    #[error("the mode is another one; that needs a restart, and nothing else is taken either")]
    Mode,
    /// Tokens' tenants would have to be looked at, and are not.
    #[error(
        "limits for tenants begin with a restart, because nobody looks at the tenants of tokens so far; nothing is taken"
    )]
    Tenants,
    /// A file of certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A persona cannot be used.
    #[error(transparent)]
    Personas(#[from] CastError),
    /// A disk does not answer.
    #[error("the files of the personas could not be read within {} s; look at the disk of persona.dir", FILES_TIMEOUT.as_secs())]
    FilesTimeout,
    /// A machine cannot be asked for.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The pool does not answer.
    #[error("the pool does not answer; the process is about to end")]
    PoolLost,
}

impl Gateway {
    /// Takes over what of these settings can be without a restart ([`crate::config::InForce`]). Calls go on as they
    /// began: a server that is not on the list any more leaves after its last one. Where anything is wrong nothing is
    /// taken. Says what became of the list of servers.
    pub async fn reload(&self, settings: &Settings) -> Result<Configured, ReloadError> {
        // One at a time: what is in force is always of one configuration.
        let _turn = self.steward.turn().await;
        if settings.mode != self.mode {
            return Err(ReloadError::Mode);
        }
        // All users would be of one tenant.
        if settings.auth.rules.tenant_claim.is_some() && !self.knows_tenants {
            return Err(ReloadError::Tenants);
        }
        let cast = read_cast(settings).await?;
        let servers = self.steward.configure(settings).await?;
        let tuning = self.pool.send(Tune(roster_tuning(settings)));
        timeout(POOL_TIMEOUT, tuning).await.ok().and_then(Result::ok).ok_or(ReloadError::PoolLost)?;
        // Nothing below can fail.
        self.rehearsals.tune(settings);
        self.doors.rules.replace(doors::rules(settings, cast));
        self.doors.throttle.limit(doors::attempts(settings));
        self.doors.switchboard.set_limits(seat_limits(settings));
        self.doors.metrics.limited(settings.session.max_sessions as usize, settings.queue.limit);
        self.doors.fleet.tune(settings.fleet.policy, settings.fleet.keep_warm.clone()).await;
        self.steward.took_over(settings);
        telemetry::set_level(settings.logging.level.word());
        Ok(servers)
    }
}

/// Reads the personas beside the thread that carries the pool.
async fn read_cast(settings: &Settings) -> Result<Cast, ReloadError> {
    let persona = settings.persona.clone();
    let reading = web::block(move || Cast::load(&persona));
    match timeout(FILES_TIMEOUT, reading).await {
        Ok(Ok(cast)) => Ok(cast?),
        Ok(Err(_)) | Err(_) => Err(ReloadError::FilesTimeout),
    }
}
