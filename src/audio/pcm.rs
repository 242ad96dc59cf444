//! Raw sound (16 bit, little endian) to Opus packets and back.

use bytes::{BufMut, Bytes, BytesMut};

use super::opus::{CODEC_RATE_HZ, CodecError, FRAME_SAMPLES, OpusDecoder, OpusEncoder};
use super::packet::OpusPacket;
pub use super::resampler::{PCM_RATES_HZ, RateError, Resampler};

/// The value of a sample of 1.0 in 16 bits.
const FULL_SCALE: f32 = 32_768.0;

/// The most channels of raw sound.
pub const MAX_PCM_CHANNELS: u8 = 2;

/// A number of channels that raw sound cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PCM has 1 or {MAX_PCM_CHANNELS} channels, not {0}")]
pub struct ChannelsError(pub u8);

/// The shape of raw sound: signed 16 bits, little endian, the samples of two channels by turns, left first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    rate_hz: u32,
    channels: u8,
}

impl PcmFormat {
    /// One channel at one of [`PCM_RATES_HZ`].
    pub fn mono(rate_hz: u32) -> Result<PcmFormat, RateError> {
        if PCM_RATES_HZ.contains(&rate_hz) { Ok(PcmFormat { rate_hz, channels: 1 }) } else { Err(RateError(rate_hz)) }
    }

    /// The same with 1 or 2 channels.
    pub fn with_channels(self, channels: u8) -> Result<PcmFormat, ChannelsError> {
        let known = (1..=MAX_PCM_CHANNELS).contains(&channels);
        if known { Ok(PcmFormat { channels, ..self }) } else { Err(ChannelsError(channels)) }
    }

    /// Samples a second of one channel.
    pub fn rate_hz(self) -> u32 {
        self.rate_hz
    }

    /// 1 or 2.
    pub fn channels(self) -> u8 {
        self.channels
    }

    /// The bytes of one sample of every channel.
    pub fn frame_bytes(self) -> usize {
        2 * usize::from(self.channels)
    }
}

/// Why sound was not converted.
#[derive(Debug, thiserror::Error)]
pub enum PcmError {
    /// A rate that is not one of [`PCM_RATES_HZ`].
    #[error(transparent)]
    Rate(#[from] RateError),
    /// The codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Takes a caller's raw sound and gives packets of 20 ms, mono.
///
/// Bytes may be cut anywhere, in the middle of a sample too; what does not fill a packet waits. Two channels are mixed
/// into their mean. The sound comes out of a decoder some 12 ms later than it went in: 6.5 ms of the encoder and
/// mostly 5 ms of resampling, [`Resampler::delay`].
#[derive(Debug)]
pub struct PcmReader {
    frame_bytes: usize,
    cut_frame: Vec<u8>,
    resampler: Resampler,
    pending: Vec<f32>,
    encoder: OpusEncoder,
}

impl PcmReader {
    /// A reader of sound of this shape.
    pub fn new(format: PcmFormat) -> Result<PcmReader, PcmError> {
        Ok(PcmReader {
            frame_bytes: format.frame_bytes(),
            cut_frame: Vec::new(),
            resampler: Resampler::new(format.rate_hz, CODEC_RATE_HZ)?,
            pending: Vec::new(),
            encoder: OpusEncoder::new()?,
        })
    }

    /// Takes the next bytes and gives the packets that they fill: none, one or several.
    ///
    /// The work grows with the bytes (some 7 ms of CPU for a second of sound): bound the size of a message.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<OpusPacket>, PcmError> {
        let samples = self.mixed(bytes);
        self.pending.extend(self.resampler.push(&samples));
        let mut packets = Vec::with_capacity(self.pending.len() / FRAME_SAMPLES);
        for frame in self.pending.chunks_exact(FRAME_SAMPLES) {
            packets.push(self.encoder.encode(frame)?);
        }
        self.pending.drain(..packets.len() * FRAME_SAMPLES);
        Ok(packets)
    }

    /// The bytes in one channel, with what was left of the push before; what is cut off at the end is kept.
    fn mixed(&mut self, bytes: &[u8]) -> Vec<f32> {
        let mut samples = Vec::with_capacity(bytes.len() / self.frame_bytes + 1);
        let mut rest = bytes;
        if !self.cut_frame.is_empty() {
            let missing = self.frame_bytes.saturating_sub(self.cut_frame.len()).min(bytes.len());
            let (these, after) = bytes.split_at(missing);
            self.cut_frame.extend_from_slice(these);
            rest = after;
            if self.cut_frame.len() == self.frame_bytes {
                samples.push(mix(&self.cut_frame));
                self.cut_frame.clear();
            }
        }
        let frames = rest.chunks_exact(self.frame_bytes);
        self.cut_frame.extend_from_slice(frames.remainder());
        samples.extend(frames.map(mix));
        samples
    }
}

/// The mean of the channels, from -1 to 1.
fn mix(frame: &[u8]) -> f32 {
    let (channels, _) = frame.as_chunks::<2>();
    let sum: f32 = channels.iter().map(|&sample| f32::from(i16::from_le_bytes(sample))).sum();
    sum / (FULL_SCALE * channels.len() as f32)
}

/// Takes packets and gives raw sound, the same in every channel.
///
/// The sound comes out mostly 5 ms late ([`Resampler::delay`]). Packets of whole 10 ms come out whole, at 22,050 Hz those
/// of whole 20 ms and at 11,025 Hz those of whole 40 ms; of others a part waits for the next packet.
#[derive(Debug)]
pub struct PcmWriter {
    channels: u8,
    decoder: OpusDecoder,
    resampler: Resampler,
}

impl PcmWriter {
    /// A writer of sound of this shape.
    pub fn new(format: PcmFormat) -> Result<PcmWriter, PcmError> {
        Ok(PcmWriter {
            channels: format.channels,
            decoder: OpusDecoder::new()?,
            resampler: Resampler::new(CODEC_RATE_HZ, format.rate_hz)?,
        })
    }

    /// The sound of one packet.
    pub fn push(&mut self, packet: &OpusPacket) -> Result<Bytes, PcmError> {
        let sound = self.resampler.push(&self.decoder.decode(packet)?);
        let mut bytes = BytesMut::with_capacity(sound.len() * 2 * usize::from(self.channels));
        for sample in sound {
            // A cast to i16 keeps to the range of i16.
            let sample = (sample * FULL_SCALE).round() as i16;
            for _ in 0..self.channels {
                bytes.put_i16_le(sample);
            }
        }
        Ok(bytes.freeze())
    }
}
