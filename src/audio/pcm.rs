//! Raw sound (16 bit, little endian, mono) to Opus packets and back.

use bytes::{BufMut, Bytes, BytesMut};

use super::opus::{CODEC_RATE_HZ, CodecError, FRAME_SAMPLES, OpusDecoder, OpusEncoder};
use super::packet::OpusPacket;
pub use super::resampler::{PCM_RATES_HZ, RateError, Resampler};

/// The value of a sample of 1.0 in 16 bits.
const FULL_SCALE: f32 = 32_768.0;

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

/// Takes a caller's raw sound and gives packets of 20 ms.
///
/// Bytes may be cut anywhere, in the middle of a sample too; what does not fill a packet waits. The sound comes out
/// of a decoder some 12 ms later than it went in: 5 ms of resampling (none at 24 kHz) and 6.5 ms of the encoder.
#[derive(Debug)]
pub struct PcmReader {
    half_sample: Option<u8>,
    resampler: Resampler,
    pending: Vec<f32>,
    encoder: OpusEncoder,
}

impl PcmReader {
    /// A reader of sound at one of [`PCM_RATES_HZ`].
    pub fn new(rate_hz: u32) -> Result<PcmReader, PcmError> {
        Ok(PcmReader {
            half_sample: None,
            resampler: Resampler::new(rate_hz, CODEC_RATE_HZ)?,
            pending: Vec::new(),
            encoder: OpusEncoder::new()?,
        })
    }

    /// Takes the next bytes and gives the packets that they fill: none, one or several.
    ///
    /// The work grows with the bytes (some 7 ms of CPU for a second of sound): bound the size of a message.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<OpusPacket>, PcmError> {
        let samples = self.samples(bytes);
        self.pending.extend(self.resampler.push(&samples));
        let mut packets = Vec::with_capacity(self.pending.len() / FRAME_SAMPLES);
        for frame in self.pending.chunks_exact(FRAME_SAMPLES) {
            packets.push(self.encoder.encode(frame)?);
        }
        self.pending.drain(..packets.len() * FRAME_SAMPLES);
        Ok(packets)
    }

    /// The whole samples of the bytes, with the half sample of the push before; a new half sample is kept.
    fn samples(&mut self, bytes: &[u8]) -> Vec<f32> {
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        let mut rest = bytes;
        if let (Some(low), Some((&high, after))) = (self.half_sample, bytes.split_first()) {
            samples.push(i16::from_le_bytes([low, high]));
            self.half_sample = None;
            rest = after;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        samples.extend(pairs.iter().map(|&pair| i16::from_le_bytes(pair)));
        if let Some(&low) = odd.first() {
            self.half_sample = Some(low);
        }
        samples.into_iter().map(|sample| f32::from(sample) / FULL_SCALE).collect()
    }
}

/// Takes packets and gives raw sound.
///
/// The sound comes out 5 ms late (not at 24 kHz, where nothing is resampled); packets of whole 10 ms come out whole.
#[derive(Debug)]
pub struct PcmWriter {
    decoder: OpusDecoder,
    resampler: Resampler,
}

impl PcmWriter {
    /// A writer of sound at one of [`PCM_RATES_HZ`].
    pub fn new(rate_hz: u32) -> Result<PcmWriter, PcmError> {
        Ok(PcmWriter { decoder: OpusDecoder::new()?, resampler: Resampler::new(CODEC_RATE_HZ, rate_hz)? })
    }

    /// The sound of one packet: 16 bit, little endian, mono.
    pub fn push(&mut self, packet: &OpusPacket) -> Result<Bytes, PcmError> {
        let sound = self.resampler.push(&self.decoder.decode(packet)?);
        let mut bytes = BytesMut::with_capacity(sound.len() * 2);
        for sample in sound {
            // A cast to i16 keeps to the range of i16.
            bytes.put_i16_le((sample * FULL_SCALE).round() as i16);
        }
        Ok(bytes.freeze())
    }
}
