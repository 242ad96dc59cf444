//! A model that listens and answers: after a pause of the caller, with a made voice and words beside it (pure).
//!
//! It tells speech by its level alone, and notes the truth of what it did, sample by sample, for others' measures to be
//! held against.
//!
//! What is said at a position of the output leaves with its frame: after the whole frame of input came that it answers,
//! and a step. All delays are those that a listener hears, so that much is taken off them.

use std::time::Duration;

use super::settings::Manners;
use crate::audio::opus::{CodecError, OpusEncoder};
use crate::sim::voice::MadeVoice;

/// Samples of a frame at the model's 24 kHz: 80 ms.
const FRAME_SAMPLES: u64 = 1_920;
/// The piece of sound whose level is looked at: 5 ms.
const GRAIN_SAMPLES: usize = 120;
/// A grain louder than this is speech: -40 dB of full scale, as a mean square.
const SPEECH_POWER: f32 = 1e-4;
/// What a caller says before it is answered, or stops the answer.
const ENOUGH_SAMPLES: u64 = 100 * SAMPLES_A_MS;
/// A pause that makes what comes next a new beginning.
const NEW_AFTER_SAMPLES: u64 = 300 * SAMPLES_A_MS;
const SAMPLES_A_MS: u64 = 24;
/// The look-ahead of our encoder: 6.5 ms.
const LOOK_AHEAD_SAMPLES: u64 = 156;

/// What it says, piece by piece, one for 80 ms of voice.
pub const ANSWER: [&str; 12] =
    [" Well", ",", " that", " is", " what", " I", " would", " have", " said", " to", "day", "."];
/// What it says meanwhile.
pub const BACKCHANNEL: &str = " Mhm";

/// What happened in a frame of output. Positions are samples of 24 kHz since the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// An answer begins.
    Answered {
        /// The end of the caller's last sound in the input.
        heard: u64,
        /// The answer's first sample in the output.
        said: u64,
    },
    /// An answer was cut off.
    Stopped {
        /// The caller's first sound in the input.
        heard: u64,
        /// The end of the answer in the output.
        said: u64,
    },
    /// Something short is said while the caller goes on.
    Backchannel,
}

/// What came of one frame of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The words of the frame, if it has any.
    pub text: Option<&'static str>,
    /// 80 ms of sound as one Opus packet.
    pub packet: Vec<u8>,
    /// What happened in it.
    pub marks: Vec<Mark>,
}

/// What is being said.
#[derive(Clone, Copy, Debug)]
struct Saying {
    from: u64,
    until: u64,
    answer: bool,
    pieces: usize,
}

/// One conversation.
pub struct Converse {
    manners: Manners,
    /// From input to what a listener hears of the output at the same position.
    lag: u64,
    encoder: OpusEncoder,
    voice: MadeVoice,
    /// The end of what was heard, and of what was said.
    position: u64,
    /// The beginning and the end of the caller's latest speech.
    began: u64,
    ended: Option<u64>,
    /// How much of it was loud, since it was last answered.
    loud: u64,
    acknowledged: bool,
    saying: Option<Saying>,
}

impl Converse {
    /// A model with these manners that takes `step` for a frame.
    pub fn new(manners: Manners, step: Duration) -> Result<Self, CodecError> {
        Ok(Self {
            manners,
            lag: FRAME_SAMPLES + samples(step) + LOOK_AHEAD_SAMPLES,
            encoder: OpusEncoder::new()?,
            voice: MadeVoice::new(),
            position: 0,
            began: 0,
            ended: None,
            loud: 0,
            acknowledged: false,
            saying: None,
        })
    }

    /// Hears a frame of input and says one.
    pub fn step(&mut self, heard: &[f32]) -> Result<Said, CodecError> {
        let start = self.position;
        self.listen(heard);
        self.position = start + FRAME_SAMPLES;
        let mut marks = Vec::new();
        self.decide(start, &mut marks);
        let sound: Vec<f32> = (start..self.position).map(|at| self.sample(at)).collect();
        let text = self.text(start);
        if self.saying.is_some_and(|saying| saying.until <= self.position) {
            self.saying = None;
        }
        let packet = self.encoder.encode(&sound)?.bytes().to_vec();
        Ok(Said { text, packet, marks })
    }

    fn listen(&mut self, heard: &[f32]) {
        let mut at = self.position;
        for grain in heard.chunks(GRAIN_SAMPLES) {
            let power = grain.iter().map(|sample| sample * sample).sum::<f32>() / grain.len() as f32;
            let end = at + grain.len() as u64;
            if power > SPEECH_POWER {
                if self.ended.is_none_or(|ended| at >= ended + NEW_AFTER_SAMPLES) {
                    (self.began, self.loud, self.acknowledged) = (at, 0, false);
                }
                self.loud += grain.len() as u64;
                self.ended = Some(end);
            }
            at = end;
        }
    }

    /// What follows from what was heard up to the end of this frame.
    fn decide(&mut self, start: u64, marks: &mut Vec<Mark>) {
        let Some(ended) = self.ended.filter(|_| self.loud >= ENOUGH_SAMPLES) else { return };
        match &mut self.saying {
            Some(saying) if saying.answer && self.began > saying.from => {
                let stop = self.began + samples(self.manners.stops_after).saturating_sub(self.lag).max(1);
                if stop < self.position && stop < saying.until {
                    saying.until = stop.max(start);
                    marks.push(Mark::Stopped { heard: self.began, said: saying.until + LOOK_AHEAD_SAMPLES });
                }
            }
            Some(_) => {}
            None => self.speak_up(start, ended, marks),
        }
    }

    fn speak_up(&mut self, start: u64, ended: u64, marks: &mut Vec<Mark>) {
        let answer = ended + samples(self.manners.answers_after).saturating_sub(self.lag);
        // Whoever is still heard at the end of the frame has not ended.
        let silent = self.position > ended + GRAIN_SAMPLES as u64;
        if silent && answer < self.position {
            let from = answer.max(start);
            let until = from + samples(self.manners.speaks_for);
            self.saying = Some(Saying { from, until, answer: true, pieces: 0 });
            (self.loud, self.voice) = (0, MadeVoice::new());
            marks.push(Mark::Answered { heard: ended, said: from + LOOK_AHEAD_SAMPLES });
            return;
        }
        let meanwhile =
            self.manners.backchannel_after.map(|after| self.began + samples(after).saturating_sub(self.lag));
        if let Some(at) = meanwhile.filter(|at| !silent && !self.acknowledged && *at < self.position) {
            let from = at.max(start);
            self.acknowledged = true;
            self.saying = Some(Saying { from, until: from + 320 * SAMPLES_A_MS, answer: false, pieces: 0 });
            self.voice = MadeVoice::new();
            marks.push(Mark::Backchannel);
        }
    }

    fn sample(&mut self, at: u64) -> f32 {
        match self.saying {
            Some(saying) if (saying.from..saying.until).contains(&at) => self.voice.sample(),
            _ => 0.0,
        }
    }

    fn text(&mut self, start: u64) -> Option<&'static str> {
        let saying = self.saying.as_mut().filter(|saying| saying.from < start + FRAME_SAMPLES)?;
        let piece = saying.pieces;
        saying.pieces += 1;
        if saying.answer { Some(ANSWER[piece % ANSWER.len()]) } else { (piece == 0).then_some(BACKCHANNEL) }
    }
}

fn samples(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_mul(SAMPLES_A_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_MS: u64 = 80;

    /// What a model with these manners does with a caller of sound (`#`) and silence, 80 ms a letter.
    fn marks(manners: Manners, caller: &str) -> Vec<Mark> {
        let mut converse = Converse::new(manners, Duration::from_millis(40)).unwrap();
        let loud = vec![0.3; FRAME_SAMPLES as usize];
        let quiet = vec![0.0; FRAME_SAMPLES as usize];
        let frames = caller.chars().map(|letter| if letter == '#' { &loud } else { &quiet });
        frames.flat_map(|frame| converse.step(frame).unwrap().marks).collect()
    }

    /// From the input to what is heard of the output, in milliseconds: it leaves after its frame and a step of 40 ms.
    fn heard_after(heard: u64, said: u64) -> u64 {
        (said - heard) / SAMPLES_A_MS + FRAME_MS + 40
    }

    #[test]
    fn it_answers_to_the_millisecond_whatever_the_delay() {
        for delay_ms in [240, 287, 560, 1_200] {
            let manners = Manners { answers_after: Duration::from_millis(delay_ms), ..Manners::default() };
            let marks = marks(manners, "####....................");
            let [Mark::Answered { heard, said }] = marks[..] else { panic!("{marks:?}") };
            assert_eq!((heard, heard_after(heard, said)), (4 * FRAME_SAMPLES, delay_ms));
        }
    }

    #[test]
    fn it_stops_when_somebody_cuts_in_and_answers_that() {
        let manners = Manners { stops_after: Duration::from_millis(480), ..Manners::default() };
        let marks = marks(manners, "####....................########................");
        let [Mark::Answered { .. }, Mark::Stopped { heard, said }, Mark::Answered { heard: again, .. }] = marks[..]
        else {
            panic!("{marks:?}")
        };
        assert_eq!((heard, heard_after(heard, said)), (24 * FRAME_SAMPLES, 480));
        assert_eq!(again, 32 * FRAME_SAMPLES);
    }

    #[test]
    fn it_says_something_short_once_while_the_caller_goes_on() {
        let manners = Manners { backchannel_after: Some(Duration::from_millis(800)), ..Manners::default() };
        assert_eq!(marks(manners, &"#".repeat(60)), [Mark::Backchannel]);
        assert_eq!(marks(manners, &"#".repeat(6)), []);
    }

    #[test]
    fn it_says_nothing_to_silence_and_to_a_click() {
        assert_eq!(marks(Manners::default(), &".".repeat(100)), []);
        let mut converse = Converse::new(Manners::default(), Duration::ZERO).unwrap();
        let mut click = vec![0.0; FRAME_SAMPLES as usize];
        click[..240].fill(0.5);
        let mut frames = vec![click];
        frames.resize(40, vec![0.0; FRAME_SAMPLES as usize]);
        assert!(frames.iter().all(|frame| converse.step(frame).unwrap().marks.is_empty()));
    }

    #[test]
    fn words_come_with_the_voice() {
        let mut converse = Converse::new(Manners::default(), Duration::ZERO).unwrap();
        let frames = [vec![0.3; FRAME_SAMPLES as usize], vec![0.0; FRAME_SAMPLES as usize]];
        let script = std::iter::repeat_n(&frames[0], 5).chain(std::iter::repeat_n(&frames[1], 60));
        let words: Vec<_> = script.filter_map(|frame| converse.step(frame).unwrap().text).collect();
        assert_eq!(words[..12], ANSWER);
        assert!((38..=39).contains(&words.len()), "as long as the voice, 3 s: {}", words.len());
    }
}
