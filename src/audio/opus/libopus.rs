//! The codec in C: the machine's libopus, with the settings of the one in Rust.

use std::fmt;

use bytes::Bytes;
use opus::{Application, Bandwidth, Bitrate, Channels, Decoder, Encoder, ErrorCode, Repacketizer, Signal};

use super::{
    BITRATE_BPS, CODEC_RATE_HZ, COMPLEXITY, CodecError, ENCODED_BYTES, FRAME_SAMPLES, check_length, within_full_scale,
};
use crate::audio::packet::{OpusPacket, PacketError};

/// The longest packet, 120 ms, in samples at [`CODEC_RATE_HZ`].
const MAX_DECODED_SAMPLES: usize = 2_880;

/// Makes Opus packets for speech: variable rate around 28 kbit/s, 6.5 ms of look-ahead.
pub struct OpusEncoder {
    codec: Encoder,
    packet: Vec<u8>,
}

impl OpusEncoder {
    /// An encoder at the beginning of a stream.
    pub fn new() -> Result<OpusEncoder, CodecError> {
        let mut codec = Encoder::new(CODEC_RATE_HZ, Channels::Mono, Application::Voip)?;
        codec.set_bitrate(Bitrate::Bits(BITRATE_BPS))?;
        codec.set_complexity(COMPLEXITY)?;
        codec.set_signal(Signal::Voice)?;
        codec.set_bandwidth(Bandwidth::Superwideband)?;
        Ok(OpusEncoder { codec, packet: vec![0; ENCODED_BYTES] })
    }

    /// Makes one packet of 20, 40, 60 or 80 ms of sound, in samples from -1 to 1.
    ///
    /// Longer packets hold frames of 20 ms, as those of a model server do.
    pub fn encode(&mut self, pcm_24k_mono: &[f32]) -> Result<OpusPacket, CodecError> {
        check_length(pcm_24k_mono)?;
        let mut frames = Vec::new();
        for frame in pcm_24k_mono.chunks_exact(FRAME_SAMPLES) {
            let length = self.codec.encode_float(frame, &mut self.packet)?;
            frames.push(Bytes::copy_from_slice(self.packet.get(..length).unwrap_or_default()));
        }
        match frames.as_slice() {
            [frame] => Ok(OpusPacket::parse(frame.clone())?),
            frames => self.join(frames),
        }
    }

    fn join(&mut self, frames: &[Bytes]) -> Result<OpusPacket, CodecError> {
        let mut repacketizer = Repacketizer::new()?;
        let mut packet = repacketizer.begin();
        for frame in frames {
            packet.cat(frame).map_err(|error| match error.code() {
                ErrorCode::InvalidPacket => CodecError::MixedModes,
                _ => CodecError::from(error),
            })?;
        }
        let length = packet.out(&mut self.packet)?;
        let joined = self.packet.get(..length).ok_or(PacketError::Truncated)?;
        Ok(OpusPacket::parse(Bytes::copy_from_slice(joined))?)
    }
}

impl fmt::Debug for OpusEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusEncoder").finish_non_exhaustive()
    }
}

/// Turns Opus packets of any mode, length and channel count into sound.
pub struct OpusDecoder {
    codec: Decoder,
    pcm: Vec<f32>,
}

impl OpusDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Result<OpusDecoder, CodecError> {
        let codec = Decoder::new(CODEC_RATE_HZ, Channels::Mono)?;
        Ok(OpusDecoder { codec, pcm: vec![0.0; MAX_DECODED_SAMPLES] })
    }

    /// The sound of one packet: 24 kHz mono, samples from -1 to 1, as many as the packet's duration says.
    ///
    /// Two channels are mixed down, and peaks beyond full scale are cut off.
    pub fn decode(&mut self, packet: &OpusPacket) -> Result<Vec<f32>, CodecError> {
        let decoded = self.codec.decode_float(packet.bytes(), &mut self.pcm, false)?;
        Ok(within_full_scale(&self.pcm, decoded))
    }
}

impl fmt::Debug for OpusDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusDecoder").finish_non_exhaustive()
    }
}
