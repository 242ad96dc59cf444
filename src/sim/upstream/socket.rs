//! The server's end of a WebSocket: frames in, frames out, and nothing that happens by itself.
//!
//! Pongs and close replies are the caller's business, because the real server gives them only when it gets to read.

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::transport::Transport;

/// The longest message that the server reads, in bytes; one of this length is too long already.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The bytes that may wait to be written. The real server knows no limit; here the model pauses.
const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// Opcode, length and mask at their longest (RFC 6455, section 5.2).
const MAX_FRAME_HEAD_BYTES: usize = 14;

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole binary message.
    Binary(Bytes),
    /// A whole text message, whose text nobody reads.
    Text,
    /// A ping that wants this pong.
    Ping(Bytes),
    /// A pong, which nobody asked for.
    Pong,
    /// A close frame and its code, 1005 if it had none.
    Close(u16),
    /// A message of [`MAX_MESSAGE_BYTES`] or more, which was thrown away.
    TooBig,
    /// Bytes that are no WebSocket frames.
    Nonsense,
    /// FIN or RST without a close frame.
    Gone,
    /// Nothing, but there is room for output again.
    Room,
}

/// A WebSocket after its 101.
#[derive(Debug)]
pub struct Socket {
    transport: Transport,
    input: BytesMut,
    output: BytesMut,
    /// A message whose last fragment has not come: whether it is binary, and what there is of it.
    partial: Option<(bool, BytesMut)>,
    /// Bytes of a message that is too long, still to be thrown away.
    skip: u64,
}

impl Socket {
    /// A socket over a connection of which `input` was read already.
    pub fn new(transport: Transport, input: BytesMut) -> Self {
        Self { transport, input, output: BytesMut::new(), partial: None, skip: 0 }
    }

    /// The next thing that comes, while what waits to be written is being written.
    ///
    /// With `reading` false nothing is read. Dropping the future loses nothing.
    pub async fn receive(&mut self, reading: bool) -> Incoming {
        let was_full = !self.has_room();
        poll_fn(|cx| {
            if let Poll::Ready(Err(_)) = self.poll_write_out(cx) {
                return Poll::Ready(Incoming::Gone);
            }
            if was_full && self.has_room() {
                return Poll::Ready(Incoming::Room);
            }
            if reading { self.poll_receive(cx) } else { Poll::Pending }
        })
        .await
    }

    /// Queues a binary message.
    pub fn queue(&mut self, payload: &[&[u8]]) {
        self.queue_frame(OpCode::Data(Data::Binary), payload);
    }

    /// Queues a pong.
    pub fn queue_pong(&mut self, payload: &[u8]) {
        self.queue_frame(OpCode::Control(Control::Pong), &[payload]);
    }

    /// Queues a close frame without a reason.
    pub fn queue_close(&mut self, code: u16) {
        self.queue_frame(OpCode::Control(Control::Close), &[&code.to_be_bytes()]);
    }

    /// Writes what the connection takes now.
    pub fn write_now(&mut self) {
        // An error shows again, and is handled, at the next read.
        let _ = poll_fn(|cx| self.poll_write_out(cx)).now_or_never();
    }

    /// Whether there is room for more output.
    pub fn has_room(&self) -> bool {
        self.output.len() < MAX_OUTPUT_BYTES
    }

    /// The connection, when no more frames are exchanged.
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    fn queue_frame(&mut self, opcode: OpCode, payload: &[&[u8]]) {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let mut head = Vec::with_capacity(MAX_FRAME_HEAD_BYTES);
        // Writing to memory cannot fail.
        let _ = header.format(length as u64, &mut head);
        self.output.extend_from_slice(&head);
        for part in payload {
            self.output.extend_from_slice(part);
        }
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.transport).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if let Some(incoming) = self.next_frame() {
                return Poll::Ready(incoming);
            }
            let mut chunk = [0; 16 * 1024];
            let mut chunk = ReadBuf::new(&mut chunk);
            match ready!(Pin::new(&mut self.transport).poll_read(cx, &mut chunk)) {
                Ok(()) if !chunk.filled().is_empty() => self.input.extend_from_slice(chunk.filled()),
                _ => return Poll::Ready(Incoming::Gone),
            }
        }
    }

    /// Takes frames from the input until one of them says something.
    fn next_frame(&mut self) -> Option<Incoming> {
        loop {
            if self.skip > 0 {
                let skipped = self.input.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.input.advance(skipped);
                self.skip -= skipped as u64;
                return (self.skip == 0).then_some(Incoming::TooBig);
            }
            let mut cursor = Cursor::new(&self.input[..]);
            let (header, length) = match FrameHeader::parse(&mut cursor) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return None,
                Err(_) => return Some(Incoming::Nonsense),
            };
            let head_bytes = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            let so_far = self.partial.as_ref().map_or(0, |(_, partial)| partial.len());
            if length.saturating_add(so_far as u64) >= MAX_MESSAGE_BYTES as u64 {
                self.input.advance(head_bytes);
                self.skip = length;
                continue;
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if self.input.len() - head_bytes < length {
                return None;
            }
            self.input.advance(head_bytes);
            let mut payload = self.input.split_to(length);
            if let Some(mask) = header.mask {
                payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            }
            if let Some(incoming) = self.accept(&header, payload) {
                return Some(incoming);
            }
        }
    }

    fn accept(&mut self, header: &FrameHeader, payload: BytesMut) -> Option<Incoming> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Some(Incoming::Nonsense);
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || payload.len() > 125 => Some(Incoming::Nonsense),
            OpCode::Control(Control::Ping) => Some(Incoming::Ping(payload.freeze())),
            OpCode::Control(Control::Pong) => Some(Incoming::Pong),
            OpCode::Control(Control::Close) => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                Some(Incoming::Close(code))
            }
            OpCode::Data(data @ (Data::Text | Data::Binary)) if self.partial.is_none() => {
                self.partial = Some((data == Data::Binary, payload));
                self.finished(header.is_final)
            }
            OpCode::Data(Data::Continue) if self.partial.is_some() => {
                if let Some((_, partial)) = &mut self.partial {
                    partial.extend_from_slice(&payload);
                }
                self.finished(header.is_final)
            }
            _ => Some(Incoming::Nonsense),
        }
    }

    fn finished(&mut self, is_final: bool) -> Option<Incoming> {
        let (is_binary, message) = is_final.then(|| self.partial.take()).flatten()?;
        Some(if is_binary { Incoming::Binary(message.freeze()) } else { Incoming::Text })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn room_is_told_when_a_slow_reader_reads_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let mut socket = Socket::new(Transport::accept(tcp, None).await.unwrap(), BytesMut::new());
        // More than the kernel takes and the server may keep.
        socket.queue(&[&vec![0; 5 * MAX_OUTPUT_BYTES]]);
        socket.write_now();
        assert!(!socket.has_room());
        let reader =
            tokio::spawn(async move { while client.read(&mut [0; 65_536]).await.is_ok_and(|read| read > 0) {} });
        let told = timeout(Duration::from_secs(20), socket.receive(true)).await;
        assert_eq!(told, Ok(Incoming::Room));
        drop(socket);
        reader.await.unwrap();
    }
}
