//! A PersonaPlex server without a model, faithful to the real one's wire, faults included.
//!
//! It has what makes the real one dangerous: prompts that every connection overwrites before it waits for the lock,
//! silence towards those who wait, failures that look like a goodbye. So tests can prove what a gateway never does.
//! The answer is the caller's own voice after a pause. Two departures: permessage-deflate is not accepted, and where
//! the real server's memory has no bound, reading stops.

mod call;
mod converse;
mod event_loop;
pub mod fault;
mod head;
mod input;
mod log;
mod model;
mod pages;
mod plight;
mod prompts;
mod recital;
mod server;
mod session;
mod settings;
mod socket;
mod transport;
mod truth;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

pub use converse::{ANSWER, BACKCHANNEL};
pub use fault::{Fault, FaultRule, Faults, When};
pub use input::AudioFault;
pub use log::{CallEnd, CallLog, Phase, WaitError};
pub use model::SENTENCE;
pub use plight::Plight;
pub use prompts::{PromptText, SILENCE_STEPS, StartFault};
pub use settings::{Answer, Manners, Settings, VOICE_FILES};

use log::Log;
use plight::unless_vanished;
use server::Server;
use transport::Certificate;

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Terminating,
    Stopped,
    Killed,
}

impl Stage {
    fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Killed)
    }
}

/// A running simulated server. Dropping it stops it.
pub struct Simulator {
    addr: SocketAddr,
    server: Arc<Server>,
    certificate_pem: Option<String>,
    stage: watch::Sender<Stage>,
}

impl Simulator {
    /// Starts a server; it serves on the runtime that this is called on.
    ///
    /// # Errors
    /// If the address cannot be bound, or no certificate can be made or used.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let certificate = match &settings.ssl {
            _ if settings.tls => Some(Certificate::generate()?),
            Some(directory) => Certificate::read(directory)?,
            None => None,
        };
        let listener = TcpListener::bind(settings.address).await?;
        let addr = listener.local_addr()?;
        let (acceptor, certificate_pem) = certificate.map(|made| (made.acceptor, made.pem)).unzip();
        let server = Arc::new(Server::new(settings, acceptor));
        let stage = watch::Sender::new(Stage::Serving);
        tokio::spawn(accept(listener, Arc::clone(&server), stage.subscribe()));
        Ok(Self { addr, server, certificate_pem, stage })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as a URL without a path: `ws://127.0.0.1:PORT`, with TLS `wss://`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate_pem.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}", self.addr)
    }

    /// The certificate that a client has to trust, if the server has TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// What was seen of each call, the oldest first.
    pub fn log(&self) -> Vec<CallLog> {
        self.records().calls()
    }

    /// Calls whose sockets are open now, from the accepted upgrade to the moment the server sees or sends its end.
    pub fn open_sockets(&self) -> usize {
        self.records().sockets().0
    }

    /// The most call sockets that were ever open at the same time; more than one puts prompts at risk.
    pub fn peak_open_sockets(&self) -> usize {
        self.records().sockets().1
    }

    /// Plain requests that were read, answered or not: what a health probe is.
    pub fn plain_requests(&self) -> u64 {
        self.records().pages()
    }

    /// Waits until the calls are as `is_so` says, and returns them.
    ///
    /// # Errors
    /// If that did not happen within the time.
    pub async fn wait_for(
        &self,
        is_so: impl Fn(&[CallLog]) -> bool,
        within: Duration,
    ) -> Result<Vec<CallLog>, WaitError> {
        self.records().wait_for(is_so, within).await
    }

    /// Changes what goes wrong, from the next connection and call on.
    pub fn set_faults(&self, faults: Faults) {
        self.server.set_faults(faults);
    }

    /// What the whole server suffers from now on, its calls in progress included.
    pub fn suffer(&self, plight: Plight) {
        self.server.plight.send_replace(plight);
    }

    /// As a SIGTERM: new connections are refused at once, and calls, waiting ones too, end with FIN when the grace is over.
    pub fn terminate(&self) {
        self.stage.send_if_modified(|stage| {
            let serving = *stage == Stage::Serving;
            if serving {
                *stage = Stage::Terminating;
            }
            serving
        });
    }

    /// As an exit: the port is closed and every connection ends.
    pub fn stop(&self) {
        self.stage.send_if_modified(|stage| !std::mem::replace(stage, Stage::Stopped).is_over());
    }

    /// As a crash: the port is closed and every connection is reset.
    pub fn kill(&self) {
        self.stage.send_replace(Stage::Killed);
    }

    /// Waits until the port is closed after [`terminate`](Self::terminate) or [`stop`](Self::stop).
    pub async fn port_closed(&self) {
        // It fails only when the sender is gone, which lives in this simulator.
        let _ = self.server.listening.subscribe().wait_for(|listening| !listening).await;
    }

    fn records(&self) -> &Log {
        &self.server.log
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>, mut stage: watch::Receiver<Stage>) {
    let mut connections = 0;
    while *stage.borrow_and_update() == Stage::Serving {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections += 1;
                    tokio::spawn(serve(Arc::clone(&server), tcp, connections, stage.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            changed = stage.changed() => if changed.is_err() { break },
        }
    }
    drop(listener);
    server.listening.send_replace(false);
}

async fn serve(server: Arc<Server>, tcp: TcpStream, number: u64, mut stage: watch::Receiver<Stage>) {
    let grace = server.settings.termination_grace;
    // Another handle of the same socket, for the reset.
    let grip = SockRef::from(&tcp).try_clone();
    let end = async {
        // The other side of the watch is gone when the simulator is, and then the end has come, too.
        if stage.wait_for(|stage| *stage != Stage::Serving).await.is_ok_and(|stage| *stage == Stage::Terminating) {
            tokio::select! {
                () = sleep(grace) => {}
                _ = stage.wait_for(|stage| stage.is_over()) => {}
            }
        }
        if *stage.borrow() == Stage::Killed
            && let Ok(grip) = &grip
        {
            let _ = grip.set_linger(Some(Duration::ZERO));
        }
    };
    tokio::select! {
        () = unless_vanished(server.serve(tcp, number), server.plight.subscribe()) => {}
        () = end => {}
    }
}
