//! What stands in for the model: 80 ms of answer for 80 ms of sound, in lock-step (pure).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::converse::{Converse, Mark, Said};
use super::input::AudioFault;
use super::recital::Recital;
use super::settings::Answer;
use crate::audio::opus::{CodecError, OpusDecoder, OpusEncoder};
use crate::audio::packet::OpusPacket;

/// Samples of a frame at the model's 24 kHz: 80 ms.
const FRAME_SAMPLES: usize = 1920;
const FRAME_MS: u128 = 80;

/// What the real decoder makes of an empty packet: its whole buffer of 10 s.
const EMPTY_PACKET_SAMPLES: usize = 240_000;

/// A frame louder than this is speech: -40 dB of full scale, as a mean square.
const SPEECH_POWER: f32 = 1e-4;

/// What the simulated voice says over and over, piece by piece, as the real tokenizer would cut it: leading spaces
/// belong to a piece, and a letter that is no token comes byte by byte.
pub const SENTENCE: [&str; 18] = [
    " I", " hear", " you", ",", " and", " this", " is", " your", " own", " voice", " back", " from", " the", " caf",
    "<0xC3>", "<0xA9>", " next", " door.",
];

/// 80 ms of digital silence in four CELT frames, padded to the 275 bytes that the real server's pages usually have.
fn silent_packet() -> Vec<u8> {
    let mut packet = vec![0xfb, 0x44, 255, 9];
    packet.extend([0xff, 0xfe].repeat(4));
    packet.resize(275, 0);
    packet
}

/// What the model makes of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The words of the frame, if it has any.
    pub text: Option<Cow<'static, str>>,
    /// 80 ms of sound as one Opus packet.
    pub packet: Vec<u8>,
    /// What happened in it.
    pub marks: Vec<Mark>,
}

/// What came of hearing a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Sound.
    Sound,
    /// An empty packet, over which the decoder works for 10 s.
    Empty,
}

/// One session's decoder, delay and encoder.
pub struct Model {
    voice: Voice,
}

enum Voice {
    Echo(Box<Echo>),
    Converse(Box<Listener>),
    Silent { waiting_samples: usize, packet: Vec<u8>, recital: Option<Recital> },
}

struct Echo {
    decoder: OpusDecoder,
    encoder: OpusEncoder,
    waiting: VecDeque<f32>,
    /// Frames that were heard and not yet said; as many as the delay has.
    delayed: VecDeque<Vec<f32>>,
    piece: usize,
}

/// What converses, and what it has heard and not taken up yet.
struct Listener {
    decoder: OpusDecoder,
    waiting: VecDeque<f32>,
    converse: Converse,
}

impl Model {
    /// A model that has read this text prompt and takes `step` for a frame.
    pub fn new(answer: &Answer, step: Duration, prompt: &str) -> Result<Self, CodecError> {
        let voice = match answer {
            Answer::Converse(manners) => Voice::Converse(Box::new(Listener {
                decoder: OpusDecoder::new()?,
                waiting: VecDeque::new(),
                converse: Converse::new(*manners, step)?,
            })),
            Answer::Silence => Voice::Silent { waiting_samples: 0, packet: silent_packet(), recital: None },
            Answer::Recite => {
                Voice::Silent { waiting_samples: 0, packet: silent_packet(), recital: Some(Recital::new(prompt)) }
            }
            Answer::Echo { delay } => {
                let frames = usize::try_from(delay.as_millis().div_ceil(FRAME_MS)).unwrap_or(usize::MAX);
                // An hour of delay is more than any call needs and bounds the memory.
                let delayed = vec![vec![0.0; FRAME_SAMPLES]; frames.min(45_000)].into();
                let (decoder, encoder) = (OpusDecoder::new()?, OpusEncoder::new()?);
                Voice::Echo(Box::new(Echo { decoder, encoder, waiting: VecDeque::new(), delayed, piece: 0 }))
            }
        };
        Ok(Self { voice })
    }

    /// Takes one packet in.
    pub fn hear(&mut self, packet: Bytes) -> Result<Heard, AudioFault> {
        if packet.is_empty() {
            match &mut self.voice {
                Voice::Echo(echo) => echo.waiting.extend(std::iter::repeat_n(0.0, EMPTY_PACKET_SAMPLES)),
                Voice::Converse(listener) => listener.waiting.extend(std::iter::repeat_n(0.0, EMPTY_PACKET_SAMPLES)),
                Voice::Silent { waiting_samples, .. } => *waiting_samples += EMPTY_PACKET_SAMPLES,
            }
            return Ok(Heard::Empty);
        }
        let packet = OpusPacket::parse(packet).map_err(|_| AudioFault::BadPacket)?;
        match &mut self.voice {
            Voice::Echo(echo) => {
                let samples = echo.decoder.decode(&packet).map_err(|_| AudioFault::BadPacket)?;
                echo.waiting.extend(samples);
            }
            Voice::Converse(listener) => {
                let samples = listener.decoder.decode(&packet).map_err(|_| AudioFault::BadPacket)?;
                listener.waiting.extend(samples);
            }
            Voice::Silent { waiting_samples, .. } => *waiting_samples += packet.samples() as usize / 2,
        }
        Ok(Heard::Sound)
    }

    /// Whether there is sound enough for a step.
    pub fn has_frame(&self) -> bool {
        let samples = match &self.voice {
            Voice::Echo(echo) => echo.waiting.len(),
            Voice::Converse(listener) => listener.waiting.len(),
            Voice::Silent { waiting_samples, .. } => *waiting_samples,
        };
        samples >= FRAME_SAMPLES
    }

    /// Hears one frame and answers with one; call it only if there [is one](Self::has_frame).
    pub fn step(&mut self) -> Result<Frame, AudioFault> {
        match &mut self.voice {
            Voice::Echo(echo) => echo.step(),
            Voice::Converse(listener) => listener.step(),
            Voice::Silent { waiting_samples, packet, recital } => {
                *waiting_samples = waiting_samples.saturating_sub(FRAME_SAMPLES);
                let text = recital.as_mut().map(|recital| recital.next().into());
                Ok(Frame { text, packet: packet.clone(), marks: Vec::new() })
            }
        }
    }
}

impl Echo {
    fn step(&mut self) -> Result<Frame, AudioFault> {
        let heard = self.waiting.drain(..FRAME_SAMPLES.min(self.waiting.len())).collect();
        self.delayed.push_back(heard);
        let said = self.delayed.pop_front().unwrap_or_default();
        let power = said.iter().map(|sample| sample * sample).sum::<f32>() / FRAME_SAMPLES as f32;
        let text = (power > SPEECH_POWER).then(|| {
            let piece = SENTENCE[self.piece % SENTENCE.len()];
            self.piece += 1;
            piece.into()
        });
        let packet = self.encoder.encode(&said).map_err(|_| AudioFault::BadPacket)?;
        Ok(Frame { text, packet: packet.bytes().to_vec(), marks: Vec::new() })
    }
}

impl Listener {
    fn step(&mut self) -> Result<Frame, AudioFault> {
        let heard: Vec<f32> = self.waiting.drain(..FRAME_SAMPLES.min(self.waiting.len())).collect();
        let Said { text, packet, marks } = self.converse.step(&heard).map_err(|_| AudioFault::BadPacket)?;
        Ok(Frame { text: text.map(Cow::Borrowed), packet, marks })
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    fn echo(delay_ms: u64) -> Model {
        Model::new(&Answer::Echo { delay: Duration::from_millis(delay_ms) }, Duration::ZERO, "").unwrap()
    }

    fn tone(frames: usize) -> Vec<Bytes> {
        let mut encoder = OpusEncoder::new().unwrap();
        let samples: Vec<f32> =
            (0..frames * FRAME_SAMPLES).map(|n| 0.3 * (TAU * 440.0 * n as f32 / 24_000.0).sin()).collect();
        samples.chunks(FRAME_SAMPLES).map(|frame| encoder.encode(frame).unwrap().bytes().clone()).collect()
    }

    fn say(model: &mut Model, packets: impl IntoIterator<Item = Bytes>) -> Vec<Frame> {
        let mut frames = Vec::new();
        for packet in packets {
            model.hear(packet).unwrap();
            while model.has_frame() {
                frames.push(model.step().unwrap());
            }
        }
        frames
    }

    #[test]
    fn a_voice_comes_back_after_the_delay_with_words_beside_it() {
        let silence = OpusPacket::silence_80ms().bytes().clone();
        let frames = say(&mut echo(240), tone(10).into_iter().chain(vec![silence; 8]));
        let words: Vec<_> = frames.iter().map(|frame| frame.text.as_deref()).collect();
        assert_eq!(words[..3], [None; 3]);
        assert_eq!(words[3..13], SENTENCE.map(Some)[..10]);
        assert_eq!(words[16..], [None; 2]);
        for frame in frames {
            let packet = OpusPacket::parse(frame.packet.into()).unwrap();
            assert_eq!(packet.samples(), 3840);
        }
    }

    #[test]
    fn every_duration_is_cut_again_into_frames() {
        for (packet, packets, frames) in [(vec![0xf8], 10, 2), (vec![0xfb, 0x04], 5, 5), (vec![0xfb, 0x06], 2, 3)] {
            for answer in [Answer::Silence, Answer::Echo { delay: Duration::ZERO }] {
                let mut model = Model::new(&answer, Duration::ZERO, "").unwrap();
                assert_eq!(say(&mut model, vec![Bytes::from(packet.clone()); packets]).len(), frames);
            }
        }
    }

    #[test]
    fn a_reciter_says_whose_prompt_it_has_and_counts() {
        let prompt = "<system> You are Ada. You like tea. <system>";
        let mut model = Model::new(&Answer::Recite, Duration::ZERO, prompt).unwrap();
        let silence = OpusPacket::silence_80ms().bytes().clone();
        let words: String = say(&mut model, vec![silence; 14]).into_iter().filter_map(|frame| frame.text).collect();
        assert_eq!(words, " This is line 1 of You are Ada. This is line 2 of You");
    }

    #[test]
    fn an_empty_packet_is_ten_seconds() {
        let mut model = Model::new(&Answer::Silence, Duration::ZERO, "").unwrap();
        assert_eq!(model.hear(Bytes::new()), Ok(Heard::Empty));
        assert_eq!(say(&mut model, []).len(), 0);
        assert_eq!(say(&mut model, [Bytes::from_static(&[0xf8])]).len(), 125);
    }

    #[test]
    fn a_packet_that_is_none_is_refused() {
        for answer in [Answer::Silence, Answer::Echo { delay: Duration::ZERO }] {
            let mut model = Model::new(&answer, Duration::ZERO, "").unwrap();
            assert_eq!(model.hear(Bytes::from_static(&[0x6b])), Err(AudioFault::BadPacket));
        }
    }

    #[test]
    fn the_silent_packet_is_80_ms_in_four_frames() {
        let packet = OpusPacket::parse(silent_packet().into()).unwrap();
        assert_eq!((packet.samples(), packet.bytes()[0] & 3, packet.bytes()[1] & 0x3f), (3840, 3, 4));
        let mut decoder = OpusDecoder::new().unwrap();
        assert!(decoder.decode(&packet).unwrap().iter().all(|sample| sample.abs() < 1e-4));
    }
}
