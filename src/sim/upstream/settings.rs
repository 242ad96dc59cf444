//! What kind of PersonaPlex server is simulated.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::fault::Faults;

/// The file names of the 18 voices that the model is published with.
pub const VOICE_FILES: [&str; 18] = [
    "NATF0.pt", "NATF1.pt", "NATF2.pt", "NATF3.pt", "NATM0.pt", "NATM1.pt", "NATM2.pt", "NATM3.pt", "VARF0.pt",
    "VARF1.pt", "VARF2.pt", "VARF3.pt", "VARF4.pt", "VARM0.pt", "VARM1.pt", "VARM2.pt", "VARM3.pt", "VARM4.pt",
];

/// What the simulated model answers to what it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The caller's own voice comes back after `delay` of stream time, with words beside it.
    ///
    /// The delay is counted in 80 ms frames of input, rounded up, so that it stops when the input stops.
    Echo {
        /// From a sound's arrival to its return, in stream time.
        delay: Duration,
    },
    /// It listens and answers, with a made voice and words of its own.
    Converse(Manners),
    /// The same silent packet for every frame and no words; no codec is run, so one core serves hundreds of calls.
    Silence,
    /// The same silent packet, and words: numbered sentences with the first sentence of the text prompt in each, a piece
    /// for every frame. No codec is run.
    Recite,
}

/// How a model that converses behaves. Delays are what a listener hears, if the server is in real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// From the caller's last sound to the answer's first; what is less than a frame, a step and a pause is made that.
    pub answers_after: Duration,
    /// How long an answer is.
    pub speaks_for: Duration,
    /// From the caller's first sound to the answer's last, when the caller cuts in.
    pub stops_after: Duration,
    /// After how much of the caller's speech it says something short, once.
    pub backchannel_after: Option<Duration>,
}

impl Default for Manners {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { answers_after: ms(560), speaks_for: ms(3_000), stops_after: ms(400), backchannel_after: None }
    }
}

/// The simulated server's properties; the defaults are the figures that the real one showed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 lets the system choose one.
    pub address: SocketAddr,
    /// The files in the voice directory.
    pub voices: Vec<String>,
    /// Files in the voice directory whose first use fails as an unreadable file does.
    pub corrupt_voices: Vec<String>,
    /// The path of the voice directory, against which a voice's path is resolved; nothing on disk is touched.
    pub voice_dir: String,
    /// The steps that a voice prompt takes (about 4 s of voice at 80 ms a step).
    pub voice_steps: u32,
    /// What the model takes for one step or one frame; the whole server stands still meanwhile.
    pub step: Duration,
    /// What the look for a disconnect takes before every prompting step when no message waits.
    pub poll: Duration,
    /// From one Opus packet to the next one taken from the input, and from one page written to the next.
    pub round: Duration,
    /// What the model answers.
    pub answer: Answer,
    /// Calls at once. The real server takes one; with more, each has prompts of its own.
    pub calls_at_once: usize,
    /// For how long the whole server stands still over one empty Opus packet, before its 125 pages come.
    pub empty_packet_block: Duration,
    /// How long the server waits for the reply to its own close frame; the lock is held meanwhile.
    pub close_timeout: Duration,
    /// How long calls may go on after [`terminate`](super::Simulator::terminate).
    pub termination_grace: Duration,
    /// Serve TLS with a self-signed certificate for `localhost` and 127.0.0.1.
    pub tls: bool,
    /// Serve TLS with `key.pem` and `cert.pem` of this directory. Where one is missing, plain HTTP is served without a
    /// word, as by the real server.
    pub ssl: Option<PathBuf>,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// The most recent calls that the log keeps; older ones are forgotten.
    pub log_calls: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            voices: VOICE_FILES.iter().map(ToString::to_string).collect(),
            corrupt_voices: Vec::new(),
            voice_dir: "/voices".to_owned(),
            voice_steps: 51,
            step: Duration::from_millis(40),
            poll: Duration::from_millis(11),
            round: Duration::from_micros(1150),
            answer: Answer::Echo { delay: Duration::from_millis(1500) },
            calls_at_once: 1,
            empty_packet_block: Duration::from_millis(10_200),
            close_timeout: Duration::from_secs(10),
            termination_grace: Duration::from_secs(122),
            tls: false,
            ssl: None,
            faults: Faults::default(),
            log_calls: 4096,
        }
    }
}

impl Settings {
    /// The same server with a model that needs no time at all: for tests of order and content.
    pub fn instant() -> Self {
        Self {
            step: Duration::ZERO,
            poll: Duration::ZERO,
            round: Duration::ZERO,
            empty_packet_block: Duration::ZERO,
            ..Self::default()
        }
    }
}
