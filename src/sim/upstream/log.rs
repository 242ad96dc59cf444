//! What the simulated server saw of every call, and waiting for it to happen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::input::AudioFault;
use super::prompts::{PromptText, StartFault};

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its 101 is out and its prompts are in the shared state; it waits for the lock.
    Waiting,
    /// It holds the lock and its prompts are being stepped.
    Prompting,
    /// Its handshake is out.
    Talking,
    /// Its connection is closed on the server's side.
    Ended,
}

/// How a call ended, as the server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The client sent a close frame with this code (1005: none) and had its reply.
    ClientClosed(u16),
    /// FIN or RST of the client without a close frame.
    ClientGone,
    /// The request could not be served: FIN without a close frame.
    Start(StartFault),
    /// The audio could not be read: close 1000.
    Audio(AudioFault),
    /// A message was too long: close 1009, then RST.
    TooBig,
    /// The bytes were no WebSocket frames: close 1002.
    Nonsense,
    /// A fault that was asked for.
    Injected(Fault),
    /// The server was stopped, or had been told to terminate and the grace was over.
    Stopped,
}

/// One call as the server saw it.
#[derive(Clone, Debug)]
pub struct CallLog {
    /// 1 for the first call of this server.
    pub call: u64,
    /// Where the call is now.
    pub phase: Phase,
    /// The length of the request target, in bytes.
    pub target_bytes: usize,
    /// The keys of the query, in order.
    pub query_keys: Vec<String>,
    /// Whether the client offered permessage-deflate, which a gateway should not.
    pub deflate_offered: bool,
    /// The text prompt of the request, as it came.
    pub prompt_asked: Option<PromptText>,
    /// The text prompt that was stepped, with its system tags: whose it is depends on who wrote last.
    pub prompt_given: Option<PromptText>,
    /// The `voice_prompt` of the request, as it came.
    pub voice_asked: Option<String>,
    /// The voice that was stepped.
    pub voice_given: Option<String>,
    /// The voice whose cache was taken over at the end of its steps: another one if somebody wrote in between.
    pub voice_cached: Option<String>,
    /// Prompting steps that were made.
    pub steps: u32,
    /// Steps of the text prompt among them.
    pub text_steps: u32,
    /// Messages that came before the handshake and were thrown away.
    pub swallowed: u64,
    /// Whether `00` was sent.
    pub handshake: bool,
    /// From the 101 to `00`.
    pub handshake_after: Option<Duration>,
    /// Pings that were answered.
    pub pongs: u64,
    /// Audio messages taken in after the handshake.
    pub audio_messages_in: u64,
    /// Frames of 80 ms that the model heard.
    pub frames_in: u64,
    /// Pages of 80 ms that were sent.
    pub frames_out: u64,
    /// Text pieces that were sent.
    pub texts_out: u64,
    /// From the caller's last sound to the first of each answer, as a listener at this end of the wire hears it.
    pub answers: Vec<Duration>,
    /// From the caller's first sound to the last of each answer that it cut off.
    pub stops: Vec<Duration>,
    /// Short things that were said while the caller went on.
    pub backchannels: u64,
    /// How the call ended, once it has.
    pub end: Option<CallEnd>,
}

/// What was waited for did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was waited for did not happen within {within:?}; the log shows how far the calls came")]
pub struct WaitError {
    /// How long it was waited for.
    pub within: Duration,
}

#[derive(Debug, Default)]
struct Records {
    calls: VecDeque<CallLog>,
    started: u64,
    open: usize,
    peak: usize,
    pages: u64,
}

/// The records of all calls.
#[derive(Debug)]
pub struct Log {
    records: Mutex<Records>,
    limit: usize,
    changed: watch::Sender<u64>,
}

impl Log {
    /// A log of at most `limit` calls.
    pub fn new(limit: usize) -> Self {
        Self { records: Mutex::default(), limit: limit.max(1), changed: watch::Sender::new(0) }
    }

    /// The calls so far, the oldest first.
    pub fn calls(&self) -> Vec<CallLog> {
        self.lock().calls.iter().cloned().collect()
    }

    /// Call sockets that are open now, and the most that ever were at the same time.
    pub fn sockets(&self) -> (usize, usize) {
        let records = self.lock();
        (records.open, records.peak)
    }

    /// Notes a plain request.
    pub fn page(&self) {
        self.lock().pages += 1;
        self.tell();
    }

    /// Plain requests so far.
    pub fn pages(&self) -> u64 {
        self.lock().pages
    }

    /// Waits until the calls are as `is_so` says.
    pub async fn wait_for(
        &self,
        is_so: impl Fn(&[CallLog]) -> bool,
        within: Duration,
    ) -> Result<Vec<CallLog>, WaitError> {
        let mut changed = self.changed.subscribe();
        let deadline = Instant::now() + within;
        loop {
            let calls = self.calls();
            if is_so(&calls) {
                return Ok(calls);
            }
            // The sender lives in this log, so the only way not to see a change is the deadline.
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Err(WaitError { within });
            }
        }
    }

    /// Opens the record of a call; `fill` sets what is known of it.
    pub fn open(self: &Arc<Self>, fill: impl FnOnce(&mut CallLog)) -> Entry {
        let mut records = self.lock();
        records.started += 1;
        records.open += 1;
        records.peak = records.peak.max(records.open);
        let mut call = empty(records.started);
        fill(&mut call);
        if records.calls.len() == self.limit {
            records.calls.pop_front();
        }
        records.calls.push_back(call);
        let entry = Entry { log: Arc::clone(self), call: records.started, opened: Instant::now(), ended: false };
        drop(records);
        self.tell();
        entry
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}

/// One open call's place in the log. Dropping it ends the call there.
#[derive(Debug)]
pub struct Entry {
    log: Arc<Log>,
    call: u64,
    opened: Instant,
    ended: bool,
}

impl Entry {
    /// The call's number, from 1.
    pub fn call(&self) -> u64 {
        self.call
    }

    /// The time since the 101.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Changes the record, if it is still kept.
    pub fn note(&self, change: impl FnOnce(&mut CallLog)) {
        self.change(|records, index| {
            if let Some(call) = records.calls.get_mut(index) {
                change(call);
            }
        });
    }

    /// Ends the call; to be said *before* the client can see the end, so that its next call is never counted beside
    /// this one. Only the first end counts.
    pub fn end(&mut self, end: CallEnd) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.change(|records, index| {
            records.open -= 1;
            if let Some(call) = records.calls.get_mut(index) {
                call.phase = Phase::Ended;
                call.end = Some(end);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Records, usize)) {
        let mut records = self.log.lock();
        let kept = records.calls.len() as u64;
        let first = records.started - kept + 1;
        let index = self.call.checked_sub(first).map_or(usize::MAX, |index| index as usize);
        change(&mut records, index);
        drop(records);
        self.log.tell();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(CallEnd::Stopped);
    }
}

fn empty(call: u64) -> CallLog {
    CallLog {
        call,
        phase: Phase::Waiting,
        target_bytes: 0,
        query_keys: Vec::new(),
        deflate_offered: false,
        prompt_asked: None,
        prompt_given: None,
        voice_asked: None,
        voice_given: None,
        voice_cached: None,
        steps: 0,
        text_steps: 0,
        swallowed: 0,
        handshake: false,
        handshake_after: None,
        pongs: 0,
        audio_messages_in: 0,
        frames_in: 0,
        frames_out: 0,
        texts_out: 0,
        answers: Vec::new(),
        stops: Vec::new(),
        backchannels: 0,
        end: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_event_or_the_deadline() {
        let log = Arc::new(Log::new(2));
        let within = Duration::from_secs(5);
        assert_eq!(log.wait_for(|calls| !calls.is_empty(), within).await.unwrap_err(), WaitError { within });
        let entry = log.open(|_| {});
        let (seen, ()) = tokio::join!(log.wait_for(|calls| calls[0].handshake, within), async {
            entry.note(|call| call.handshake = true);
        });
        assert_eq!(seen.unwrap()[0].call, 1);
    }

    #[test]
    fn old_calls_are_forgotten_and_still_counted_as_open() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _guard = runtime.enter();
        let log = Arc::new(Log::new(2));
        let entries: Vec<_> = (0..3).map(|_| log.open(|_| {})).collect();
        entries[0].note(|call| call.steps = 7);
        assert_eq!(log.calls().iter().map(|call| (call.call, call.steps)).collect::<Vec<_>>(), [(2, 0), (3, 0)]);
        assert_eq!(log.sockets(), (3, 3));
        drop(entries);
        assert_eq!(log.sockets(), (0, 3));
        assert!(log.calls().iter().all(|call| call.end == Some(CallEnd::Stopped)));
    }
}
