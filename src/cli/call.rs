//! `tandem call`: places a call from the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use crate::protocol::native::{ExpiryReason, LatencyReport, QueueReason, TurnReport};
use crate::sim::caller::{
    self, Audio, CallError, CallEvent, CallReport, CallerSettings, Credential, HangUp, Trust, Wire,
};
use crate::sim::wav;

use super::stop::StopSignals;
use super::{DevState, terminal};

/// Where `serve` leaves its address and token in development.
const STATE_DIRECTORY: &str = ".tandem";

/// The variable that holds a token, so that it need not stand on the command line where others can see it.
const TOKEN_VARIABLE: &str = "TANDEM_TOKEN";

/// Events that may wait for the terminal; beyond them they are passed over.
const EVENT_LIMIT: usize = 1024;

/// The call to place.
#[derive(Debug, Args)]
pub(super) struct CallArguments {
    /// What is said: a WAV file of any rate and any number of channels, up to an hour.
    #[arg(value_name = "IN.wav")]
    input: PathBuf,
    /// Where the reply is written: 24 kHz, 16 bits, mono.
    #[arg(long, value_name = "OUT.wav")]
    out: Option<PathBuf>,
    /// The server; without it the one that serves from this directory.
    #[arg(long)]
    url: Option<String>,
    /// The caller's token; better given in the variable TANDEM_TOKEN.
    #[arg(long)]
    token: Option<SecretString>,
    /// The wire: Tandem's own, or PersonaPlex's (which model servers speak, too).
    #[arg(long, value_enum, default_value_t = WireFlag::Native)]
    wire: WireFlag,
    /// The audio format of Tandem's own wire.
    #[arg(long, value_enum, default_value_t = AudioFlag::Pcm16)]
    audio: AudioFlag,
    /// Samples a second of pcm16.
    #[arg(long, value_name = "HZ", default_value_t = 24_000, value_parser = pcm_rate)]
    rate: u32,
    /// A persona by its name, for example listener.
    #[arg(long)]
    persona: Option<String>,
    /// The assistant's voice, for example NATF0.
    #[arg(long)]
    voice: Option<String>,
    /// What the assistant is told to be.
    #[arg(long)]
    prompt: Option<SecretString>,
    /// The silence after the file before hanging up.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    tail: f64,
    /// Takes any certificate; servers on this machine need it not.
    #[arg(long)]
    insecure: bool,
    /// Prints nothing but the report, as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WireFlag {
    Native,
    Moshi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AudioFlag {
    Pcm16,
    Opus,
    OggOpus,
}

/// Calls, and writes the reply even when the call ends early; status 0 when the caller was the one who hung up.
pub(super) async fn call(arguments: &CallArguments) -> Result<ExitCode, String> {
    let source = wav::read(&arguments.input).map_err(|error| error.to_string())?;
    if let Some(out) = &arguments.out {
        check_writable(out)?;
    }
    let (events, heard) = mpsc::channel(EVENT_LIMIT);
    let mut settings = settings(arguments, Path::new(STATE_DIRECTORY), std::env::var(TOKEN_VARIABLE).ok())?;
    settings.source = source.into();
    settings.events = Some(events);
    let mut stop = StopSignals::listen().map_err(|error| format!("no signals can be heard: {error}"))?;
    let hang_up = Arc::clone(&settings.hang_up_now);
    if !arguments.json {
        terminal::status(format!("calling {}", settings.url));
    }
    let mut calling = std::pin::pin!(caller::call(settings));
    let mut telling = std::pin::pin!(tell(heard, arguments.json));
    let mut told = false;
    let report = loop {
        tokio::select! {
            report = &mut calling => break report,
            () = stop.next() => hang_up.notify_one(),
            () = &mut telling, if !told => told = true,
        }
    };
    if !told {
        // The call is over and its channel closed: what is left in it is told without waiting.
        telling.await;
    }
    finish(arguments, &report)
}

/// Writes the reply and says how it went.
fn finish(arguments: &CallArguments, report: &CallReport) -> Result<ExitCode, String> {
    let written = match &arguments.out {
        Some(out) if report.setup_ms.is_some() => wav::write(out, &report.audio).map(|()| Some(out)),
        _ => Ok(None),
    };
    if arguments.json {
        let json = serde_json::to_string(report).map_err(|error| format!("the report cannot be printed: {error}"))?;
        terminal::say(json);
    } else {
        let after = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| format!("after {:.1} s", ms as f64 / 1000.0));
        terminal::status(format!(
            "the model listened {}, from then its first sound came {}; sent {:.1} s, heard {:.1} s, {} packets lost",
            after(report.setup_ms),
            after(report.first_audio_ms),
            report.sent_seconds,
            report.received_seconds,
            report.lost_packets
        ));
        if let Some(longest) = report.gaps.iter().map(|gap| gap.lasts).max() {
            let count = report.gaps.len();
            terminal::status(format!("gaps in its sound: {count}, the longest {} ms", longest.as_millis()));
        }
        if let Some(turns) = &report.turns {
            terminal::status(in_words(turns));
        }
    }
    if let Some(out) = written.map_err(|error| error.to_string())?
        && !arguments.json
    {
        terminal::status(format!("the reply is in {}", out.display()));
    }
    match &report.error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(terminal::printable(&in_terms_of_the_command_line(error))),
    }
}

/// The server speaks of headers to whoever programs a client.
fn in_terms_of_the_command_line(error: &CallError) -> String {
    match error.code.as_str() {
        "token_missing" => format!(
            "the service wants to know who calls: set {TOKEN_VARIABLE} to a token, for example to what `tandem token --user ann` prints with the service's secret"
        ),
        _ => error.message.clone(),
    }
}

/// Who spoke when, in two lines.
fn in_words(turns: &TurnReport) -> String {
    let times = |latency: Option<LatencyReport>| match latency {
        Some(found) => format!(" (median {} ms, longest {} ms)", found.median_ms, found.longest_ms),
        None => String::new(),
    };
    let share = |part_ms: u64| match turns.present_ms {
        0 => 0,
        whole_ms => (100 * part_ms + whole_ms / 2) / whole_ms,
    };
    format!(
        "you spoke {} times, and were answered {} times{} and missed {} times;\n  interruptions {}, of which {} stopped \
         it{}, backchannels {}, both spoke {} % of the time and nobody {} %",
        turns.caller_turns,
        turns.taken_over,
        times(turns.response_latency),
        turns.missed,
        turns.interruptions,
        turns.interruptions_stopped,
        times(turns.stop_latency),
        turns.backchannels,
        share(turns.overlap_ms),
        share(turns.silence_ms)
    )
}

fn settings(
    arguments: &CallArguments,
    state_directory: &Path,
    token_variable: Option<String>,
) -> Result<CallerSettings, String> {
    let token = arguments.token.clone().or(token_variable.map(SecretString::from));
    let token = token.filter(|token| !token.expose_secret().is_empty());
    let (url, token) = match (&arguments.url, token) {
        (Some(url), token) => (url.clone(), token),
        (None, token) => {
            let state = DevState::read(state_directory).map_err(|error| error.to_string())?;
            (state.url, token.or(Some(state.token)))
        }
    };
    let mut settings = CallerSettings::new(url);
    settings.wire = match (arguments.wire, arguments.audio) {
        (WireFlag::Moshi, _) => Wire::Moshi,
        (WireFlag::Native, AudioFlag::Pcm16) => Wire::Native(Audio::Pcm16 { rate_hz: arguments.rate }),
        (WireFlag::Native, AudioFlag::Opus) => Wire::Native(Audio::Opus),
        (WireFlag::Native, AudioFlag::OggOpus) => Wire::Native(Audio::OggOpus),
    };
    settings.credential = token.map_or(Credential::None, Credential::Bearer);
    settings.trust = if arguments.insecure { Trust::Any } else { Trust::System };
    settings.persona = arguments.persona.clone();
    settings.voice = arguments.voice.clone();
    settings.text_prompt = arguments.prompt.clone();
    settings.comes_back = true;
    settings.hang_up = HangUp::AfterSource { tail: Duration::from_secs_f64(arguments.tail) };
    Ok(settings)
}

/// Tells the events as they come, until there are no more.
async fn tell(mut events: mpsc::Receiver<CallEvent>, quiet: bool) {
    let mut in_words = false;
    while let Some(event) = events.recv().await {
        if quiet {
            continue;
        }
        if let CallEvent::Transcript(delta) = &event {
            terminal::say_words(&terminal::printable(&delta.text));
            in_words = true;
        } else if let Some(line) = line(&event) {
            if std::mem::take(&mut in_words) {
                terminal::say("");
            }
            terminal::status(line);
        }
    }
    if in_words {
        terminal::say("");
    }
}

fn line(event: &CallEvent) -> Option<String> {
    Some(match event {
        CallEvent::Created { session_id } => format!("call {}", terminal::printable(session_id)),
        CallEvent::Queued { position, eta_ms, eta_p90_ms, reason } => {
            let seconds = |ms: &u64| ms.div_ceil(1000);
            let eta = eta_ms.as_ref().map_or(String::new(), |ms| format!(", about {} s", seconds(ms)));
            let longest = eta_p90_ms.as_ref().map_or(String::new(), |ms| format!(", hardly over {} s", seconds(ms)));
            match reason {
                QueueReason::Waking => format!("a model server is being woken: place {position}{eta}{longest}"),
                QueueReason::Busy => format!("waiting for a model server: place {position}{eta}{longest}"),
            }
        }
        CallEvent::Connecting { attempt: 1 } => "the model reads its prompts".to_owned(),
        CallEvent::Connecting { attempt } => format!("the next model server is asked (attempt {attempt})"),
        CallEvent::Ready => "the model listens".to_owned(),
        CallEvent::Resumed { missed_audio_ms } => {
            format!("the connection broke, the call goes on; {missed_audio_ms} ms of the assistant were missed")
        }
        CallEvent::Expiring { reason, in_ms } => {
            if *reason == ExpiryReason::Persona {
                let seconds = in_ms.div_ceil(1000);
                return Some(format!("the model's memory is full in {seconds} s: another gets ready if one is free"));
            }
            let why = match reason {
                ExpiryReason::Idle => "nothing is heard from you",
                ExpiryReason::MaxDuration => "the call is long",
                ExpiryReason::Quota => "the time that you may talk is used up",
                ExpiryReason::Drain | ExpiryReason::Persona => "the service is restarting",
            };
            format!("the call ends in {} s: {why}", in_ms.div_ceil(1000))
        }
        CallEvent::Answered { latency_ms } => format!("answered after {latency_ms} ms"),
        CallEvent::Interrupted { stopped_after_ms: Some(after_ms) } => {
            format!("interrupted; it stopped after {after_ms} ms")
        }
        CallEvent::Interrupted { stopped_after_ms: None } => "interrupted; it did not stop".to_owned(),
        CallEvent::Recovering => {
            "the model server failed: another is looked for, and what you say until then is lost".to_owned()
        }
        CallEvent::Recovered { gap_ms } => format!("the assistant is back after {gap_ms} ms"),
        CallEvent::Rotating { eta_ms } => {
            format!("the model reads its prompts anew, for about {} s", eta_ms.div_ceil(1000))
        }
        CallEvent::Rotated { gap_ms } => format!("the model's memory is fresh again; {gap_ms} ms were missed"),
        CallEvent::Degraded { realtime_factor } => {
            format!("the model is slower than real time ({realtime_factor}): not all that you say reaches it")
        }
        CallEvent::Restored => "the model keeps up again".to_owned(),
        CallEvent::Warning { code, message } => terminal::printable(&format!("{code}: {message}")),
        CallEvent::HungUp => "hung up".to_owned(),
        CallEvent::FirstAudio | CallEvent::Transcript(_) | CallEvent::Ended { .. } => return None,
    })
}

/// A reply that could not be written should be known before the call, not after it.
fn check_writable(out: &Path) -> Result<(), String> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if out.is_dir() {
        return Err(format!("{} is a directory; --out names a file", out.display()));
    }
    if !parent.is_dir() {
        return Err(format!("{} cannot be written: there is no directory {}", out.display(), parent.display()));
    }
    Ok(())
}

fn pcm_rate(text: &str) -> Result<u32, String> {
    use crate::audio::resampler::PCM_RATES_HZ;
    let known = text.parse().ok().filter(|rate| PCM_RATES_HZ.contains(rate));
    known.ok_or_else(|| format!("expected one of {PCM_RATES_HZ:?}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let known = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    known.ok_or_else(|| "expected 0 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CallArguments,
    }

    fn arguments(words: &[&str]) -> CallArguments {
        Line::parse_from([&["call", "in.wav"], words].concat()).arguments
    }

    #[test]
    fn beside_a_server_in_development_neither_url_nor_token_is_needed() {
        let directory = std::env::temp_dir().join(format!("tandem-{}", uuid::Uuid::new_v4()));
        let error = settings(&arguments(&[]), &directory, None).unwrap_err();
        assert!(error.contains("start `tandem serve`"), "{error}");
        let state = DevState { url: "http://127.0.0.1:1".into(), token: SecretString::from("dev") };
        state.write(&directory).unwrap();
        let token = |words: &[&str], variable: Option<&str>| {
            let settings = settings(&arguments(words), &directory, variable.map(str::to_owned)).unwrap();
            let token = match settings.credential {
                Credential::Bearer(token) => Some(token.expose_secret().to_owned()),
                _ => None,
            };
            (settings.url, token)
        };
        let here = || "http://127.0.0.1:1".to_owned();
        assert_eq!(token(&[], None), (here(), Some("dev".into())));
        assert_eq!(token(&[], Some("var")), (here(), Some("var".into())));
        assert_eq!(token(&["--token", "flag"], Some("var")), (here(), Some("flag".into())));
        // The development token is good for its own server only.
        assert_eq!(token(&["--url", "ws://other"], None), ("ws://other".into(), None));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn turns_are_told_in_words() {
        let latency = LatencyReport { mean_ms: 300, median_ms: 260, longest_ms: 560 };
        let turns = TurnReport {
            caller_turns: 5,
            assistant_turns: 4,
            caller_speech_ms: 9_000,
            assistant_speech_ms: 8_000,
            present_ms: 20_000,
            overlap_ms: 400,
            silence_ms: 3_400,
            taken_over: 3,
            missed: 1,
            response_latency: Some(latency),
            interruptions: 2,
            interruptions_stopped: 0,
            stop_latency: None,
            backchannels: 1,
        };
        assert_eq!(
            in_words(&turns),
            "you spoke 5 times, and were answered 3 times (median 260 ms, longest 560 ms) and missed 1 times;\n  \
             interruptions 2, of which 0 stopped it, backchannels 1, both spoke 2 % of the time and nobody 17 %"
        );
    }

    #[test]
    fn wires_and_formats_are_chosen_by_their_names() {
        let wire = |words: &[&str]| {
            let words = [&["--url", "ws://h"], words].concat();
            settings(&arguments(&words), Path::new("."), None).unwrap().wire
        };
        assert_eq!(wire(&[]), Wire::Native(Audio::Pcm16 { rate_hz: 24_000 }));
        assert_eq!(wire(&["--audio", "ogg-opus"]), Wire::Native(Audio::OggOpus));
        assert_eq!(wire(&["--rate", "8000"]), Wire::Native(Audio::Pcm16 { rate_hz: 8_000 }));
        assert_eq!(wire(&["--wire", "moshi"]), Wire::Moshi);
        assert!(Line::try_parse_from(["call", "in.wav", "--rate", "12345"]).is_err());
        assert!(Line::try_parse_from(["call", "in.wav", "--tail", "NaN"]).is_err());
    }

    #[test]
    fn who_calls_without_a_token_is_told_how_to_get_one() {
        let mut error = CallError {
            code: "token_missing".into(),
            message: "Send.".into(),
            status: Some(401),
            retry_after_seconds: None,
        };
        let told = in_terms_of_the_command_line(&error);
        assert!(told.contains("TANDEM_TOKEN") && told.contains("tandem token --user"), "{told}");
        error.code = "no_capacity".into();
        assert_eq!(in_terms_of_the_command_line(&error), "Send.");
    }
}
