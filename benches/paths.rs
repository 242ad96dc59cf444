//! What the work on a call's audio costs, in CPU time: both directions of a call in each format, and the codecs alone.
//!
//! `cargo bench --bench paths`, or with `--features libopus` to have the C library measured in the same run. Ten
//! seconds of speech go through at a time, so that "elem/s" are seconds of a call for each second of CPU: the calls
//! that one core could carry if there were nothing else to do. docs/benchmarks.md has results.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use tandem::audio::ogg::{OggDemuxer, OggItem, OggMuxer};
use tandem::audio::opus::joiner::join_short;
use tandem::audio::opus::{FRAME_SAMPLES, OpusEncoder};
use tandem::audio::packet::OpusPacket;
use tandem::audio::resampler::Resampler;
use tandem::protocol::moshi::Message;
use tandem::session::leg::dialect::{Decoder, Dialect, Encoder, Incoming};
use tandem::session::leg::format::AudioFormat;
use tandem::session::machine::{ClientInput, ClientOutput};

/// The CPU time of this thread: other work on the machine does not count.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn end(&self, started: Duration) -> Duration {
        self.start() - started
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

const SECONDS: u64 = 10;

/// The samples of a model's step at 24 kHz.
const STEP_SAMPLES: usize = 1_920;

/// Speech at 24 kHz.
fn speech() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/speech_made.wav");
    let speech = tandem::sim::wav::read(&path).unwrap();
    speech[..SECONDS as usize * 24_000].to_vec()
}

/// The speech in packets of so many samples, as a caller (20 ms) or a model server (80 ms) makes them.
fn packets(samples: usize) -> Vec<OpusPacket> {
    let mut encoder = OpusEncoder::new().unwrap();
    speech().chunks_exact(samples).map(|frame| encoder.encode(frame).unwrap()).collect()
}

/// What a caller sends.
fn messages(dialect: Dialect) -> Vec<Bytes> {
    match dialect.format() {
        AudioFormat::Pcm16(pcm) => {
            let mut sound = Resampler::new(24_000, pcm.rate_hz()).unwrap().push(&speech());
            sound.resize(SECONDS as usize * pcm.rate_hz() as usize, 0.0);
            let frames = sound.chunks_exact(pcm.rate_hz() as usize / 50);
            let channels = usize::from(pcm.channels());
            let bytes = |frame: &[f32]| {
                let samples = frame.iter().map(|sample| ((sample * 32_767.0) as i16).to_le_bytes());
                samples.flat_map(|sample| sample.repeat(channels)).collect::<Vec<u8>>().into()
            };
            frames.map(bytes).collect()
        }
        AudioFormat::Opus => packets(FRAME_SAMPLES).iter().map(|packet| packet.bytes().clone()).collect(),
        AudioFormat::OggOpus => {
            let mut muxer = OggMuxer::new(1);
            let pages: Vec<Bytes> = muxer.headers().into();
            let audio = packets(FRAME_SAMPLES);
            let audio = audio.chunks(4).map(|packets| muxer.page(packets));
            let kind = |page: Bytes| if dialect == Dialect::Moshi { Message::Audio(page).encode() } else { page };
            pages.into_iter().chain(audio).map(kind).collect()
        }
    }
}

/// What a model server sends: one page for each step.
fn answer() -> Vec<Bytes> {
    let mut muxer = OggMuxer::new(2);
    let pages: Vec<Bytes> = muxer.headers().into();
    let audio = packets(STEP_SAMPLES);
    let audio = audio.iter().map(|packet| muxer.page(std::slice::from_ref(packet)));
    pages.into_iter().chain(audio).map(|page| Message::Audio(page).encode()).collect()
}

/// The caller's voice on its way to the model server: read, joined, written in pages.
fn way_up(decoder: &mut Decoder, muxer: &mut OggMuxer, messages: &[Bytes]) -> usize {
    let (mut waiting, mut waiting_samples, mut sent) = (Vec::new(), 0, 0);
    for message in messages {
        for input in decoder.decode(Incoming::Binary(message.clone())) {
            let ClientInput::Audio(packet) = input else { continue };
            waiting_samples += packet.samples();
            waiting.push(packet);
            if waiting_samples >= 3_840 {
                sent += Message::Audio(muxer.page(&join_short(&waiting))).encode().len();
                (waiting, waiting_samples) = (Vec::new(), 0);
            }
        }
    }
    sent
}

/// The answer on its way to the caller.
fn way_down(demuxer: &mut OggDemuxer, encoder: &mut Encoder, answer: &[Bytes]) -> usize {
    let mut said = 0;
    for message in answer {
        let Ok(Message::Audio(page)) = Message::decode(message.clone()) else { continue };
        demuxer.push(&page).unwrap();
        while let Some(item) = demuxer.next_item() {
            let Ok(OggItem::Packet(packet)) = item else { continue };
            said += encoder.encode(ClientOutput::Audio(packet)).len();
        }
    }
    said
}

fn pcm16(rate_hz: u32, channels: u8) -> Dialect {
    Dialect::Native(AudioFormat::pcm16(rate_hz).unwrap().with_channels(channels).unwrap())
}

fn both_ways(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(SECONDS));
    let answer = answer();
    for (name, dialect) in [
        ("opus", Dialect::Native(AudioFormat::Opus)),
        ("ogg-opus", Dialect::Native(AudioFormat::OggOpus)),
        ("moshi", Dialect::Moshi),
        ("pcm16 24 kHz", pcm16(24_000, 1)),
        ("pcm16 16 kHz", pcm16(16_000, 1)),
        ("pcm16 48 kHz", pcm16(48_000, 1)),
        ("pcm16 48 kHz stereo", pcm16(48_000, 2)),
    ] {
        let messages = messages(dialect);
        let fresh = || {
            let (decoder, encoder) = (Decoder::new(dialect).unwrap(), Encoder::new(dialect, 3).unwrap());
            (decoder, OggMuxer::new(4), OggDemuxer::new(), encoder)
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                fresh,
                |(decoder, muxer, demuxer, encoder)| {
                    let sent = way_up(decoder, muxer, &messages);
                    let said = way_down(demuxer, encoder, &answer);
                    assert!(sent > 20_000 && said >= 125, "{name}: {sent} bytes up, {said} messages down");
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Encoding and decoding alone, for each codec that was built in.
macro_rules! codec {
    ($group:ident, $codec:ident) => {
        use tandem::audio::opus::$codec::{OpusDecoder, OpusEncoder};
        let (speech, packets) = (speech(), packets(FRAME_SAMPLES));
        $group.bench_function(concat!(stringify!($codec), " encode"), |bencher| {
            let encode = |encoder: &mut OpusEncoder| -> usize {
                let frames = speech.chunks_exact(FRAME_SAMPLES);
                frames.map(|frame| encoder.encode(frame).unwrap().bytes().len()).sum()
            };
            bencher.iter_batched_ref(|| OpusEncoder::new().unwrap(), encode, BatchSize::LargeInput);
        });
        $group.bench_function(concat!(stringify!($codec), " decode"), |bencher| {
            let decode = |decoder: &mut OpusDecoder| -> usize {
                packets.iter().map(|packet| decoder.decode(packet).unwrap().len()).sum()
            };
            bencher.iter_batched_ref(|| OpusDecoder::new().unwrap(), decode, BatchSize::LargeInput);
        });
    };
}

fn codecs(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(SECONDS));
    in_rust(&mut group);
    #[cfg(feature = "libopus")]
    in_c(&mut group);
    group.finish();
}

fn in_rust(group: &mut BenchmarkGroup<'_, CpuTime>) {
    codec!(group, pure);
}

#[cfg(feature = "libopus")]
fn in_c(group: &mut BenchmarkGroup<'_, CpuTime>) {
    codec!(group, libopus);
}

criterion_group! {
    name = paths;
    config = Criterion::default().with_measurement(CpuTime).sample_size(20);
    targets = both_ways, codecs
}
criterion_main!(paths);
