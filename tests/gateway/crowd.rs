//! Callers who can be told apart by the words of their model servers.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use tandem::{
    protocol::moshi::tokens_estimate,
    sim::{
        caller::{self, Audio, CallEvent, CallReport, CallerSettings, HangUp, Hearing, Wire},
        upstream::{self, Answer, CallLog, Simulator},
    },
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::house::{House, PATIENCE, gateway_over};

/// The time of a prompt step: half of what a real server needs, and in its proportions.
pub const STEP: Duration = Duration::from_millis(20);
pub const POLL: Duration = Duration::from_millis(5);
pub const VOICE_STEPS: u32 = 51;

/// A model server that says whose prompt it has been given.
pub fn reciting() -> upstream::Settings {
    upstream::Settings {
        answer: Answer::Recite,
        step: STEP,
        poll: POLL,
        voice_steps: VOICE_STEPS,
        ..upstream::Settings::default()
    }
}

/// A gateway over servers like this one, each for several calls at once.
pub async fn house(server: upstream::Settings, count: usize, variables: &[(&str, &str)]) -> House {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Simulator::start(server.clone()).await.unwrap());
    }
    let urls: Vec<String> =
        servers.iter().map(|running| format!("{}#capacity={}", running.url(), server.calls_at_once)).collect();
    // Who speaks when is not what these tests are about.
    let variables = [&[("TANDEM__TURNS__SHARE", "0")], variables].concat();
    House { gateway: gateway_over(&urls.join(","), &variables, tandem::gateway::Rehearsal::default()), servers }
}

/// The prompt of caller `n`; a server that was given it names the caller in all that it says.
pub fn persona(n: usize) -> String {
    format!("You only talk with caller {n} here. You are calm and ask short questions.")
}

/// The callers that a text names.
pub fn named(text: &str) -> Vec<usize> {
    let mut named: Vec<usize> = text
        .split("caller ")
        .skip(1)
        .filter_map(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok())
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

/// A call that goes on until it is told to hang up.
pub struct Call {
    pub n: usize,
    pub events: mpsc::Receiver<CallEvent>,
    pub seen: Vec<CallEvent>,
    hang_up: Arc<Notify>,
    running: JoinHandle<CallReport>,
}

impl Call {
    /// Calls, without waiting for anything.
    pub fn dial(house: &House, n: usize) -> Call {
        Call::dial_with(house, n, |_| {})
    }

    pub fn dial_with(house: &House, n: usize, change: impl FnOnce(&mut CallerSettings)) -> Call {
        let (events, heard) = mpsc::channel(16_384);
        let mut settings = house.caller(&format!("user {n}"), Wire::Native(Audio::Opus));
        settings.text_prompt = Some(SecretString::from(persona(n)));
        settings.hearing = Hearing::Count;
        settings.hang_up = HangUp::WhenTold;
        settings.events = Some(events);
        change(&mut settings);
        let hang_up = Arc::clone(&settings.hang_up_now);
        Call { n, events: heard, seen: Vec::new(), hang_up, running: actix_web::rt::spawn(caller::call(settings)) }
    }

    /// Waits for an event; `None` means that the call ended before.
    pub async fn until(&mut self, is_it: impl Fn(&CallEvent) -> bool) -> Option<CallEvent> {
        let wait = async {
            while let Some(event) = self.events.recv().await {
                self.seen.push(event.clone());
                if is_it(&event) {
                    return Some(event);
                }
            }
            None
        };
        tokio::time::timeout(3 * PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("caller {}: {:#?}", self.n, self.told()))
    }

    /// Waits until the assistant has said so many pieces more.
    pub async fn words(&mut self, count: usize) {
        for _ in 0..count {
            self.until(|event| matches!(event, CallEvent::Transcript(_))).await.expect("the call goes on");
        }
    }

    /// What was told so far, words apart.
    pub fn told(&self) -> Vec<&CallEvent> {
        self.seen.iter().filter(|event| !matches!(event, CallEvent::Transcript(_))).collect()
    }

    pub fn count(&self, is_it: impl Fn(&CallEvent) -> bool) -> usize {
        self.seen.iter().filter(|event| is_it(event)).count()
    }

    /// Hangs up, or takes the report of a call that is over.
    pub async fn end(&mut self) -> CallReport {
        self.hang_up.notify_one();
        let report = tokio::time::timeout(PATIENCE, &mut self.running).await.unwrap().unwrap();
        while let Some(event) = self.events.recv().await {
            self.seen.push(event);
        }
        assert!(named(&report.transcript).iter().all(|n| *n == self.n), "caller {} heard of another one", self.n);
        report
    }
}

/// So many callers who all talk.
pub async fn talking(house: &House, count: usize) -> Vec<Call> {
    let mut calls: Vec<Call> = (1..=count).map(|n| Call::dial(house, n)).collect();
    for call in &mut calls {
        call.until(|event| matches!(event, CallEvent::Ready)).await.expect("it gets through");
        // A sentence and a half.
        call.words(20).await;
    }
    calls
}

/// The servers' records of this caller's call, with the server's number.
pub fn of_caller(house: &House, n: usize) -> Vec<(usize, CallLog)> {
    let servers = house.servers.iter().enumerate();
    let records = servers.flat_map(|(at, server)| server.log().into_iter().map(move |call| (at, call)));
    let is_theirs = |call: &CallLog| call.prompt_asked.as_ref().is_some_and(|asked| named(asked.expose()) == [n]);
    records.filter(|(_, call)| is_theirs(call)).collect()
}

/// No server was given a prompt with two callers in it, none had more sockets than calls, and recaps are short.
pub fn assert_nobody_meets(house: &House, capacity: usize) {
    for server in &house.servers {
        assert!(server.peak_open_sockets() <= capacity, "{} sockets at once", server.peak_open_sockets());
    }
    for call in house.log() {
        let (Some(asked), Some(given)) = (&call.prompt_asked, &call.prompt_given) else { continue };
        assert!(named(asked.expose()).len() <= 1, "two callers in one prompt");
        assert!(given.expose().contains(asked.expose()), "another one's prompt was given");
    }
}

/// Whether a prompt lets a server go on with a call: the caller's own words in 80 tokens.
pub fn is_recap(call: &CallLog) -> bool {
    let asked = call.prompt_asked.as_ref().map_or("", |asked| asked.expose());
    asked.contains("you said: This is line") && tokens_estimate(asked) <= 80
}

/// The time until a server has read its prompts, as its settings predict it.
pub fn predicted_handshake(call: &CallLog) -> Duration {
    let tokens = call.prompt_given.as_ref().map_or(0, upstream::PromptText::tokens);
    (STEP + POLL) * (VOICE_STEPS + 2 * upstream::SILENCE_STEPS + tokens)
}

/// Minimum, median, 95th percentile and maximum, in milliseconds.
pub fn distribution(times: &[Duration]) -> String {
    let mut ms: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    ms.sort_unstable();
    let Some(last) = ms.len().checked_sub(1) else { return "none".to_owned() };
    format!("{} | {} | {} | {} ({} times)", ms[0], ms[last / 2], ms[(last * 95).div_ceil(100)], ms[last], ms.len())
}
