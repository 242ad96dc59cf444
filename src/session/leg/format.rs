//! In what form a call's audio comes and goes.

use crate::{
    audio::{packet::OPUS_CLOCK_HZ, pcm::PcmFormat},
    protocol::native::AudioTerms,
};

/// The audio format of a call, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioFormat {
    /// Signed 16 bits, little endian.
    Pcm16(PcmFormat),
    /// One Opus packet a message.
    Opus,
    /// An Ogg Opus stream, cut anywhere on the way in, whole pages on the way out.
    OggOpus,
}

impl AudioFormat {
    /// PCM of one channel at this rate in Hz, if it is one of the usual ones.
    pub fn pcm16(rate_hz: u32) -> Option<Self> {
        PcmFormat::mono(rate_hz).ok().map(Self::Pcm16)
    }

    /// The same PCM with 1 or 2 channels; nothing for other numbers, and for Opus, whose packets say it themselves.
    pub fn with_channels(self, channels: u8) -> Option<Self> {
        match self {
            Self::Pcm16(pcm) => pcm.with_channels(channels).ok().map(Self::Pcm16),
            Self::Opus | Self::OggOpus => None,
        }
    }

    /// As `session.created` states it.
    pub fn terms(self) -> AudioTerms {
        let (format, sample_rate, channels) = match self {
            Self::Pcm16(pcm) => ("pcm16", pcm.rate_hz(), pcm.channels()),
            Self::Opus => ("opus", OPUS_CLOCK_HZ, 1),
            Self::OggOpus => ("ogg-opus", OPUS_CLOCK_HZ, 1),
        };
        AudioTerms { format: format.into(), sample_rate, channels }
    }

    /// The most bytes that a second of it can have: Opus goes up to 510 kbit/s, Ogg adds its pages.
    pub fn max_bytes_per_second(self) -> u32 {
        match self {
            Self::Pcm16(pcm) => pcm.rate_hz() * 2 * u32::from(pcm.channels()),
            Self::Opus | Self::OggOpus => 80_000,
        }
    }
}
