//! The caller's voice: its source cut into frames, encoded for the wire.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

use crate::audio::ogg::OggMuxer;
use crate::audio::opus::OpusEncoder;
use crate::audio::packet::OpusPacket;
use crate::audio::resampler::Resampler;

use super::error::CallerError;
use super::settings::{Audio, SAMPLE_RATE_HZ, Wire};

/// The kind byte of audio on PersonaPlex's wire.
const MOSHI_AUDIO: u8 = 0x01;

/// The duration of one Opus packet or PCM message.
const FRAME: Duration = Duration::from_millis(20);

/// Opus packets on one Ogg page, so that a page has the 80 ms of one model step.
const PACKETS_PER_PAGE: usize = 4;

/// What a caller says, message by message. Silence follows its source without end.
pub(super) struct Mouth {
    samples: Arc<[f32]>,
    rate_hz: u32,
    position: usize,
    form: Form,
}

enum Form {
    Pcm,
    Opus(OpusEncoder),
    Ogg { encoder: OpusEncoder, muxer: OggMuxer, kind: Option<u8> },
}

impl Mouth {
    /// A mouth for a wire; the source has 24 kHz mono samples.
    pub(super) fn new(wire: Wire, source: &Arc<[f32]>) -> Result<Mouth, CallerError> {
        let (form, rate_hz) = match wire {
            Wire::Native(Audio::Pcm16 { rate_hz }) => (Form::Pcm, rate_hz),
            Wire::Native(Audio::Opus) => (Form::Opus(encoder()?), SAMPLE_RATE_HZ),
            Wire::Native(Audio::OggOpus) => (ogg(None)?, SAMPLE_RATE_HZ),
            Wire::Moshi => (ogg(Some(MOSHI_AUDIO))?, SAMPLE_RATE_HZ),
        };
        let samples = match rate_hz {
            SAMPLE_RATE_HZ => Arc::clone(source),
            _ => resampled(source, rate_hz)?,
        };
        Ok(Mouth { samples, rate_hz, position: 0, form })
    }

    /// The duration of the source.
    pub(super) fn source_duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate_hz))
    }

    /// The duration of one message.
    pub(super) fn message_duration(&self) -> Duration {
        match self.form {
            Form::Pcm | Form::Opus(_) => FRAME,
            Form::Ogg { .. } => FRAME * PACKETS_PER_PAGE as u32,
        }
    }

    /// What comes before the first audio of a socket: the header pages of a new stream, each in a message.
    pub(super) fn opening(&mut self) -> Vec<Message> {
        match &mut self.form {
            Form::Pcm | Form::Opus(_) => Vec::new(),
            Form::Ogg { muxer, kind, .. } => {
                *muxer = OggMuxer::new(rand::random());
                muxer.headers().iter().map(|page| message(*kind, page)).collect()
            }
        }
    }

    /// The next stretch of audio.
    pub(super) fn next(&mut self) -> Result<Message, CallerError> {
        let frame_samples = self.rate_hz as usize / 50;
        let mut frames = Frames { samples: &self.samples, position: &mut self.position, frame_samples };
        match &mut self.form {
            Form::Pcm => Ok(Message::Binary(pcm16(&frames.next()))),
            Form::Opus(encoder) => Ok(Message::Binary(encode(encoder, &frames.next())?.bytes().clone())),
            Form::Ogg { encoder, muxer, kind } => {
                let mut packets = Vec::with_capacity(PACKETS_PER_PAGE);
                for _ in 0..PACKETS_PER_PAGE {
                    packets.push(encode(encoder, &frames.next())?);
                }
                Ok(message(*kind, &muxer.page(&packets)))
            }
        }
    }

    /// What comes after the last audio: the end of the Ogg stream.
    pub(super) fn closing(&mut self) -> Option<Message> {
        match &mut self.form {
            Form::Pcm | Form::Opus(_) => None,
            Form::Ogg { muxer, kind, .. } => Some(message(*kind, &muxer.end())),
        }
    }
}

/// The source in frames of 20 ms, the last one filled up with silence.
struct Frames<'a> {
    samples: &'a [f32],
    position: &'a mut usize,
    frame_samples: usize,
}

impl Frames<'_> {
    fn next(&mut self) -> Vec<f32> {
        let start = (*self.position).min(self.samples.len());
        let end = (start + self.frame_samples).min(self.samples.len());
        *self.position = end;
        let mut frame = self.samples[start..end].to_vec();
        frame.resize(self.frame_samples, 0.0);
        frame
    }
}

fn encoder() -> Result<OpusEncoder, CallerError> {
    OpusEncoder::new().map_err(|error| CallerError::Audio { reason: error.to_string() })
}

fn encode(encoder: &mut OpusEncoder, frame: &[f32]) -> Result<OpusPacket, CallerError> {
    encoder.encode(frame).map_err(|error| CallerError::Audio { reason: error.to_string() })
}

/// An Ogg stream with a random serial number, as a browser's recorder makes it.
fn ogg(kind: Option<u8>) -> Result<Form, CallerError> {
    Ok(Form::Ogg { encoder: encoder()?, muxer: OggMuxer::new(rand::random()), kind })
}

fn message(kind: Option<u8>, page: &Bytes) -> Message {
    let Some(kind) = kind else { return Message::Binary(page.clone()) };
    let mut bytes = BytesMut::with_capacity(1 + page.len());
    bytes.put_u8(kind);
    bytes.put_slice(page);
    Message::Binary(bytes.freeze())
}

fn pcm16(frame: &[f32]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(frame.len() * 2);
    for sample in frame {
        bytes.put_i16_le((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16);
    }
    bytes.freeze()
}

/// The whole source at another rate; the resampler's delay is pushed out with silence.
fn resampled(source: &[f32], rate_hz: u32) -> Result<Arc<[f32]>, CallerError> {
    let mut resampler =
        Resampler::new(SAMPLE_RATE_HZ, rate_hz).map_err(|error| CallerError::Audio { reason: error.to_string() })?;
    let mut samples = resampler.push(source);
    samples.extend(resampler.push(&[0.0; SAMPLE_RATE_HZ as usize / 10]));
    Ok(samples.into())
}
