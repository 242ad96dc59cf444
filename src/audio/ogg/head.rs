//! The identification header of an Opus stream (RFC 7845 section 5.1).

use bytes::{BufMut, Bytes, BytesMut};

/// The first bytes of an identification header.
const MAGIC: &[u8; 8] = b"OpusHead";

/// The bytes of a header of mapping family 0.
const HEAD_BYTES: usize = 19;

/// Why a stream's first packet is not a header that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Another codec, or cut short.
    #[error("an Ogg stream begins with an OpusHead packet of at least {HEAD_BYTES} bytes")]
    NotOpus,
    /// A later, incompatible version of the format.
    #[error("OpusHead has version 1; this one has major version {0}")]
    Version(u8),
    /// No channel, or surround sound.
    #[error("OpusHead has 1 channel (2 are mixed down); this one has {0}")]
    Channels(u8),
    /// Channels that are laid out in several Opus streams.
    #[error("OpusHead has mapping family 0; this one has {0}")]
    MappingFamily(u8),
}

/// What a stream's first packet says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusHead {
    /// 1 or 2. Packets say themselves what they hold; this is only what the sender meant.
    pub channels: u8,
    /// Samples at 48 kHz that a player should drop at the start. Model servers do not.
    pub pre_skip: u16,
    /// The rate of the sound before it was encoded, in Hz; 0 is unknown.
    pub input_rate_hz: u32,
    /// The gain that a player should apply, in 1/256 dB. Model servers do not.
    pub output_gain_q8: i16,
}

impl OpusHead {
    /// The header that we write: mono, nothing to skip (our streams may begin in the middle of speech), 48 kHz.
    pub const OURS: OpusHead = OpusHead { channels: 1, pre_skip: 0, input_rate_hz: 48_000, output_gain_q8: 0 };

    /// Reads the packet of a header.
    pub fn parse(packet: &[u8]) -> Result<OpusHead, HeadError> {
        let Some((head, _)) = packet.split_first_chunk::<HEAD_BYTES>() else { return Err(HeadError::NotOpus) };
        let [m0, m1, m2, m3, m4, m5, m6, m7, version, channels, s0, s1, r0, r1, r2, r3, g0, g1, family] = *head;
        if [m0, m1, m2, m3, m4, m5, m6, m7] != *MAGIC {
            return Err(HeadError::NotOpus);
        }
        if version >> 4 != 0 {
            return Err(HeadError::Version(version >> 4));
        }
        if family != 0 {
            return Err(HeadError::MappingFamily(family));
        }
        if !(1..=2).contains(&channels) {
            return Err(HeadError::Channels(channels));
        }
        Ok(OpusHead {
            channels,
            pre_skip: u16::from_le_bytes([s0, s1]),
            input_rate_hz: u32::from_le_bytes([r0, r1, r2, r3]),
            output_gain_q8: i16::from_le_bytes([g0, g1]),
        })
    }

    /// Writes the packet of a header.
    pub fn encode(&self) -> Bytes {
        let mut packet = BytesMut::with_capacity(HEAD_BYTES);
        packet.put_slice(MAGIC);
        packet.put_u8(1);
        packet.put_u8(self.channels);
        packet.put_u16_le(self.pre_skip);
        packet.put_u32_le(self.input_rate_hz);
        packet.put_i16_le(self.output_gain_q8);
        packet.put_u8(0);
        packet.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let head = OpusHead { channels: 2, pre_skip: 3_840, input_rate_hz: 24_000, output_gain_q8: -256 };
        assert_eq!(OpusHead::parse(&head.encode()), Ok(head));
    }

    #[test]
    fn headers_that_cannot_be_served_say_what_is_expected() {
        let with = |at: usize, value: u8| {
            let mut packet = OpusHead::OURS.encode().to_vec();
            packet[at] = value;
            OpusHead::parse(&packet)
        };
        assert_eq!(with(0, b'o'), Err(HeadError::NotOpus));
        assert_eq!(with(8, 0x10), Err(HeadError::Version(1)));
        assert_eq!(with(8, 0x0f), Ok(OpusHead::OURS));
        assert_eq!(with(9, 0), Err(HeadError::Channels(0)));
        assert_eq!(with(9, 6), Err(HeadError::Channels(6)));
        assert_eq!(with(18, 1), Err(HeadError::MappingFamily(1)));
        assert_eq!(OpusHead::parse(&OpusHead::OURS.encode()[..18]), Err(HeadError::NotOpus));
        assert_eq!(HeadError::Channels(6).to_string(), "OpusHead has 1 channel (2 are mixed down); this one has 6");
    }
}
