//! Opus packets from and to sound at the model's rate, 24 kHz mono.

use std::fmt;

use bytes::Bytes;
use opus_pure::{Application, Bandwidth, Repacketizer, Signal};

use super::packet::{OpusPacket, PacketError};

/// Samples a second of the sound on this side of the codec: the rate of the model.
pub const CODEC_RATE_HZ: u32 = 24_000;

/// The samples of 20 ms at [`CODEC_RATE_HZ`].
pub const FRAME_SAMPLES: usize = 480;

/// Bits a second that are aimed at: 28.2 kbit/s come of it for speech, and a model server's encoder makes 27.6.
const BITRATE_BPS: i32 = 32_000;

/// How hard the encoder works, of 0 to 10.
///
/// Measured on speech, CPU ms for a second of sound and signal to noise: 0: 2.8 ms, 9.9 dB; 3: 4.7 ms, 10.1 dB;
/// 5: 6.5 ms, 10.6 dB; 7: 8.7 ms, 10.7 dB; 10: 10.2 ms, 10.7 dB. Decoding takes 1.1 ms. From 7 on the encoder also
/// changes its mode with the sound, and frames of different modes do not fit one packet.
const COMPLEXITY: i32 = 5;

/// The bytes that the codec may use for one packet; ours have some 70 (20 ms) to 280 (80 ms).
const ENCODED_BYTES: usize = opus_pure::MAX_PACKET_BYTES;

/// Packets of 20 ms, in samples of the 48 kHz Opus clock: what is shorter costs a server too much.
const SHORT_SAMPLES: u32 = 960;

/// The longest packet, 120 ms, in samples at [`CODEC_RATE_HZ`].
const MAX_DECODED_SAMPLES: usize = 2_880;

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
}

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
        let samples = pcm_24k_mono.len();
        if !(1..=4).any(|frames| samples == frames * FRAME_SAMPLES) {
            return Err(CodecError::Length(samples));
        }
        if samples == FRAME_SAMPLES {
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

/// Joins neighbours of one mode that are shorter than 20 ms; everything else stays as it is.
///
/// A server takes one packet in 1.15 ms, so that packets of 5 ms keep a model that needs 70 ms a step from ever
/// catching up. The frames are not touched: what comes out decodes to the same samples. A joined packet lasts at most
/// 120 ms.
pub fn join_short(packets: &[OpusPacket]) -> Vec<OpusPacket> {
    let is_short = |packet: &OpusPacket| packet.samples() < SHORT_SAMPLES;
    let runs = packets.chunk_by(|a, b| is_short(a) && is_short(b) && a.toc() >> 2 == b.toc() >> 2);
    let mut joined = Vec::with_capacity(packets.len());
    for run in runs {
        match run {
            [packet] => joined.push(packet.clone()),
            run => join_run(run, &mut joined),
        }
    }
    joined
}

/// Packets of one mode into as few as the longest duration allows. What the codec refuses to join stays as it is.
fn join_run(run: &[OpusPacket], joined: &mut Vec<OpusPacket>) {
    let mut rest = run;
    while !rest.is_empty() {
        let mut whole = Repacketizer::new();
        let taken = rest.iter().take_while(|packet| whole.cat(packet.bytes()).is_ok()).count().max(1);
        let (these, after) = rest.split_at(taken);
        match whole.out().map(|bytes| OpusPacket::parse(bytes.into())) {
            Ok(Ok(packet)) => joined.push(packet),
            _ => joined.extend_from_slice(these),
        }
        rest = after;
    }
}

impl fmt::Debug for OpusEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusEncoder").finish_non_exhaustive()
    }
}

/// Turns Opus packets of any mode, length and channel count into sound.
pub struct OpusDecoder {
    codec: Box<opus_pure::OpusDecoder>,
    pcm: Vec<f32>,
}

impl OpusDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Result<OpusDecoder, CodecError> {
        let codec = Box::new(opus_pure::OpusDecoder::new(CODEC_RATE_HZ as i32, 1)?);
        Ok(OpusDecoder { codec, pcm: vec![0.0; MAX_DECODED_SAMPLES] })
    }

    /// The sound of one packet: 24 kHz mono, samples from -1 to 1, as many as the packet's duration says.
    ///
    /// Two channels are mixed down. Noise that passes for a packet decodes to peaks far beyond full scale; they are
    /// cut off here, so that what follows may rely on the range.
    pub fn decode(&mut self, packet: &OpusPacket) -> Result<Vec<f32>, CodecError> {
        let decoded = self.codec.decode(packet.bytes(), MAX_DECODED_SAMPLES, &mut self.pcm)?;
        let sound = self.pcm.iter().take(decoded);
        Ok(sound.map(|&sample| if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }).collect())
    }
}

impl fmt::Debug for OpusDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusDecoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A second and a half of a voice-like sound: a buzz whose pitch and loudness move.
    fn sound() -> Vec<f32> {
        let at = |n: usize| n as f32 / CODEC_RATE_HZ as f32;
        let pitch = |n: usize| (at(n) * 150.0 + (at(n) * 5.0).sin() * 3.0).fract() - 0.5;
        (0..36_000).map(|n| pitch(n) * (0.4 + 0.3 * (at(n) * 9.0).sin())).collect()
    }

    fn short_packets(application: Application, packet_ms_x10: usize) -> Vec<OpusPacket> {
        let mut encoder = opus_pure::OpusEncoder::new(CODEC_RATE_HZ as i32, 1, application).unwrap();
        let samples = CODEC_RATE_HZ as usize * packet_ms_x10 / 10_000;
        let mut bytes = vec![0; ENCODED_BYTES];
        let encode = |frame: &[f32]| {
            let length = encoder.encode(frame, samples, &mut bytes).unwrap();
            OpusPacket::parse(Bytes::copy_from_slice(&bytes[..length])).unwrap()
        };
        sound().chunks_exact(samples).map(encode).collect()
    }

    fn decoded(packets: &[OpusPacket]) -> Vec<f32> {
        let mut decoder = OpusDecoder::new().unwrap();
        packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect()
    }

    fn duration(packets: &[OpusPacket]) -> Duration {
        packets.iter().map(OpusPacket::duration).sum()
    }

    /// Joined in the stretches of 80 ms in which pages are made.
    fn joined(packets: &[OpusPacket]) -> Vec<OpusPacket> {
        let stretch = (Duration::from_millis(80).as_micros() / packets[0].duration().as_micros()) as usize;
        packets.chunks(stretch).flat_map(join_short).collect()
    }

    #[test]
    fn joined_packets_decode_to_the_same_samples() {
        // It codes CELT in every length; Voip has SILK and hybrid from 10 ms on.
        for (application, tenths) in [
            (Application::RestrictedLowDelay, 25),
            (Application::RestrictedLowDelay, 50),
            (Application::RestrictedLowDelay, 100),
            (Application::Voip, 50),
            (Application::Voip, 100),
        ] {
            let packets = short_packets(application, tenths);
            let joined = joined(&packets);
            assert!(joined.len() <= packets.len() / 4, "{tenths}: {} of {}", joined.len(), packets.len());
            assert_eq!(duration(&joined), duration(&packets));
            assert!(decoded(&joined) == decoded(&packets), "{application:?} {tenths} sounds different");
        }
    }

    #[test]
    fn packets_of_several_frames_are_joined_frame_by_frame() {
        let singles = short_packets(Application::RestrictedLowDelay, 25);
        // 5 ms in codes 1 and 2, 7.5 ms in code 3 with lengths, 2.5 ms in code 3 with padding.
        let mut packets = Vec::new();
        for frames in singles.chunks_exact(6) {
            let mut pair = Repacketizer::new();
            frames[..2].iter().for_each(|frame| pair.cat(frame.bytes()).unwrap());
            let mut three = Repacketizer::new();
            frames[2..5].iter().for_each(|frame| three.cat(frame.bytes()).unwrap());
            let [toc, frame @ ..] = &frames[5].bytes()[..] else { panic!("no empty packets") };
            let padded = [&[toc | 3, 0x41, 2][..], frame, &[0, 0]].concat();
            for bytes in [pair.out().unwrap(), three.out().unwrap(), padded] {
                packets.push(OpusPacket::parse(bytes.into()).unwrap());
            }
        }
        let codes: std::collections::BTreeSet<u8> = packets.iter().map(|packet| packet.toc() & 3).collect();
        assert!(codes.contains(&3) && codes.len() > 1, "{codes:?}");
        let joined: Vec<_> = packets.chunks(12).flat_map(join_short).collect();
        assert!(joined.len() <= packets.len() / 10, "{} of {}", joined.len(), packets.len());
        assert!(decoded(&joined) == decoded(&singles[..singles.len() / 6 * 6]));
    }

    #[test]
    fn what_does_not_fit_together_stays_apart() {
        let packet = |bytes: &[u8]| OpusPacket::parse(Bytes::copy_from_slice(bytes)).unwrap();
        let (ten, five, twenty) = (packet(&[0xf0, 1, 2]), packet(&[0xe8, 1]), packet(&[0xf8, 1]));
        let stereo = packet(&[0xf4, 1, 2]);
        let apart = [ten.clone(), five, ten.clone(), twenty.clone(), twenty, ten.clone(), stereo];
        assert_eq!(join_short(&apart), apart);
        // 130 ms are more than a packet may last; packets without a frame have a duration too.
        let silent = packet(&[0xf0]);
        let many = [vec![ten; 6], vec![silent; 7]].concat();
        let lengths: Vec<u32> = join_short(&many).iter().map(OpusPacket::samples).collect();
        assert_eq!(lengths, [5_760, 480]);
        assert_eq!(join_short(&[]), []);
    }
}
