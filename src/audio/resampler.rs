//! Sound from one sample rate to another.

use std::fmt;
use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// The rates of the PCM that we take and give, in Hz: those of telephones, speech models, CDs and sound cards, and all
/// between 8 and 96 kHz that a browser's `AudioContext` may run at unasked.
pub const PCM_RATES_HZ: [u32; 11] =
    [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000];

/// Blocks a second where both rates have a whole number of samples in 10 ms, as all have but 11,025 and 22,050 Hz.
const BLOCKS_A_SECOND: u32 = 100;

/// Blocks a second at most where they have not: shorter ones keep less of the band.
const MAX_BLOCKS_A_SECOND: u32 = 150;

/// A rate at which we neither take nor give PCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PCM has {known} samples a second, not {0}", known = known_rates())]
pub struct RateError(pub u32);

fn known_rates() -> String {
    let [rates @ .., last] = PCM_RATES_HZ.map(|rate_hz| rate_hz.to_string());
    format!("{} or {last}", rates.join(", "))
}

/// Turns mono sound at one rate into the same sound at another.
///
/// Works in blocks: what does not fill a block waits for the next push. Between 24 kHz and the other rates a block has
/// 10 ms, but 6.7 ms at 22,050 Hz and 13.3 ms at 11,025 Hz. The sound itself comes out half a block late
/// ([`Resampler::delay`]), so a sample leaves at most a block and a half after it came; equal rates pass at once. What
/// the lower rate cannot hold is taken away before it can fold back.
pub struct Resampler {
    fft: Option<Fft<f32>>,
    delay: Duration,
    pending: Vec<f32>,
}

impl Resampler {
    /// A resampler between two of [`PCM_RATES_HZ`].
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Resampler, RateError> {
        for rate_hz in [from_hz, to_hz] {
            if !PCM_RATES_HZ.contains(&rate_hz) {
                return Err(RateError(rate_hz));
            }
        }
        if from_hz == to_hz {
            return Ok(Resampler { fft: None, delay: Duration::ZERO, pending: Vec::new() });
        }
        let block = from_hz / blocks_a_second(from_hz, to_hz);
        let fft = block_resampler(from_hz, to_hz, block as usize)?;
        Ok(Resampler { fft: Some(fft), delay: Duration::from_secs(1) * (block / 2) / from_hz, pending: Vec::new() })
    }

    /// How much later the sound stands in what comes out: half a block, in whole samples of those taken, and nothing
    /// between equal rates.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Takes any number of samples and gives those that are ready.
    pub fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        let Some(fft) = &mut self.fft else { return samples.to_vec() };
        self.pending.extend_from_slice(samples);
        let (taken, given) = (fft.input_frames_next(), fft.output_frames_next());
        let blocks = self.pending.len() / taken;
        let mut out = vec![0.0; blocks * given];
        for (block, space) in self.pending.chunks_exact(taken).zip(out.chunks_exact_mut(given)) {
            resample_block(fft, block, space);
        }
        self.pending.drain(..blocks * taken);
        out
    }
}

/// Into how many blocks a second is cut, so that a block is a whole number of samples at both rates.
fn blocks_a_second(from_hz: u32, to_hz: u32) -> u32 {
    let whole = |blocks: &u32| from_hz.is_multiple_of(*blocks) && to_hz.is_multiple_of(*blocks);
    if whole(&BLOCKS_A_SECOND) {
        return BLOCKS_A_SECOND;
    }
    (1..=MAX_BLOCKS_A_SECOND).rev().find(whole).unwrap_or(1)
}

fn block_resampler(from_hz: u32, to_hz: u32, block: usize) -> Result<Fft<f32>, RateError> {
    // This window keeps 90 % of the band at 8 kHz and 97 % at 24 kHz, and its stop band is 92 dB down; the squared one
    // would keep 83 % and 94 %.
    let window = WindowFunction::BlackmanHarris;
    Fft::new_custom(from_hz as usize, to_hz as usize, block, 1, 1, window, FixedSync::Both)
        .map_err(|_| RateError(from_hz))
}

/// Resamples one block. Should the library refuse lengths that it named itself, the block stays silent.
fn resample_block(fft: &mut Fft<f32>, block: &[f32], space: &mut [f32]) {
    let (taken, given) = (block.len(), space.len());
    if let (Ok(block), Ok(mut space)) =
        (InterleavedSlice::new(block, 1, taken), InterleavedSlice::new_mut(space, 1, given))
    {
        let result = fft.process_into_buffer(&block, &mut space, None);
        debug_assert!(result.is_ok(), "a block of the length that was asked for is taken");
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resampler").field("waiting_samples", &self.pending.len()).finish_non_exhaustive()
    }
}
