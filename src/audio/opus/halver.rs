//! From 48 kHz to 24 kHz.

use std::f32::consts::PI;

/// Taps on each side of the middle that are not zero.
const SIDE_TAPS: usize = 16;

/// The whole filter: every second tap but the middle one is zero.
const FILTER_SAMPLES: usize = 4 * SIDE_TAPS - 1;

const MIDDLE: usize = FILTER_SAMPLES / 2;

/// The shape of the Kaiser window: 65 dB of attenuation.
const KAISER_BETA: f32 = 6.2;

/// Leaves out every second sample of a stream, behind a half-band filter.
///
/// Up to 10.3 kHz the level stays, from 13.7 kHz on 60 dB and more are taken away; what comes out is 15 samples, or
/// 0.6 ms, late.
#[derive(Debug)]
pub struct Halver {
    taps: [f32; SIDE_TAPS],
    /// What the filter still needs of the samples before, and then those to be halved.
    samples: Vec<f32>,
}

impl Default for Halver {
    fn default() -> Halver {
        Halver::new()
    }
}

impl Halver {
    /// How many samples at 24 kHz the sound comes out late.
    pub const DELAY_SAMPLES: usize = MIDDLE / 2;

    /// A filter at the beginning of a stream.
    pub fn new() -> Halver {
        let mut taps = std::array::from_fn(|at| {
            let distance = (2 * at + 1) as f32;
            let edge = distance / (MIDDLE + 1) as f32;
            let window = bessel(KAISER_BETA * (1.0 - edge * edge).sqrt()) / bessel(KAISER_BETA);
            (distance * PI / 2.0).sin() / (distance * PI) * window
        });
        // Half of the level comes through the middle, a quarter from each side.
        let side: f32 = taps.iter().sum();
        taps.iter_mut().for_each(|tap| *tap *= 0.25 / side);
        Halver { taps, samples: vec![0.0; FILTER_SAMPLES - 1] }
    }

    /// Half as many samples; the number of those given is even.
    pub fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        self.samples.extend_from_slice(samples);
        let halved = self.samples[1..].windows(FILTER_SAMPLES).step_by(2).map(|window| self.filter(window)).collect();
        self.samples.drain(..samples.len());
        halved
    }

    fn filter(&self, window: &[f32]) -> f32 {
        let mut filtered = 0.5 * window[MIDDLE];
        for (at, tap) in self.taps.iter().enumerate() {
            let distance = 2 * at + 1;
            filtered += tap * (window[MIDDLE - distance] + window[MIDDLE + distance]);
        }
        filtered
    }
}

/// The modified Bessel function of order zero, which the Kaiser window is made of.
fn bessel(x: f32) -> f32 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..=20 {
        term *= (x / 2.0 / k as f32).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency_hz: f32) -> Vec<f32> {
        (0..9_600).map(|at| (2.0 * PI * frequency_hz * at as f32 / 48_000.0).sin()).collect()
    }

    fn level_db(sound: &[f32]) -> f32 {
        let late = &sound[sound.len() / 2..];
        10.0 * (late.iter().map(|sample| sample * sample).sum::<f32>() / late.len() as f32 * 2.0).log10()
    }

    #[test]
    fn the_lower_half_stays_and_the_upper_half_goes() {
        for frequency_hz in [100.0, 1_000.0, 5_000.0, 10_300.0] {
            let change_db = level_db(&Halver::new().push(&tone(frequency_hz)));
            assert!(change_db.abs() < 0.02, "{frequency_hz} Hz: {change_db} dB");
        }
        for frequency_hz in [13_700.0, 16_000.0, 20_000.0] {
            let change_db = level_db(&Halver::new().push(&tone(frequency_hz)));
            assert!(change_db < -60.0, "{frequency_hz} Hz: {change_db} dB");
        }
    }

    #[test]
    fn what_comes_out_is_15_samples_late() {
        let sound = tone(1_000.0);
        let halved = Halver::new().push(&sound);
        for at in 100..4_000 {
            assert!((halved[at] - sound[2 * (at - 15)]).abs() < 0.001, "sample {at}");
        }
    }

    #[test]
    fn the_cut_of_the_stream_does_not_matter() {
        let sound = tone(1_000.0);
        let whole = Halver::new().push(&sound);
        let mut halver = Halver::new();
        assert!(halver.push(&[]).is_empty());
        let cut: Vec<f32> = sound.chunks(120).flat_map(|chunk| halver.push(chunk)).collect();
        assert_eq!(cut, whole);
    }
}
