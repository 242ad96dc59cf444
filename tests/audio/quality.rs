//! How good the PCM path is, by a measure that fits a codec: the levels in critical bands, not the wave.

use super::*;

/// Speech of four seconds after a caller's leg and after an app's leg, at the place and rate of the original.
fn heard_at(rate_hz: u32, said: &[f32]) -> Vec<f32> {
    let sound = resample(said, CODEC_RATE_HZ, rate_hz);
    let out = through_the_codec(&sound, rate_hz);
    let back = resample(&out, rate_hz, CODEC_RATE_HZ);
    // Twice the resamplers of this test, twice those of the path, the encoder and the decoder.
    let resampling = Resampler::new(rate_hz, CODEC_RATE_HZ).unwrap().delay().as_secs_f32();
    let expected = ((4.0 * resampling + 0.0068) * CODEC_RATE_HZ as f32) as usize;
    let (delay, alike) = align(said, &back, expected - 12..expected + 12);
    assert!(alike > 0.9, "{rate_hz} Hz: correlation {alike}");
    back[delay..].to_vec()
}

#[test]
fn speech_keeps_its_timbre_at_every_rate() {
    let said = &speech()[..4 * CODEC_RATE_HZ as usize];
    let codec_alone = bark::distance_db(said, &heard_at(CODEC_RATE_HZ, said), 10_000.0);
    assert!((0.5..3.5).contains(&codec_alone), "the codec alone: {codec_alone} dB");
    for rate_hz in PCM_RATES_HZ {
        // What the lower rate holds: its window takes the last tenth of the band.
        let band_hz = (rate_hz as f32 / 2.0 * 0.85).min(10_000.0);
        let distance = bark::distance_db(said, &heard_at(rate_hz, said), band_hz);
        assert!(distance < codec_alone + 0.5, "{rate_hz} Hz: {distance} dB, the codec alone {codec_alone} dB");
    }
}

/// The measure sees what ears hear, and nothing else.
#[test]
fn the_measure_tells_faults_from_harmless_changes() {
    let said = &speech()[..4 * CODEC_RATE_HZ as usize];
    let distance = |heard: &[f32]| bark::distance_db(said, heard, 10_000.0);
    assert_eq!(distance(said), 0.0);
    let upside_down: Vec<f32> = said.iter().map(|sample| -sample).collect();
    assert!(distance(&upside_down) < 0.001, "phases do not count");
    let half: Vec<f32> = said.iter().map(|sample| sample / 2.0).collect();
    assert!((4.0..6.1).contains(&distance(&half)), "6 dB less but for the floor: {}", distance(&half));
    // A resampler that only takes every third sample, and repeats it.
    let folded: Vec<f32> = said.chunks(3).flat_map(|three| vec![three[0]; three.len()]).collect();
    assert!(distance(&folded) > 4.0, "folding: {}", distance(&folded));
    let telephone = resample(&resample(said, CODEC_RATE_HZ, 8_000), 8_000, CODEC_RATE_HZ);
    assert!(distance(&telephone[240..]) > 2.5, "a narrow band: {}", distance(&telephone[240..]));
}
