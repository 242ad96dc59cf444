//! What a scripted caller is told to do.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{Notify, mpsc};

use super::report::CallEvent;
use super::tls::Trust;

/// Samples a second of the caller's source and of what it hears (mono).
pub const SAMPLE_RATE_HZ: u32 = 24_000;

/// The path at which Tandem answers calls on its own wire.
pub const NATIVE_PATH: &str = "/v1/voice";

/// One call's script. `CallerSettings::new(url)` is a polite caller who says nothing for three seconds.
#[derive(Clone, Debug)]
pub struct CallerSettings {
    /// Where to call: `http`, `https`, `ws` or `wss`, host, port and an optional path prefix.
    pub url: String,
    /// The wire to speak.
    pub wire: Wire,
    /// Which certificates are good enough.
    pub trust: Trust,
    /// How the caller proves who it is.
    pub credential: Credential,
    /// A persona's name, which a gateway knows and a model server does not; the service's own choice when absent.
    pub persona: Option<String>,
    /// A voice's name, for example `NATF0`; the service's own choice when absent.
    pub voice: Option<String>,
    /// Whether the caller waits for a model server when all are busy.
    pub waits: bool,
    /// The caller's own prompt; the service's own when absent.
    pub text_prompt: Option<SecretString>,
    /// What the caller says: 24 kHz mono samples of -1 to 1. Silence follows until it hangs up.
    pub source: Arc<[f32]>,
    /// How fast the caller speaks.
    pub pace: Pace,
    /// When the caller hangs up.
    pub hang_up: HangUp,
    /// What the caller does wrong.
    pub behaviour: Behaviour,
    /// Whether the caller comes back to its call when its connection breaks, where the service lets it.
    pub comes_back: bool,
    /// Whether what is heard is decoded.
    pub hearing: Hearing,
    /// The longest wait for the TCP connection, for TLS and for the answer to the upgrade, each.
    pub connect_timeout: Duration,
    /// The longest wait from the upgrade until the model listens; it covers queueing and the prompts.
    pub setup_timeout: Duration,
    /// The longest time in which the other side may be silent, pings included.
    pub silence_timeout: Duration,
    /// The longest wait for the goodbye after hanging up.
    pub goodbye_timeout: Duration,
    /// Hangs up politely as soon as it is notified (`notify_one`), whatever `hang_up` says.
    pub hang_up_now: Arc<Notify>,
    /// Where events are told live. When the channel is full the event is dropped; the report has it all the same.
    pub events: Option<mpsc::Sender<CallEvent>>,
}

impl CallerSettings {
    /// A polite caller on our wire with 24 kHz PCM, who has nothing to say and hangs up after three seconds.
    pub fn new(url: impl Into<String>) -> CallerSettings {
        CallerSettings {
            url: url.into(),
            wire: Wire::Native(Audio::Pcm16 { rate_hz: SAMPLE_RATE_HZ }),
            trust: Trust::System,
            credential: Credential::None,
            persona: None,
            voice: None,
            waits: true,
            text_prompt: None,
            source: Arc::new([]),
            pace: Pace::RealTime,
            hang_up: HangUp::AfterSource { tail: Duration::from_secs(3) },
            behaviour: Behaviour::Polite,
            comes_back: false,
            hearing: Hearing::Decode,
            connect_timeout: Duration::from_secs(5),
            setup_timeout: Duration::from_secs(120),
            silence_timeout: Duration::from_secs(60),
            goodbye_timeout: Duration::from_secs(5),
            hang_up_now: Arc::new(Notify::new()),
            events: None,
        }
    }
}

/// A client wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Our own, `tandem.v1`.
    Native(Audio),
    /// PersonaPlex's: a kind byte, then Ogg pages or text.
    Moshi,
}

/// The audio format of our own wire, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Signed 16-bit little-endian samples, 20 ms a message.
    Pcm16 {
        /// Samples a second.
        rate_hz: u32,
    },
    /// One Opus packet of 20 ms a message.
    Opus,
    /// Ogg pages, each with 80 ms.
    OggOpus,
}

/// How the caller proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// It does not.
    None,
    /// `Authorization: Bearer`, as programs do.
    Bearer(SecretString),
    /// The subprotocol `tandem.bearer.<token>`, as browsers can.
    Subprotocol(SecretString),
    /// The query parameter `ticket`.
    Ticket(SecretString),
}

/// How fast the caller speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As people do. Frames are due by the start of the call, so the pace never drifts.
    RealTime,
    /// This many times real time.
    Times(f64),
}

/// When the caller hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// When everything is said, after a silence of this duration.
    AfterSource {
        /// The silence.
        tail: Duration,
    },
    /// This long after the model began to listen.
    After(Duration),
    /// Only when `hang_up_now` is notified.
    WhenTold,
}

/// What the caller does wrong. Times count from when the model began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Nothing.
    Polite,
    /// It answers no ping.
    NoPongs,
    /// It sends no more audio, but listens.
    MuteAfter(Duration),
    /// It reads no more, but goes on speaking; it never hears the goodbye.
    StopReadingAfter(Duration),
    /// Its connection breaks without a close frame, and it comes back to its call `away` later (our wire only).
    DropAndResume {
        /// When the connection breaks.
        after: Duration,
        /// How long it is away.
        away: Duration,
    },
    /// It neither reads nor writes any more and keeps the socket until `hang_up` (a duration) or `hang_up_now`.
    VanishAfter(Duration),
}

/// Whether what is heard is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// Decoded to samples and kept for the report, up to 65 minutes of it.
    Decode,
    /// Only counted, which costs next to nothing: for load tests.
    Count,
}
