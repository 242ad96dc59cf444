//! The simulated model servers that a development server brings along.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::{SimulatorSettings, UpstreamUrl};
use crate::sim::upstream::{self, Answer, Manners, Simulator};

/// How long they may take to listen.
const START_WITHIN: Duration = Duration::from_secs(5);

/// Simulated servers on a thread of their own: their model steps stand still, and the gateway must not.
pub(super) struct Simulators {
    /// Where they listen.
    pub(super) urls: Vec<UpstreamUrl>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulators {
    /// Starts as many as are asked for, on ports of the system's choice.
    pub(super) fn start(settings: &SimulatorSettings) -> Result<Simulators, String> {
        let default = upstream::Settings::default();
        let answer = match settings.answers_after {
            Some(answers_after) => Answer::Converse(Manners { answers_after, ..Manners::default() }),
            None => default.answer.clone(),
        };
        let server = upstream::Settings { step: settings.step, voice_steps: settings.voice_steps, answer, ..default };
        let (count, (told, tell)) = (settings.servers, mpsc::sync_channel(1));
        let (stop, stopped) = oneshot::channel();
        let failed = |error: std::io::Error| format!("the simulated server does not start: {error}");
        let thread = std::thread::Builder::new()
            .name("simulators".to_owned())
            .spawn(move || simulate(&server, count, &told, stopped))
            .map_err(failed)?;
        let urls = tell.recv_timeout(START_WITHIN).map_err(|_| "the simulated server does not start".to_owned())?;
        let urls = urls.map_err(failed)?;
        let parsed: Result<Vec<UpstreamUrl>, _> = urls.iter().map(|url| url.parse()).collect();
        let urls = parsed.map_err(|error: crate::config::UpstreamUrlError| error.to_string())?;
        Ok(Simulators { urls, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Simulators {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread: serves until `stopped`.
fn simulate(
    server: &upstream::Settings,
    count: u32,
    told: &mpsc::SyncSender<std::io::Result<Vec<String>>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(told.send(Err(error))),
    };
    runtime.block_on(async {
        let mut servers = Vec::new();
        for _ in 0..count {
            match Simulator::start(server.clone()).await {
                Ok(simulator) => servers.push(simulator),
                Err(error) => return drop(told.send(Err(error))),
            }
        }
        if told.send(Ok(servers.iter().map(Simulator::url).collect())).is_ok() {
            let _ = stopped.await;
        }
    });
}
