//! What it costs to hear who speaks: CPU time for one side of a call.
//!
//! `cargo bench --bench turns`. Ten seconds of speech go through at a time, so that "elem/s" are seconds of one side for
//! each second of CPU; a measured call has two sides.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use tandem::audio::activity::{Activity, Span, State};
use tandem::audio::opus::{OpusDecoder, OpusEncoder};
use tandem::audio::packet::OpusPacket;
use tandem::audio::turns::{Speaker, Turns};

const SECONDS: u64 = 10;

/// Ten seconds of speech in packets of this many samples at 24 kHz.
fn speech(samples: usize) -> Vec<OpusPacket> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/speech_made.wav");
    let mut wav = hound::WavReader::open(path).unwrap();
    let sound: Vec<f32> = wav.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
    let mut encoder = OpusEncoder::new().unwrap();
    sound[..SECONDS as usize * 24_000].chunks_exact(samples).map(|frame| encoder.encode(frame).unwrap()).collect()
}

/// The CPU time of this thread: what else runs on the machine does not count.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn measure(bencher: &mut Bencher<'_>, mut work: impl FnMut()) {
    bencher.iter_custom(|rounds| {
        let start = cpu();
        (0..rounds).for_each(|_| work());
        cpu() - start
    });
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one side");
    group.throughput(Throughput::Elements(SECONDS)).sample_size(20);
    for (name, samples) in [("20 ms packets", 480), ("80 ms packets", 1_920)] {
        let packets = speech(samples);
        group.bench_function(format!("decoded only, {name}"), |bencher| {
            let mut decoder = OpusDecoder::new().unwrap();
            measure(bencher, || packets.iter().for_each(|packet| drop(black_box(decoder.decode(packet).unwrap()))));
        });
        group.bench_function(format!("heard, {name}"), |bencher| {
            let mut activity = Activity::new(Duration::ZERO).unwrap();
            let mut end = Duration::ZERO;
            measure(bencher, || {
                for packet in &packets {
                    end += packet.duration();
                    activity.hear(packet, end);
                    while let Some(span) = activity.next_span() {
                        black_box(span);
                    }
                }
            });
        });
    }
    group.bench_function("on the time line, a span each 20 ms", |bencher| {
        let mut turns = Turns::new();
        let mut until = Duration::ZERO;
        measure(bencher, || {
            for at in 0..SECONDS * 50 {
                until += Duration::from_millis(20);
                let state = if at % 100 < 50 { State::Speaking } else { State::Silent };
                turns.note(Speaker::Caller, Span { state, until });
                turns.note(Speaker::Assistant, Span { state, until });
                while let Some(happening) = turns.next_happening() {
                    black_box(happening);
                }
            }
        });
    });
    group.finish();
}

criterion_group!(turns, benches);
criterion_main!(turns);
