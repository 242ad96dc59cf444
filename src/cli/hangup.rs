//! SIGHUP while serving: the configuration is read again, without disturbing a call.

use std::future::pending;
use std::io::{self, IsTerminal as _, stdin};

use tokio::signal::unix::{Signal, SignalKind, signal};

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
