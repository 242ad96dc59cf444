//! What a model server says, frame by frame.

use actix_http::ws::{Frame, Item};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::{sync::mpsc, time::Instant};

use super::{Gone, MAX_MESSAGE_BYTES, Source, judge, pages::PageReader};
use crate::session::machine::{UpstreamEnd, UpstreamInput};

/// How reading came to its end.
pub(super) struct Ended {
    pub(super) how: UpstreamEnd,
    pub(super) gone: Gone,
    /// Whether the server had its prompts read by then.
    pub(super) ready: bool,
}

/// Reads what the server says, until its end.
pub(super) async fn read(
    source: &mut Source,
    events: &mpsc::Sender<UpstreamInput>,
    pongs: &mpsc::Sender<Bytes>,
) -> Ended {
    let mut message = BytesMut::new();
    let mut pages = PageReader::default();
    let mut ready = false;
    loop {
        let whole = match source.next().await {
            None => return Ended { how: UpstreamEnd::HungUp, gone: Gone::Yes, ready },
            Some(Err(error)) => {
                let gone = judge(&error);
                let how = if gone == Gone::No { UpstreamEnd::Garbled } else { UpstreamEnd::HungUp };
                return Ended { how, gone, ready };
            }
            Some(Ok(Frame::Close(_))) => return Ended { how: UpstreamEnd::Closed, gone: Gone::Yes, ready },
            Some(Ok(Frame::Binary(bytes))) => Some(bytes),
            Some(Ok(Frame::Continuation(item))) => match merge(&mut message, item) {
                Ok(whole) => whole,
                Err(TooLong) => return Ended { how: UpstreamEnd::Garbled, gone: Gone::No, ready },
            },
            Some(Ok(Frame::Ping(payload))) => {
                // A second ping before the first is answered needs no answer of its own (RFC 6455 5.5.3).
                let _ = pongs.try_send(payload);
                None
            }
            Some(Ok(Frame::Text(_) | Frame::Pong(_))) => None,
        };
        let Some(whole) = whole else { continue };
        let read_at = Instant::now().into_std();
        for input in pages.read(whole) {
            ready |= matches!(input, UpstreamInput::Ready);
            let input = match input {
                UpstreamInput::Audio(packet) => UpstreamInput::Audio(packet.read_at(read_at)),
                other => other,
            };
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
}
