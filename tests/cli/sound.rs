//! Something like speech, and where it is heard again.

use super::*;

/// Two seconds of something like speech: a tone that rises and stutters, so that only one shift of it fits.
pub fn speech() -> Vec<f32> {
    let sample = |at: u32| {
        let t = at as f32 / 24_000.0;
        let open = if (t * 5.0).fract() < 0.7 { 1.0 } else { 0.1 };
        0.4 * open * (TAU * (150.0 * t + 120.0 * t * t)).sin()
    };
    (0..48_000).map(sample).collect()
}

/// Every sixth sample is looked at, after averaging: 4 kHz holds what matters here.
pub const COARSE: usize = 6;

/// Where in `heard` the sound begins that is most like `said`, in samples, and how alike the two are there.
pub fn find(said: &[f32], heard: &[f32]) -> (usize, f32) {
    let coarse = |sound: &[f32]| -> Vec<f32> { sound.chunks(COARSE).map(|c| c.iter().sum::<f32>()).collect() };
    let (said, heard) = (coarse(said), coarse(heard));
    let energy = |sound: &[f32]| sound.iter().map(|sample| sample * sample).sum::<f32>().sqrt().max(1e-6);
    let whole = energy(&said);
    let likeness = |shift: usize| {
        let window = &heard[shift..shift + said.len()];
        let product: f32 = said.iter().zip(window).map(|(a, b)| a * b).sum();
        product / (whole * energy(window))
    };
    let shifts = 0..heard.len().saturating_sub(said.len());
    let best = shifts.map(|shift| (shift, likeness(shift))).max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or((0, 0.0), |(shift, likeness)| (shift * COARSE, likeness))
}
