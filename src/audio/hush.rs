//! For how long nothing was heard (pure).

use std::time::Duration;

use super::{
    activity::{Activity, GOES_ON_AT, GRAIN, VoiceDetector, VoiceError},
    packet::OpusPacket,
};

/// Measures the silence at the end of what was heard so far.
#[derive(Debug)]
pub struct Hush {
    detector: VoiceDetector,
    quiet: Duration,
}

impl Hush {
    /// Nothing was heard, and no silence either.
    pub fn new() -> Result<Hush, VoiceError> {
        Ok(Hush { detector: VoiceDetector::new()?, quiet: Duration::ZERO })
    }

    /// Hears the next packet.
    pub fn hear(&mut self, packet: &OpusPacket) {
        // A packet that cannot be decoded has no sound either.
        let frames = if Activity::is_empty(packet) { None } else { self.detector.hear(packet).ok() };
        let Some(frames) = frames else {
            self.detector.cut();
            self.quiet += packet.duration();
            return;
        };
        for frame in frames {
            for loud in frame.loud {
                let speaks = loud && frame.likeness >= GOES_ON_AT;
                self.quiet = if speaks { Duration::ZERO } else { self.quiet + GRAIN };
            }
        }
    }

    /// For how long nobody was heard, up to the last packet.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }
}
