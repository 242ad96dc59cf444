//! One checked Opus packet and its duration.

use std::time::Duration;

use bytes::Bytes;

/// Samples a second in which Opus counts durations, whatever the signal's rate (RFC 6716).
pub const OPUS_CLOCK_HZ: u32 = 48_000;

/// One Opus packet that passed the checks of RFC 6716 section 3.4.
#[derive(Clone, PartialEq, Eq)]
pub struct OpusPacket {
    bytes: Bytes,
    samples: u32,
}

impl OpusPacket {
    /// The packet as it stands on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its duration in samples of the 48 kHz Opus clock.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Its duration.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(u64::from(self.samples) * 1_000_000 / u64::from(OPUS_CLOCK_HZ))
    }
}
