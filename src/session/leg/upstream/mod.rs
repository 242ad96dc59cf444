//! The socket to the model server, in a task of its own that holds the lease until the server has let go.
//!
//! **Invariant:** the lease is closed only by the server's close frame, FIN or RST, or when no connection was made. The
//! task holds a second handle on the connection, so that nothing closes it unacknowledged: not a request that is given
//! up half way, nor an answer that is no WebSocket. What is not acknowledged in time is quarantined and waited for.

pub mod connect;
mod failure;
mod pages;
pub mod probe;
mod reading;
pub mod rehearsal;

use std::{future::Future, time::Duration};

use actix_codec::Framed;
use actix_http::ws::{Codec, Frame, Message as WsMessage, ProtocolError};
use awc::{BoxedSocket, error::WsClientError};
use bytes::Bytes;
use futures_util::{
    SinkExt, Stream, StreamExt,
    stream::{self, SplitSink, SplitStream},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument;

use self::{
    connect::{Tap, Tapped, UpstreamConnector},
    failure::{Gone, connect_failure, judge, judge_io, tell},
    pages::PageWriter,
    reading::{Ended, read},
};
use crate::{
    audio::packet::OpusPacket,
    pool::{
        lease::{Lease, Remark},
        roster::{QuarantineReason, Verdict},
    },
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
    close: oneshot::Sender<HandBack>,
}

/// Takes the lease back of a leg that closed in order.
type HandBack = oneshot::Sender<Lease>;

impl UpstreamHandle {
    /// Hands one packet over. `false` means that the leg had no credit, or is gone.
    pub fn send(&self, packet: OpusPacket) -> bool {
        self.packets.try_send(packet).is_ok()
    }

    /// Closes the leg and asks for its lease. It comes once the server has acknowledged the end, and else not at all.
    pub fn close_for_more(self) -> oneshot::Receiver<Lease> {
        let (hand_back, lease) = oneshot::channel();
        // A leg that has ended by itself has settled its lease already.
        let _ = self.close.send(hand_back);
        lease
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
    let url = SecretString::from(connect::url("ws", endpoint, target.expose()));
    let (client, tap) = connector.client(endpoint);
    let leg = Leg { lease, events, close: close_rx, connector: connector.clone(), tap };
    let connect = async move { client.ws(url.expose_secret()).connect().await.map(|(_, framed)| framed) };
    actix_rt::spawn(leg.run(packets_rx, connect).in_current_span());
    // The last word of a task that died without one; after another end it is ignored.
    let died = stream::once(async { UpstreamInput::Ended(UpstreamEnd::HungUp) });
    (UpstreamHandle { packets, close }, ReceiverStream::new(events_rx).chain(died))
}

struct Leg {
    lease: Lease,
    events: mpsc::Sender<UpstreamInput>,
    close: oneshot::Receiver<HandBack>,
    connector: UpstreamConnector,
    tap: Tap,
}

impl Leg {
    async fn run(
        mut self,
        packets: mpsc::Receiver<OpusPacket>,
        connect: impl Future<Output = Result<Socket, WsClientError>>,
    ) {
        let timeouts = self.connector.timeouts;
        if !self.lease.stands() {
            tracing::warn!("a slot was not used: this process was silent, and another may have it by now");
            drop(self.lease);
            let _ = self.events.send(UpstreamInput::Ended(UpstreamEnd::ConnectFailed)).await;
            return;
        }
        self.lease.opening();
        let opened = tokio::select! {
            opened = connect => opened,
            _ = &mut self.close => return hang_up(self.lease, &self.tap, timeouts.close).await,
            () = self.tap.unanswered(timeouts.upgrade) => {
                blame(&self.lease, UpstreamEnd::UpgradeTimeout, false, false);
                self.tell(UpstreamInput::Ended(UpstreamEnd::UpgradeTimeout)).await;
                return hang_up(self.lease, &self.tap, timeouts.close).await;
            }
        };
        match opened {
            Ok(socket) => self.converse(socket, packets).await,
            Err(error) => {
                let (end, gone) = connect_failure(&error);
                blame(&self.lease, end, false, false);
                tell(&self.lease.endpoint().name, &error);
                let (lease, tap, events) = (self.lease, self.tap, self.events);
                match gone {
                    // The slot is settled first: whoever hears of the end may ask for it again.
                    Gone::Yes => lease.close(),
                    Gone::Unknown => drop(vanished(lease)),
                    Gone::No => {
                        let _ = events.send(UpstreamInput::Ended(end)).await;
                        return hang_up(lease, &tap, timeouts.close).await;
                    }
                }
                let _ = events.send(UpstreamInput::Ended(end)).await;
            }
        }
    }

    async fn tell(&self, input: UpstreamInput) {
        let _ = self.events.send(input).await;
    }

    async fn converse(mut self, socket: Socket, mut packets: mpsc::Receiver<OpusPacket>) {
        self.tell(UpstreamInput::Opened).await;
        let patience = self.connector.timeouts.close;
        let (mut sink, mut source) = socket.split();
        let (pongs, mut pongs_rx) = mpsc::channel(1);
        let ended = tokio::select! {
            ended = read(&mut source, &self.events, &pongs) => Some(ended),
            broken = write(&mut sink, &mut packets, &mut pongs_rx, &self.events) => {
                broken.map(|(error, ready)| Ended { how: UpstreamEnd::HungUp, gone: judge(&error), ready })
            }
            hand_back = &mut self.close => {
                return say_goodbye(self.lease, hand_back.ok(), (sink, source), &self.tap, patience).await;
            }
        };
        let Some(Ended { how, gone, ready }) = ended else {
            // Whoever asks for the lease hands over no more packets either, and that may be seen first.
            let hand_back = self.close.try_recv().ok();
            return say_goodbye(self.lease, hand_back, (sink, source), &self.tap, patience).await;
        };
        blame(&self.lease, how, true, ready);
        match gone {
            Gone::Yes => {
                // Answers a close frame; a dead socket just fails here.
                let _ = timeout(patience, sink.send(WsMessage::Close(None))).await;
                self.lease.close();
                let _ = self.events.send(UpstreamInput::Ended(how)).await;
            }
            Gone::Unknown => {
                drop(vanished(self.lease));
                let _ = self.events.send(UpstreamInput::Ended(how)).await;
            }
            Gone::No => {
                self.tell(UpstreamInput::Ended(how)).await;
                drop((sink, source));
                hang_up(self.lease, &self.tap, patience).await;
            }
        }
    }
}

/// The network gave up; a socket that has said so says nothing true afterwards, so it is not asked again.
fn vanished(mut lease: Lease) -> Lease {
    lease.quarantine(QuarantineReason::Vanished);
    lease
}

/// Closes in order and keeps the lease until the server has let go, for as long as that takes.
async fn say_goodbye(
    mut lease: Lease,
    hand_back: Option<HandBack>,
    (mut sink, mut source): (Sink, Source),
    tap: &Tap,
    patience: Duration,
) {
    let in_order = async {
        match sink.send(WsMessage::Close(Some(actix_http::ws::CloseCode::Normal.into()))).await {
            Ok(()) => drain(&mut source).await,
            Err(error) => judge(&error),
        }
    };
    match timeout(patience, in_order).await {
        Ok(Gone::Yes) => {
            return match hand_back {
                // Not taken any more, it frees the slot by itself.
                Some(hand_back) => drop(hand_back.send(lease.acknowledged())),
                None => lease.close(),
            };
        }
        Ok(Gone::Unknown) => return drop(vanished(lease)),
        Ok(Gone::No) => {}
        Err(_) => lease.quarantine(QuarantineReason::NoCloseReply),
    }
    drop((hand_back, sink, source));
    hang_up(lease, tap, patience).await;
}

/// Reads and forgets until the server's end, or until what comes is no frame: then nothing after it is one.
async fn drain(source: &mut Source) -> Gone {
    loop {
        match source.next().await {
            None | Some(Ok(Frame::Close(_))) => return Gone::Yes,
            Some(Err(error)) => return judge(&error),
            Some(Ok(_)) => {}
        }
    }
}

/// Ends the connection below WebSocket: a FIN that reaches the server frees it even if it reads no frames
/// (personaplex.md 8.1). Then waits for the server's own end, for as long as that takes.
async fn hang_up(mut lease: Lease, tap: &Tap, patience: Duration) {
    let held = match tap.take() {
        Tapped::Nothing => return lease.close(),
        Tapped::Held(connection) => TcpStream::from_std(connection).ok(),
        Tapped::Untracked => None,
    };
    let Some(mut connection) = held else {
        return drop(vanished(lease));
    };
    let _ = timeout(patience, connection.shutdown()).await;
    let gone = match timeout(patience, raw_end(&mut connection)).await {
        Ok(gone) => gone,
        Err(_) => {
            lease.quarantine(QuarantineReason::NoCloseReply);
            raw_end(&mut connection).await
        }
    };
    if gone == Gone::Yes {
        lease.close();
    } else {
        drop(vanished(lease));
    }
}

/// Bytes that are read from a server that goes on talking after our FIN.
const MAX_LAST_WORDS_BYTES: u64 = 16 * 1024 * 1024;

/// Reads and forgets bytes until the server's FIN or RST.
async fn raw_end(connection: &mut TcpStream) -> Gone {
    match tokio::io::copy(&mut connection.take(MAX_LAST_WORDS_BYTES), &mut tokio::io::sink()).await {
        Ok(bytes) if bytes < MAX_LAST_WORDS_BYTES => Gone::Yes,
        Ok(_) => Gone::Unknown,
        Err(error) => judge_io(&error),
    }
}

/// Tells the pool that the server failed, before the slot goes back and somebody else gets it.
///
/// A server that hangs up over its prompts may be right: the session knows when another one has done the same.
fn blame(lease: &Lease, how: UpstreamEnd, opened: bool, ready: bool) {
    let verdict = match how {
        _ if ready => Verdict::Lost,
        _ if how.is_over_prompts(opened) => return,
        UpstreamEnd::ConnectFailed | UpstreamEnd::ConnectTimeout => Verdict::Unreachable,
        UpstreamEnd::UpgradeTimeout => Verdict::Late,
        _ => Verdict::Failed,
    };
    lease.witness().remark(Remark::Verdict(verdict));
}

/// Writes until nobody hands packets over, or until the socket breaks: then it gives the error, which no reader sees again,
/// and whether there were packets, which only a server that is ready gets.
async fn write(
    sink: &mut Sink,
    packets: &mut mpsc::Receiver<OpusPacket>,
    pongs: &mut mpsc::Receiver<Bytes>,
    events: &mpsc::Sender<UpstreamInput>,
) -> Option<(ProtocolError, bool)> {
    let mut fed = false;
    let mut pages = PageWriter::new(rand::random());
    loop {
        let sent = tokio::select! {
            Some(payload) = pongs.recv() => sink.send(WsMessage::Pong(payload)).await,
            packet = packets.recv() => {
                let packet = packet?;
                fed = true;
                let sent = match pages.push(packet) {
                    Some(page) => sink.send(WsMessage::Binary(Message::Audio(page).encode())).await,
                    None => Ok(()),
                };
                let _ = events.send(UpstreamInput::Writable).await;
                sent
            }
        };
        if let Err(error) = sent {
            return Some((error, fed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        pool::{
            endpoint::Endpoint,
            lease::{Desk, Return},
            roster::{Grant, UpstreamId},
        },
        protocol::moshi::Voice,
        session::leg::upstream::connect::ConnectTimeouts,
    };

    /// A pool whose process was taken for dead.
    #[derive(Default)]
    struct Lost(Mutex<Vec<Return>>);

    impl Desk for Lost {
        fn give_back(&self, _: Grant, what: Return) {
            self.0.lock().unwrap().push(what);
        }

        fn remark(&self, _: Grant, remark: Remark) {
            panic!("the server did nothing: {remark:?}");
        }

        fn stands(&self) -> bool {
            false
        }
    }

    #[actix::test]
    async fn no_socket_is_opened_under_a_lease_that_somebody_else_may_have() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let endpoint = Endpoint::plain("1", "127.0.0.1", server.local_addr().unwrap().port());
        let desk = Arc::<Lost>::default();
        let grant = Grant { upstream: UpstreamId(1), slot: 0, generation: 1 };
        let lease = Lease::new(grant, endpoint, Arc::clone(&desk) as _);
        let target = ChatTarget::build(Voice::Natf0, &"You are silent.".into()).unwrap();
        let (_handle, heard) = open(&UpstreamConnector::new(ConnectTimeouts::default()), lease, &target);
        let first = std::pin::pin!(heard).next().await;
        assert!(matches!(first, Some(UpstreamInput::Ended(UpstreamEnd::ConnectFailed))), "{first:?}");
        assert_eq!(*desk.0.lock().unwrap(), [Return::Released]);
        assert_eq!(server.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
