//! The socket to the model server, in a task of its own that holds the lease until the server has let go.
//!
//! **Invariant:** the task never drops a socket, not even a half-open one, before the server acknowledged its end:
//! a request that is still under way counts as a socket. What is not acknowledged in time is quarantined and waited for.

pub mod connect;
mod pages;

use std::{future::Future, pin::pin, time::Duration};

use actix_codec::Framed;
use actix_http::{
    error::ParseError,
    ws::{Codec, Frame, Item, Message as WsMessage, ProtocolError},
};
use awc::{
    BoxedSocket,
    error::{ConnectError, SendRequestError, WsClientError},
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use self::{
    connect::UpstreamConnector,
    pages::{PageReader, PageWriter},
};
use crate::{
    audio::packet::OpusPacket,
    pool::{lease::Lease, roster::QuarantineReason},
    protocol::moshi::{ChatTarget, Message},
    session::machine::{LEG_CREDIT, UpstreamEnd, UpstreamInput},
};

/// Frames of one message together, in bytes: a page is at most 65,307 bytes, the real ones have 300.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// What the leg may have read ahead of the session.
const READ_AHEAD: usize = 16;

type Socket = Framed<BoxedSocket, Codec>;
type Sink = SplitSink<Socket, WsMessage>;
type Source = SplitStream<Socket>;

/// The session's end of an upstream leg. Dropped, it closes the leg; the leg gives its slot back by itself.
#[derive(Debug)]
pub struct UpstreamHandle {
    packets: mpsc::Sender<OpusPacket>,
    _close: oneshot::Sender<()>,
}

impl UpstreamHandle {
    /// Hands one packet over. `false` means that the leg had no credit, or is gone.
    pub fn send(&self, packet: OpusPacket) -> bool {
        self.packets.try_send(packet).is_ok()
    }
}

/// Opens the socket under `lease` and gives both ends of its leg.
pub fn open(
    connector: &UpstreamConnector,
    lease: Lease,
    target: &ChatTarget,
) -> (UpstreamHandle, impl Stream<Item = UpstreamInput> + use<>) {
    let (packets, packets_rx) = mpsc::channel(LEG_CREDIT);
    let (close, close_rx) = oneshot::channel();
    let (events, events_rx) = mpsc::channel(READ_AHEAD);
    let endpoint = lease.endpoint();
    let scheme = if endpoint.tls { "wss" } else { "ws" };
    let url = SecretString::from(format!(
        "{scheme}://{}:{}{}{}",
        endpoint.host,
        endpoint.port,
        endpoint.path_prefix,
        target.expose()
    ));
    let client = connector.client(endpoint);
    let leg = Leg { lease, events, close: close_rx, connector: connector.clone() };
    actix_rt::spawn(
        leg.run(packets_rx, async move { client.ws(url.expose_secret()).connect().await.map(|(_, framed)| framed) }),
    );
    (UpstreamHandle { packets, _close: close }, ReceiverStream::new(events_rx))
}

struct Leg {
    lease: Lease,
    events: mpsc::Sender<UpstreamInput>,
    close: oneshot::Receiver<()>,
    connector: UpstreamConnector,
}

impl Leg {
    async fn run(
        mut self,
        packets: mpsc::Receiver<OpusPacket>,
        connect: impl Future<Output = Result<Socket, WsClientError>>,
    ) {
        let timeouts = self.connector.timeouts;
        let mut connect = pin!(connect);
        self.lease.opening();
        let opened = tokio::select! {
            opened = &mut connect => opened,
            _ = &mut self.close => return abandon(self.lease, connect, timeouts.close).await,
            () = tokio::time::sleep(timeouts.connect * 2 + timeouts.upgrade) => {
                self.tell(UpstreamInput::Ended(UpstreamEnd::UpgradeTimeout)).await;
                return abandon(self.lease, connect, Duration::ZERO).await;
            }
        };
        match opened {
            Ok(socket) => self.converse(socket, packets).await,
            Err(error) => {
                let (end, gone) = connect_failure(&error);
                tracing::debug!(upstream = self.lease.endpoint().label(), end = end.code(), "no upstream connection");
                if gone {
                    self.lease.close();
                } else {
                    self.lease.quarantine(QuarantineReason::NoUpgradeReply);
                }
                // The slot is settled first: whoever hears of the end may ask for it again.
                let _ = self.events.send(UpstreamInput::Ended(end)).await;
            }
        }
    }

    async fn tell(&self, input: UpstreamInput) {
        let _ = self.events.send(input).await;
    }

    async fn converse(mut self, socket: Socket, mut packets: mpsc::Receiver<OpusPacket>) {
        self.tell(UpstreamInput::Opened).await;
        let close_timeout = self.connector.timeouts.close;
        let (mut sink, mut source) = socket.split();
        let (pongs, mut pongs_rx) = mpsc::channel(1);
        let ended = tokio::select! {
            ended = read(&mut source, &self.events, &pongs) => Some(ended),
            () = write(&mut sink, &mut packets, &mut pongs_rx, &self.events) => None,
            _ = &mut self.close => None,
        };
        match ended {
            Some(Ended { how, acknowledged: true }) => {
                // Answers a close frame; a dead socket just fails here.
                let _ = timeout(close_timeout, sink.send(WsMessage::Close(None))).await;
                let _ = timeout(close_timeout, sink.close()).await;
                self.lease.close();
                let _ = self.events.send(UpstreamInput::Ended(how)).await;
            }
            Some(Ended { how, acknowledged: false }) => {
                self.tell(UpstreamInput::Ended(how)).await;
                say_goodbye(self.lease, sink, source, close_timeout).await;
            }
            None => say_goodbye(self.lease, sink, source, close_timeout).await,
        }
    }
}

/// Whether a failed connect leaves nothing of ours at the server, and how to tell it.
fn connect_failure(error: &WsClientError) -> (UpstreamEnd, bool) {
    match error {
        // The stream ended after the request: the server let go (actix-http reports the end this way).
        WsClientError::SendRequest(SendRequestError::Connect(ConnectError::Disconnected)) => {
            (UpstreamEnd::HungUp, true)
        }
        WsClientError::SendRequest(SendRequestError::Connect(_)) => (UpstreamEnd::ConnectFailed, true),
        // The connection broke while the request was written or its answer awaited.
        WsClientError::SendRequest(SendRequestError::Send(io) | SendRequestError::Response(ParseError::Io(io))) => {
            (UpstreamEnd::HungUp, is_peers_end(io))
        }
        // A whole answer that is not 101: the handler never ran (personaplex.md 9.1).
        WsClientError::InvalidResponseStatus(_) => (UpstreamEnd::UpgradeRefused, true),
        _ => (UpstreamEnd::Garbled, false),
    }
}

/// Whether an error means that the peer's kernel ended the connection; a time-out means that nobody knows.
fn is_peers_end(error: &std::io::Error) -> bool {
    !matches!(error.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::HostUnreachable)
}

/// Nobody wants this connection any more, but its request is under way: waits for what becomes of it.
async fn abandon(
    mut lease: Lease,
    mut connect: std::pin::Pin<&mut impl Future<Output = Result<Socket, WsClientError>>>,
    patience: Duration,
) {
    let result = match timeout(patience, &mut connect).await {
        Ok(result) => result,
        Err(_) => {
            lease.quarantine(QuarantineReason::NoUpgradeReply);
            connect.await
        }
    };
    match result {
        Ok(socket) => {
            let (sink, source) = socket.split();
            say_goodbye(lease, sink, source, patience).await;
        }
        Err(error) if connect_failure(&error).1 => lease.close(),
        Err(_) => lease.quarantine(QuarantineReason::NoUpgradeReply),
    }
}

/// Closes in order and keeps the lease until the server has let go, for as long as that takes.
async fn say_goodbye(mut lease: Lease, mut sink: Sink, mut source: Source, patience: Duration) {
    let in_order = async {
        let _ = sink.send(WsMessage::Close(Some(actix_http::ws::CloseCode::Normal.into()))).await;
        drain(&mut source).await
    };
    let acknowledged = match timeout(patience, in_order).await {
        Ok(acknowledged) => acknowledged,
        Err(_) => {
            lease.quarantine(QuarantineReason::NoCloseReply);
            // A FIN that reaches the server frees it even if it reads no frames (personaplex.md 8.1).
            let _ = timeout(patience, sink.close()).await;
            drain(&mut source).await
        }
    };
    if acknowledged {
        lease.close();
    } else {
        lease.quarantine(QuarantineReason::Vanished);
    }
}

/// Reads and forgets until the server's end; says whether the server let go.
async fn drain(source: &mut Source) -> bool {
    loop {
        match source.next().await {
            None | Some(Ok(Frame::Close(_))) => return true,
            Some(Err(ProtocolError::Io(error))) => return is_peers_end(&error),
            Some(Ok(_) | Err(_)) => {}
        }
    }
}

/// How reading came to its end.
struct Ended {
    how: UpstreamEnd,
    acknowledged: bool,
}

impl Ended {
    const GARBLED: Self = Self { how: UpstreamEnd::Garbled, acknowledged: false };
}

async fn read(source: &mut Source, events: &mpsc::Sender<UpstreamInput>, pongs: &mpsc::Sender<Bytes>) -> Ended {
    let mut message = BytesMut::new();
    let mut pages = PageReader::default();
    loop {
        let whole = match source.next().await {
            None => return Ended { how: UpstreamEnd::HungUp, acknowledged: true },
            Some(Err(ProtocolError::Io(error))) => {
                return Ended { how: UpstreamEnd::HungUp, acknowledged: is_peers_end(&error) };
            }
            Some(Err(_)) => return Ended::GARBLED,
            Some(Ok(Frame::Close(_))) => return Ended { how: UpstreamEnd::Closed, acknowledged: true },
            Some(Ok(Frame::Binary(bytes))) => Some(bytes),
            Some(Ok(Frame::Continuation(item))) => match merge(&mut message, item) {
                Ok(whole) => whole,
                Err(TooLong) => return Ended::GARBLED,
            },
            Some(Ok(Frame::Ping(payload))) => {
                // A second ping before the first is answered needs no answer of its own (RFC 6455 5.5.3).
                let _ = pongs.try_send(payload);
                None
            }
            Some(Ok(Frame::Text(_) | Frame::Pong(_))) => None,
        };
        let Some(whole) = whole else { continue };
        for input in pages.read(whole) {
            if events.send(input).await.is_err() {
                // The session is gone; its handle closes the leg.
                return std::future::pending().await;
            }
        }
    }
}

struct TooLong;

/// Joins continuation frames, which awc hands over one by one and without a limit.
fn merge(message: &mut BytesMut, item: Item) -> Result<Option<Bytes>, TooLong> {
    let (bytes, last) = match item {
        Item::FirstBinary(bytes) | Item::FirstText(bytes) => {
            message.clear();
            (bytes, false)
        }
        Item::Continue(bytes) => (bytes, false),
        Item::Last(bytes) => (bytes, true),
    };
    if message.len() + bytes.len() > MAX_MESSAGE_BYTES {
        return Err(TooLong);
    }
    message.extend_from_slice(&bytes);
    Ok(last.then(|| message.split().freeze()))
}

/// Writes until nobody hands packets over, or the socket breaks: then the reader tells how.
async fn write(
    sink: &mut Sink,
    packets: &mut mpsc::Receiver<OpusPacket>,
    pongs: &mut mpsc::Receiver<Bytes>,
    events: &mpsc::Sender<UpstreamInput>,
) {
    let mut pages = PageWriter::new(rand::random());
    loop {
        let sent = tokio::select! {
            Some(payload) = pongs.recv() => sink.send(WsMessage::Pong(payload)).await,
            packet = packets.recv() => {
                let Some(packet) = packet else { return };
                let sent = match pages.push(packet) {
                    Some(page) => sink.send(WsMessage::Binary(Message::Audio(page).encode())).await,
                    None => Ok(()),
                };
                let _ = events.send(UpstreamInput::Writable).await;
                sent
            }
        };
        if sent.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuation_frames_become_one_message_of_bounded_size() {
        let mut message = BytesMut::new();
        let mut add = |item| merge(&mut message, item);
        assert!(matches!(add(Item::FirstBinary("ab".into())), Ok(None)));
        assert!(matches!(add(Item::Continue("cd".into())), Ok(None)));
        assert!(matches!(add(Item::Last("e".into())), Ok(Some(whole)) if whole == "abcde"));
        assert!(matches!(add(Item::FirstBinary("lost".into())), Ok(None)));
        assert!(matches!(add(Item::FirstText("x".into())), Ok(None)), "a new message forgets a torn one");
        assert!(matches!(add(Item::Last("y".into())), Ok(Some(whole)) if whole == "xy"));
        let piece = Bytes::from(vec![0; MAX_MESSAGE_BYTES / 2]);
        assert!(matches!(add(Item::FirstBinary(piece.clone())), Ok(None)));
        assert!(matches!(add(Item::Continue(piece)), Ok(None)));
        assert!(add(Item::Continue("!".into())).is_err());
    }

    #[test]
    fn only_an_end_by_the_peer_counts_as_one() {
        let error = |kind| std::io::Error::from(kind);
        assert!(is_peers_end(&error(std::io::ErrorKind::ConnectionReset)));
        assert!(is_peers_end(&error(std::io::ErrorKind::BrokenPipe)));
        assert!(!is_peers_end(&error(std::io::ErrorKind::TimedOut)), "nobody knows what a silent server holds");
        let connect = |error| connect_failure(&WsClientError::SendRequest(SendRequestError::Connect(error)));
        assert_eq!(connect(ConnectError::Timeout), (UpstreamEnd::ConnectFailed, true), "no request was sent");
        assert_eq!(connect(ConnectError::Disconnected), (UpstreamEnd::HungUp, true));
        let lost = SendRequestError::Response(ParseError::Io(error(std::io::ErrorKind::TimedOut)));
        assert_eq!(connect_failure(&WsClientError::SendRequest(lost)), (UpstreamEnd::HungUp, false));
        let nonsense = SendRequestError::Response(ParseError::Header);
        assert_eq!(connect_failure(&WsClientError::SendRequest(nonsense)), (UpstreamEnd::Garbled, false));
    }
}
