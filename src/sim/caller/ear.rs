//! The caller's ear: what comes over the wire, understood, decoded and noted in the report.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::audio::ogg::{OggDemuxer, OggItem};
use crate::audio::opus::OpusDecoder;
use crate::audio::packet::OpusPacket;
use crate::audio::resampler::Resampler;
use crate::protocol::ending::Ending;
use crate::protocol::native::{EndReport, ErrorEvent, ResumeTerms, ServerEvent, TranscriptDelta};

use super::error::CallerError;
use super::pages::PageNumbers;
use super::report::{CallEvent, CallReport, Gap};
use super::settings::{Audio, Hearing, SAMPLE_RATE_HZ, Wire};
use super::transcript::PieceJoiner;

/// The longest recording that is kept, in samples: 65 minutes, so that an hour's call fits.
const MAX_RECORDED_SAMPLES: usize = 65 * 60 * SAMPLE_RATE_HZ as usize;

/// The longest transcript that is kept, in bytes.
const MAX_TRANSCRIPT_BYTES: usize = 1024 * 1024;

/// Pieces of the transcript that can be said again, at most.
const MAX_POSITIONS: usize = 1024;

/// Shorter ones are the network's and the system's.
const MIN_GAP: Duration = Duration::from_millis(40);

/// Gaps that are kept, at most.
const MAX_GAPS: usize = 1024;

/// What a message meant for the course of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The model listens from now on.
    Ready,
    /// The call goes on, on this socket.
    Resumed,
    /// The server closes the connection.
    Close,
    /// The call goes on as it was.
    Other,
}

/// Understands what the server sends.
pub(super) struct Ear {
    wire: Wire,
    form: Form,
    keep: bool,
    pieces: PieceJoiner,
    pages: PageNumbers,
    dialled: Instant,
    ready: Option<Instant>,
    received: Duration,
    /// Until when there is something to play.
    plays_until: Option<Instant>,
    /// Where in the transcript the last pieces begin, and their positions in the audio, in milliseconds.
    positions: VecDeque<(u64, usize)>,
    events: Option<mpsc::Sender<CallEvent>>,
    /// What is known of the call so far.
    pub(super) report: CallReport,
    /// The server's last word, when it said one.
    pub(super) ended: Option<EndReport>,
    /// How to come back when the connection breaks.
    pub(super) resume: Option<ResumeTerms>,
    /// The server's last complaint.
    pub(super) complaint: Option<ErrorEvent>,
}

enum Form {
    Pcm { rate_hz: u32, resampler: Option<Box<Resampler>> },
    Opus(OpusDecoder),
    Ogg { demuxer: OggDemuxer, decoder: OpusDecoder },
}

impl Ear {
    /// An ear for a wire; times in the report count from `dialled`.
    pub(super) fn new(
        wire: Wire,
        hearing: Hearing,
        dialled: Instant,
        events: Option<mpsc::Sender<CallEvent>>,
    ) -> Result<Ear, CallerError> {
        let decoder = || OpusDecoder::new().map_err(audio_error);
        let form = match wire {
            Wire::Native(Audio::Pcm16 { rate_hz }) => {
                let resampler = match rate_hz {
                    SAMPLE_RATE_HZ => None,
                    _ => Some(Box::new(Resampler::new(rate_hz, SAMPLE_RATE_HZ).map_err(audio_error)?)),
                };
                Form::Pcm { rate_hz, resampler }
            }
            Wire::Native(Audio::Opus) => Form::Opus(decoder()?),
            Wire::Native(Audio::OggOpus) | Wire::Moshi => Form::Ogg { demuxer: OggDemuxer::new(), decoder: decoder()? },
        };
        Ok(Ear {
            wire,
            form,
            keep: hearing == Hearing::Decode,
            pieces: PieceJoiner::default(),
            pages: PageNumbers::default(),
            dialled,
            ready: None,
            received: Duration::ZERO,
            plays_until: None,
            positions: VecDeque::new(),
            events,
            report: CallReport::default(),
            ended: None,
            resume: None,
            complaint: None,
        })
    }

    /// The next message comes on another socket: of what was cut off in the middle nothing more will come.
    pub(super) fn reconnect(&mut self) {
        if let Form::Ogg { demuxer, .. } = &mut self.form {
            *demuxer = OggDemuxer::new();
        }
        self.pages = PageNumbers::default();
    }

    /// Takes one WebSocket message.
    pub(super) fn hear(&mut self, message: Message, now: Instant) -> Result<Heard, CallerError> {
        match message {
            Message::Close(frame) => {
                self.report.close_code = Some(frame.map_or(1005, |frame| frame.code.into()));
                Ok(Heard::Close)
            }
            Message::Text(text) if self.wire != Wire::Moshi => self.hear_event(&text, now),
            Message::Binary(bytes) if self.wire == Wire::Moshi => self.hear_moshi(bytes, now),
            Message::Binary(bytes) => self.hear_audio(&bytes, now).map(|()| Heard::Other),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Heard::Other),
        }
    }

    /// Ends the transcript, with what never became whole.
    pub(super) fn finish(&mut self) {
        let rest = self.pieces.finish();
        if !rest.is_empty() {
            let audio_ms = self.heard_ms();
            self.note_words(rest, audio_ms);
        }
    }

    /// Tells an event to whoever listens; nobody is waited for.
    pub(super) fn tell(&self, event: CallEvent) {
        if let Some(events) = &self.events {
            // Full or gone: the report holds everything that matters.
            let _ = events.try_send(event);
        }
    }

    fn hear_event(&mut self, text: &str, now: Instant) -> Result<Heard, CallerError> {
        let event = match serde_json::from_str::<ServerEvent>(text) {
            Ok(event) => event,
            Err(_) if is_event_of_another_version(text) => return Ok(Heard::Other),
            Err(_) => {
                let reason = "text messages are JSON objects with a known type and its fields".to_owned();
                return Err(CallerError::Protocol { reason });
            }
        };
        match event {
            ServerEvent::Created { session_id, resume, .. } => {
                self.resume = resume;
                self.report.session_id = Some(session_id.clone());
                self.tell(CallEvent::Created { session_id });
            }
            ServerEvent::Resumed { missed_audio_ms, repeats_from_ms, resume, .. } => {
                self.forget_words(repeats_from_ms);
                self.resume = Some(resume);
                self.report.resumes += 1;
                self.tell(CallEvent::Resumed { missed_audio_ms });
                return Ok(Heard::Resumed);
            }
            ServerEvent::Queued { position, eta_ms, eta_p90_ms, reason, .. } => {
                self.report.promised_ms = self.report.promised_ms.or(eta_p90_ms);
                self.tell(CallEvent::Queued { position, eta_ms, eta_p90_ms, reason });
            }
            ServerEvent::Connecting { attempt, .. } => self.tell(CallEvent::Connecting { attempt }),
            ServerEvent::Ready { queued_ms, .. } => {
                self.report.queued_ms = Some(queued_ms);
                return Ok(self.note_ready(now));
            }
            ServerEvent::Transcript(delta) => self.note_words(delta.text, delta.audio_ms),
            ServerEvent::Expiring { reason, in_ms } => self.tell(CallEvent::Expiring { reason, in_ms }),
            ServerEvent::Recovering { .. } => self.tell(CallEvent::Recovering),
            ServerEvent::Recovered { gap_ms } => self.tell(CallEvent::Recovered { gap_ms }),
            ServerEvent::Rotating { eta_ms } => self.tell(CallEvent::Rotating { eta_ms }),
            ServerEvent::Rotated { gap_ms } => self.tell(CallEvent::Rotated { gap_ms }),
            ServerEvent::Degraded { realtime_factor } => self.tell(CallEvent::Degraded { realtime_factor }),
            ServerEvent::Restored {} => self.tell(CallEvent::Restored),
            ServerEvent::Warning { code, message } => {
                self.tell(CallEvent::Warning { code: code.code().to_owned(), message });
            }
            ServerEvent::Error(error) => {
                self.tell(CallEvent::Warning { code: error.code.clone(), message: error.message.clone() });
                self.complaint = Some(error);
            }
            ServerEvent::Ended(ended) => self.note_end(ended),
            ServerEvent::TurnResponse { latency_ms, .. } => self.tell(CallEvent::Answered { latency_ms }),
            ServerEvent::TurnInterrupted { stopped_after_ms, .. } => {
                self.tell(CallEvent::Interrupted { stopped_after_ms });
            }
            ServerEvent::TurnStarted { .. }
            | ServerEvent::TurnEnded { .. }
            | ServerEvent::TurnMissed { .. }
            | ServerEvent::TurnBackchannel { .. }
            | ServerEvent::Pong { .. } => {}
        }
        Ok(Heard::Other)
    }

    fn note_end(&mut self, ended: EndReport) {
        self.report.ending = Some(ended.ending);
        self.report.turns = ended.turns.as_deref().cloned();
        self.tell(CallEvent::Ended { ending: ended.ending });
        self.ended = Some(ended);
    }

    fn hear_moshi(&mut self, mut bytes: Bytes, now: Instant) -> Result<Heard, CallerError> {
        if bytes.is_empty() {
            return Ok(Heard::Other);
        }
        let payload = bytes.split_off(1);
        match bytes[0] {
            0 => return Ok(self.note_ready(now)),
            1 => self.hear_audio(&payload, now)?,
            2 => {
                let words = self.pieces.push(&String::from_utf8_lossy(&payload));
                let audio_ms = self.heard_ms();
                if !words.is_empty() {
                    self.note_words(words, audio_ms);
                }
            }
            // Control, metadata, errors, pings and what later versions add mean nothing to a caller.
            _ => {}
        }
        Ok(Heard::Other)
    }

    fn hear_audio(&mut self, bytes: &Bytes, now: Instant) -> Result<(), CallerError> {
        let mut heard = Vec::new();
        let mut duration = Duration::ZERO;
        match &mut self.form {
            Form::Pcm { rate_hz, resampler } => {
                duration = Duration::from_nanos(bytes.len() as u64 / 2 * 1_000_000_000 / u64::from(*rate_hz));
                let samples = bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])));
                let samples: Vec<f32> = samples.map(|sample| sample / 32768.0).collect();
                heard = match resampler {
                    Some(resampler) => resampler.push(&samples),
                    None => samples,
                };
            }
            Form::Opus(decoder) => {
                let packet = OpusPacket::parse(bytes.clone()).map_err(protocol_error)?;
                duration = packet.duration();
                if self.keep {
                    heard = decoder.decode(&packet).map_err(protocol_error)?;
                }
            }
            Form::Ogg { demuxer, decoder } => {
                self.report.lost_packets += self.pages.gaps(bytes);
                demuxer.push(bytes).map_err(protocol_error)?;
                while let Some(item) = demuxer.next_item() {
                    let OggItem::Packet(packet) = item.map_err(protocol_error)? else { continue };
                    duration += packet.duration();
                    if self.keep {
                        heard.extend(decoder.decode(&packet).map_err(protocol_error)?);
                    }
                }
            }
        }
        self.note_audio(&heard, duration, now);
        Ok(())
    }

    fn note_ready(&mut self, now: Instant) -> Heard {
        if self.ready.is_some() {
            return Heard::Other;
        }
        self.ready = Some(now);
        self.report.setup_ms = Some(milliseconds(now - self.dialled));
        self.tell(CallEvent::Ready);
        Heard::Ready
    }

    fn note_audio(&mut self, samples: &[f32], duration: Duration, now: Instant) {
        if duration.is_zero() {
            return;
        }
        self.received += duration;
        self.note_gap(duration, now);
        self.report.received_seconds = self.received.as_secs_f64();
        if self.report.first_audio_ms.is_none() {
            self.report.first_audio_ms = Some(milliseconds(now - self.ready.unwrap_or(self.dialled)));
            self.tell(CallEvent::FirstAudio);
        }
        if self.keep {
            let room = MAX_RECORDED_SAMPLES.saturating_sub(self.report.audio.len());
            self.report.audio.extend_from_slice(&samples[..samples.len().min(room)]);
        }
    }

    fn note_gap(&mut self, duration: Duration, now: Instant) {
        let empty_at = self.plays_until.unwrap_or(now);
        let lasts = now.saturating_duration_since(empty_at);
        if lasts >= MIN_GAP && self.report.gaps.len() < MAX_GAPS {
            self.report.gaps.push(Gap { from: empty_at - self.dialled, lasts });
        }
        self.plays_until = Some(empty_at.max(now) + duration);
    }

    /// What is said again from this position on is not kept twice.
    fn forget_words(&mut self, from_ms: Option<u64>) {
        if let Some(from_ms) = from_ms
            && let Some(first) = self.positions.iter().position(|(audio_ms, _)| *audio_ms >= from_ms)
        {
            self.report.transcript.truncate(self.positions[first].1);
            self.positions.truncate(first);
        }
    }

    fn note_words(&mut self, text: String, audio_ms: u64) {
        self.positions.push_back((audio_ms, self.report.transcript.len()));
        if self.positions.len() > MAX_POSITIONS {
            self.positions.pop_front();
        }
        if self.report.transcript.len() + text.len() <= MAX_TRANSCRIPT_BYTES {
            self.report.transcript.push_str(&text);
        }
        self.tell(CallEvent::Transcript(TranscriptDelta { text, audio_ms }));
    }

    fn heard_ms(&self) -> u64 {
        milliseconds(self.received)
    }
}

/// The ending that a close code stands for; 1000 alone says too little, because model servers close with it on errors.
pub(super) fn ending_of(close_code: u16) -> Option<Ending> {
    Ending::ALL.into_iter().find(|ending| ending.row().close_code == close_code && close_code != 1000)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn audio_error(error: impl std::fmt::Display) -> CallerError {
    CallerError::Audio { reason: error.to_string() }
}

fn protocol_error(error: impl std::fmt::Display) -> CallerError {
    CallerError::Protocol { reason: error.to_string() }
}

/// Whether the text is an event all the same, of a type that this caller does not know.
fn is_event_of_another_version(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        name: String,
    }
    const KNOWN: [&str; 22] = [
        "session.created",
        "session.resumed",
        "session.queued",
        "session.connecting",
        "session.ready",
        "transcript.delta",
        "session.expiring",
        "session.recovering",
        "session.recovered",
        "session.rotating",
        "session.rotated",
        "session.degraded",
        "session.restored",
        "session.ended",
        "turn.started",
        "turn.ended",
        "turn.response",
        "turn.missed",
        "turn.interrupted",
        "turn.backchannel",
        "error",
        "pong",
    ];
    serde_json::from_str::<Typed>(text).is_ok_and(|typed| !KNOWN.contains(&typed.name.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An Ogg page with a number, an empty checksum and a body of three bytes.
    fn page(serial: u32, number: u32) -> Vec<u8> {
        let mut bytes = b"OggS\0\0".to_vec();
        bytes.extend([0; 8]);
        bytes.extend(serial.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend([0, 0, 0, 0, 1, 3, 7, 7, 7]);
        bytes
    }

    #[test]
    fn gaps_are_counted_within_a_stream_and_not_between_streams() {
        let mut pages = PageNumbers::default();
        for (bytes, expected) in [
            (page(42, 0), 0),
            ([page(42, 1), page(42, 2)].concat(), 0),
            (page(42, 5), 2),
            ([page(42, 6), page(42, 9)].concat(), 2),
            (page(43, 700), 0),
            (page(43, 701)[..20].to_vec(), 0),
            (page(43, 3), 0),
            (b"not a page".to_vec(), 0),
        ] {
            assert_eq!(pages.gaps(&bytes), expected);
        }
    }

    #[test]
    fn close_codes_of_ours_say_why_and_those_of_model_servers_do_not() {
        assert_eq!(ending_of(4461), Some(Ending::UpstreamLost));
        assert_eq!((ending_of(1000), ending_of(1005), ending_of(4999)), (None, None, None));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_the_ear_panic(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            wire in prop::sample::select(vec![
                Wire::Moshi,
                Wire::Native(Audio::Opus),
                Wire::Native(Audio::OggOpus),
                Wire::Native(Audio::Pcm16 { rate_hz: 8_000 }),
            ]),
        ) {
            let now = Instant::now();
            let mut ear = Ear::new(wire, Hearing::Decode, now, None).unwrap();
            for (text, bytes) in messages {
                let message = match text {
                    true => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
                    false => Message::binary(bytes),
                };
                if let Err(error) = ear.hear(message, now) {
                    prop_assert_eq!(error.code(), "protocol");
                }
            }
            ear.finish();
        }
    }
}
