//! The wire of PersonaPlex and Moshi servers: a kind byte, then the payload (docs/protocol/personaplex.md).
//!
//! Reading is tolerant, because other servers of the family differ: a handshake may have a payload, an audio message
//! holds one or more Ogg pages, and unknown kinds are handed on to be ignored. What was read is written back byte by
//! byte.

mod target;
mod voice;

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

pub use target::{
    CHAT_PATH, ChatTarget, MAX_TARGET_BYTES, TargetError, encoded_bytes, prompt_budget_bytes, prompt_steps,
    tokens_estimate,
};
pub use voice::{UnknownVoice, Voice};

const HANDSHAKE: u8 = 0;
const AUDIO: u8 = 1;
const TEXT: u8 = 2;
const CONTROL: u8 = 3;
const METADATA: u8 = 4;
const ERROR: u8 = 5;
const PING: u8 = 6;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoshiError {
    /// There is no kind byte.
    #[error("a message begins with a byte that says its kind")]
    Empty,
}

/// One binary WebSocket message. Its `Debug` shows kinds and lengths, never sound or words.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// Kind 00: the server has read its prompts and listens. The payload (version numbers) may be empty.
    Handshake(Bytes),
    /// Kind 01: bytes of an Ogg Opus stream; from a server one or more whole pages, from others cut anywhere.
    Audio(Bytes),
    /// Kind 02: what the model says.
    Text(TextPiece),
    /// Kind 03: one byte that a [`ControlAction`] may be read from.
    Control(Bytes),
    /// Kind 04: JSON.
    Metadata(Bytes),
    /// Kind 05: an error in words. Web clients do not show it.
    Error(TextPiece),
    /// Kind 06: keeps a connection alive. A payload has no meaning and is not kept.
    Ping,
    /// A kind that is not known; ignore it.
    Unknown(u8, Bytes),
}

impl Message {
    /// Reads one message. Only an empty one is refused.
    pub fn decode(mut bytes: Bytes) -> Result<Message, MoshiError> {
        if bytes.is_empty() {
            return Err(MoshiError::Empty);
        }
        let payload = bytes.split_off(1);
        Ok(match bytes[0] {
            HANDSHAKE => Message::Handshake(payload),
            AUDIO => Message::Audio(payload),
            TEXT => Message::Text(TextPiece(payload)),
            CONTROL => Message::Control(payload),
            METADATA => Message::Metadata(payload),
            ERROR => Message::Error(TextPiece(payload)),
            PING => Message::Ping,
            kind => Message::Unknown(kind, payload),
        })
    }

    /// Writes one message.
    pub fn encode(&self) -> Bytes {
        let (kind, payload) = self.parts();
        let mut bytes = BytesMut::with_capacity(1 + payload.len());
        bytes.put_u8(kind);
        bytes.put_slice(payload);
        bytes.freeze()
    }

    /// The message that says this action.
    pub fn control(action: ControlAction) -> Message {
        Message::Control(Bytes::from_static(match action {
            ControlAction::Start => &[0],
            ControlAction::EndTurn => &[1],
            ControlAction::Pause => &[2],
            ControlAction::Restart => &[3],
        }))
    }

    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Message::Handshake(payload) => (HANDSHAKE, payload),
            Message::Audio(payload) => (AUDIO, payload),
            Message::Text(piece) => (TEXT, &piece.0),
            Message::Control(payload) => (CONTROL, payload),
            Message::Metadata(payload) => (METADATA, payload),
            Message::Error(text) => (ERROR, &text.0),
            Message::Ping => (PING, &[]),
            Message::Unknown(kind, payload) => (*kind, payload),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Message::Handshake(_) => "Handshake",
            Message::Audio(_) => "Audio",
            Message::Text(_) => "Text",
            Message::Control(_) => "Control",
            Message::Metadata(_) => "Metadata",
            Message::Error(_) => "Error",
            Message::Ping => "Ping",
            Message::Unknown(..) => "Unknown",
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, payload) = self.parts();
        f.debug_struct(self.name()).field("kind", &kind).field("bytes", &payload.len()).finish()
    }
}

/// Words of a server. Their `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct TextPiece(Bytes);

impl TextPiece {
    /// A piece with this text.
    pub fn new(text: &str) -> TextPiece {
        TextPiece(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The text: one token, a leading space included. Bytes that are not UTF-8 show as U+FFFD.
    ///
    /// A byte of a character that is no token of its own comes as text like `<0xE2>`, and is left as it is here.
    pub fn expose(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The text as it stands on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for TextPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextPiece").field("bytes", &self.0.len()).finish()
    }
}

/// What a message of kind 03 asks for. PersonaPlex ignores all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAction {
    /// 00.
    Start,
    /// 01.
    EndTurn,
    /// 02.
    Pause,
    /// 03.
    Restart,
}

impl ControlAction {
    /// Every action.
    pub const ALL: [ControlAction; 4] =
        [ControlAction::Start, ControlAction::EndTurn, ControlAction::Pause, ControlAction::Restart];

    /// The action that the payload of a control message asks for, if it is a known one.
    pub fn from_payload(payload: &[u8]) -> Option<ControlAction> {
        match payload.first()? {
            0 => Some(ControlAction::Start),
            1 => Some(ControlAction::EndTurn),
            2 => Some(ControlAction::Pause),
            3 => Some(ControlAction::Restart),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Message {
        Message::decode(Bytes::copy_from_slice(bytes)).unwrap()
    }

    #[test]
    fn every_kind_is_read() {
        let rust_server_handshake = [0; 9];
        assert_eq!(decode(&[0]), Message::Handshake(Bytes::new()));
        assert_eq!(decode(&rust_server_handshake), Message::Handshake(Bytes::from_static(&[0; 8])));
        assert_eq!(decode(&[1]), Message::Audio(Bytes::new()));
        assert_eq!(decode(b"\x01OggS"), Message::Audio(Bytes::from_static(b"OggS")));
        assert_eq!(decode(b"\x02 hello"), Message::Text(TextPiece::new(" hello")));
        assert_eq!(decode(&[3, 2]), Message::control(ControlAction::Pause));
        assert_eq!(decode(b"\x04{}"), Message::Metadata(Bytes::from_static(b"{}")));
        assert_eq!(decode(b"\x05no"), Message::Error(TextPiece::new("no")));
        assert_eq!(decode(&[6]), Message::Ping);
        assert_eq!(decode(&[0xff, 7]), Message::Unknown(0xff, Bytes::from_static(&[7])));
        assert_eq!(Message::decode(Bytes::new()), Err(MoshiError::Empty));
    }

    #[test]
    fn control_actions_have_their_bytes() {
        for (byte, action) in (0..).zip(ControlAction::ALL) {
            assert_eq!(Message::control(action).encode(), [3, byte][..]);
            assert_eq!(ControlAction::from_payload(&[byte]), Some(action));
        }
        assert_eq!(ControlAction::from_payload(&[4]), None);
        assert_eq!(ControlAction::from_payload(&[]), None);
    }

    #[test]
    fn bytes_of_a_character_are_left_as_they_are() {
        let Message::Text(piece) = decode(b"\x02<0xE2>") else { panic!("a text message") };
        assert_eq!(piece.expose(), "<0xE2>");
    }

    #[test]
    fn sound_and_words_do_not_print() {
        for kind in [1, 2, 4, 5, 9] {
            let shown = format!("{:?}", decode(&[&[kind], &b"secret"[..]].concat()));
            assert!(!shown.contains("secret") && !shown.contains("115"), "{shown}");
        }
        assert_eq!(format!("{:?}", decode(b"\x02secret")), "Text { kind: 2, bytes: 6 }");
        assert_eq!(format!("{:?}", TextPiece::new("secret")), "TextPiece { bytes: 6 }");
    }

    proptest! {
        #[test]
        fn what_was_read_is_written_back(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
            let message = decode(&bytes);
            let expected = if bytes[0] == PING { &bytes[..1] } else { &bytes[..] };
            prop_assert_eq!(message.encode(), expected);
        }
    }
}
