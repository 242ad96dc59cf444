//! The first bytes of a caller's audio, which tell whether it is in the format of the call.

use super::format::AudioFormat;
use crate::audio::container::Container;

/// Why audio is not in the call's format. What is told is its kind, never its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is packed in something else: nothing of it can be used.
    #[error("the audio begins like {}, but this call takes {}; {}", came.name(), wanted(*call), remedy(*call, *came))]
    Container {
        /// What came.
        came: Container,
        /// What the call is in.
        call: AudioFormat,
    },
    /// An Ogg stream was expected and no page came; a page may still follow.
    #[error(
        "the audio does not begin with an Ogg page; send Ogg Opus, or call /v1/voice with audio=opus for bare packets \
         or audio=pcm16 for PCM"
    )]
    NotOgg,
}

fn wanted(call: AudioFormat) -> &'static str {
    match call {
        AudioFormat::Pcm16(_) => "bare PCM",
        AudioFormat::Opus => "one Opus packet a message",
        AudioFormat::OggOpus => "an Ogg Opus stream",
    }
}

fn remedy(call: AudioFormat, came: Container) -> &'static str {
    match (call, came) {
        (AudioFormat::Pcm16(_) | AudioFormat::Opus, Container::Ogg) => "call with audio=ogg-opus",
        (AudioFormat::Pcm16(_), came) if came.is_raw_sound() => "send its samples without the file's header",
        (_, came) if came.is_raw_sound() => "call /v1/voice with audio=pcm16 and send its samples without the header",
        (AudioFormat::OggOpus, _) => "record audio/ogg;codecs=opus, or call /v1/voice with audio=pcm16 and send PCM",
        (AudioFormat::Pcm16(_), _) => "send PCM, or record audio/ogg;codecs=opus and call with audio=ogg-opus",
        (AudioFormat::Opus, _) => "take its packets out, or record audio/ogg;codecs=opus and call with audio=ogg-opus",
    }
}

/// Looks at the first bytes of a call's audio and lets the rest pass unseen.
#[derive(Debug)]
pub struct Opening {
    call: AudioFormat,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The bytes so far, too few to tell.
    Gathering(Vec<u8>),
    Passed,
    Refused(FormatError),
}

impl Opening {
    /// For the audio of one call.
    pub fn new(call: AudioFormat) -> Opening {
        Opening { call, state: State::Gathering(Vec::new()) }
    }

    /// Looks at the next message; what is wrong with it is told.
    ///
    /// A stream in another container stays wrong to its end; that no Ogg page came is told once.
    pub fn look(&mut self, message: &[u8]) -> Option<FormatError> {
        match &mut self.state {
            State::Passed => None,
            State::Refused(error) => Some(*error),
            State::Gathering(first) => {
                // A bare packet ends with its message; a stream goes on in the next.
                if self.call == AudioFormat::Opus {
                    first.clear();
                }
                let whole = [first, message].concat();
                if whole.len() < Container::KNOWN_BY_BYTES {
                    *first = whole;
                    return None;
                }
                let came = Container::of(&whole);
                if came.is_none() && self.call != AudioFormat::Opus && Container::may_show(&whole) {
                    *first = whole;
                    return None;
                }
                let error = judge(self.call, came);
                self.state = match error {
                    Some(error @ FormatError::Container { .. }) => State::Refused(error),
                    Some(FormatError::NotOgg) | None => State::Passed,
                };
                error
            }
        }
    }
}

fn judge(call: AudioFormat, came: Option<Container>) -> Option<FormatError> {
    match (call, came) {
        (AudioFormat::OggOpus, Some(Container::Ogg)) => None,
        (AudioFormat::OggOpus, None) => Some(FormatError::NotOgg),
        (_, came) => came.map(|came| FormatError::Container { came, call }),
    }
}
