//! `tandem simulate`: a PersonaPlex server without a model.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::interval;

use crate::sim::upstream::{Answer, CallEnd, CallLog, Faults, Manners, Phase, PromptText, Settings, Simulator};

use super::fault_flag::{FORM, FaultFlag};
use super::stop::StopSignals;
use super::terminal;

/// The port that PersonaPlex itself listens on.
pub(super) const DEFAULT_PORT: u16 = 8998;

/// How often it is looked whether calls have ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What kind of server to simulate.
#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// The IP address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The TCP port; 0 takes any free one.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Serves TLS with a certificate of its own making.
    #[arg(long)]
    tls: bool,
    /// Serves TLS with key.pem and cert.pem of this directory, and plain HTTP without a word if it lacks them.
    #[arg(long, value_name = "DIR", conflicts_with = "tls")]
    ssl: Option<PathBuf>,
    /// What the model takes for a prompting step or for 80 ms of a call; beyond 80 it is slower than real time.
    #[arg(long, value_name = "MS", default_value_t = 40)]
    step_ms: u64,
    /// What the look for a disconnect takes before every prompting step.
    #[arg(long, value_name = "MS", default_value_t = 11)]
    poll_ms: u64,
    /// From one packet taken or page written to the next, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 1150)]
    round_us: u64,
    /// The steps of the voice's own prompt.
    #[arg(long, value_name = "STEPS", default_value_t = 51)]
    voice_steps: u32,
    /// What the model answers.
    #[arg(long, value_enum, default_value_t = AnswerFlag::Echo)]
    answer: AnswerFlag,
    /// After how much of the caller's audio its echo comes back.
    #[arg(long, value_name = "MS", default_value_t = 1500)]
    echo_delay_ms: u64,
    /// From the caller's last sound to the answer of a model that converses.
    #[arg(long, value_name = "MS", default_value_t = 560)]
    answer_delay_ms: u64,
    /// How long its answers are.
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    answer_length_ms: u64,
    /// From the caller's first sound to the end of its answer, when the caller cuts in.
    #[arg(long, value_name = "MS", default_value_t = 400)]
    stop_after_ms: u64,
    /// After how much of the caller's speech it says something short; without it, it never does.
    #[arg(long, value_name = "MS")]
    backchannel_after_ms: Option<u64>,
    /// A voice file that exists, instead of the 18 known ones; may be given several times.
    #[arg(long, value_name = "FILE")]
    voice: Vec<String>,
    /// A voice file that cannot be read at first; may be given several times.
    #[arg(long, value_name = "FILE")]
    corrupt_voice: Vec<String>,
    /// The directory against which voices are resolved; nothing on disk is touched.
    #[arg(long, value_name = "PATH", default_value = "/voices")]
    voice_dir: String,
    /// For how long one empty Opus packet stops the whole server.
    #[arg(long, value_name = "MS", default_value_t = 10_200)]
    empty_packet_block_ms: u64,
    /// How long the server waits for the reply to its close.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    close_timeout_ms: u64,
    /// How long calls may go on after SIGTERM; 0 ends them at once.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    termination_grace_ms: u64,
    /// What goes wrong; may be given several times, the first that applies to a call decides.
    #[arg(long, value_name = "FAULT", help = format!("What goes wrong; may be given several times: {FORM}"))]
    fault: Vec<FaultFlag>,
    /// Decides the chances of faults, so that a run can be repeated.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Shows the prompts that calls ask for and are given.
    #[arg(long)]
    show_prompts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AnswerFlag {
    /// The caller's own voice.
    Echo,
    /// A voice of its own, when the caller has spoken.
    Converse,
    /// Nothing.
    Silence,
}

/// Runs until it is told to stop.
pub(super) async fn simulate(arguments: &SimulateArguments) -> Result<ExitCode, String> {
    let mut stop = StopSignals::listen().map_err(|error| format!("no signals can be heard: {error}"))?;
    let settings = settings(arguments);
    let address = settings.address;
    let simulator = Simulator::start(settings).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {} is in use at {}: stop what uses it, or take another --port", address.port(), address.ip())
        }
        _ => format!("{address} cannot be listened on: {error}"),
    })?;
    terminal::say(format!("A PersonaPlex server without a model listens at {}", simulator.url()));
    terminal::status(format!(
        "Next: PERSONAPLEX_SERVER_URL={url} tandem serve\n  or: tandem call IN.wav --out OUT.wav --wire moshi --url {url}",
        url = simulator.url()
    ));
    let mut told = HashSet::new();
    let mut looks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.next() => break,
            // Waiting for each change would copy the log with every frame of every call.
            _ = looks.tick() => tell(&simulator.log(), &mut told, arguments.show_prompts),
        }
    }
    if arguments.termination_grace_ms > 0 && simulator.open_sockets() > 0 {
        terminal::status(format!("stopping; {} calls may go on", simulator.open_sockets()));
        simulator.terminate();
        let over = |calls: &[CallLog]| calls.iter().all(|call| call.end.is_some());
        tokio::select! {
            () = stop.next() => {}
            _ = simulator.wait_for(over, Duration::from_millis(arguments.termination_grace_ms)) => {}
        }
    }
    simulator.stop();
    tell(&simulator.log(), &mut told, arguments.show_prompts);
    terminal::status(format!("stopped; at most {} calls at the same time", simulator.peak_open_sockets()));
    Ok(ExitCode::SUCCESS)
}

fn settings(arguments: &SimulateArguments) -> Settings {
    let default = Settings::default();
    Settings {
        address: SocketAddr::new(arguments.host, arguments.port),
        voices: if arguments.voice.is_empty() { default.voices } else { arguments.voice.clone() },
        corrupt_voices: arguments.corrupt_voice.clone(),
        voice_dir: arguments.voice_dir.clone(),
        voice_steps: arguments.voice_steps,
        step: Duration::from_millis(arguments.step_ms),
        poll: Duration::from_millis(arguments.poll_ms),
        round: Duration::from_micros(arguments.round_us),
        answer: match arguments.answer {
            AnswerFlag::Echo => Answer::Echo { delay: Duration::from_millis(arguments.echo_delay_ms) },
            AnswerFlag::Converse => Answer::Converse(Manners {
                answers_after: Duration::from_millis(arguments.answer_delay_ms),
                speaks_for: Duration::from_millis(arguments.answer_length_ms),
                stops_after: Duration::from_millis(arguments.stop_after_ms),
                backchannel_after: arguments.backchannel_after_ms.map(Duration::from_millis),
            }),
            AnswerFlag::Silence => Answer::Silence,
        },
        calls_at_once: default.calls_at_once,
        empty_packet_block: Duration::from_millis(arguments.empty_packet_block_ms),
        close_timeout: Duration::from_millis(arguments.close_timeout_ms),
        termination_grace: Duration::from_millis(arguments.termination_grace_ms),
        tls: arguments.tls,
        ssl: arguments.ssl.clone(),
        faults: Faults { rules: arguments.fault.iter().map(|flag| flag.0).collect(), seed: arguments.seed },
        log_calls: default.log_calls,
    }
}

fn is_news(call: &CallLog, told: &HashSet<u64>) -> bool {
    call.phase == Phase::Ended && !told.contains(&call.call)
}

/// Tells of the calls that ended since the last time; calls that the log forgot are forgotten here, too.
fn tell(calls: &[CallLog], told: &mut HashSet<u64>, show_prompts: bool) {
    for call in calls.iter().filter(|call| is_news(call, told)) {
        terminal::status(line(call));
        if show_prompts {
            let text = |prompt: &Option<PromptText>| match prompt {
                Some(prompt) => terminal::printable(prompt.expose()),
                None => "(none)".to_owned(),
            };
            terminal::status(format!("  asked for: {}", text(&call.prompt_asked)));
            terminal::status(format!("  was given: {}", text(&call.prompt_given)));
        }
    }
    let oldest = calls.first().map_or(0, |call| call.call);
    told.retain(|call| *call >= oldest);
    told.extend(calls.iter().filter(|call| call.phase == Phase::Ended).map(|call| call.call));
}

fn line(call: &CallLog) -> String {
    let voice = call.voice_given.as_deref().map_or_else(|| "no voice".to_owned(), terminal::printable);
    let handshake = match call.handshake_after {
        Some(after) => format!("ready after {} steps and {:.1} s", call.steps, after.as_secs_f32()),
        None => format!("never ready ({} steps)", call.steps),
    };
    // Given tokens carry system tags, so only another text altogether is another prompt.
    let mixed_up = match (&call.prompt_asked, &call.prompt_given) {
        (Some(asked), Some(given)) if !given.expose().contains(asked.expose().trim()) => {
            "; IT WAS GIVEN ANOTHER CALL'S PROMPT"
        }
        _ => "",
    };
    let times = |times: &[Duration]| -> Vec<u128> { times.iter().map(Duration::as_millis).collect() };
    let mut manners = String::new();
    if !call.answers.is_empty() {
        manners += &format!(", answered after {:?} ms", times(&call.answers));
    }
    if !call.stops.is_empty() {
        manners += &format!(", stopped after {:?} ms", times(&call.stops));
    }
    format!(
        "call {}: {voice}, {handshake}, {:.1} s heard, {:.1} s said{manners}; {}{mixed_up}",
        call.call,
        call.frames_in as f32 * 0.08,
        call.frames_out as f32 * 0.08,
        call.end.map_or("goes on".to_owned(), end)
    )
}

fn end(end: CallEnd) -> String {
    match end {
        CallEnd::ClientClosed(code) => format!("the client closed it ({code})"),
        CallEnd::ClientGone => "the client was gone".to_owned(),
        CallEnd::Start(fault) => format!("its request could not be served: {fault}"),
        CallEnd::Audio(fault) => format!("its audio could not be read: {fault}"),
        CallEnd::TooBig => "it sent a message of more than 4 MiB".to_owned(),
        CallEnd::Nonsense => "it sent what is no WebSocket frame".to_owned(),
        CallEnd::Injected(fault) => format!("as was asked for: {fault:?}"),
        CallEnd::Stopped => "the server stopped".to_owned(),
    }
}
