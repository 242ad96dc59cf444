//! Two channels, in every format: both are heard, mixed into one.

use opus_pure::{Application, OpusEncoder as StereoEncoder};
use tandem::audio::ogg::{OggItem, OggMuxer, OpusHead};

use super::*;

const LEFT_HZ: f32 = 440.0;
const RIGHT_HZ: f32 = 1_100.0;

/// A tone left and another right, by turns.
fn two_tones(rate_hz: u32, seconds: f32) -> Vec<f32> {
    let (left, right) = (tone(LEFT_HZ, rate_hz, seconds), tone(RIGHT_HZ, rate_hz, seconds));
    left.into_iter().zip(right).flat_map(|(left, right)| [left, right]).collect()
}

/// The level of one frequency in dB, 0 for a sine of full scale.
fn level_at_db(sound: &[f32], frequency_hz: f32, rate_hz: u32) -> f32 {
    let turn = TAU * frequency_hz / rate_hz as f32;
    let part = |wave: fn(f32) -> f32| -> f32 {
        sound.iter().enumerate().map(|(at, sample)| sample * wave((turn * at as f32) % TAU)).sum::<f32>()
    };
    let amplitude = part(f32::sin).hypot(part(f32::cos)) * 2.0 / sound.len() as f32;
    20.0 * amplitude.max(1e-6).log10()
}

/// Both tones at half of their level: each was in one channel of two.
#[track_caller]
fn assert_both_are_heard(sound: &[f32], rate_hz: u32, what: &str) {
    let late = &sound[sound.len() / 2..];
    let half_db = 20.0 * 0.25f32.log10();
    for frequency_hz in [LEFT_HZ, RIGHT_HZ] {
        let level_db = level_at_db(late, frequency_hz, rate_hz);
        assert!((level_db - half_db).abs() < 1.5, "{what}: {frequency_hz} Hz at {level_db} dB, expected {half_db} dB");
    }
    assert!(level_at_db(late, 2_300.0, rate_hz) < -40.0, "{what}: nothing else is heard");
}

/// Stereo packets of a length in tenths of a millisecond.
fn stereo_packets(application: Application, bitrate_bps: i32, tenths_ms: usize) -> Vec<OpusPacket> {
    let mut encoder = StereoEncoder::new(48_000, 2, application).unwrap();
    encoder.bitrate_bps = bitrate_bps;
    let samples = 48 * tenths_ms / 10;
    let mut bytes = vec![0; 4_000];
    let sound = two_tones(48_000, 1.2);
    let frames = sound.chunks_exact(2 * samples);
    let packets = frames.map(|frame| {
        let length = encoder.encode(frame, samples, &mut bytes).unwrap();
        OpusPacket::parse(Bytes::copy_from_slice(&bytes[..length])).unwrap()
    });
    packets.collect()
}

/// SILK, hybrid and CELT, with short frames and long ones.
fn streams() -> Vec<(String, Vec<OpusPacket>)> {
    let kinds = [
        (Application::RestrictedLowDelay, 96_000, &[25, 50, 100, 200][..]),
        (Application::Audio, 96_000, &[100, 200, 400, 600]),
        (Application::Voip, 24_000, &[200, 600]),
    ];
    let streams = kinds.into_iter().flat_map(|(application, bitrate_bps, lengths)| {
        lengths.iter().map(move |&tenths_ms| {
            let packets = stereo_packets(application, bitrate_bps, tenths_ms);
            (format!("{application:?} at {bitrate_bps} bit/s in {tenths_ms} tenths of a ms"), packets)
        })
    });
    streams.collect()
}

#[test]
fn stereo_packets_are_decoded_with_both_channels() {
    for (what, packets) in streams() {
        assert!(packets.iter().all(|packet| packet.channels() == 2), "{what}");
        let mut decoder = OpusDecoder::new().unwrap();
        let sound: Vec<f32> = packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect();
        let samples: u32 = packets.iter().map(OpusPacket::samples).sum();
        assert_eq!(sound.len() * 2, samples as usize, "{what}");
        assert_both_are_heard(&sound, CODEC_RATE_HZ, &what);
    }
}

/// A stream that says in its head that it has two channels.
#[test]
fn ogg_streams_of_two_channels_are_decoded_with_both() {
    let packets = stereo_packets(Application::Audio, 96_000, 200);
    let mut muxer = OggMuxer::new(7);
    let head = OpusHead { channels: 2, pre_skip: 312, ..OpusHead::OURS };
    let stream = [formats::first_page(7, &head.encode()), muxer.page(&packets).to_vec()].concat();
    let mut demuxer = tandem::audio::ogg::OggDemuxer::new();
    let (mut decoder, mut sound) = (OpusDecoder::new().unwrap(), Vec::new());
    for piece in stream.chunks(777) {
        demuxer.push(piece).unwrap();
        while let Some(item) = demuxer.next_item() {
            match item.unwrap() {
                OggItem::Head(read) => assert_eq!(read, head),
                OggItem::Packet(packet) => sound.extend(decoder.decode(&packet).unwrap()),
                other => panic!("{other:?} was not written"),
            }
        }
    }
    assert_eq!(sound.len(), packets.len() * FRAME_SAMPLES);
    assert_both_are_heard(&sound, CODEC_RATE_HZ, "Ogg");
}

#[test]
fn stereo_pcm_is_mixed_at_every_rate() {
    for rate_hz in PCM_RATES_HZ {
        let mut reader = PcmReader::new(mono(rate_hz).with_channels(2).unwrap()).unwrap();
        let bytes = to_bytes(&two_tones(rate_hz, 1.2));
        let packets: Vec<_> = bytes.chunks(997).flat_map(|piece| reader.push(piece).unwrap()).collect();
        assert_eq!(packets.len(), 60, "{rate_hz} Hz");
        assert!(packets.iter().all(|packet| packet.channels() == 1), "{rate_hz} Hz");
        let mut decoder = OpusDecoder::new().unwrap();
        let sound: Vec<f32> = packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect();
        assert_both_are_heard(&sound, CODEC_RATE_HZ, &format!("{rate_hz} Hz"));
    }
}

#[test]
fn the_answer_is_the_same_in_both_channels() {
    let mut encoder = OpusEncoder::new().unwrap();
    let packets: Vec<_> =
        tone(440.0, CODEC_RATE_HZ, 0.4).chunks_exact(1_920).map(|frame| encoder.encode(frame).unwrap()).collect();
    for rate_hz in PCM_RATES_HZ {
        let mut one = PcmWriter::new(mono(rate_hz)).unwrap();
        let mut two = PcmWriter::new(mono(rate_hz).with_channels(2).unwrap()).unwrap();
        for packet in &packets {
            let (one, two) = (one.push(packet).unwrap(), two.push(packet).unwrap());
            let doubled: Vec<u8> = one.chunks_exact(2).flat_map(|sample| [sample, sample].concat()).collect();
            assert!(!one.is_empty() && two == doubled, "{rate_hz} Hz");
        }
    }
}
