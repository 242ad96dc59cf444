//! What callers send, in every format of the client protocol, through the decoder and the encoder of their leg.

use std::collections::BTreeSet;

use opus_pure::Application;
use tandem::audio::container::Container;
use tandem::audio::ogg::{OggMuxer, OpusHead};
use tandem::protocol::moshi::Message;
use tandem::session::leg::dialect::{Decoder, Dialect, Encoder, Incoming, Outgoing};
use tandem::session::leg::format::AudioFormat;
use tandem::session::machine::{ClientInput, ClientOutput, Complaint};

use super::*;

/// The first page of an Ogg stream, with any identification header in it.
pub fn first_page(serial: u32, head: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\x02".to_vec();
    page.extend(0u64.to_le_bytes());
    page.extend(serial.to_le_bytes());
    page.extend([0; 8]);
    page.extend([1, head.len() as u8]);
    page.extend(head);
    let mut sum = 0u32;
    for &byte in &page {
        sum ^= u32::from(byte) << 24;
        for _ in 0..8 {
            sum = sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
        }
    }
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

fn pcm16(rate_hz: u32, channels: u8) -> AudioFormat {
    AudioFormat::pcm16(rate_hz).unwrap().with_channels(channels).unwrap()
}

fn decoder(format: AudioFormat) -> Decoder {
    Decoder::new(Dialect::Native(format)).unwrap()
}

fn binary(bytes: &[u8]) -> Incoming {
    Incoming::Binary(Bytes::copy_from_slice(bytes))
}

fn heard(decoder: &mut Decoder, bytes: &[u8]) -> Vec<ClientInput> {
    decoder.decode(binary(bytes))
}

/// The complaints among what was heard: code and words.
fn complaints(inputs: Vec<ClientInput>) -> Vec<(&'static str, String)> {
    let complaints = inputs.into_iter().filter_map(|input| match input {
        ClientInput::Complaint(Complaint { code, message }) => Some((code, message)),
        _ => None,
    });
    complaints.collect()
}

fn packets(inputs: Vec<ClientInput>) -> Vec<OpusPacket> {
    let packets = inputs.into_iter().filter_map(|input| match input {
        ClientInput::Audio(packet) => Some(packet),
        ClientInput::Alive => None,
        other => panic!("{other:?}"),
    });
    packets.collect()
}

/// A stream whose packets have every length that an encoder makes, from 2.5 to 120 ms, in turns, some of them joined.
fn packets_of_all_lengths() -> Vec<OpusPacket> {
    let mut encoder = opus_pure::OpusEncoder::new(48_000, 1, Application::Audio).unwrap();
    let mut bytes = vec![0; 4_000];
    let sound = tone(440.0, 48_000, 0.12);
    let mut made = Vec::new();
    for tenths_ms in [200, 25, 600, 50, 400, 100, 1_200, 25, 800, 200, 1_000, 50] {
        // Up to 60 ms are one frame or several; longer packets are joined of frames of 20 ms.
        let frame_tenths = if tenths_ms > 600 { 200 } else { tenths_ms };
        let samples = 48 * frame_tenths / 10;
        let mut packet = opus_pure::Repacketizer::new();
        for _ in 0..tenths_ms / frame_tenths {
            let length = encoder.encode(&sound[..samples], samples, &mut bytes).unwrap();
            packet.cat(&bytes[..length]).unwrap();
        }
        made.push(OpusPacket::parse(packet.out().unwrap().into()).unwrap());
    }
    made
}

#[test]
fn packets_of_any_length_come_through_every_door_as_they_are() {
    let sent = packets_of_all_lengths();
    let lengths: BTreeSet<u128> = sent.iter().map(|packet| packet.duration().as_micros()).collect();
    let all = [2_500, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000];
    assert_eq!(lengths, all.into());

    let mut opus = decoder(AudioFormat::Opus);
    let came: Vec<_> = sent.iter().flat_map(|packet| packets(heard(&mut opus, packet.bytes()))).collect();
    assert_eq!(came, sent, "bare packets");

    let mut muxer = OggMuxer::new(3);
    let pages: Vec<Bytes> = sent.chunks(5).map(|chunk| muxer.page(chunk)).collect();
    let stream = [muxer.headers().concat(), pages.concat()].concat();
    for cut in [1, 13, 255, 4_096, stream.len()] {
        let mut ogg = decoder(AudioFormat::OggOpus);
        let came: Vec<_> = stream.chunks(cut).flat_map(|piece| packets(heard(&mut ogg, piece))).collect();
        assert_eq!(came, sent, "Ogg in pieces of {cut} bytes");
        let mut moshi = Decoder::new(Dialect::Moshi).unwrap();
        let message = |piece: &[u8]| Incoming::Binary(Message::Audio(Bytes::copy_from_slice(piece)).encode());
        let came: Vec<_> = stream.chunks(cut).flat_map(|piece| packets(moshi.decode(message(piece)))).collect();
        assert_eq!(came, sent, "Moshi in pieces of {cut} bytes");
    }
}

#[test]
fn an_answer_in_packets_of_any_length_is_said_in_every_format() {
    let answer = packets_of_all_lengths();
    let total: Duration = answer.iter().map(OpusPacket::duration).sum();
    for rate_hz in PCM_RATES_HZ {
        for channels in [1, 2] {
            let format = pcm16(rate_hz, channels);
            let said: usize = say(format, &answer).iter().map(Bytes::len).sum();
            let expected = (total.as_secs_f64() * f64::from(rate_hz)) as usize * 2 * usize::from(channels);
            // Less than a block waits for more.
            let waiting = expected.checked_sub(said).unwrap() / usize::from(channels) / 2;
            assert!(ms(waiting, rate_hz) < 13.4, "{format:?}: {waiting} samples wait");
        }
    }
    let bare: Vec<Bytes> = answer.iter().map(|packet| packet.bytes().clone()).collect();
    assert_eq!(say(AudioFormat::Opus, &answer), bare);
    let stream = say(AudioFormat::OggOpus, &answer).concat();
    assert_eq!(packets(heard(&mut decoder(AudioFormat::OggOpus), &stream)), answer);
}

fn say(format: AudioFormat, answer: &[OpusPacket]) -> Vec<Bytes> {
    let mut encoder = Encoder::new(Dialect::Native(format), 5).unwrap();
    let said = answer.iter().flat_map(|packet| encoder.encode(ClientOutput::Audio(packet.clone())));
    let messages = said.map(|outgoing| match outgoing {
        Outgoing::Binary(bytes) => bytes,
        other => panic!("sound is binary: {other:?}"),
    });
    messages.collect()
}

/// The beginnings of what people send by mistake.
const MISTAKES: [(Container, &[u8]); 9] = [
    (Container::Wav, b"RIFF\x24\x80\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0data"),
    (Container::Ogg, b"OggS\0\x02\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0"),
    (Container::Matroska, b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81"),
    (Container::Mp4, b"\0\0\0\x18ftypiso5\0\0\0\x01iso5dash"),
    (Container::Flac, b"fLaC\0\0\0\x22\x10\0\x10\0\0\0\0\0\0\0"),
    (Container::Mp3, b"ID3\x04\0\0\0\0\0\x23TSSE\0\0\0\x0f"),
    (Container::Aiff, b"FORM\0\0\x10\0AIFFCOMM\0\0\0\x12"),
    (Container::Caf, b"caff\0\x01\0\0desc\0\0\0\0"),
    (Container::Amr, b"#!AMR-WB\n\x24\x11\x22\x33\x44"),
];

/// A sentence for each format and container: what came, what was expected, what to do.
const SENTENCES: [(&str, Container, &str); 9] = [
    (
        "pcm16",
        Container::Wav,
        "the audio begins like a WAV file, but this call takes bare PCM; send its samples without the file's header",
    ),
    (
        "pcm16",
        Container::Ogg,
        "the audio begins like an Ogg stream, but this call takes bare PCM; call with audio=ogg-opus",
    ),
    (
        "pcm16",
        Container::Matroska,
        "the audio begins like WebM or Matroska, but this call takes bare PCM; send PCM, or record \
         audio/ogg;codecs=opus and call with audio=ogg-opus",
    ),
    (
        "opus",
        Container::Ogg,
        "the audio begins like an Ogg stream, but this call takes one Opus packet a message; call with audio=ogg-opus",
    ),
    (
        "opus",
        Container::Matroska,
        "the audio begins like WebM or Matroska, but this call takes one Opus packet a message; take its packets out, \
         or record audio/ogg;codecs=opus and call with audio=ogg-opus",
    ),
    (
        "opus",
        Container::Aiff,
        "the audio begins like an AIFF file, but this call takes one Opus packet a message; call /v1/voice with \
         audio=pcm16 and send its samples without the header",
    ),
    (
        "ogg-opus",
        Container::Mp4,
        "the audio begins like MP4, but this call takes an Ogg Opus stream; record audio/ogg;codecs=opus, or call \
         /v1/voice with audio=pcm16 and send PCM",
    ),
    (
        "ogg-opus",
        Container::Wav,
        "the audio begins like a WAV file, but this call takes an Ogg Opus stream; call /v1/voice with audio=pcm16 and \
         send its samples without the header",
    ),
    (
        "ogg-opus",
        Container::Mp3,
        "the audio begins like MP3, but this call takes an Ogg Opus stream; record audio/ogg;codecs=opus, or call \
         /v1/voice with audio=pcm16 and send PCM",
    ),
];

const FORMATS: [&str; 3] = ["pcm16", "opus", "ogg-opus"];

fn format(name: &str) -> AudioFormat {
    match name {
        "pcm16" => pcm16(16_000, 1),
        "opus" => AudioFormat::Opus,
        _ => AudioFormat::OggOpus,
    }
}

#[test]
fn another_container_is_named_with_what_was_expected_and_what_to_do() {
    let mut told = BTreeSet::new();
    for name in FORMATS {
        for (container, beginning) in MISTAKES {
            if (name, container) == ("ogg-opus", Container::Ogg) {
                continue;
            }
            let mut decoder = decoder(format(name));
            let first = complaints(heard(&mut decoder, beginning));
            let [(code, message)] = &first[..] else { panic!("{name} {container:?}: {first:?}") };
            assert_eq!(*code, "wrong_format");
            assert!(message.contains(container.name()), "{name} {container:?}: {message}");
            assert!(message.len() < 200, "{message}");
            if let Some((.., sentence)) = SENTENCES.iter().find(|row| (row.0, row.1) == (name, container)) {
                assert_eq!(message, sentence);
                told.insert(*sentence);
            }
            // Nothing of it becomes sound, and each message is refused: the tenth ends the call.
            let more = heard(&mut decoder, &[0x55; 4_000]);
            assert_eq!(complaints(more), first, "{name} {container:?}");
        }
    }
    assert_eq!(told.len(), SENTENCES.len());
}

#[test]
fn a_container_is_known_however_it_is_cut() {
    for name in ["pcm16", "ogg-opus"] {
        for (container, beginning) in MISTAKES {
            if (name, container) == ("ogg-opus", Container::Ogg) {
                continue;
            }
            for cut in 1..Container::KNOWN_BY_BYTES {
                let mut decoder = decoder(format(name));
                let pieces = beginning.chunks(cut).flat_map(|piece| complaints(heard(&mut decoder, piece)));
                let codes: BTreeSet<_> = pieces.map(|(code, _)| code).collect();
                assert_eq!(codes, BTreeSet::from(["wrong_format"]), "{name} {container:?} in pieces of {cut}");
            }
        }
    }
}

#[test]
fn frames_without_a_file_are_known_by_the_second_however_they_are_cut() {
    // MPEG 1 layer III at 48 kbit/s and 48 kHz, and AAC LC at 48 kHz.
    let mp3 = [&[0xff, 0xfb, 0x34, 0xc4][..], &[0x55; 140]].concat();
    let adts = [&[0xff, 0xf1, 0x4c, 0x80, 200 >> 3, 0x1f, 0xfc][..], &[0x55; 193]].concat();
    for (named, frame) in [("MP3", &mp3), ("AAC", &adts)] {
        for (name, cut) in
            FORMATS[..1].iter().chain(&FORMATS[2..]).flat_map(|name| [5, 13, 100, 144, 300].map(|cut| (name, cut)))
        {
            let mut decoder = decoder(format(name));
            let told: Vec<_> =
                frame.repeat(3).chunks(cut).flat_map(|piece| complaints(heard(&mut decoder, piece))).collect();
            let (code, message) = told.last().unwrap();
            assert_eq!(*code, "wrong_format", "{name} {named} in pieces of {cut}: {told:?}");
            assert!(message.starts_with(&format!("the audio begins like {named},")), "{name} {cut}: {message}");
        }
        // One frame is no stream, and sound is heard while it is waited for another.
        let mut decoder = decoder(pcm16(16_000, 1));
        let sound = [&frame[..], &[0; 640]].concat();
        let inputs: Vec<_> = sound.chunks(40).flat_map(|piece| heard(&mut decoder, piece)).collect();
        assert!(!packets(inputs).is_empty(), "{named}");
    }
}

#[test]
fn a_stream_without_an_ogg_page_is_named_once_and_a_late_page_is_read() {
    let packet = OpusEncoder::new().unwrap().encode(&tone(300.0, CODEC_RATE_HZ, 0.02)).unwrap();
    let mut decoder = decoder(AudioFormat::OggOpus);
    let first = complaints(heard(&mut decoder, packet.bytes()));
    let expected = "the audio does not begin with an Ogg page; send Ogg Opus, or call /v1/voice with audio=opus for \
                    bare packets or audio=pcm16 for PCM";
    assert_eq!(first, [("wrong_format", expected.to_owned())]);
    assert_eq!(complaints(heard(&mut decoder, packet.bytes())), []);
    let mut muxer = OggMuxer::new(1);
    let stream = [muxer.headers().concat(), muxer.page(std::slice::from_ref(&packet)).to_vec()].concat();
    assert_eq!(packets(heard(&mut decoder, &stream)), [packet]);
}

/// What is only like a container in its first bytes, and what comes later in a call, is not looked at.
#[test]
fn sound_is_not_taken_for_a_container() {
    let mut pcm = decoder(pcm16(16_000, 1));
    for bytes in [&b"RIFF\x01\x02\x03\x04WAV is not"[..], b"RIFF\0\0\0\0WAVE", &[0; 640]] {
        assert_eq!(complaints(heard(&mut pcm, bytes)), []);
    }
    let mut opus = decoder(AudioFormat::Opus);
    let silence = OpusPacket::silence_20ms();
    assert_eq!(packets(heard(&mut opus, silence.bytes())), [silence], "too short to be anything else");
    // A packet of 60 ms of SILK may begin as Matroska does; the first one of the call alone is suspected.
    let packet = [&[0x08; 20][..]].concat();
    assert_eq!(packets(heard(&mut opus, &packet)).len(), 1);
    let like_matroska = [&[0x1a, 0x45, 0xdf, 0xa3][..], &[0x33; 100]].concat();
    assert_eq!(packets(heard(&mut opus, &like_matroska)).len(), 1);
}

#[test]
fn ogg_heads_that_cannot_be_served_are_refused_in_words() {
    let head = |at: usize, value: u8| {
        let mut head = OpusHead::OURS.encode().to_vec();
        head[at] = value;
        head
    };
    // RFC 7845 section 5.1.1.2: family 1 lays 6 channels out in 4 streams.
    let surround = [&head(9, 6)[..18], &[1, 4, 2, 0, 4, 1, 2, 3, 5]].concat();
    for (head, expected) in [
        (surround, "OpusHead has mapping family 0; this one has 1"),
        (head(18, 255), "OpusHead has mapping family 0; this one has 255"),
        (head(9, 3), "OpusHead has 1 channel (2 are mixed down); this one has 3"),
        (head(9, 0), "OpusHead has 1 channel (2 are mixed down); this one has 0"),
        (head(8, 0x20), "OpusHead has version 1; this one has major version 2"),
        (b"\x01vorbis\0\0\0\0\x01".to_vec(), "an Ogg stream begins with an OpusHead packet of at least 19 bytes"),
        (b"\x7fFLAC\x01\0\0\x01fLaC".to_vec(), "an Ogg stream begins with an OpusHead packet of at least 19 bytes"),
        (b"Speex   1.2".to_vec(), "an Ogg stream begins with an OpusHead packet of at least 19 bytes"),
    ] {
        let told = complaints(heard(&mut decoder(AudioFormat::OggOpus), &first_page(9, &head)));
        assert_eq!(told, [("bad_ogg", expected.to_owned())]);
    }
}

#[test]
fn bytes_that_are_no_packet_are_refused_in_words() {
    for (bytes, expected) in [
        (vec![0xfb], "the frame and padding lengths of an Opus packet lie within the packet"),
        (vec![0xfb, 0], "an Opus packet of code 3 has at least one frame"),
        (vec![0xfb, 7], "an Opus packet lasts at most 120 ms"),
        (vec![0xf9, 1, 2, 3], "the two frames of an Opus packet of code 1 have the same length"),
        (vec![0xf8; 2_000], "an Opus frame has at most 1275 bytes"),
        (vec![0xf8; 61_441], "an Opus packet has at most 61440 bytes"),
    ] {
        let told = complaints(heard(&mut decoder(AudioFormat::Opus), &bytes));
        assert_eq!(told, [("bad_packet", expected.to_owned())]);
    }
}

#[test]
fn half_samples_wait_for_their_other_half() {
    for channels in [1, 2] {
        let sound = to_bytes(&tone(440.0, 48_000, 0.2 * f32::from(channels)));
        let mut whole = decoder(pcm16(48_000, channels));
        let expected = packets(sound.chunks(8_000).flat_map(|piece| heard(&mut whole, piece)).collect());
        assert_eq!(expected.len() * FRAME_SAMPLES, 4_800);
        for cut in [1, 3, 5, 639, 641, 1_023] {
            let mut decoder = decoder(pcm16(48_000, channels));
            let came = packets(sound.chunks(cut).flat_map(|piece| heard(&mut decoder, piece)).collect());
            assert_eq!(came, expected, "{channels} channels in pieces of {cut} bytes");
        }
    }
}
