//! When somebody speaks, by the packets that come: the edges are those of the sound, not of the detector's mind.
#![allow(clippy::single_range_in_vec_init, reason = "one stretch of speech is a list of one")]

use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;
use tandem::audio::activity::{Activity, CaptureClock, Span, State};
use tandem::audio::opus::OpusEncoder;
use tandem::audio::packet::OpusPacket;

use super::{speech, tone};

/// What an encoder adds, 6.5 ms of look-ahead and a tail, and the grain of 8 ms on either side.
const TOLERANCE_MS: u64 = 32;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The part of the made voice that is spoken, over and over: it makes no pause of 300 ms.
const VOICE: Range<usize> = 3_500 * 24..6_000 * 24;

/// When the voice that was put there is really to be heard: it may begin or end with a quiet consonant.
fn audible(spoken: &[Range<u64>]) -> Vec<Range<u64>> {
    let length = spoken.iter().map(|stretch| stretch.end).max().unwrap_or_default();
    let sound = sound(length, spoken, 0.0);
    let is_loud = |at: u64| super::level_db(&sound[at as usize * 24..][..192]) > -50.0;
    let trimmed = |stretch: &Range<u64>| {
        let grains: Vec<u64> = (stretch.start..stretch.end - 7).step_by(4).filter(|at| is_loud(*at)).collect();
        grains[0]..grains[grains.len() - 1] + 8
    };
    spoken.iter().map(trimmed).collect()
}

/// Where in `length_ms` somebody speaks, with noise of this peak all the time.
fn sound(length_ms: u64, spoken: &[Range<u64>], noise: f32) -> Vec<f32> {
    let voice = speech();
    let mut random = 1_u32;
    let mut sound = vec![0.0; length_ms as usize * 24];
    for stretch in spoken {
        let places = &mut sound[stretch.start as usize * 24..stretch.end as usize * 24];
        places.iter_mut().zip(voice[VOICE].iter().cycle()).for_each(|(place, said)| *place = *said);
    }
    for sample in &mut sound {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        *sample += (random as f32 / u32::MAX as f32 - 0.5) * 2.0 * noise;
    }
    sound
}

fn packets(sound: &[f32]) -> Vec<OpusPacket> {
    let mut encoder = OpusEncoder::new().unwrap();
    sound.chunks_exact(480).map(|frame| encoder.encode(frame).unwrap()).collect()
}

fn spans(activity: &mut Activity) -> Vec<(State, Range<u64>)> {
    let mut from = 0;
    let told = std::iter::from_fn(|| activity.next_span()).map(|Span { state, until }| {
        let until = until.as_millis() as u64;
        (state, std::mem::replace(&mut from, until)..until)
    });
    let mut joined: Vec<(State, Range<u64>)> = Vec::new();
    for (state, span) in told {
        match joined.last_mut() {
            Some((last, before)) if *last == state => before.end = span.end,
            _ => joined.push((state, span)),
        }
    }
    joined
}

fn heard(sound: &[f32]) -> Vec<(State, Range<u64>)> {
    let mut activity = Activity::new(Duration::ZERO).unwrap();
    for (at, packet) in packets(sound).iter().enumerate() {
        activity.hear(packet, ms(20 * (at as u64 + 1)));
    }
    spans(&mut activity)
}

fn speaking(spans: &[(State, Range<u64>)]) -> Vec<Range<u64>> {
    spans.iter().filter(|(state, _)| *state == State::Speaking).map(|(_, span)| span.clone()).collect()
}

#[track_caller]
fn assert_spoken(spans: &[(State, Range<u64>)], expected: &[Range<u64>]) {
    let (found, expected) = (speaking(spans), audible(expected));
    let near = |a: u64, b: u64| a.abs_diff(b) <= TOLERANCE_MS;
    let alike = found.iter().zip(&expected).all(|(a, b)| near(a.start, b.start) && near(a.end, b.end));
    assert!(alike && found.len() == expected.len(), "{found:?} instead of {expected:?}");
}

#[test]
fn speech_begins_and_ends_with_its_sound_in_silence_and_in_noise() {
    // Peaks of -45 dB of noise and less, under a voice of -20 dB.
    for noise in [0.0, 0.003, 0.01] {
        let spoken = [3_000..4_500, 5_000..7_000, 8_000..8_300];
        assert_spoken(&heard(&sound(9_500, &spoken, noise)), &spoken);
    }
}

#[test]
fn a_pause_belongs_to_speech_if_it_is_short() {
    let long = [1_000..2_000, 2_340..3_340];
    assert_spoken(&heard(&sound(4_500, &long, 0.0)), &long);
    assert_spoken(&heard(&sound(4_500, &[1_000..2_000, 2_240..3_140], 0.0)), &[1_000..3_140]);
}

#[test]
fn a_syllable_is_speech_and_a_grunt_is_not() {
    assert_spoken(&heard(&sound(3_000, &[1_000..1_080], 0.0)), &[]);
    assert_spoken(&heard(&sound(3_000, &[1_000..1_240], 0.0)), &[1_000..1_240]);
}

#[test]
fn noise_clicks_and_steady_tones_are_no_speech() {
    assert_spoken(&heard(&sound(10_000, &[], 0.03)), &[]);
    assert_spoken(&heard(&sound(10_000, &[], 0.3)), &[]);
    let mut clicks = sound(10_000, &[], 0.0);
    for click in clicks.chunks_exact_mut(12_000) {
        click[..240].fill(0.5);
    }
    assert_spoken(&heard(&clicks), &[]);
    // A tone that begins may be a voice for as long as people hold one.
    let mut hum = sound(1_000, &[], 0.0);
    hum.extend(tone(200.0, 24_000, 20.0));
    let loud: u64 = speaking(&heard(&hum)).iter().map(|span| span.end - span.start).sum();
    assert!(loud <= 2_600, "{loud} ms of a hum");
}

#[test]
fn the_level_of_a_voice_does_not_matter() {
    let spoken = [1_000..2_500];
    for gain in [0.1, 0.3, 1.0, 3.0] {
        let sound: Vec<f32> =
            sound(4_000, &spoken, 0.0).iter().map(|sample| (sample * gain).clamp(-1.0, 1.0)).collect();
        let found = speaking(&heard(&sound));
        assert_eq!(found.len(), 1, "{gain}: {found:?}");
        assert!(found[0].start.abs_diff(1_000) <= 80 && found[0].end.abs_diff(2_500) <= 80, "{gain}: {found:?}");
    }
}

/// The spans of packets of which those in `missing` (in ms of stream) do not come.
fn with_missing(sound: &[f32], missing: Range<u64>) -> Vec<(State, Range<u64>)> {
    let mut activity = Activity::new(Duration::ZERO).unwrap();
    for (at, packet) in packets(sound).iter().enumerate() {
        let end = 20 * (at as u64 + 1);
        if !missing.contains(&(end - 1)) {
            activity.hear(packet, ms(end));
        }
        activity.pass(ms(end));
    }
    spans(&mut activity)
}

#[test]
fn what_is_missing_briefly_is_as_what_was_before_it() {
    let all = sound(5_000, &[1_000..4_000], 0.0);
    assert_spoken(&with_missing(&all, 2_000..2_280), &[1_000..4_000]);
    assert_spoken(&with_missing(&all, 3_800..4_080), &[1_000..4_080]);
    assert_spoken(&with_missing(&all, 400..680), &[1_000..4_000]);
}

#[test]
fn what_is_missing_longer_is_absent() {
    let spans = with_missing(&sound(5_000, &[1_000..4_000], 0.0), 2_000..2_300);
    assert_spoken(&spans, &[1_000..2_000, 2_300..4_000]);
    assert!(spans.contains(&(State::Absent, 2_000..2_300)), "{spans:?}");
    // Muted for half a minute, and then silent.
    let spans = with_missing(&sound(36_000, &[1_000..2_000], 0.0), 3_000..33_000);
    assert_spoken(&spans, &[1_000..2_000]);
    assert!(spans.contains(&(State::Absent, 3_000..33_000)), "{spans:?}");
}

#[test]
fn packets_without_sound_are_silence() {
    for silence in [OpusPacket::silence_20ms(), OpusPacket::silence_80ms()] {
        let mut activity = Activity::new(Duration::ZERO).unwrap();
        let mut end = Duration::ZERO;
        let voice = packets(&sound(2_000, &[1_000..2_000], 0.0));
        for packet in voice.iter().chain(std::iter::repeat_n(&silence, 100)) {
            end += packet.duration();
            activity.hear(packet, end);
        }
        assert_spoken(&spans(&mut activity), &[1_000..2_000]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..ProptestConfig::default() })]
    /// Packets that are held up by up to 80 ms, and come in bursts, say when they were said.
    #[test]
    fn jitter_does_not_move_words(delays in prop::collection::vec(0..80_u64, 50), offset in 0..500_u64) {
        let spoken = [1_000..2_400, 3_000..4_000];
        let mut activity = Activity::new(Duration::ZERO).unwrap();
        let mut clock = CaptureClock::default();
        let mut arrived = 0;
        for (at, packet) in packets(&sound(5_000, &spoken, 0.0)).iter().enumerate() {
            // In the order in which they were sent, as over TCP; now and then one comes at once, and nothing before it
            // holds it up.
            let until_then = 20 * ((10 - at as u64 % 10) % 10);
            let delay = delays[at % delays.len()].min(until_then);
            arrived = arrived.max(offset + 20 * (at as u64 + 1) + delay);
            activity.hear(packet, clock.place(&[packet.duration()], ms(arrived))[0]);
        }
        let expected: Vec<_> = audible(&spoken).iter().map(|span| span.start + offset..span.end + offset).collect();
        let found = speaking(&spans(&mut activity));
        prop_assert_eq!(found.len(), 2, "{:?}", found);
        for (found, expected) in found.iter().zip(&expected) {
            let off = found.start.abs_diff(expected.start).max(found.end.abs_diff(expected.end));
            prop_assert!(off <= 40, "{:?} instead of {:?}", found, expected);
        }
    }

    #[test]
    fn any_packets_at_any_time_are_heard_without_panic(
        script in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..60), 0..2_000_u64, any::<bool>()), 0..40),
    ) {
        let mut activity = Activity::new(Duration::ZERO).unwrap();
        let (mut now, mut told) = (0, Duration::ZERO);
        for (bytes, wait, hear) in script {
            now += wait;
            if hear && let Ok(packet) = OpusPacket::parse(bytes.into()) {
                activity.hear(&packet, ms(now));
            }
            activity.pass(ms(now));
            while let Some(span) = activity.next_span() {
                prop_assert!(span.until > told && span.until <= ms(now));
                told = span.until;
            }
            prop_assert!(told + ms(700) >= ms(now), "settled at {:?} of {}", told, now);
        }
    }
}
