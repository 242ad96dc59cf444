//! What is left of speech after the PCM path, in the codec in Rust and, with `--features libopus`, in libopus.
//!
//! `cargo bench --bench quality --features libopus -- OUT_DIRECTORY SPEECH.wav...` prints distances in critical bands
//! and writes every sound, for `benches/pesq_wb.py` to judge. Without arguments it takes the speech of the tests and
//! writes nothing. docs/benchmarks.md has results.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its results"
)]

use std::path::{Path, PathBuf};

use tandem::audio::packet::OpusPacket;
use tandem::audio::resampler::Resampler;
use tandem::sim::wav;

#[path = "../tests/audio/bark.rs"]
mod bark;

const MODEL_HZ: u32 = 24_000;
const RATES_HZ: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// The samples of a model's step.
const STEP_SAMPLES: usize = 1_920;

/// One of the codecs, as functions over a whole stream.
struct Codec {
    name: &'static str,
    /// Sound into packets of so many samples.
    encode: fn(&[f32], usize) -> Vec<OpusPacket>,
    decode: fn(&[OpusPacket]) -> Vec<f32>,
}

macro_rules! codec {
    ($module:ident) => {
        Codec {
            name: stringify!($module),
            encode: |sound, samples| {
                let mut encoder = tandem::audio::opus::$module::OpusEncoder::new().unwrap();
                sound.chunks_exact(samples).map(|frame| encoder.encode(frame).unwrap()).collect()
            },
            decode: |packets| {
                let mut decoder = tandem::audio::opus::$module::OpusDecoder::new().unwrap();
                packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect()
            },
        }
    };
}

/// The codecs that are built in; the last one plays the model server, which runs libopus.
fn codecs() -> Vec<Codec> {
    vec![
        codec!(pure),
        #[cfg(feature = "libopus")]
        codec!(libopus),
    ]
}

fn resample(sound: &[f32], from_hz: u32, to_hz: u32) -> Vec<f32> {
    Resampler::new(from_hz, to_hz).unwrap().push(sound)
}

/// As 16 bits hold it.
fn in_16_bits(sound: &[f32]) -> Vec<f32> {
    sound.iter().map(|sample| f32::from((sample * 32_768.0).round() as i16) / 32_768.0).collect()
}

/// What the model hears of a caller with PCM at this rate.
fn way_up(said: &[f32], rate_hz: u32, codec: &Codec, server: &Codec) -> Vec<f32> {
    let pcm = in_16_bits(&resample(said, MODEL_HZ, rate_hz));
    (server.decode)(&(codec.encode)(&resample(&pcm, rate_hz, MODEL_HZ), 480))
}

/// What a caller with PCM at this rate hears of the model, back at the model's rate.
fn way_down(said: &[f32], rate_hz: u32, codec: &Codec, server: &Codec) -> Vec<f32> {
    let decoded = (codec.decode)(&(server.encode)(said, STEP_SAMPLES));
    resample(&in_16_bits(&resample(&decoded, MODEL_HZ, rate_hz)), rate_hz, MODEL_HZ)
}

/// What was heard from where it stands in time with what was said: at most 40 ms late.
fn aligned<'h>(said: &[f32], heard: &'h [f32]) -> &'h [f32] {
    let length = heard.len().min(said.len()) - 960;
    let alike = |late: usize| -> f32 { said[..length].iter().zip(&heard[late..]).map(|(a, b)| a * b).sum() };
    let late = (0..960).max_by(|&a, &b| alike(a).total_cmp(&alike(b))).unwrap();
    &heard[late..]
}

fn write(directory: Option<&PathBuf>, name: &str, sound: &[f32]) {
    if let Some(directory) = directory {
        wav::write(&directory.join(format!("{name}.wav")), sound).expect("the directory can be written");
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/speech_made.wav");
    let (directory, files) = match words.split_first() {
        Some((directory, files)) if !files.is_empty() => {
            (Some(directory.into()), files.iter().map(Into::into).collect())
        }
        _ => (None, vec![made]),
    };
    let codecs = codecs();
    let server = codecs.last().expect("there is a codec");
    println!("| speech | way | codec | rate | apart, dB | below 3.4 kHz, dB |\n|---|---|---|---|---|---|");
    for file in files {
        let said = wav::read(&file).expect("speech as WAV");
        let speech = file.file_stem().unwrap().to_string_lossy().into_owned();
        write(directory.as_ref(), &format!("{speech}.said"), &said);
        for codec in &codecs {
            for rate_hz in RATES_HZ {
                let ways =
                    [("up", way_up(&said, rate_hz, codec, server)), ("down", way_down(&said, rate_hz, codec, server))];
                for (way, heard) in &ways {
                    let heard = aligned(&said, heard);
                    let (all, voice) =
                        (bark::distance_db(&said, heard, 12_000.0), bark::distance_db(&said, heard, 3_400.0));
                    println!("| {speech} | {way} | {} | {rate_hz} | {all:.2} | {voice:.2} |", codec.name);
                    write(directory.as_ref(), &format!("{speech}.{way}.{}.{rate_hz}", codec.name), heard);
                }
            }
        }
    }
}
