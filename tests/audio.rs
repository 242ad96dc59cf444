//! What sound is like after our codec and resampler: measured, not heard.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::f32::consts::TAU;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tandem::audio::opus::{CODEC_RATE_HZ, CodecError, FRAME_SAMPLES, OpusDecoder, OpusEncoder};
use tandem::audio::packet::OpusPacket;
use tandem::audio::pcm::{ChannelsError, PCM_RATES_HZ, PcmFormat, PcmReader, PcmWriter, RateError, Resampler};

#[path = "audio/activity.rs"]
mod activity;
#[path = "audio/bark.rs"]
mod bark;
#[path = "audio/formats.rs"]
mod formats;
#[cfg(feature = "libopus")]
#[path = "audio/libopus.rs"]
mod libopus;
#[path = "audio/quality.rs"]
mod quality;
#[path = "audio/stereo.rs"]
mod stereo;
#[path = "audio/turns.rs"]
mod turns;

/// A sine at half of full scale.
fn tone(frequency_hz: f32, rate_hz: u32, seconds: f32) -> Vec<f32> {
    let samples = (seconds * rate_hz as f32) as usize;
    (0..samples).map(|at| 0.5 * (TAU * frequency_hz * at as f32 / rate_hz as f32).sin()).collect()
}

/// 10 s of synthetic speech at 24 kHz.
fn speech() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/speech_made.wav");
    let mut wav = hound::WavReader::open(path).expect("the speech is there");
    assert_eq!((wav.spec().sample_rate, wav.spec().channels), (CODEC_RATE_HZ, 1));
    wav.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect()
}

fn to_bytes(sound: &[f32]) -> Vec<u8> {
    sound.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0).collect()
}

fn mono(rate_hz: u32) -> PcmFormat {
    PcmFormat::mono(rate_hz).unwrap()
}

fn resample(sound: &[f32], from_hz: u32, to_hz: u32) -> Vec<f32> {
    Resampler::new(from_hz, to_hz).unwrap().push(sound)
}

fn level_db(sound: &[f32]) -> f32 {
    let power: f32 = sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32;
    10.0 * power.max(1e-12).log10()
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-9)
}

/// The delay of `late` behind `sound`, in samples and of those given, at which the two are most alike, and how alike.
fn align(sound: &[f32], late: &[f32], delays: Range<usize>) -> (usize, f32) {
    let length = sound.len().min(late.len()) - delays.end;
    let at = |delay: usize| (delay, correlation(&sound[..length], &late[delay..delay + length]));
    delays.map(at).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// The sound after a caller's and an app's leg: PCM to packets of 20 ms to PCM.
fn through_the_codec(sound: &[f32], rate_hz: u32) -> Vec<f32> {
    let mut reader = PcmReader::new(mono(rate_hz)).unwrap();
    let mut writer = PcmWriter::new(mono(rate_hz)).unwrap();
    let packets = reader.push(&to_bytes(sound)).unwrap();
    packets.iter().flat_map(|packet| from_bytes(&writer.push(packet).unwrap())).collect()
}

fn ms(samples: usize, rate_hz: u32) -> f32 {
    samples as f32 * 1_000.0 / rate_hz as f32
}

#[test]
fn a_tone_comes_through_at_every_rate() {
    for rate_hz in PCM_RATES_HZ {
        let sound = tone(440.0, rate_hz, 1.0);
        let out = through_the_codec(&sound, rate_hz);
        let (_, alike) = align(&sound, &out, 0..rate_hz as usize / 440 + 1);
        assert!(alike > 0.95, "{rate_hz} Hz: correlation {alike}");
        let change_db = level_db(&out[out.len() / 2..]) - level_db(&sound);
        assert!(change_db.abs() < 1.0, "{rate_hz} Hz: the level changes by {change_db} dB");
    }
}

#[test]
fn speech_comes_through_at_every_rate_within_its_delay() {
    let speech = speech();
    for rate_hz in PCM_RATES_HZ {
        let sound = resample(&speech[..2 * CODEC_RATE_HZ as usize], CODEC_RATE_HZ, rate_hz);
        let out = through_the_codec(&sound, rate_hz);
        // 6.46 ms for the encoder, 0.63 ms for the decoder in Rust, and twice the resampling: samples at 48 kHz.
        let codec = if cfg!(feature = "libopus") { 310 } else { 310 + 30 };
        let resampling = Resampler::new(rate_hz, CODEC_RATE_HZ).unwrap().delay().as_secs_f32();
        let expected = codec + (2.0 * resampling * 48_000.0).round() as usize;
        let at_48k = |sound: &[f32]| resample(sound, rate_hz, 48_000);
        let (delay, alike) = align(&at_48k(&sound), &at_48k(&out), expected - 50..expected + 50);
        assert!(alike > 0.93, "{rate_hz} Hz: correlation {alike}");
        assert!(delay.abs_diff(expected) <= 3, "{rate_hz} Hz: {} ms late", ms(delay, 48_000));
    }
}

#[test]
fn a_second_in_is_a_second_out_at_every_rate() {
    for rate_hz in PCM_RATES_HZ {
        let seconds = 7;
        let mut reader = PcmReader::new(mono(rate_hz)).unwrap();
        let mut writer = PcmWriter::new(mono(rate_hz)).unwrap();
        let bytes = to_bytes(&tone(300.0, rate_hz, seconds as f32));
        let packets: Vec<_> = bytes.chunks(1_001).flat_map(|chunk| reader.push(chunk).unwrap()).collect();
        assert_eq!(packets.len(), seconds * 50, "{rate_hz} Hz in");
        assert!(packets.iter().all(|packet| packet.samples() == 960));
        let out: usize = packets.iter().map(|packet| writer.push(packet).unwrap().len()).sum();
        assert_eq!(out, seconds * rate_hz as usize * 2, "{rate_hz} Hz out");
    }
}

#[test]
fn every_20_ms_of_pcm_are_a_packet_at_once() {
    for rate_hz in PCM_RATES_HZ {
        // 20 ms are no whole number of samples at 11,025 Hz.
        let packets = if rate_hz == 11_025 { 2 } else { 1 };
        let mut reader = PcmReader::new(mono(rate_hz)).unwrap();
        for frames in to_bytes(&tone(300.0, rate_hz, 0.2)).chunks_exact(rate_hz as usize * packets / 50 * 2) {
            assert_eq!(reader.push(frames).unwrap().len(), packets, "{rate_hz} Hz");
        }
    }
}

#[test]
fn packets_of_every_length_become_pcm_of_their_duration() {
    let mut encoder = OpusEncoder::new().unwrap();
    for rate_hz in PCM_RATES_HZ {
        let mut writer = PcmWriter::new(mono(rate_hz)).unwrap();
        for samples in [480, 960, 1_440, 1_920] {
            let packet = encoder.encode(&vec![0.1; samples]).unwrap();
            let mut out = writer.push(&packet).unwrap().len() / 2;
            if rate_hz == 11_025 && samples % 960 != 0 {
                out += writer.push(&packet).unwrap().len() / 2;
                assert_eq!(ms(out, rate_hz), 2.0 * ms(samples, CODEC_RATE_HZ), "twice {samples} samples");
            } else {
                assert_eq!(ms(out, rate_hz), ms(samples, CODEC_RATE_HZ), "{rate_hz} Hz, {samples} samples");
            }
        }
    }
}

#[test]
fn other_rates_and_channels_are_refused_in_words() {
    let known = "8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200 or 96000";
    for rate_hz in [0, 7_999, 22_000, 192_000, u32::MAX] {
        let error = PcmFormat::mono(rate_hz).unwrap_err();
        assert_eq!(error.to_string(), format!("PCM has {known} samples a second, not {rate_hz}"));
        assert_eq!(Resampler::new(24_000, rate_hz).unwrap_err(), RateError(rate_hz));
        assert_eq!(Resampler::new(rate_hz, 24_000).unwrap_err(), RateError(rate_hz));
    }
    for channels in [0, 3, 6, u8::MAX] {
        let error = mono(48_000).with_channels(channels).unwrap_err();
        assert_eq!(error, ChannelsError(channels));
        assert_eq!(error.to_string(), format!("PCM has 1 or 2 channels, not {channels}"));
    }
}

#[test]
fn resampled_sound_is_late_by_half_a_block_and_otherwise_the_same() {
    for rate_hz in PCM_RATES_HZ.into_iter().filter(|&rate_hz| rate_hz != CODEC_RATE_HZ) {
        for (from_hz, to_hz) in [(rate_hz, CODEC_RATE_HZ), (CODEC_RATE_HZ, rate_hz)] {
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            let late = resampler.delay().as_secs_f32();
            assert!((0.003..0.007).contains(&late), "{from_hz} to {to_hz}: {late} s");
            // A tone that rises from 200 to 3,000 Hz in a second is like itself in one place only.
            let sound = |at: usize, rate_hz: u32, late: f32| {
                let t = at as f32 / rate_hz as f32 - late;
                0.5 * (TAU * (200.0 + 1_400.0 * t) * t).sin()
            };
            let original: Vec<f32> = (0..from_hz as usize).map(|at| sound(at, from_hz, 0.0)).collect();
            let resampled = resampler.push(&original);
            let expected: Vec<f32> = (0..resampled.len()).map(|at| sound(at, to_hz, late)).collect();
            let alike = correlation(&expected, &resampled);
            assert!(alike > 0.99, "{from_hz} to {to_hz}: correlation {alike}");
        }
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_does_not_fold_back() {
    let others = PCM_RATES_HZ.into_iter().filter(|&rate_hz| rate_hz != CODEC_RATE_HZ);
    for rate_hz in others {
        let (from_hz, to_hz) = (rate_hz.max(CODEC_RATE_HZ), rate_hz.min(CODEC_RATE_HZ));
        let nyquist = to_hz as f32 / 2.0;
        for frequency_hz in [nyquist * 1.06, nyquist * 1.3, from_hz as f32 / 2.0 * 0.95] {
            if frequency_hz >= from_hz as f32 / 2.0 {
                continue;
            }
            let out = resample(&tone(frequency_hz, from_hz, 1.0), from_hz, to_hz);
            let down_db = level_db(&out) - level_db(&tone(frequency_hz, from_hz, 1.0));
            assert!(down_db < -40.0, "{frequency_hz} Hz from {from_hz} to {to_hz}: {down_db} dB");
        }
    }
}

#[test]
fn the_voice_band_keeps_its_level() {
    for rate_hz in PCM_RATES_HZ {
        for frequency_hz in [100.0, 1_000.0, 3_000.0] {
            let sound = tone(frequency_hz, rate_hz, 1.0);
            let there = resample(&sound, rate_hz, CODEC_RATE_HZ);
            let back = resample(&there, CODEC_RATE_HZ, rate_hz);
            let change_db = level_db(&back[back.len() / 4..]) - level_db(&sound);
            assert!(change_db.abs() < 0.5, "{frequency_hz} Hz at {rate_hz} Hz: {change_db} dB");
        }
    }
}

#[test]
fn an_encoder_makes_the_packets_of_a_model_server() {
    let mut encoder = OpusEncoder::new().unwrap();
    let packets: Vec<_> = speech().chunks_exact(1_920).map(|frame| encoder.encode(frame).unwrap()).collect();
    for packet in &packets {
        assert_eq!((packet.samples(), packet.frame_count(), packet.channels(), packet.toc() & 3), (3_840, 4, 1, 3));
    }
    assert_bitrate(&packets);
}

#[test]
fn long_packets_sound_like_short_ones() {
    let speech = speech();
    let decoded = |samples: usize| -> Vec<f32> {
        let (mut encoder, mut decoder) = (OpusEncoder::new().unwrap(), OpusDecoder::new().unwrap());
        let frames = speech[..69_120].chunks_exact(samples);
        frames.flat_map(|frame| decoder.decode(&encoder.encode(frame).unwrap()).unwrap()).collect()
    };
    let short = decoded(480);
    for samples in [960, 1_440, 1_920] {
        assert!(decoded(samples) == short, "{samples} samples");
    }
}

#[test]
fn no_sound_changes_the_mode_of_the_encoder() {
    let noise = |at: usize| (at.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 32_768.0 - 1.0;
    let sounds = [
        vec![0.0; 48_000],
        (0..48_000).map(noise).collect(),
        (0..48_000).map(|at| noise(at) * 0.001).collect(),
        tone(40.0, CODEC_RATE_HZ, 2.0),
        tone(11_000.0, CODEC_RATE_HZ, 2.0),
        (0..48_000).map(|at| if at % 400 < 200 { 1.0 } else { -1.0 }).collect(),
        resample(&resample(&speech()[..96_000], CODEC_RATE_HZ, 8_000), 8_000, CODEC_RATE_HZ),
    ];
    let mut encoder = OpusEncoder::new().unwrap();
    for (at, sound) in sounds.iter().enumerate() {
        for frame in sound.chunks_exact(1_920) {
            let packet = encoder.encode(frame);
            assert!(packet.as_ref().is_ok_and(|packet| packet.frame_count() == 4), "sound {at}: {packet:?}");
        }
    }
}

#[test]
fn packets_of_20_ms_have_one_frame_at_the_wanted_rate() {
    let mut encoder = OpusEncoder::new().unwrap();
    let speech = speech();
    let packets: Vec<_> = speech.chunks_exact(480).map(|frame| encoder.encode(frame).unwrap()).collect();
    assert!(packets.iter().all(|packet| packet.samples() == 960 && packet.frame_count() == 1));
    assert_bitrate(&packets);
}

fn assert_bitrate(packets: &[OpusPacket]) {
    let bits: usize = packets.iter().map(|packet| packet.bytes().len() * 8).sum();
    let seconds: f32 = packets.iter().map(|packet| packet.duration().as_secs_f32()).sum();
    let rate = bits as f32 / seconds;
    assert!((26_000.0..30_000.0).contains(&rate), "{rate} bit/s");
}

#[test]
fn other_lengths_are_refused_in_words() {
    let mut encoder = OpusEncoder::new().unwrap();
    for samples in [0, 1, 479, 481, 2_400, 4_800] {
        let error = encoder.encode(&vec![0.0; samples]).unwrap_err();
        assert!(matches!(error, CodecError::Length(length) if length == samples), "{error}");
    }
}

#[test]
fn silence_packets_fade_out_without_a_click() {
    let mut encoder = OpusEncoder::new().unwrap();
    let mut decoder = OpusDecoder::new().unwrap();
    let sound: Vec<f32> = tone(200.0, CODEC_RATE_HZ, 0.4)
        .chunks_exact(480)
        .flat_map(|frame| decoder.decode(&encoder.encode(frame).unwrap()).unwrap())
        .collect();
    let gap: Vec<f32> = (0..25).flat_map(|_| decoder.decode(&OpusPacket::silence_20ms()).unwrap()).collect();
    assert_eq!(gap.len(), 25 * 480);
    let step = |sound: &[f32]| sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    let join = step(&[&sound[sound.len() - 480..], &gap[..480]].concat());
    assert!(join < 1.5 * step(&sound[4_800..]), "a step of {join} at the join");
    assert!(level_db(&gap[gap.len() - 480..]) < -60.0, "{} dB after 500 ms", level_db(&gap[gap.len() - 480..]));
}

#[test]
fn both_silence_packets_sound_the_same() {
    let decoded = |packets: &[OpusPacket]| -> Vec<f32> {
        let mut encoder = OpusEncoder::new().unwrap();
        let mut decoder = OpusDecoder::new().unwrap();
        let speech = encoder.encode(&tone(200.0, CODEC_RATE_HZ, 0.08)).unwrap();
        decoder.decode(&speech).unwrap();
        packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect()
    };
    let four = decoded(&vec![OpusPacket::silence_20ms(); 4]);
    assert_eq!(decoded(&[OpusPacket::silence_80ms()]), four);
    assert!(four.iter().any(|&sample| sample != 0.0), "the last sound fades");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Noise that passes for packets, in any order of modes, lengths and channels.
    #[test]
    fn no_packet_makes_the_decoder_panic_or_shout(noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..12)) {
        let mut decoder = OpusDecoder::new().unwrap();
        for packet in noise.into_iter().filter_map(|bytes| OpusPacket::parse(Bytes::from(bytes)).ok()) {
            if let Ok(sound) = decoder.decode(&packet) {
                prop_assert_eq!(sound.len() * 2, packet.samples() as usize);
                prop_assert!(sound.iter().all(|sample| (-1.0..=1.0).contains(sample)));
            }
        }
    }

    #[test]
    fn pcm_may_be_cut_anywhere(
        sizes in prop::collection::vec(prop_oneof![0usize..8, 0usize..700], 1..30),
        rate_hz in prop::sample::select(PCM_RATES_HZ.to_vec()),
        channels in 1u8..=2,
    ) {
        let format = mono(rate_hz).with_channels(channels).unwrap();
        let bytes = to_bytes(&tone(440.0, rate_hz, 0.1));
        let whole = PcmReader::new(format).unwrap().push(&bytes).unwrap();
        let mut reader = PcmReader::new(format).unwrap();
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        for size in sizes {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            packets.extend(reader.push(chunk).unwrap());
            rest = after;
        }
        packets.extend(reader.push(rest).unwrap());
        prop_assert_eq!(packets, whole);
    }
}
