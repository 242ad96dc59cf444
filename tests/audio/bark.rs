//! How far one recording of speech is from another, as hearing groups its frequencies.

use std::f32::consts::TAU;

/// Samples a second of what is compared.
pub const RATE_HZ: u32 = 24_000;

/// A frame of 20 ms, filled up with zeros for the transform.
const FRAME_SAMPLES: usize = 480;
const TRANSFORM_SAMPLES: usize = 512;

/// The edges of the critical bands in Hz (Zwicker 1961), up to what a model's sound holds.
const BAND_EDGES_HZ: [f32; 24] = [
    20.0, 100.0, 200.0, 300.0, 400.0, 510.0, 630.0, 770.0, 920.0, 1_080.0, 1_270.0, 1_480.0, 1_720.0, 2_000.0, 2_320.0,
    2_700.0, 3_150.0, 3_700.0, 4_400.0, 5_300.0, 6_400.0, 7_700.0, 9_500.0, 12_000.0,
];

/// Bands below this are as good as silent: 70 dB under a sine of full scale.
const FLOOR_DB: f32 = -70.0;

/// Frames of which no band reaches this are pauses and do not count.
const SPEECH_DB: f32 = -45.0;

/// The mean difference of the levels in critical bands, in dB, over frames of 20 ms in which somebody speaks; bands
/// whose middle is above `up_to_hz` do not count.
///
/// Both recordings stand at the same time. 0 is the same sound; phases do not count, which a codec is free to change.
pub fn distance_db(reference: &[f32], heard: &[f32], up_to_hz: f32) -> f32 {
    let bands = BAND_EDGES_HZ.windows(2).filter(|edges| (edges[0] + edges[1]) / 2.0 < up_to_hz).count();
    let (mut sum, mut frames) = (0.0, 0);
    for (reference, heard) in reference.chunks_exact(FRAME_SAMPLES).zip(heard.chunks_exact(FRAME_SAMPLES)) {
        let (reference, heard) = (levels_db(reference), levels_db(heard));
        if reference.iter().any(|&level| level > SPEECH_DB) {
            let apart: f32 = reference[..bands].iter().zip(&heard).map(|(a, b)| (a - b).abs()).sum();
            sum += apart / bands as f32;
            frames += 1;
        }
    }
    assert!(frames > 0, "nobody speaks");
    sum / frames as f32
}

/// The level of each critical band.
fn levels_db(frame: &[f32]) -> Vec<f32> {
    let power = power_spectrum(frame);
    let bin = |edge_hz: f32| (edge_hz * TRANSFORM_SAMPLES as f32 / RATE_HZ as f32).round() as usize;
    let level = |edges: &[f32]| 10.0 * power[bin(edges[0])..bin(edges[1])].iter().sum::<f32>().max(1e-12).log10();
    BAND_EDGES_HZ.windows(2).map(|edges| level(edges).max(FLOOR_DB)).collect()
}

/// The power at each frequency up to half of the rate, 1 for a sine of full scale.
fn power_spectrum(frame: &[f32]) -> Vec<f32> {
    let window = |at: usize| 0.5 - 0.5 * (TAU * at as f32 / FRAME_SAMPLES as f32).cos();
    let mut re: Vec<f32> = frame.iter().enumerate().map(|(at, sample)| sample * window(at)).collect();
    re.resize(TRANSFORM_SAMPLES, 0.0);
    let mut im = vec![0.0; TRANSFORM_SAMPLES];
    transform(&mut re, &mut im);
    // A Hann window of N samples leaves N/4 of a sine's amplitude, and 1.5 times its power over the bins.
    let scale = 16.0 / (1.5 * (FRAME_SAMPLES * FRAME_SAMPLES) as f32) * FRAME_SAMPLES as f32 / TRANSFORM_SAMPLES as f32;
    (0..=TRANSFORM_SAMPLES / 2).map(|at| (re[at] * re[at] + im[at] * im[at]) * scale).collect()
}

/// The discrete Fourier transform in place, for a power of two.
fn transform(re: &mut [f32], im: &mut [f32]) {
    let bits = re.len().trailing_zeros();
    for at in 0..re.len() {
        let mirrored = at.reverse_bits() >> (usize::BITS - bits);
        if mirrored > at {
            re.swap(at, mirrored);
            im.swap(at, mirrored);
        }
    }
    let mut half = 1;
    while half < re.len() {
        for turn in 0..half {
            let (sin, cos) = (-TAU * turn as f32 / (2 * half) as f32).sin_cos();
            for low in (turn..re.len()).step_by(2 * half) {
                let high = low + half;
                let (r, i) = (re[high] * cos - im[high] * sin, re[high] * sin + im[high] * cos);
                (re[high], im[high]) = (re[low] - r, im[low] - i);
                (re[low], im[low]) = (re[low] + r, im[low] + i);
            }
        }
        half *= 2;
    }
}
