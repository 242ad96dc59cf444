//! A made voice: what an ear for speech takes for speech, from nothing but arithmetic (pure).

use std::f32::consts::{PI, TAU};

/// Samples a second of the voice.
pub const RATE_HZ: f32 = 24_000.0;

/// A syllable, in samples: 200 ms.
const SYLLABLE: usize = 4_800;
/// The closure at its beginning, as before a consonant: 32 ms. A voice that never pauses is a hum.
const CLOSURE: usize = 768;

/// The formants of five vowels, in Hz (Peterson and Barney 1952, men).
const VOWELS_HZ: [[f32; 3]; 5] = [
    [730.0, 1_090.0, 2_440.0],
    [270.0, 2_290.0, 3_010.0],
    [570.0, 840.0, 2_410.0],
    [530.0, 1_840.0, 2_480.0],
    [300.0, 870.0, 2_240.0],
];

/// The level, as a factor that makes the voice some -20 dB of full scale.
const GAIN: f32 = 2.0;

/// Says syllables without end, in samples from -1 to 1.
#[derive(Clone, Debug, Default)]
pub struct MadeVoice {
    at: usize,
    /// Where in its period the glottis is, 0 to 1.
    phase: f32,
    formants: [Resonator; 3],
    before: f32,
}

impl MadeVoice {
    /// A voice at its first syllable.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many samples of 24 kHz.
    pub fn say(&mut self, samples: usize) -> Vec<f32> {
        (0..samples).map(|_| self.sample()).collect()
    }

    /// The next sample. The first of a syllable is loud: what begins, begins with a sound.
    pub fn sample(&mut self) -> f32 {
        let (syllable, at) = (self.at / SYLLABLE, self.at % SYLLABLE);
        self.at += 1;
        let part = at as f32 / SYLLABLE as f32;
        let vowel = |number: usize| VOWELS_HZ[number * 2 % VOWELS_HZ.len()];
        let (from, to) = (vowel(syllable), vowel(syllable + 1));
        for (formant, (from, to)) in self.formants.iter_mut().zip(from.into_iter().zip(to)) {
            formant.tune(from + (to - from) * part, 60.0);
        }
        let pitch_hz = 125.0 + 20.0 * (TAU * 0.7 * self.at as f32 / RATE_HZ).sin() - 8.0 * part;
        self.phase = (self.phase + pitch_hz / RATE_HZ).fract();
        let voiced = self.formants.iter_mut().fold(glottis(self.phase) - 0.25, |sound, formant| formant.pass(sound));
        // The lips radiate the change of pressure.
        let sound = voiced - 0.95 * std::mem::replace(&mut self.before, voiced);
        if at + CLOSURE >= SYLLABLE { 0.0 } else { (GAIN * sound).clamp(-0.9, 0.9) }
    }
}

/// The flow through the glottis in one period (Rosenberg 1971).
fn glottis(phase: f32) -> f32 {
    const OPENS: f32 = 0.4;
    const CLOSES: f32 = 0.16;
    if phase < OPENS {
        0.5 * (1.0 - (PI * phase / OPENS).cos())
    } else if phase < OPENS + CLOSES {
        (PI / 2.0 * (phase - OPENS) / CLOSES).cos()
    } else {
        0.0
    }
}

/// One formant: two poles.
#[derive(Clone, Copy, Debug, Default)]
struct Resonator {
    near: f32,
    far: f32,
    last: f32,
    second_last: f32,
}

impl Resonator {
    fn tune(&mut self, frequency_hz: f32, bandwidth_hz: f32) {
        let radius = (-PI * bandwidth_hz / RATE_HZ).exp();
        self.near = 2.0 * radius * (TAU * frequency_hz / RATE_HZ).cos();
        self.far = -radius * radius;
    }

    fn pass(&mut self, sound: f32) -> f32 {
        let out = (1.0 - self.near - self.far) * sound + self.near * self.last + self.far * self.second_last;
        self.second_last = std::mem::replace(&mut self.last, out);
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audio::activity::{Activity, State};
    use crate::audio::opus::OpusEncoder;

    #[test]
    fn it_is_taken_for_speech_from_the_first_sample_to_the_last() {
        let mut sound = vec![0.0; 24_000];
        sound.extend(MadeVoice::new().say(72_000));
        sound.extend(vec![0.0; 24_000]);
        let (mut encoder, mut activity) = (OpusEncoder::new().unwrap(), Activity::new(Duration::ZERO).unwrap());
        for (at, frame) in sound.chunks_exact(480).enumerate() {
            activity.hear(&encoder.encode(frame).unwrap(), Duration::from_millis(20 * (at as u64 + 1)));
        }
        let spans: Vec<_> = std::iter::from_fn(|| activity.next_span()).collect();
        let ends: Vec<_> = spans.iter().map(|span| (span.state, span.until.as_millis() as i64)).collect();
        let [(State::Silent, start), (State::Speaking, end), (State::Silent, _)] = ends[..] else { panic!("{ends:?}") };
        assert!((start - 1_000).abs() <= 24 && (end - 3_968).abs() <= 24, "{ends:?}");
    }

    #[test]
    fn its_level_is_that_of_a_telephone() {
        let sound = MadeVoice::new().say(240_000);
        let power = sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32;
        let level_db = 10.0 * power.log10();
        assert!((-23.0..-17.0).contains(&level_db), "{level_db} dB");
        assert!(sound.iter().all(|sample| sample.abs() <= 0.9));
    }
}
