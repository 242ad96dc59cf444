//! Files and streams that are not raw sound, told by their first bytes.

/// What a stream of audio is packed in, as far as it is known by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// RIFF/WAVE, and RF64.
    Wav,
    /// Ogg pages, of whatever codec.
    Ogg,
    /// EBML: what most browsers' `MediaRecorder` writes unless it is told otherwise.
    Matroska,
    /// ISO base media, whole or in fragments: the same in Safari.
    Mp4,
    /// FLAC outside of Ogg.
    Flac,
    /// MPEG audio layer III, with or without a tag before it.
    Mp3,
    /// AAC in ADTS frames.
    Aac,
    /// AIFF and AIFC.
    Aiff,
    /// Apple's Core Audio Format.
    Caf,
    /// AMR and AMR-WB.
    Amr,
}

impl Container {
    /// Every container that is known.
    pub const ALL: [Container; 10] = [
        Container::Wav,
        Container::Ogg,
        Container::Matroska,
        Container::Mp4,
        Container::Flac,
        Container::Mp3,
        Container::Aac,
        Container::Aiff,
        Container::Caf,
        Container::Amr,
    ];

    /// As many first bytes as every container but a bare MP3 or AAC is known by; those two need a second frame.
    pub const KNOWN_BY_BYTES: usize = 12;

    /// The container that these first bytes begin.
    ///
    /// Every mark has 32 bits or more, because raw sound may begin with any bytes at all.
    pub fn of(opening: &[u8]) -> Option<Container> {
        let has = |at: usize, mark: &[u8]| opening.get(at..).is_some_and(|rest| rest.starts_with(mark));
        if has(8, b"WAVE") && (has(0, b"RIFF") || has(0, b"RF64")) {
            return Some(Container::Wav);
        }
        if has(0, b"FORM") && (has(8, b"AIFF") || has(8, b"AIFC")) {
            return Some(Container::Aiff);
        }
        let marks: [(usize, &[u8], Container); 7] = [
            (0, b"OggS\0", Container::Ogg),
            (0, b"\x1a\x45\xdf\xa3", Container::Matroska),
            (4, b"ftyp", Container::Mp4),
            (0, b"fLaC", Container::Flac),
            (0, b"caff\0\x01", Container::Caf),
            (0, b"#!AMR", Container::Amr),
            (0, b"ID3", Container::Mp3),
        ];
        let marked = marks.into_iter().find(|&(at, mark, _)| has(at, mark)).map(|(_, _, container)| container);
        match marked {
            // The tag's version and revision: 24 bits alone are too few.
            Some(Container::Mp3) => matches!(opening.get(3..5), Some([2..=4, 0])).then_some(Container::Mp3),
            Some(container) => Some(container),
            None => two_mpeg_frames(opening),
        }
    }

    /// Whether these first bytes are the beginning of a frame of MP3 or AAC after which another may follow: what they begin
    /// is known when that one has come too.
    pub fn may_show(opening: &[u8]) -> bool {
        let second_at = mpeg_frame(opening).map(|(_, length)| length);
        second_at.is_some_and(|at| at <= LONGEST_FRAME_BYTES && opening.len() < at + FRAME_HEADER_BYTES)
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Container::Wav => "a WAV file",
            Container::Ogg => "an Ogg stream",
            Container::Matroska => "WebM or Matroska",
            Container::Mp4 => "MP4",
            Container::Flac => "FLAC",
            Container::Mp3 => "MP3",
            Container::Aac => "AAC",
            Container::Aiff => "an AIFF file",
            Container::Caf => "a CAF file",
            Container::Amr => "AMR",
        }
    }

    /// Whether it is a file of raw sound with a header, as these mostly are.
    pub fn is_raw_sound(self) -> bool {
        matches!(self, Container::Wav | Container::Aiff | Container::Caf)
    }
}

/// As many bytes of a frame are looked at.
const FRAME_HEADER_BYTES: usize = 6;
/// A longer frame is not waited for. In MP3 none has more than 1,441 bytes, and an encoder of stereo AAC makes at most
/// 1,536 (6,144 bits a channel, ISO 14496-3).
const LONGEST_FRAME_BYTES: usize = 3_072;

/// Two frames of the same kind, one behind the other: the mark of one has no more than 12 bits.
fn two_mpeg_frames(opening: &[u8]) -> Option<Container> {
    let (kind, length) = mpeg_frame(opening)?;
    let (next, _) = mpeg_frame(opening.get(length..)?)?;
    let same_stream = opening.get(..2)? == opening.get(length..length + 2)?;
    (kind == next && same_stream).then_some(kind)
}

/// The kind and the length in bytes of the MPEG audio frame that stands here.
fn mpeg_frame(bytes: &[u8]) -> Option<(Container, usize)> {
    let &[0xff, second, third, fourth, fifth, sixth, ..] = bytes else { return None };
    if second & 0xf6 == 0xf0 {
        let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        let known_rate = third >> 2 & 0xf < 13;
        return (known_rate && length > 7).then_some((Container::Aac, length));
    }
    layer_three_length(second, third).map(|length| (Container::Mp3, length))
}

/// The length in bytes of a frame of layer III (ISO 11172-3 section 2.4.3.1, ISO 13818-3 for the lower rates).
fn layer_three_length(second: u8, third: u8) -> Option<usize> {
    const FULL_KBPS: [usize; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const LOW_KBPS: [usize; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    if second & 0xe6 != 0xe2 {
        return None;
    }
    let (divisor, kbps, samples) = match second >> 3 & 3 {
        0 => (4, LOW_KBPS, 576),
        2 => (2, LOW_KBPS, 576),
        3 => (1, FULL_KBPS, 1_152),
        _ => return None,
    };
    let kbps = *kbps.get(usize::from(third >> 4))?;
    let rate_hz = *[44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))? / divisor;
    let padding = usize::from(third >> 1 & 1);
    (kbps > 0).then(|| samples / 8 * kbps * 1_000 / rate_hz + padding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audio::ogg::OggMuxer;
    use crate::audio::packet::OpusPacket;

    /// Frames of 144 bytes: MPEG 1 layer III at 48 kbit/s and 48 kHz.
    fn mp3(frames: usize) -> Vec<u8> {
        [&[0xff, 0xfb, 0x34, 0xc4][..], &[0x55; 140]].concat().repeat(frames)
    }

    /// Frames of 200 bytes: AAC LC at 48 kHz.
    fn adts(frames: usize) -> Vec<u8> {
        [&[0xff, 0xf1, 0x4c, 0x80, 200 >> 3, 0x1f, 0xfc][..], &[0x55; 193]].concat().repeat(frames)
    }

    fn beginnings() -> Vec<(Container, Vec<u8>)> {
        vec![
            (Container::Wav, b"RIFF\x24\x80\0\0WAVEfmt \x10\0\0\0".to_vec()),
            (Container::Wav, b"RF64\xff\xff\xff\xffWAVEds64".to_vec()),
            (Container::Ogg, OggMuxer::new(7).headers()[0].to_vec()),
            // Chromium's recorder and ffmpeg write the length of the first element differently.
            (Container::Matroska, b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81".to_vec()),
            (Container::Matroska, b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86".to_vec()),
            (Container::Mp4, b"\0\0\0\x18ftypiso5\0\0\0\x01".to_vec()),
            (Container::Flac, b"fLaC\0\0\0\x22\x10\0\x10\0".to_vec()),
            (Container::Mp3, b"ID3\x04\0\0\0\0\0\x23TSSE".to_vec()),
            (Container::Mp3, mp3(2)),
            // MPEG 2 at 8 kbit/s and 24 kHz: frames of 24 bytes.
            (Container::Mp3, [&[0xff, 0xf3, 0x14, 0xc4][..], &[0; 20]].concat().repeat(2)),
            (Container::Aac, adts(2)),
            (Container::Aiff, b"FORM\0\0\x10\0AIFFCOMM".to_vec()),
            (Container::Caf, b"caff\0\x01\0\0desc\0\0".to_vec()),
            (Container::Amr, b"#!AMR-WB\n\x24\x11\x22".to_vec()),
        ]
    }

    #[test]
    fn every_container_is_known_by_its_beginning() {
        for (container, beginning) in beginnings() {
            assert_eq!(Container::of(&beginning), Some(container), "{beginning:02x?}");
            let marked = ![Container::Mp3, Container::Aac].contains(&container);
            if marked {
                let first = &beginning[..Container::KNOWN_BY_BYTES];
                assert_eq!(Container::of(first), Some(container), "{first:02x?}");
            }
        }
        let known = beginnings().into_iter().map(|(container, _)| container);
        assert_eq!(known.collect::<std::collections::HashSet<_>>(), Container::ALL.into());
    }

    #[test]
    fn sound_that_only_looks_a_little_like_a_file_is_sound() {
        for sound in [
            &b""[..],
            b"RIFF\0\0\0\0WAV",
            b"RIFX\0\0\0\0AVI LIST",
            b"OggS\x01 no page",
            b"ID3 is no version",
            b"ftypisom",
            &[0; 64],
            &[0xff; 512],
            &[0xff, 0xfb].repeat(300),
            &mp3(1),
            &[mp3(1), vec![0; 200]].concat(),
            &[mp3(1), adts(1)].concat(),
            &adts(1),
        ] {
            assert_eq!(Container::of(sound), None, "{:02x?}", &sound[..sound.len().min(16)]);
        }
        for packet in [OpusPacket::silence_20ms(), OpusPacket::silence_80ms()] {
            assert_eq!(Container::of(packet.bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_may_be_asked_about(mut bytes in prop::collection::vec(any::<u8>(), 0..600), mpeg in any::<bool>()) {
            if let (true, [first, second, ..]) = (mpeg, &mut bytes[..]) {
                (*first, *second) = (0xff, *second | 0xe0);
            }
            let found = Container::of(&bytes);
            let longer = [&bytes[..], &[0x55; 40]].concat();
            prop_assert!(found.is_none() || Container::of(&longer) == found, "more bytes change nothing");
        }
    }
}
