//! From packets to the question of every 16 ms: is this a voice, and how loud is it?

use std::fmt;
use std::time::Duration;

use crate::audio::opus::{CODEC_RATE_HZ, CodecError, OpusDecoder};
use crate::audio::packet::OpusPacket;
use crate::audio::resampler::{RateError, Resampler};

/// The rate at which the detector listens.
const RATE_HZ: u32 = 16_000;
/// The samples of one frame: the detector takes no other number.
const FRAME_SAMPLES: usize = 256;
/// The samples of one grain, the finest time at which speech begins or ends.
const GRAIN_SAMPLES: usize = FRAME_SAMPLES / GRAINS;
/// The grains of a frame.
pub const GRAINS: usize = 2;
/// How long one grain is: 8 ms.
pub const GRAIN: Duration = Duration::from_millis(8);

/// Sound below this level is silence, whatever it is like, in dB of full scale.
///
/// Measured on made speech: the last sound of a word fades to -50 dB and a pause has -85 dB and less.
const QUIET_DB: f32 = -50.0;
/// How far a sound must stand out of what is always there, in dB.
const STAND_OUT_DB: f32 = 6.0;
/// Frames in which the quietest one is looked for, four times in a row: 4 x 0.5 s. Speech pauses more often than that,
/// if only for a consonant; fans, traffic, hum and tones do not.
const BLOCK_FRAMES: u32 = 31;
const BLOCKS: usize = 4;

/// 16 ms of sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// How much it is like a voice, 0 to 1. The detector takes some 50 ms to rise and 100 ms to fall.
    pub likeness: f32,
    /// Which halves are loud enough to be speech.
    pub loud: [bool; GRAINS],
}

/// Why no detector could be made.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// The decoder.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The resampler.
    #[error(transparent)]
    Rate(#[from] RateError),
}

/// Hears one side: a decoder, a resampler and the detector of the crate `earshot`.
pub struct VoiceDetector {
    decoder: OpusDecoder,
    resampler: Resampler,
    detector: Box<earshot::Detector>,
    pending: Vec<f32>,
    floor: Floor,
}

impl VoiceDetector {
    /// How much later a sound stands in what comes out than in the packets: 5 ms in the resampler, 0.6 ms in the decoder.
    pub const DELAY: Duration = Duration::from_micros(5_600);

    /// A detector that has heard nothing.
    pub fn new() -> Result<VoiceDetector, VoiceError> {
        Ok(VoiceDetector {
            decoder: OpusDecoder::new()?,
            resampler: Resampler::new(CODEC_RATE_HZ, RATE_HZ)?,
            detector: earshot::Detector::default_boxed(),
            pending: Vec::new(),
            floor: Floor::default(),
        })
    }

    /// Takes one packet and gives the frames that it completes, the oldest first.
    pub fn hear(&mut self, packet: &OpusPacket) -> Result<Vec<Frame>, CodecError> {
        let sound = self.decoder.decode(packet)?;
        self.pending.extend(self.resampler.push(&sound));
        let whole = self.pending.len() / FRAME_SAMPLES * FRAME_SAMPLES;
        let sound: Vec<f32> = self.pending.drain(..whole).collect();
        Ok(sound.chunks_exact(FRAME_SAMPLES).map(|frame| self.judge(frame)).collect())
    }

    /// How much sound waits to become a frame.
    pub fn waiting(&self) -> Duration {
        Duration::from_nanos(self.pending.len() as u64 * 1_000_000_000 / u64::from(RATE_HZ))
    }

    /// Forgets what waits: what comes next does not follow it.
    pub fn cut(&mut self) {
        self.pending.clear();
    }

    fn judge(&mut self, frame: &[f32]) -> Frame {
        // The detector's own floats must not exceed full scale, and a resampler overshoots.
        let samples: Vec<i16> = frame.iter().map(|sample| (sample.clamp(-1.0, 1.0) * 32_767.0) as i16).collect();
        let likeness = self.detector.predict_i16(&samples);
        self.floor.push(level_db(frame));
        let threshold_db = self.floor.level_db().map_or(QUIET_DB, |floor_db| QUIET_DB.max(floor_db + STAND_OUT_DB));
        let mut loud = [false; GRAINS];
        for (loud, grain) in loud.iter_mut().zip(frame.chunks_exact(GRAIN_SAMPLES)) {
            *loud = level_db(grain) >= threshold_db;
        }
        Frame { likeness, loud }
    }
}

impl fmt::Debug for VoiceDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceDetector").field("floor", &self.floor).finish_non_exhaustive()
    }
}

/// The level of a sound, in dB of full scale.
fn level_db(sound: &[f32]) -> f32 {
    let power = sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len().max(1) as f32;
    10.0 * power.max(1e-12).log10()
}

/// The level of what is always there: the quietest frame of the last two seconds.
#[derive(Debug, Default)]
struct Floor {
    /// The quietest frame of each block that is over, the newest last.
    blocks: [Option<f32>; BLOCKS],
    current: Option<f32>,
    frames: u32,
}

impl Floor {
    fn push(&mut self, level_db: f32) {
        self.current = Some(self.current.map_or(level_db, |least| least.min(level_db)));
        self.frames += 1;
        if self.frames == BLOCK_FRAMES {
            self.blocks.rotate_left(1);
            if let Some(last) = self.blocks.last_mut() {
                *last = self.current.take();
            }
            self.frames = 0;
        }
    }

    /// Nothing is known before all blocks were heard.
    fn level_db(&self) -> Option<f32> {
        let blocks: Option<Vec<f32>> = self.blocks.iter().copied().collect();
        blocks.map(|blocks| blocks.into_iter().chain(self.current).fold(f32::INFINITY, f32::min))
    }
}
