//! The codec in Rust: `opus-pure`.

use std::fmt;

use bytes::Bytes;
use opus_pure::{Application, Bandwidth, Repacketizer, Signal};

use super::halver::Halver;
use super::{
    BITRATE_BPS, CODEC_RATE_HZ, COMPLEXITY, CodecError, ENCODED_BYTES, FRAME_SAMPLES, check_length, within_full_scale,
};
use crate::audio::packet::{MAX_PACKET_SAMPLES, OPUS_CLOCK_HZ, OpusPacket};

/// Makes Opus packets for speech: variable rate around 28 kbit/s, 6.5 ms of look-ahead.
pub struct OpusEncoder {
    // Boxed: its state is larger than a moved value should be.
    codec: Box<opus_pure::OpusEncoder>,
    packet: Vec<u8>,
}

impl OpusEncoder {
    /// An encoder at the beginning of a stream.
    pub fn new() -> Result<OpusEncoder, CodecError> {
        let mut codec = Box::new(opus_pure::OpusEncoder::new(CODEC_RATE_HZ as i32, 1, Application::Voip)?);
        codec.bitrate_bps = BITRATE_BPS;
        codec.complexity = COMPLEXITY;
        // Speech at this rate in this band is always one mode, so that frames can share a packet.
        codec.signal_type = Some(Signal::Voice);
        codec.force_bandwidth = Some(Bandwidth::Superwideband);
        Ok(OpusEncoder { codec, packet: vec![0; ENCODED_BYTES] })
    }

    /// Makes one packet of 20, 40, 60 or 80 ms of sound, in samples from -1 to 1.
    ///
    /// Longer packets hold frames of 20 ms, as those of a model server do. The frames are encoded one by one: given
    /// 40 ms or more at once, the codec was seen to make loud noise in places.
    pub fn encode(&mut self, pcm_24k_mono: &[f32]) -> Result<OpusPacket, CodecError> {
        check_length(pcm_24k_mono)?;
        if pcm_24k_mono.len() == FRAME_SAMPLES {
            let frame = self.encode_frame(pcm_24k_mono)?;
            return Ok(OpusPacket::parse(Bytes::copy_from_slice(frame))?);
        }
        let mut packet = Repacketizer::new();
        for frame in pcm_24k_mono.chunks_exact(FRAME_SAMPLES) {
            packet.cat(self.encode_frame(frame)?).map_err(|_| CodecError::MixedModes)?;
        }
        Ok(OpusPacket::parse(packet.out()?.into())?)
    }

    fn encode_frame(&mut self, frame: &[f32]) -> Result<&[u8], CodecError> {
        let length = self.codec.encode(frame, FRAME_SAMPLES, &mut self.packet)?;
        Ok(self.packet.get(..length).unwrap_or_default())
    }
}

impl fmt::Debug for OpusEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusEncoder").finish_non_exhaustive()
    }
}

/// Turns Opus packets of any mode, length and channel count into sound, 0.6 ms late.
///
/// It decodes at 48 kHz and halves that. At any other rate `opus-pure` 0.2.2 skips the redundant frame that an encoder
/// adds where it changes its mode, and about 100 ms from there are wrong. Model servers change theirs in every call.
pub struct OpusDecoder {
    codec: Box<opus_pure::OpusDecoder>,
    pcm_48k: Vec<f32>,
    halver: Halver,
}

impl OpusDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Result<OpusDecoder, CodecError> {
        let codec = Box::new(opus_pure::OpusDecoder::new(OPUS_CLOCK_HZ as i32, 1)?);
        Ok(OpusDecoder { codec, pcm_48k: vec![0.0; MAX_PACKET_SAMPLES as usize], halver: Halver::new() })
    }

    /// The sound of one packet: 24 kHz mono, samples from -1 to 1, as many as the packet's duration says.
    ///
    /// Two channels are mixed down. Noise that passes for a packet decodes to peaks far beyond full scale; they are
    /// cut off here, so that what follows may rely on the range.
    pub fn decode(&mut self, packet: &OpusPacket) -> Result<Vec<f32>, CodecError> {
        let decoded = self.codec.decode(packet.bytes(), self.pcm_48k.len(), &mut self.pcm_48k)?;
        let pcm_48k = within_full_scale(&self.pcm_48k, decoded);
        let pcm_24k = self.halver.push(&pcm_48k);
        Ok(within_full_scale(&pcm_24k, pcm_24k.len()))
    }
}

impl fmt::Debug for OpusDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusDecoder").finish_non_exhaustive()
    }
}
