//! How much one recording is another one, delayed.

use std::time::Duration;

const RATE_HZ: usize = 24_000;
/// Every sixth sample is looked at, after averaging: 4 kHz holds the strongest part of speech.
const COARSE: usize = 6;

/// The delay at which `heard` is most like `said`, and how like it is (1: the same sound).
pub fn delay_of(said: &[f32], heard: &[f32], longest: Duration) -> (Duration, f32) {
    let (said, heard) = (coarse(said), coarse(heard));
    let lags = longest.as_millis() as usize * RATE_HZ / COARSE / 1000;
    let (lag, likeness) = (0..lags.min(heard.len()))
        .map(|lag| (lag, likeness(&said, &heard[lag..])))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    (Duration::from_micros((lag * COARSE) as u64 * 1_000_000 / RATE_HZ as u64), likeness)
}

/// Half a second that was said and heard in one piece.
pub struct Echo {
    /// How like it is (1: the same sound).
    pub likeness: f32,
    /// How much of its power came back.
    pub power: f32,
}

/// The half second of what was said that came back best, wherever it is: on a busy machine a caller may be late, and
/// then some of it is missing, and what follows has another delay.
pub fn best_echo(said: &[f32], heard: &[f32]) -> Echo {
    const WINDOW: usize = RATE_HZ / 2 / COARSE;
    let (said, heard) = (coarse(said), coarse(heard));
    let power = |sound: &[f32]| sound.iter().map(|sample| sample * sample).sum::<f32>();
    let loud = power(&said) * WINDOW as f32 / said.len() as f32 / 2.0;
    let pieces = said.windows(WINDOW).step_by(WINDOW / 2).filter(|piece| power(piece) >= loud);
    let echoes = pieces.flat_map(|piece| heard.windows(WINDOW).map(move |echo| (piece, echo)));
    let best = echoes.map(|(piece, echo)| (likeness(piece, echo), piece, echo)).max_by(|a, b| a.0.total_cmp(&b.0));
    let (likeness, piece, echo) = best.unwrap();
    Echo { likeness, power: power(echo) / power(piece) }
}

fn coarse(samples: &[f32]) -> Vec<f32> {
    samples.chunks(COARSE).map(|chunk| chunk.iter().sum::<f32>() / chunk.len() as f32).collect()
}

/// The normalised correlation over the first four seconds that both have.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len()).min(4 * RATE_HZ / COARSE);
    let (mut product, mut energy_a, mut energy_b) = (0.0_f32, f32::EPSILON, f32::EPSILON);
    for (x, y) in a[..length].iter().zip(&b[..length]) {
        product += x * y;
        energy_a += x * x;
        energy_b += y * y;
    }
    product / (energy_a * energy_b).sqrt()
}

#[test]
fn a_delayed_sound_is_found_and_another_one_is_not() {
    let said: Vec<f32> = (0..RATE_HZ).map(|n| ((n * n / 977) as f32 * 0.37).sin()).collect();
    let mut heard = vec![0.0; RATE_HZ / 10];
    heard.extend_from_slice(&said);
    let (delay, like) = delay_of(&said, &heard, Duration::from_millis(200));
    assert!(delay.abs_diff(Duration::from_millis(100)) < Duration::from_millis(2) && like > 0.95, "{delay:?} {like}");
    let other: Vec<f32> = (0..RATE_HZ).map(|n| ((n * n / 511) as f32 * 0.71).sin()).collect();
    assert!(delay_of(&said, &other, Duration::from_millis(200)).1 < 0.5);
}

/// Whether this is the simulated server's one sentence, over and over, without a gap.
pub fn is_whole(words: &str) -> bool {
    let words = words.as_bytes();
    (40..100).any(|period| words.len() > period + 10 && words[period..] == words[..words.len() - period])
}
