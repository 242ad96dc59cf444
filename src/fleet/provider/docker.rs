//! Containers of a Docker daemon, or of what speaks its API.
//!
//! By bollard, over the daemon's socket or over TCP: four requests. Whoever may write to the daemon's socket is root on its
//! host; a proxy in front that lets through these four is better. With the feature `docker` only.

#[cfg(feature = "docker")]
mod container;

use std::{path::PathBuf, time::Duration};

#[cfg(feature = "docker")]
pub use self::container::Docker;

/// Which container, and where its daemon is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the daemon listens.
    pub daemon: Daemon,
    /// The container's name or id.
    pub container: String,
    /// How long it may take to end by itself before it is killed.
    pub grace: Duration,
}

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// At a socket, such as `/var/run/docker.sock`.
    Socket(PathBuf),
    /// At an `http` URL, without a `/` at the end.
    Url(String),
}
