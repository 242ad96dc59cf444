//! One checked Opus packet and its duration.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Samples a second in which Opus counts durations, whatever the signal's rate (RFC 6716).
pub const OPUS_CLOCK_HZ: u32 = 48_000;

/// The longest duration of one packet: 120 ms, in samples of the 48 kHz Opus clock (RFC 6716 section 3.4, R5).
pub const MAX_PACKET_SAMPLES: u32 = 5_760;

/// The longest packet that is read, in bytes.
///
/// 48 frames of 1,275 bytes with their lengths are 61,298 bytes; anything beyond is padding.
pub const MAX_PACKET_BYTES: usize = 61_440;

/// The longest frame, in bytes (RFC 6716 section 3.4, R2).
const MAX_FRAME_BYTES: usize = 1_275;

/// Why bytes are not an Opus packet. The rules are those of RFC 6716 section 3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// R1: there is no first byte.
    #[error("an Opus packet has at least one byte")]
    Empty,
    /// More bytes than any audio needs.
    #[error("an Opus packet has at most {MAX_PACKET_BYTES} bytes")]
    TooManyBytes,
    /// R2: a frame is too long.
    #[error("an Opus frame has at most {MAX_FRAME_BYTES} bytes")]
    FrameTooLong,
    /// R3: the halves of a code 1 packet differ.
    #[error("the two frames of an Opus packet of code 1 have the same length")]
    UnequalHalves,
    /// R4, R6 and R7: a length points past the end of the packet.
    #[error("the frame and padding lengths of an Opus packet lie within the packet")]
    Truncated,
    /// R5: the frame count of a code 3 packet is zero.
    #[error("an Opus packet of code 3 has at least one frame")]
    NoFrames,
    /// R5: the frames last too long together.
    #[error("an Opus packet lasts at most 120 ms")]
    TooLong,
    /// R6: the frames of a constant bit rate packet cannot have the same length.
    #[error("the frames of an Opus packet of constant bit rate have the same length")]
    UnequalFrames,
}

/// One Opus packet that passed the checks of RFC 6716 section 3.4.
///
/// A packet of one byte (discontinuous transmission) is audio like any other: its duration is that of its first byte.
#[derive(Clone, PartialEq, Eq)]
pub struct OpusPacket {
    bytes: Bytes,
    toc: u8,
    frames: u8,
    samples: u32,
    read_at: Option<Instant>,
}

impl OpusPacket {
    /// Checks a packet by its first byte and its framing, without decoding it.
    pub fn parse(bytes: Bytes) -> Result<OpusPacket, PacketError> {
        let (&toc, rest) = bytes.split_first().ok_or(PacketError::Empty)?;
        if bytes.len() > MAX_PACKET_BYTES {
            return Err(PacketError::TooManyBytes);
        }
        let frames = match toc & 3 {
            0 => check_single(rest)?,
            1 => check_equal_pair(rest)?,
            2 => check_pair(rest)?,
            _ => check_many(toc, rest)?,
        };
        Ok(OpusPacket { toc, frames, samples: frame_samples(toc) * u32::from(frames), read_at: None, bytes })
    }

    /// 20 ms of silence, to be put where the caller's audio is missing: the packet `f8`.
    ///
    /// It has no frame data, so a decoder conceals in the mode of the packet before: no click at either edge, a fade
    /// to below -74 dBFS in 500 ms, and the next speech comes back at once. A packet that codes digital silence
    /// (`f8fffe`) would reset the band energies that CELT predicts from: speech then fades in from -37 dB.
    pub fn silence_20ms() -> OpusPacket {
        OpusPacket { bytes: Bytes::from_static(&[0xf8]), toc: 0xf8, frames: 1, samples: 960, read_at: None }
    }

    /// 80 ms of silence in one packet: `fb04`, which decodes as four of [`OpusPacket::silence_20ms`].
    pub fn silence_80ms() -> OpusPacket {
        OpusPacket { bytes: Bytes::from_static(&[0xfb, 0x04]), toc: 0xfb, frames: 4, samples: 3_840, read_at: None }
    }

    /// 20 ms that join two stretches of SILK or hybrid speech between which a part was cut out: the packet `f8fffe`,
    /// digital silence in CELT.
    ///
    /// The change of mode makes a decoder start SILK anew and cross-fade: no clicks and no pops in 95 joins, where bare
    /// ones had up to 8 % of either. Not for a CELT stream, where it would reset the band energies (see above).
    pub fn glue_20ms() -> OpusPacket {
        OpusPacket { bytes: Bytes::from_static(&[0xf8, 0xff, 0xfe]), toc: 0xf8, frames: 1, samples: 960, read_at: None }
    }

    /// The same packet, which was read from a socket at this time.
    pub fn read_at(self, at: Instant) -> OpusPacket {
        OpusPacket { read_at: Some(at), ..self }
    }

    /// When it was read from a socket; none of what was made here.
    pub fn was_read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// The packet as it stands on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The first byte: configuration, stereo flag and framing code.
    pub fn toc(&self) -> u8 {
        self.toc
    }

    /// Whether its sound begins from what the packet before left in SILK's predictors: SILK and hybrid packets, not CELT
    /// (RFC 6716 table 2).
    pub fn is_predicted(&self) -> bool {
        self.toc >> 3 < 16
    }

    /// 1 or 2. A decoder mixes two channels down to one.
    pub fn channels(&self) -> u8 {
        1 + (self.toc >> 2 & 1)
    }

    /// The number of frames, 1 to 48. All have the same duration.
    pub fn frame_count(&self) -> u8 {
        self.frames
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

/// Shows the shape of the packet, never its sound.
impl fmt::Debug for OpusPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpusPacket")
            .field("toc", &format_args!("{:#04x}", self.toc))
            .field("bytes", &self.bytes.len())
            .field("samples", &self.samples)
            .finish()
    }
}

/// The duration of one frame by the configuration number of RFC 6716 table 2, in samples at 48 kHz.
fn frame_samples(toc: u8) -> u32 {
    let config = toc >> 3;
    match (config, config & 3) {
        (0..=11, 0) => 480,
        (0..=11, 1) => 960,
        (0..=11, 2) => 1_920,
        (0..=11, _) => 2_880,
        (12..=15, 0 | 2) => 480,
        (12..=15, _) => 960,
        (_, 0) => 120,
        (_, 1) => 240,
        (_, 2) => 480,
        _ => 960,
    }
}

fn check_frame(length: usize) -> Result<(), PacketError> {
    if length > MAX_FRAME_BYTES { Err(PacketError::FrameTooLong) } else { Ok(()) }
}

/// Code 0: one frame.
fn check_single(frame: &[u8]) -> Result<u8, PacketError> {
    check_frame(frame.len())?;
    Ok(1)
}

/// Code 1: two frames of the same length.
fn check_equal_pair(frames: &[u8]) -> Result<u8, PacketError> {
    if !frames.len().is_multiple_of(2) {
        return Err(PacketError::UnequalHalves);
    }
    check_frame(frames.len() / 2)?;
    Ok(2)
}

/// Code 2: the first frame's length, then two frames.
fn check_pair(bytes: &[u8]) -> Result<u8, PacketError> {
    let (first, frames) = take_length(bytes)?;
    let second = frames.len().checked_sub(first).ok_or(PacketError::Truncated)?;
    check_frame(second)?;
    Ok(2)
}

/// Code 3: flags and count, padding length, frame lengths, frames, padding.
fn check_many(toc: u8, bytes: &[u8]) -> Result<u8, PacketError> {
    let (&flags, mut rest) = bytes.split_first().ok_or(PacketError::Truncated)?;
    let count = flags & 0x3f;
    if count == 0 {
        return Err(PacketError::NoFrames);
    }
    if frame_samples(toc) * u32::from(count) > MAX_PACKET_SAMPLES {
        return Err(PacketError::TooLong);
    }
    let mut padding = 0;
    if flags & 0x40 != 0 {
        (padding, rest) = take_padding_length(rest)?;
    }
    let frames = usize::from(count);
    if flags & 0x80 != 0 {
        let mut known = padding;
        for _ in 1..frames {
            let (length, after) = take_length(rest)?;
            known += length;
            rest = after;
        }
        check_frame(rest.len().checked_sub(known).ok_or(PacketError::Truncated)?)?;
    } else {
        let data = rest.len().checked_sub(padding).ok_or(PacketError::Truncated)?;
        if data % frames != 0 {
            return Err(PacketError::UnequalFrames);
        }
        check_frame(data / frames)?;
    }
    Ok(count)
}

/// A frame length of one or two bytes (RFC 6716 section 3.2.1): at most 1,275, so R2 holds by construction.
fn take_length(bytes: &[u8]) -> Result<(usize, &[u8]), PacketError> {
    match bytes {
        [first @ 0..=251, rest @ ..] => Ok((usize::from(*first), rest)),
        [first, second, rest @ ..] => Ok((usize::from(*second) * 4 + usize::from(*first), rest)),
        _ => Err(PacketError::Truncated),
    }
}

/// A padding length: each byte of 255 stands for 254 bytes of padding and says that another length byte follows.
fn take_padding_length(mut bytes: &[u8]) -> Result<(usize, &[u8]), PacketError> {
    let mut padding = 0;
    loop {
        let (&byte, rest) = bytes.split_first().ok_or(PacketError::Truncated)?;
        bytes = rest;
        if byte != 255 {
            return Ok((padding + usize::from(byte), bytes));
        }
        padding += 254;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<OpusPacket, PacketError> {
        OpusPacket::parse(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn packets_have_the_duration_of_their_first_byte() {
        let table: [(&[u8], u32, u8); 12] = [
            (&[0x08], 960, 1),                     // SILK narrow band, 20 ms, nothing sent
            (&[0x48, 1, 2], 960, 1),               // SILK wide band, 20 ms
            (&[0x18, 0], 2_880, 1),                // SILK, 60 ms
            (&[0x60, 0], 480, 1),                  // hybrid, 10 ms
            (&[0x78, 0], 960, 1),                  // hybrid, 20 ms
            (&[0xe0, 0xff, 0xfe], 120, 1),         // CELT, 2.5 ms
            (&[0xfc, 0xff, 0xfe], 960, 1),         // CELT, stereo
            (&[0xf9, 1, 2], 1_920, 2),             // code 1
            (&[0xfa, 1, 9, 9, 9], 1_920, 2),       // code 2
            (&[0xfb, 0x06], 5_760, 6),             // code 3, exactly 120 ms
            (&[0xfb, 0x82, 1, 9, 9, 9], 1_920, 2), // code 3, lengths
            (&[0xfb, 0x41, 2, 9, 0, 0], 960, 1),   // code 3, padding
        ];
        for (bytes, samples, frames) in table {
            let packet = parse(bytes).unwrap();
            assert_eq!((packet.samples(), packet.frame_count()), (samples, frames), "{bytes:02x?}");
        }
        assert_eq!(parse(&[0xfc]).unwrap().channels(), 2);
        assert_eq!(parse(&[0xf8]).unwrap().channels(), 1);
        assert_eq!(parse(&[0xe0]).unwrap().duration(), Duration::from_micros(2_500));
    }

    #[test]
    fn each_rule_has_its_refusal() {
        let long = [vec![0xf8], vec![0; 1_276]].concat();
        let longer = vec![0xf8; MAX_PACKET_BYTES + 1];
        let table: [(&[u8], PacketError); 14] = [
            (&[], PacketError::Empty),
            (&longer, PacketError::TooManyBytes),
            (&long, PacketError::FrameTooLong),
            (&[0xf9, 1], PacketError::UnequalHalves),
            (&[0xfa], PacketError::Truncated),
            (&[0xfa, 252], PacketError::Truncated),
            (&[0xfa, 2, 9], PacketError::Truncated),
            (&[0xfb], PacketError::Truncated),
            (&[0xfb, 0], PacketError::NoFrames),
            (&[0xfb, 7], PacketError::TooLong),
            (&[0xe3, 49], PacketError::TooLong),
            (&[0xfb, 0x41, 255], PacketError::Truncated),
            (&[0xfb, 0x02, 1], PacketError::UnequalFrames),
            (&[0xfb, 0x82, 3, 9], PacketError::Truncated),
        ];
        for (bytes, error) in table {
            assert_eq!(parse(bytes).unwrap_err(), error, "{:02x?}", &bytes[..bytes.len().min(8)]);
        }
    }

    #[test]
    fn long_padding_lies_within_the_packet() {
        let padded = [vec![0xfb, 0x41, 255, 1], vec![0; 255]].concat();
        assert_eq!(parse(&padded).unwrap().samples(), 960);
        assert_eq!(parse(&padded[..258]).unwrap_err(), PacketError::Truncated);
    }

    #[test]
    fn silence_is_what_its_bytes_say() {
        for silence in [OpusPacket::silence_20ms(), OpusPacket::silence_80ms()] {
            assert_eq!(parse(silence.bytes()).unwrap(), silence);
        }
        assert_eq!(OpusPacket::silence_20ms().duration(), Duration::from_millis(20));
        assert_eq!(OpusPacket::silence_80ms().duration(), Duration::from_millis(80));
    }

    #[test]
    fn sound_does_not_print() {
        assert_eq!(
            format!("{:?}", parse(&[0x48, 171, 205]).unwrap()),
            "OpusPacket { toc: 0x48, bytes: 3, samples: 960 }"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// The codec's own framing parser is the judge: it and ours accept the same bytes.
        #[test]
        fn we_accept_what_the_codec_accepts(toc: u8, flags: u8, rest in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..40)) {
            let bytes = [vec![toc, flags], rest].concat();
            let judge = opus_pure::Repacketizer::new().cat(&bytes).is_ok();
            let ours = parse(&bytes);
            prop_assert_eq!(ours.is_ok(), judge, "{:02x?}", bytes);
            if let Ok(packet) = ours {
                prop_assert_eq!(packet.samples() as usize, opus_pure::packet::samples_48k(&bytes).unwrap());
                prop_assert_eq!(usize::from(packet.frame_count()), opus_pure::packet::frame_count(&bytes).unwrap());
                prop_assert_eq!(usize::from(packet.channels()), opus_pure::packet::channels(&bytes).unwrap());
            }
        }
    }
}
