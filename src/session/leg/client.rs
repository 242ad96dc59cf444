//! The caller's socket: a stream of what it says, and a task that writes to it.

use std::{num::NonZeroU32, time::Duration};

use actix_http::ws::{CloseCode, CloseReason};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, Closed, Session};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument;

use super::dialect::{Decoder, Encoder, Incoming, Outgoing};
use crate::{
    protocol::ending::Ending,
    session::machine::{ClientInput, ClientOutput, Complaint, LEG_CREDIT},
};

/// The longest frame, and the longest message of several frames, that a caller may send, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Messages a second that no honest caller exceeds: the shortest Opus packets are 2.5 ms.
const MESSAGES_PER_SECOND: u32 = 500;
/// Sound a second, in milliseconds: twice real time.
const SOUND_MS_PER_SECOND: u32 = 2_000;
/// Rates are twice real time, so that a caller may catch up on twice as many seconds at once after its network stalled:
/// more than the 15 s after which it would have been lost.
const BURST_SECONDS: u32 = 10;

enum Command {
    Say(ClientOutput),
    Mark(u32),
    Close(Ending),
}

/// How long the writer may go on after its session is over: for the close frame, or until a stuck write is given up.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The session's end of a caller's leg. Dropped, it lets the writer say its last words and lets go of the socket.
pub struct ClientHandle {
    commands: mpsc::Sender<Command>,
    _alive: oneshot::Sender<()>,
}

impl ClientHandle {
    /// Hands one message over. `false` means that the leg had no credit, or is gone.
    pub fn say(&self, output: ClientOutput) -> bool {
        self.commands.try_send(Command::Say(output)).is_ok()
    }

    /// Marks this place of the stream with a ping. `false` means that the leg is busy, or gone.
    pub fn mark(&self, mark: u32) -> bool {
        self.commands.try_send(Command::Mark(mark)).is_ok()
    }

    /// Whether nobody is at the other end of the line: no socket came, or it is gone.
    pub fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// Closes the socket after everything that was said.
    pub fn close(&self, ending: Ending) -> bool {
        self.commands.try_send(Command::Close(ending)).is_ok()
    }
}

/// What the leg may have read ahead of the session.
const READ_AHEAD: usize = 16;

/// The session's end of a leg that is yet to get its socket. The other end may be on another thread.
pub struct Line {
    /// Speaks and closes.
    pub handle: ClientHandle,
    heard: mpsc::Receiver<ClientInput>,
    written: mpsc::Receiver<()>,
}

impl Line {
    /// Both ends of the leg as the session wants them.
    pub fn split(self) -> (ClientHandle, impl Stream<Item = ClientInput> + use<>) {
        // The last word of a task that died without one; after another end it is ignored.
        let died = stream::once(async { ClientInput::Closed { clean: false } });
        let heard = ReceiverStream::new(self.heard).chain(died);
        let written = ReceiverStream::new(self.written).map(|()| ClientInput::Writable);
        (self.handle, stream::select(heard, written))
    }
}

/// The socket's end of a leg.
pub struct Jack {
    commands: mpsc::Receiver<Command>,
    heard: mpsc::Sender<ClientInput>,
    written: mpsc::Sender<()>,
    alive: oneshot::Receiver<()>,
}

/// A leg without a socket. A jack that is dropped ends it.
pub fn line() -> (Line, Jack) {
    // Each message may have a mark behind it, and a close always has room.
    let (commands, commands_rx) = mpsc::channel(2 * LEG_CREDIT + 1);
    let (written, written_rx) = mpsc::channel(LEG_CREDIT + 1);
    let (heard, heard_rx) = mpsc::channel(READ_AHEAD);
    let (alive, alive_rx) = oneshot::channel();
    let handle = ClientHandle { commands, _alive: alive };
    let line = Line { handle, heard: heard_rx, written: written_rx };
    (line, Jack { commands: commands_rx, heard, written, alive: alive_rx })
}

impl Jack {
    /// Takes a caller's socket over, in a task on this thread that lives as long as the socket and the session do.
    pub fn connect(
        self,
        session: Session,
        messages: AggregatedMessageStream,
        decoder: Decoder,
        encoder: Encoder,
        max_bytes_per_second: u32,
    ) {
        let Self { commands, heard, written, alive } = self;
        let (pongs, pongs_rx) = mpsc::channel(1);
        let orphaned = async {
            let _ = alive.await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let speaking = write(session, commands, pongs_rx, written, encoder);
        let listening = forward(listen(messages, decoder, Pace::new(max_bytes_per_second), pongs), heard);
        let leg = async move {
            tokio::select! {
                _ = async { tokio::join!(speaking, listening) } => {}
                () = orphaned => {}
            }
        };
        actix_rt::spawn(leg.in_current_span());
    }
}

/// Hands on what is heard, until there is no more of it or nobody to hear it.
async fn forward(heard: impl Stream<Item = ClientInput>, session: mpsc::Sender<ClientInput>) {
    let mut heard = std::pin::pin!(heard);
    loop {
        let input = tokio::select! {
            input = heard.next() => input,
            () = session.closed() => return,
        };
        let Some(input) = input else { return };
        if session.send(input).await.is_err() {
            return;
        }
    }
}

/// How fast a caller may send: twice real time with room to catch up, so that nobody can buy our time with theirs.
struct Pace {
    messages: DefaultDirectRateLimiter,
    bytes: DefaultDirectRateLimiter,
    sound_ms: DefaultDirectRateLimiter,
}

impl Pace {
    fn new(max_bytes_per_second: u32) -> Self {
        let limiter = |per_second: u32| {
            let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_SECONDS).unwrap_or(NonZeroU32::MIN));
            RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        };
        Self {
            messages: limiter(MESSAGES_PER_SECOND),
            bytes: limiter(max_bytes_per_second.saturating_mul(2)),
            sound_ms: limiter(SOUND_MS_PER_SECOND),
        }
    }

    /// Passes sound on as far as it comes at twice real time at most, whatever the size of its packets.
    fn sound(&self, mut inputs: Vec<ClientInput>) -> Vec<ClientInput> {
        let too_much = inputs.iter().position(|input| match input {
            ClientInput::Audio(packet) => {
                let ms = u32::try_from(packet.duration().as_millis()).ok().and_then(NonZeroU32::new);
                !matches!(self.sound_ms.check_n(ms.unwrap_or(NonZeroU32::MIN)), Ok(Ok(())))
            }
            _ => false,
        });
        if let Some(first) = too_much {
            inputs.truncate(first);
            inputs.push(too_fast());
        }
        inputs
    }

    fn allows(&self, bytes: usize) -> bool {
        let size = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        self.messages.check().is_ok() && size.is_none_or(|size| matches!(self.bytes.check_n(size), Ok(Ok(()))))
    }
}

fn listen(
    messages: AggregatedMessageStream,
    mut decoder: Decoder,
    pace: Pace,
    pongs: mpsc::Sender<Bytes>,
) -> impl Stream<Item = ClientInput> {
    // After an error nothing is a frame any more: actix-ws would give the same error for ever.
    let until_broken = messages.scan(false, |broken, message| {
        let go_on = !std::mem::replace(broken, message.is_err());
        std::future::ready(go_on.then_some(message))
    });
    let heard = until_broken.flat_map(move |message| {
        let read_at = Instant::now().into_std();
        let inputs = match message {
            Ok(AggregatedMessage::Text(text)) if pace.allows(text.len()) => {
                decoder.decode(Incoming::Text(text.to_string()))
            }
            Ok(AggregatedMessage::Binary(bytes)) if pace.allows(bytes.len()) => decoder.decode(Incoming::Binary(bytes)),
            Ok(AggregatedMessage::Text(_) | AggregatedMessage::Binary(_)) => vec![too_fast()],
            Ok(AggregatedMessage::Ping(payload)) if pace.allows(payload.len()) => {
                let _ = pongs.try_send(payload);
                vec![ClientInput::Alive]
            }
            Ok(AggregatedMessage::Pong(payload)) if pace.allows(payload.len()) => vec![pong(&payload)],
            Ok(AggregatedMessage::Ping(_) | AggregatedMessage::Pong(_)) => vec![too_fast()],
            Ok(AggregatedMessage::Close(_)) => vec![ClientInput::Closed { clean: true }],
            Err(error) => vec![broken(&error)],
        };
        stream::iter(pace.sound(inputs).into_iter().map(move |input| match input {
            ClientInput::Audio(packet) => ClientInput::Audio(packet.read_at(read_at)),
            other => other,
        }))
    });
    heard.chain(stream::once(async { ClientInput::Closed { clean: false } }))
}

/// A pong has the payload of its ping: a mark, or nothing.
fn pong(payload: &Bytes) -> ClientInput {
    <[u8; 4]>::try_from(&payload[..])
        .map_or(ClientInput::Alive, |bytes| ClientInput::Confirmed(u32::from_be_bytes(bytes)))
}

fn too_fast() -> ClientInput {
    let message = "messages come faster than sound; send audio at the speed at which it is spoken".to_owned();
    ClientInput::Complaint(Complaint { code: "too_fast", message })
}

fn broken(error: &actix_ws::ProtocolError) -> ClientInput {
    use actix_ws::ProtocolError::{Io, Overflow};
    let message = match error {
        Io(io) if io.kind() != std::io::ErrorKind::InvalidData => return ClientInput::Closed { clean: false },
        Overflow => format!("messages have at most {MAX_MESSAGE_BYTES} bytes"),
        _ => "the WebSocket frames are broken (RFC 6455)".to_owned(),
    };
    ClientInput::Bad(Complaint { code: "bad_frame", message })
}

async fn write(
    mut session: Session,
    mut commands: mpsc::Receiver<Command>,
    mut pongs: mpsc::Receiver<Bytes>,
    written: mpsc::Sender<()>,
    mut encoder: Encoder,
) {
    loop {
        let command = tokio::select! {
            Some(payload) = pongs.recv() => {
                if session.pong(&payload).await.is_err() {
                    return;
                }
                continue;
            }
            command = commands.recv() => command,
        };
        match command {
            Some(Command::Say(output)) => {
                for message in encoder.encode(output) {
                    if send(&mut session, message).await.is_err() {
                        return;
                    }
                }
                // A session that has ended still has a close frame to be written.
                let _ = written.send(()).await;
            }
            Some(Command::Mark(mark)) => {
                if session.ping(&mark.to_be_bytes()).await.is_err() {
                    return;
                }
            }
            Some(Command::Close(ending)) => {
                let row = ending.row();
                let reason = CloseReason { code: row.close_code.into(), description: Some(row.code.to_owned()) };
                // The socket may be gone already; then there is nobody to tell.
                let _ = session.close(Some(reason)).await;
                return;
            }
            None => {
                let _ = session.close(Some(CloseReason { code: CloseCode::Away, description: None })).await;
                return;
            }
        }
    }
}

async fn send(session: &mut Session, message: Outgoing) -> Result<(), Closed> {
    match message {
        Outgoing::Text(text) => session.text(text).await,
        Outgoing::Binary(bytes) => session.binary(bytes).await,
        Outgoing::Ping => session.ping(b"").await,
    }
}
