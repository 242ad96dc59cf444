//! What callers and models send: speech, and sound without any.

use std::{path::Path, time::Duration};

use tandem::audio::{
    opus::{FRAME_SAMPLES, OpusEncoder},
    packet::OpusPacket,
};

/// Packets of 20 ms of speech without a long pause, at most 3 s.
pub fn speech(duration: Duration) -> Vec<OpusPacket> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/speech_made.wav");
    let mut wav = hound::WavReader::open(path).unwrap();
    let sound: Vec<f32> = wav.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
    packets(&sound[2 * 24_000..][..samples(duration)])
}

/// Packets of 20 ms that hold the noise of a fan, at -35 dB: sound, but no voice.
pub fn noise(duration: Duration) -> Vec<OpusPacket> {
    let mut random = 1_u32;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        (random as f32 / u32::MAX as f32 - 0.5) * 0.06
    };
    packets(&(0..samples(duration)).map(|_| next()).collect::<Vec<_>>())
}

fn samples(duration: Duration) -> usize {
    duration.as_millis() as usize / 20 * FRAME_SAMPLES
}

fn packets(sound: &[f32]) -> Vec<OpusPacket> {
    let mut encoder = OpusEncoder::new().unwrap();
    sound.chunks_exact(FRAME_SAMPLES).map(|frame| encoder.encode(frame).unwrap()).collect()
}
