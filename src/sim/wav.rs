//! WAV files as a caller's voice: any of them in, 24 kHz 16-bit mono out.

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::RangeInclusive;
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use super::caller::SAMPLE_RATE_HZ;

/// The longest file that is read, in seconds.
const MAX_SECONDS: u64 = 3600;

/// The sample rates that files have, in Hz: telephones to studios.
const RATES_HZ: RangeInclusive<u32> = 4_000..=384_000;

/// Why a WAV file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The file cannot be opened.
    #[error("{path} cannot be opened: {source}")]
    Open {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a WAV file with PCM samples of 8 to 32 bits (integer or float)")]
    NotWav {
        /// The file.
        path: String,
    },
    /// The file ends in the middle.
    #[error("{path} is damaged: its samples cannot be read to the end")]
    Damaged {
        /// The file.
        path: String,
    },
    /// There is no sound in it.
    #[error("{path} has no samples: record something first")]
    Empty {
        /// The file.
        path: String,
    },
    /// It is longer than a call should be.
    #[error("{path} is longer than an hour; cut it into calls of at most 3600 s")]
    TooLong {
        /// The file.
        path: String,
    },
    /// Its sample rate cannot be converted.
    #[error("{path} has {rate_hz} samples a second, which cannot be converted; 4000 to 384000 can")]
    Rate {
        /// The file.
        path: String,
        /// Its sample rate.
        rate_hz: u32,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written: {reason}")]
    Write {
        /// The file.
        path: String,
        /// What went wrong.
        reason: String,
    },
}

/// Reads a file as 24 kHz mono samples of -1 to 1; channels are averaged.
pub fn read(path: &Path) -> Result<Vec<f32>, WavError> {
    let name = || path.display().to_string();
    let file = File::open(path).map_err(|source| WavError::Open { path: name(), source })?;
    let reader = WavReader::new(BufReader::new(file)).map_err(|_| WavError::NotWav { path: name() })?;
    let spec = reader.spec();
    if spec.channels == 0 || spec.sample_rate == 0 {
        return Err(WavError::NotWav { path: name() });
    }
    match u64::from(reader.duration()) {
        0 => return Err(WavError::Empty { path: name() }),
        frames if frames > MAX_SECONDS * u64::from(spec.sample_rate) => return Err(WavError::TooLong { path: name() }),
        _ => {}
    }
    let mono = mixed_down(reader, spec).map_err(|_| WavError::Damaged { path: name() })?;
    if spec.sample_rate == SAMPLE_RATE_HZ {
        return Ok(mono);
    }
    let rate_hz = spec.sample_rate;
    resampled(&mono, rate_hz).ok_or_else(|| WavError::Rate { path: name(), rate_hz })
}

/// Writes 24 kHz mono samples with 16 bits each.
pub fn write(path: &Path, samples: &[f32]) -> Result<(), WavError> {
    let failed = |error: hound::Error| WavError::Write { path: path.display().to_string(), reason: error.to_string() };
    let spec =
        WavSpec { channels: 1, sample_rate: SAMPLE_RATE_HZ, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(path, spec).map_err(failed)?;
    for sample in samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)
}

/// The same sound at 24 kHz. The codecs' resampler knows the rates of calls only; files have any.
fn resampled(mono: &[f32], rate_hz: u32) -> Option<Vec<f32>> {
    if !RATES_HZ.contains(&rate_hz) {
        return None;
    }
    let mut fft = Fft::new(rate_hz as usize, SAMPLE_RATE_HZ as usize, 1024, 1, FixedSync::Both).ok()?;
    let input = InterleavedSlice::new(mono, 1, mono.len()).ok()?;
    fft.process_all(&input, mono.len(), None).ok().map(|output| output.take_data())
}

fn mixed_down<R: io::Read>(reader: WavReader<R>, spec: WavSpec) -> Result<Vec<f32>, hound::Error> {
    let channels = usize::from(spec.channels);
    let mut mono = Vec::with_capacity(reader.duration() as usize);
    let mut sum = 0.0_f32;
    let mut add = |index: usize, sample: f32| {
        // Damaged files can hold floats that are no numbers.
        sum += if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        if index % channels == channels - 1 {
            mono.push(sum / channels as f32);
            sum = 0.0;
        }
    };
    match spec.sample_format {
        SampleFormat::Float => {
            for (index, sample) in reader.into_samples::<f32>().enumerate() {
                add(index, sample?);
            }
        }
        SampleFormat::Int => {
            let full_scale = 2.0_f32.powi(i32::from(spec.bits_per_sample) - 1);
            for (index, sample) in reader.into_samples::<i32>().enumerate() {
                add(index, sample? as f32 / full_scale);
            }
        }
    }
    Ok(mono)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;
    use std::fs;

    use super::*;

    /// A file of its own, which is removed again.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            Scratch(std::env::temp_dir().join(format!("tandem-{}.wav", uuid::Uuid::new_v4())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn tone(rate_hz: u32) -> impl Iterator<Item = f32> {
        (0..rate_hz).map(move |at| 0.5 * (TAU * 440.0 * at as f32 / rate_hz as f32).sin())
    }

    #[test]
    fn a_second_of_any_kind_of_wav_becomes_a_second_of_24_khz_mono() {
        for (rate_hz, channels, bits, format) in [
            (24_000, 1, 16, SampleFormat::Int),
            (8_000, 1, 8, SampleFormat::Int),
            (44_100, 2, 24, SampleFormat::Int),
            (22_050, 1, 32, SampleFormat::Int),
            (11_025, 6, 32, SampleFormat::Float),
            (96_000, 2, 16, SampleFormat::Int),
        ] {
            let file = Scratch::new();
            let spec = WavSpec { channels, sample_rate: rate_hz, bits_per_sample: bits, sample_format: format };
            let mut writer = WavWriter::create(&file.0, spec).unwrap();
            for sample in tone(rate_hz) {
                for _ in 0..channels {
                    match format {
                        SampleFormat::Float => writer.write_sample(sample).unwrap(),
                        SampleFormat::Int => {
                            let full_scale = 2_f32.powi(i32::from(bits) - 1) - 1.0;
                            writer.write_sample((sample * full_scale) as i32).unwrap();
                        }
                    }
                }
            }
            writer.finalize().unwrap();
            let samples = read(&file.0).unwrap();
            assert!(samples.len().abs_diff(SAMPLE_RATE_HZ as usize) <= 1, "{spec:?}");
            let error = samples.iter().zip(tone(SAMPLE_RATE_HZ)).skip(500).take(23_000);
            let worst = error.map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
            // The tone rises by 0.058 a sample at its steepest: it is in its place to a sample and a half.
            assert!(worst < 0.09, "{spec:?}: off by {worst}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = Scratch::new();
        let samples: Vec<f32> = tone(SAMPLE_RATE_HZ).collect();
        write(&file.0, &samples).unwrap();
        let again = read(&file.0).unwrap();
        assert!(samples.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-4) && again.len() == samples.len());
    }

    #[test]
    fn files_that_are_no_calls_are_refused_with_what_to_do() {
        let file = Scratch::new();
        assert!(matches!(read(&file.0).unwrap_err(), WavError::Open { .. }));
        for (bytes, words) in
            [(&b""[..], "is not a WAV file"), (b"ID3 not a wave", "is not a WAV file"), (b"RIFF", "is not")]
        {
            fs::write(&file.0, bytes).unwrap();
            let error = read(&file.0).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        write(&file.0, &[]).unwrap();
        assert!(matches!(read(&file.0).unwrap_err(), WavError::Empty { .. }));
        write(&file.0, &[0.0; 1000]).unwrap();
        let mut bytes = fs::read(&file.0).unwrap();
        bytes.truncate(500);
        fs::write(&file.0, &bytes).unwrap();
        assert!(matches!(read(&file.0).unwrap_err(), WavError::Damaged { .. }));
        // A header that promises more than an hour is believed before a sample is read.
        bytes[40..44].copy_from_slice(&(24_000_u32 * 2 * 3601).to_le_bytes());
        fs::write(&file.0, &bytes).unwrap();
        assert!(matches!(read(&file.0).unwrap_err(), WavError::TooLong { .. }));
    }
}
