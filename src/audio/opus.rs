//! Opus packets from and to sound at the model's rate, 24 kHz mono.
//!
//! The codec is [`pure`], or the machine's libopus with the feature `libopus`; the types have the same methods.

pub mod halver;
pub mod joiner;
#[cfg(feature = "libopus")]
pub mod libopus;
pub mod pure;

#[cfg(feature = "libopus")]
pub use libopus::{OpusDecoder, OpusEncoder};
#[cfg(not(feature = "libopus"))]
pub use pure::{OpusDecoder, OpusEncoder};

use super::packet::PacketError;

/// Samples a second of the sound on this side of the codec: the rate of the model.
pub const CODEC_RATE_HZ: u32 = 24_000;

/// The samples of 20 ms at [`CODEC_RATE_HZ`].
pub const FRAME_SAMPLES: usize = 480;

/// Bits a second that are aimed at: 28.2 kbit/s come of it for speech, and a model server's encoder makes 27.6.
const BITRATE_BPS: i32 = 32_000;

/// How hard the encoder works, of 0 to 10.
///
/// Measured on speech, CPU ms for a second of sound and signal to noise: 0: 2.8 ms, 9.9 dB; 3: 4.7 ms, 10.1 dB;
/// 5: 6.5 ms, 10.6 dB; 7: 8.7 ms, 10.7 dB; 10: 10.2 ms, 10.7 dB. Decoding takes 1.3 ms. From 7 on the encoder also
/// changes its mode with the sound, and frames of different modes do not fit one packet.
const COMPLEXITY: i32 = 5;

/// The bytes that the codec may use for one packet; ours have some 70 (20 ms) to 280 (80 ms).
const ENCODED_BYTES: usize = opus_pure::MAX_PACKET_BYTES;

/// Why the codec did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The sound has no length that a packet can have.
    #[error("an Opus packet is made of 20, 40, 60 or 80 ms: 480, 960, 1440 or 1920 samples at 24 kHz, not {0}")]
    Length(usize),
    /// The codec made frames of different modes for one packet.
    #[error("the frames of an Opus packet have one mode, and the encoder changed it; encode 20 ms at a time")]
    MixedModes,
    /// The encoder made something that is no packet.
    #[error("the Opus encoder made no packet: {0}")]
    NoPacket(#[from] PacketError),
    /// The codec itself says what is wrong.
    #[error("the Opus codec failed: {0}")]
    Codec(#[from] opus_pure::Error),
    /// The C library says what is wrong.
    #[cfg(feature = "libopus")]
    #[error("libopus failed: {0}")]
    Libopus(#[from] ::opus::Error),
}

fn check_length(pcm_24k_mono: &[f32]) -> Result<(), CodecError> {
    let samples = pcm_24k_mono.len();
    let whole = (1..=4).any(|frames| samples == frames * FRAME_SAMPLES);
    if whole { Ok(()) } else { Err(CodecError::Length(samples)) }
}

/// The decoded samples from -1 to 1, whatever the codec made of noise.
fn within_full_scale(pcm: &[f32], decoded: usize) -> Vec<f32> {
    let sound = pcm.iter().take(decoded);
    sound.map(|&sample| if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }).collect()
}
