//! A stream that can keep WebSocket pongs from being sent: the WebSocket stack answers pings unasked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The opcode of a pong (RFC 6455 section 5.2).
const PONG: u8 = 0x0a;

/// Passes everything through but, when told so, the pong frames that are written.
pub(super) struct PongFilter<S> {
    inner: S,
    gate: Option<FrameGate>,
    /// What passed the gate and is not written yet; at most one write's worth.
    passed: BytesMut,
}

impl<S: AsyncWrite + Unpin> PongFilter<S> {
    /// Wraps a stream whose next written byte is the first of a WebSocket frame.
    pub(super) fn new(inner: S, drop_pongs: bool) -> PongFilter<S> {
        PongFilter { inner, gate: drop_pongs.then(FrameGate::default), passed: BytesMut::new() }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.passed.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.passed))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.passed.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PongFilter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PongFilter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.gate.is_none() {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        ready!(self.poll_drain(cx))?;
        let this = &mut *self;
        if let Some(gate) = &mut this.gate {
            gate.pass(buf, &mut this.passed);
        }
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left is written by the next write or flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Cuts a byte stream into WebSocket frames and lets all but pongs pass.
#[derive(Default)]
struct FrameGate {
    head: Vec<u8>,
    payload_left: u64,
    keep: bool,
}

impl FrameGate {
    fn pass(&mut self, mut bytes: &[u8], passed: &mut BytesMut) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let here = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                let (payload, after) = bytes.split_at(here);
                if self.keep {
                    passed.extend_from_slice(payload);
                }
                self.payload_left -= here as u64;
                bytes = after;
                continue;
            }
            self.head.push(first);
            bytes = rest;
            if let Some(payload_bytes) = payload_bytes(&self.head) {
                self.payload_left = payload_bytes;
                self.keep = self.head[0] & 0x0f != PONG;
                if self.keep {
                    passed.extend_from_slice(&self.head);
                }
                self.head.clear();
            }
        }
    }
}

/// The length of the payload, once the head is whole (RFC 6455 section 5.2).
fn payload_bytes(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask_bytes = if second & 0x80 != 0 { 4 } else { 0 };
    let (length_bytes, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, u64::from(short)),
    };
    if head.len() < 2 + length_bytes + mask_bytes {
        return None;
    }
    let long = head[2..2 + length_bytes].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    Some(if length_bytes == 0 { short } else { long })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A masked client frame.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | short as u8),
            long @ 126..65536 => {
                bytes.push(0x80 | 126);
                bytes.extend((long as u16).to_be_bytes());
            }
            huge => {
                bytes.push(0x80 | 127);
                bytes.extend((huge as u64).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(payload);
        bytes
    }

    proptest! {
        #[test]
        fn only_pongs_are_kept_back_however_the_bytes_are_cut(
            frames in prop::collection::vec((prop::sample::select(vec![1u8, 2, 8, 9, 10]), 0usize..300), 0..8),
            cut in 1usize..50,
        ) {
            let mut all: Vec<u8> = Vec::new();
            let mut expected: Vec<u8> = Vec::new();
            for (opcode, length) in frames {
                let frame = frame(opcode, &vec![0x8a; length]);
                all.extend(&frame);
                if opcode != PONG {
                    expected.extend(&frame);
                }
            }
            let mut gate = FrameGate::default();
            let mut passed = BytesMut::new();
            for piece in all.chunks(cut) {
                gate.pass(piece, &mut passed);
            }
            prop_assert_eq!(passed.to_vec(), expected);
        }
    }

    #[test]
    fn long_frames_pass_whole() {
        let frame = frame(2, &vec![7; 70_000]);
        let mut passed = BytesMut::new();
        FrameGate::default().pass(&frame, &mut passed);
        assert_eq!(passed.len(), frame.len());
    }
}
