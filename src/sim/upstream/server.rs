//! What all connections of the simulated server share, and how one connection begins.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::call;
use super::event_loop::EventLoop;
use super::fault::{Fault, Faults};
use super::head::{self, Head, Reply};
use super::log::Log;
use super::plight::Plight;
use super::prompts::{Query, SharedPrompts, StartFault};
use super::settings::Settings;
use super::transport::{Transport, reset_on_drop};

/// Between two looks at whether a client that is ignored is still there.
const LOOK: Duration = Duration::from_millis(20);

/// How long a connection may be silent before and between requests, as in the real server.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// One process of the real server: one model, one lock, one event loop, one set of prompts.
pub struct Server {
    /// Its properties; the faults in it are those of the start.
    pub settings: Settings,
    /// The one thread.
    pub event_loop: EventLoop,
    /// The one model's lock, which is fair: first come, first served. Of a server for several calls, one for each.
    pub lock: Semaphore,
    /// What the whole server suffers.
    pub plight: watch::Sender<Plight>,
    /// What was seen.
    pub log: Arc<Log>,
    /// Whether the port is open.
    pub listening: watch::Sender<bool>,
    prompts: Mutex<SharedPrompts>,
    faults: Mutex<Faults>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// A server that has seen nobody yet.
    pub fn new(settings: Settings, tls: Option<TlsAcceptor>) -> Self {
        Self {
            event_loop: EventLoop::new(),
            lock: Semaphore::new(settings.calls_at_once),
            plight: watch::Sender::default(),
            log: Arc::new(Log::new(settings.log_calls)),
            listening: watch::Sender::new(true),
            prompts: Mutex::default(),
            faults: Mutex::new(settings.faults.clone()),
            tls,
            settings,
        }
    }

    /// The prompts as they stand now.
    pub fn prompts(&self) -> SharedPrompts {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Overwrites the prompts with those of a request, as far as it can be served. A server for several calls gives them
    /// to the call instead.
    pub fn take_prompts(&self, asked: &Query) -> Result<Option<SharedPrompts>, StartFault> {
        if self.settings.calls_at_once > 1 {
            let mut own = SharedPrompts::default();
            return own.accept(asked, &self.settings).map(|()| Some(own));
        }
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).accept(asked, &self.settings).map(|()| None)
    }

    /// What goes wrong with the call of this number.
    pub fn fault_of(&self, call: u64, prompt: &str) -> Option<Fault> {
        self.faults().of_call(call, prompt)
    }

    /// Changes what goes wrong from the next connection and call on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults() = faults;
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection, the `number`th, to its end.
    pub async fn serve(&self, tcp: TcpStream, number: u64) {
        let fault = self.faults().of_connection(number);
        match fault {
            Some(Fault::Refuse) => reset_on_drop(&tcp),
            Some(Fault::Mute) => client_gone(&tcp).await,
            // A connection that breaks before it is a call concerns nobody but its client.
            _ => drop(self.serve_requests(tcp, fault == Some(Fault::MutePages)).await),
        }
    }

    async fn serve_requests(&self, tcp: TcpStream, mute: bool) -> io::Result<()> {
        let mut transport = Transport::accept(tcp, self.tls.as_ref()).await?;
        let mut input = BytesMut::new();
        loop {
            let (length, reply) = match head::read(&input) {
                Head::Whole(length, reply) => (length, reply),
                Head::Partial => {
                    if timeout(KEEP_ALIVE, transport.read_buf(&mut input)).await?? == 0 {
                        return Ok(());
                    }
                    continue;
                }
            };
            input.advance(length);
            self.event_loop.turn().await;
            match reply {
                Reply::Upgrade(upgrade) => {
                    let entry = self.log.open(|call| call::describe(call, &upgrade));
                    write(&mut transport, &upgrade.accepted(&date())).await?;
                    call::serve(self, transport, input, &upgrade, entry).await;
                    return Ok(());
                }
                Reply::Text(reply) => {
                    self.log.page();
                    if mute {
                        // Until the client has enough of waiting.
                        while timeout(KEEP_ALIVE, transport.read_buf(&mut input)).await?? > 0 {}
                        return Ok(());
                    }
                    write(&mut transport, &reply.write(&date())).await?;
                    if !reply.keep_alive {
                        transport.finish().await;
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Waits until the client has ended the connection, and reads nothing.
async fn client_gone(tcp: &TcpStream) {
    let gone = async {
        // What is peeked at stays unread, as by a process that hangs.
        while matches!(tcp.ready(Interest::READABLE).await, Ok(ready) if !ready.is_read_closed()) {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(KEEP_ALIVE, gone).await;
}

async fn write(transport: &mut Transport, head: &str) -> io::Result<()> {
    timeout(KEEP_ALIVE, async {
        transport.write_all(head.as_bytes()).await?;
        transport.flush().await
    })
    .await?
}

fn date() -> String {
    head::http_date(UNIX_EPOCH.elapsed().unwrap_or_default().as_secs())
}
