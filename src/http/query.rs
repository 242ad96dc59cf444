//! What a caller's query says. It may hold secrets: it is read once and never printed.

use std::fmt;

use secrecy::SecretString;

use super::{doors::Wishes, problem::Problem};
use crate::session::leg::{dialect::Dialect, format::AudioFormat};

/// The rate of PCM callers who name none: the model's own.
const DEFAULT_RATE_HZ: u32 = 24_000;

/// Which door a query belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/v1/voice`.
    Native,
    /// `/api/chat`.
    Moshi,
}

/// A query, taken apart. Unknown parameters are ignored, as are repetitions.
#[derive(Default)]
pub struct CallQuery {
    /// A one-use ticket.
    pub ticket: Option<SecretString>,
    /// A token, where that is allowed.
    pub token: Option<SecretString>,
    /// Whether the caller does not wait for a model server.
    pub waits_not: bool,
    /// Whether refusals are to be told on the socket.
    pub errors_on_socket: bool,
    audio: Option<String>,
    rate: Option<String>,
    channels: Option<String>,
    persona: Option<String>,
    voice: Option<String>,
    prompt: Option<SecretString>,
    continue_from: Option<String>,
}

impl fmt::Debug for CallQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallQuery").finish_non_exhaustive()
    }
}

impl CallQuery {
    /// Takes a raw query string apart.
    pub fn parse(raw: &str) -> Self {
        let mut query = Self::default();
        let (mut errors, mut wait) = (None, None);
        for (key, value) in form_urlencoded::parse(raw.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            let text = || value.clone().into_owned();
            match key.as_ref() {
                // The stock web client calls its credential `worker_auth_id`.
                "ticket" | "worker_auth_id" => set(&mut query.ticket, || text().into()),
                "token" => set(&mut query.token, || text().into()),
                "audio" => set(&mut query.audio, text),
                "rate" => set(&mut query.rate, text),
                "channels" => set(&mut query.channels, text),
                "persona" => set(&mut query.persona, text),
                "voice" | "voice_prompt" => set(&mut query.voice, text),
                "continue_from" => set(&mut query.continue_from, text),
                "text_prompt" => set(&mut query.prompt, || text().into()),
                "errors" => set(&mut errors, text),
                "wait" => set(&mut wait, text),
                _ => {}
            }
        }
        query.waits_not = wait.as_deref() == Some("0");
        query.errors_on_socket = errors.as_deref() == Some("socket");
        query
    }

    /// The wire and the audio format.
    pub fn dialect(&self, door: Door) -> Result<Dialect, Problem> {
        if door == Door::Moshi {
            return Ok(Dialect::Moshi);
        }
        let format = match self.audio.as_deref().unwrap_or("pcm16") {
            "pcm16" => self.pcm16()?,
            "opus" => AudioFormat::Opus,
            "ogg-opus" => AudioFormat::OggOpus,
            _ => return Err(Problem::UnknownFormat),
        };
        Ok(Dialect::Native(format))
    }

    fn pcm16(&self) -> Result<AudioFormat, Problem> {
        let rate_hz = self.rate.as_deref().map_or(Ok(DEFAULT_RATE_HZ), str::parse);
        let mono = rate_hz.ok().and_then(AudioFormat::pcm16).ok_or(Problem::UnknownRate)?;
        let channels = self.channels.as_deref().map_or(Ok(1), str::parse);
        channels.ok().and_then(|channels| mono.with_channels(channels)).ok_or(Problem::UnknownChannels)
    }

    /// What is asked for; only prompts with some text count.
    pub fn wishes(&self) -> Result<Wishes, Problem> {
        let voice = self.voice.as_deref().map(str::parse).transpose().map_err(|_| Problem::UnknownVoice)?;
        Ok(Wishes { voice, prompt: self.prompt.clone(), ..self.without_words()? })
    }

    /// The persona and the call to continue that are asked for, and no voice or prompt.
    pub fn without_words(&self) -> Result<Wishes, Problem> {
        let continue_from = self.continue_from.as_deref().map(str::parse).transpose();
        let continue_from = continue_from.map_err(|_| Problem::UnknownSession)?;
        Ok(Wishes { persona: self.persona.clone(), continue_from, ..Wishes::default() })
    }

    /// Whether a voice or a prompt of the caller's own is asked for.
    pub fn has_own_words(&self) -> bool {
        self.voice.is_some() || self.prompt.is_some()
    }
}

fn set<T>(slot: &mut Option<T>, value: impl FnOnce() -> T) {
    if slot.is_none() {
        *slot = Some(value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_rates_are_taken_or_refused_by_name() {
        let dialect = |raw: &str| CallQuery::parse(raw).dialect(Door::Native);
        let pcm16 = |rate_hz, channels| AudioFormat::pcm16(rate_hz).unwrap().with_channels(channels).unwrap();
        assert_eq!(dialect(""), Ok(Dialect::Native(pcm16(24_000, 1))));
        assert_eq!(dialect("audio=pcm16&rate=8000"), Ok(Dialect::Native(pcm16(8_000, 1))));
        assert_eq!(dialect("rate=22050&channels=2"), Ok(Dialect::Native(pcm16(22_050, 2))));
        assert_eq!(dialect("audio=ogg-opus&rate=1"), Ok(Dialect::Native(AudioFormat::OggOpus)));
        assert_eq!(dialect("audio=mp3"), Err(Problem::UnknownFormat));
        for rate in ["22051", "0", "-8000", "16k", "16000.0", "99999999999"] {
            assert_eq!(dialect(&format!("rate={rate}")), Err(Problem::UnknownRate), "{rate}");
        }
        for channels in ["0", "3", "-1", "stereo", "257"] {
            assert_eq!(dialect(&format!("channels={channels}")), Err(Problem::UnknownChannels), "{channels}");
        }
        assert_eq!(CallQuery::parse("audio=mp3").dialect(Door::Moshi), Ok(Dialect::Moshi));
    }

    #[test]
    fn the_first_of_several_wins() {
        for (raw, expected) in [("errors=socket", true), ("errors=&errors=socket", true), ("errors=no", false)] {
            assert_eq!(CallQuery::parse(raw).errors_on_socket, expected, "{raw}");
            assert_eq!(CallQuery::parse(&format!("{raw}&errors=socket&errors=x")).errors_on_socket, expected, "{raw}");
        }
        let twice = CallQuery::parse("voice=NATF0.pt&voice=NATM0");
        assert_eq!(twice.wishes().unwrap().voice.unwrap().name(), "NATF0");
    }

    #[test]
    fn a_call_to_continue_is_named_by_its_id_or_unknown() {
        let id = uuid::Uuid::from_u128(7);
        let wishes = |raw: &str| CallQuery::parse(raw).wishes().map(|wishes| wishes.continue_from);
        assert_eq!(wishes(&format!("continue_from={id}&continue_from=x")), Ok(Some(id)));
        assert_eq!((wishes(""), wishes("continue_from=")), (Ok(None), Ok(None)));
        assert_eq!(wishes("continue_from=../7"), Err(Problem::UnknownSession));
    }

    #[test]
    fn a_hostile_query_is_only_a_query() {
        for raw in ["&&&", "=", "%", "%zz=%00", "voice=../voices/NATM1.pt", "seed=5&text_prompt="] {
            let query = CallQuery::parse(raw);
            assert!(query.wishes().is_err() == raw.starts_with("voice"), "{raw}");
            assert!(!format!("{query:?}").contains("voices"));
        }
    }
}
