//! One call at the simulated server: the wait for the lock, the prompts, the conversation.
//!
//! ```text
//! 101 -> shared prompts overwritten -> lock (FIFO) -> voice, silence, text, silence stepped -> 00 -> lock-step audio
//! ```

use std::future::pending;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::converse::Mark;
use super::event_loop::{ModelClock, until};
use super::fault::Fault;
use super::head::Upgrade;
use super::input::AudioFault;
use super::log::{CallEnd, CallLog, Entry, Phase};
use super::model::Heard;
use super::plight::Plight;
use super::prompts::{PromptText, Query, SILENCE_STEPS, SharedPrompts, StartFault};
use super::server::Server;
use super::session::{Reply, Session};
use super::socket::{Incoming, Socket};
use super::transport::Transport;

const HANDSHAKE: u8 = 0;
const AUDIO: u8 = 1;
const TEXT: u8 = 2;

const CLOSE_NORMAL: u16 = 1000;
const CLOSE_PROTOCOL: u16 = 1002;
const CLOSE_TOO_BIG: u16 = 1009;

/// Audio that may wait to be decoded, in bytes. The real server knows no limit; here the socket is not read meanwhile.
const MAX_INPUT_BYTES: usize = 8 << 20;

/// Times of one kind that are noted of a call.
const MAX_TIMES: usize = 1_024;

/// Serves a call whose 101 is written, to its end.
pub async fn serve(server: &Server, transport: Transport, rest: BytesMut, upgrade: &Upgrade, entry: Entry) {
    let asked = Query::parse(&upgrade.target);
    let prompt = asked.text.as_ref().map_or("", PromptText::expose);
    let fault = server.fault_of(entry.call(), prompt);
    let clock = ModelClock::new(&server.event_loop);
    let mut call = Call {
        server,
        entry,
        socket: Socket::new(transport, rest),
        fault,
        clock,
        steps: 0,
        frame: server.settings.step,
        handshake_at: None,
        plight: server.plight.subscribe(),
    };
    let end = call.run(&asked).await;
    call.entry.end(end);
    call.socket.write_now();
    match end {
        CallEnd::TooBig | CallEnd::Injected(Fault::Reset { .. }) => call.socket.into_transport().reset(),
        _ => call.socket.into_transport().finish().await,
    }
}

/// The record of a request, before anything has happened.
pub fn describe(call: &mut CallLog, upgrade: &Upgrade) {
    let asked = Query::parse(&upgrade.target);
    call.target_bytes = upgrade.target.len();
    call.query_keys = asked.keys;
    call.deflate_offered = upgrade.deflate_offered;
    call.prompt_asked = asked.text;
    call.voice_asked = asked.voice;
}

struct Call<'a> {
    server: &'a Server,
    entry: Entry,
    socket: Socket,
    fault: Option<Fault>,
    clock: ModelClock<'a>,
    steps: u32,
    /// What a frame of the conversation takes.
    frame: Duration,
    /// When `00` was sent.
    handshake_at: Option<Instant>,
    plight: watch::Receiver<Plight>,
}

impl Call<'_> {
    async fn run(&mut self, asked: &Query) -> CallEnd {
        // Before the lock, and before it is known whether the request can be served: this is the leak.
        let own = match self.server.take_prompts(asked) {
            Ok(own) => own,
            Err(fault) => return CallEnd::Start(fault),
        };
        // Nothing is read while waiting: no pong, no close reply, and a caller who left is not noticed.
        let _lock = self.server.lock.acquire().await;
        self.clock.catch_up();
        self.entry.note(|call| call.phase = Phase::Prompting);
        match self.prompt(own.as_ref()).await {
            Err(end) => end,
            Ok(text) => self.talk(&text).await,
        }
    }

    /// Steps the prompts as they stand in the shared state: the voice of the first step, the text of the first text step.
    /// Gives the text.
    async fn prompt(&mut self, own: Option<&SharedPrompts>) -> Result<PromptText, CallEnd> {
        let prompts = own.cloned().unwrap_or_else(|| self.server.prompts());
        if let Some(voice) = prompts.voice() {
            self.entry.note(|call| call.voice_given = Some(voice.to_string()));
            self.step_silently(self.server.settings.voice_steps).await?;
            let cached = own.cloned().unwrap_or_else(|| self.server.prompts()).voice().map(|voice| voice.to_string());
            self.entry.note(|call| call.voice_cached = cached);
        }
        self.step_silently(SILENCE_STEPS).await?;
        let text = own
            .cloned()
            .unwrap_or_else(|| self.server.prompts())
            .text()
            .ok_or(CallEnd::Start(StartFault::EmptyText))?;
        self.entry.note(|call| call.prompt_given = Some(text.clone()));
        for _ in 0..text.tokens() {
            self.step().await?;
            self.entry.note(|call| call.text_steps += 1);
        }
        self.step_silently(SILENCE_STEPS).await?;
        if self.fault == Some(Fault::NeverHandshake) {
            loop {
                self.receive_early().await?;
            }
        }
        self.look_for_disconnect().await?;
        Ok(text)
    }

    async fn step_silently(&mut self, steps: u32) -> Result<(), CallEnd> {
        for _ in 0..steps {
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), CallEnd> {
        self.look_for_disconnect().await?;
        while self.is_hung() {
            let mut plight = self.plight.clone();
            tokio::select! {
                _ = plight.wait_for(|plight| *plight != Plight::Hung) => self.clock.catch_up(),
                outcome = self.receive_early() => outcome?,
            }
        }
        match self.fault {
            Some(fault @ Fault::FailPrompting { steps }) if self.steps >= steps => {
                return Err(CallEnd::Injected(fault));
            }
            _ => {}
        }
        self.clock.work(self.server.settings.step).await;
        self.steps += 1;
        let steps = self.steps;
        self.entry.note(|call| call.steps = steps);
        Ok(())
    }

    /// Looks whether a message waits, and throws it away: one before every step.
    async fn look_for_disconnect(&mut self) -> Result<(), CallEnd> {
        let poll = self.server.settings.poll;
        match timeout_at(self.clock.now() + poll, self.receive_early()).await {
            Err(_) => self.clock.skip(poll),
            Ok(outcome) => {
                outcome?;
                self.clock.catch_up();
            }
        }
        Ok(())
    }

    async fn receive_early(&mut self) -> Result<(), CallEnd> {
        loop {
            match self.socket.receive(true).await {
                Incoming::Ping(payload) => self.pong(&payload),
                Incoming::Pong | Incoming::Room => {}
                Incoming::Binary(_) | Incoming::Text => {
                    self.entry.note(|call| call.swallowed += 1);
                    return Ok(());
                }
                last => return Err(self.end_of(&last)),
            }
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        self.socket.queue_pong(payload);
        self.socket.write_now();
        self.entry.note(|call| call.pongs += 1);
    }

    /// The end that the last thing from the client makes, with the reply to it on its way.
    fn end_of(&mut self, last: &Incoming) -> CallEnd {
        let (end, reply) = match *last {
            // The real server answers 1000 whatever the code was.
            Incoming::Close(code) => (CallEnd::ClientClosed(code), Some(CLOSE_NORMAL)),
            Incoming::TooBig => (CallEnd::TooBig, Some(CLOSE_TOO_BIG)),
            Incoming::Nonsense => (CallEnd::Nonsense, Some(CLOSE_PROTOCOL)),
            _ => (CallEnd::ClientGone, None),
        };
        self.entry.end(end);
        if let Some(code) = reply {
            self.socket.queue_close(code);
            self.socket.write_now();
        }
        end
    }

    async fn talk(&mut self, prompt: &PromptText) -> CallEnd {
        let mut session = match Session::new(&self.server.settings.answer, self.server.settings.step, prompt) {
            Ok(session) => session,
            Err(fault) => return CallEnd::Audio(fault),
        };
        let (age, handshake_at) = (self.entry.age(), Instant::now());
        self.entry.note(|call| {
            (call.phase, call.handshake, call.handshake_after) = (Phase::Talking, true, Some(age));
        });
        self.handshake_at = Some(handshake_at);
        self.socket.queue(&[&[HANDSHAKE]]);
        self.socket.write_now();
        self.clock.catch_up();
        self.clock.skip(self.server.settings.round);
        let fault_at = self.fault.and_then(delay_of).map(|after| handshake_at + after);
        let (mut hung, mut slow) = (false, false);
        loop {
            let reading = session.input.waiting_bytes() < MAX_INPUT_BYTES;
            let due = self.clock.now();
            let busy = session.is_busy() && !hung && !self.is_hung() && self.socket.has_room();
            tokio::select! {
                biased;
                () = until(fault_at.unwrap_or(due)), if fault_at.is_some() && !hung && !slow => match self.fault {
                    Some(Fault::Hang { .. }) => hung = true,
                    Some(Fault::Slow { step, .. }) => (slow, self.frame) = (true, step),
                    // The lock, the socket and all that is in them stay as they are.
                    Some(Fault::Vanish { .. }) => pending().await,
                    Some(fault) => return CallEnd::Injected(fault),
                    None => {}
                },
                _ = self.plight.changed() => self.clock.catch_up(),
                incoming = self.socket.receive(reading) => {
                    if let Some(end) = self.hear(&incoming, &mut session) {
                        return end;
                    }
                }
                () = until(due), if busy => {
                    if let Err(fault) = self.round(&mut session).await {
                        return self.close(fault).await;
                    }
                }
            }
        }
    }

    fn hear(&mut self, incoming: &Incoming, session: &mut Session) -> Option<CallEnd> {
        match incoming {
            Incoming::Binary(message) => {
                if let Some((&AUDIO, payload)) = message.split_first() {
                    if !session.is_busy() {
                        self.clock.catch_up();
                    }
                    session.take(payload, self.since_handshake());
                    self.entry.note(|call| call.audio_messages_in += 1);
                }
                None
            }
            Incoming::Ping(payload) => {
                self.pong(payload);
                None
            }
            Incoming::Text | Incoming::Pong | Incoming::Room => None,
            last => Some(self.end_of(last)),
        }
    }

    /// One turn of the server's loops: one packet is decoded and stepped, one page is sent.
    async fn round(&mut self, session: &mut Session) -> Result<(), AudioFault> {
        let settings = &self.server.settings;
        if let Some(packet) = session.next_packet()? {
            let heard = session.model.hear(packet)?;
            let mut step = self.frame;
            if heard == Heard::Empty {
                self.clock.work(settings.empty_packet_block).await;
                step = Duration::ZERO;
            }
            while session.model.has_frame() {
                self.clock.work(step).await;
                session.step()?;
                self.entry.note(|call| call.frames_in += 1);
            }
        }
        while let Some(reply) = session.waiting.pop_front() {
            if let Some(text) = &reply.text {
                self.socket.queue(&[&[TEXT], text.as_bytes()]);
            }
            self.socket.queue(&[&[AUDIO], &reply.page]);
            self.entry.note(|call| {
                call.texts_out += u64::from(reply.text.is_some());
                call.frames_out = session.pages_sent();
            });
            self.note_marks(&reply, session);
            if !settings.round.is_zero() {
                break;
            }
        }
        self.socket.write_now();
        self.clock.skip(settings.round);
        Ok(())
    }

    /// Whether the model stands still because of the whole server.
    fn is_hung(&self) -> bool {
        *self.plight.borrow() == Plight::Hung
    }

    fn since_handshake(&self) -> Duration {
        self.handshake_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Notes how long what happens in this reply really took.
    fn note_marks(&self, reply: &Reply, session: &mut Session) {
        let begins = session.truth.leaves(reply.samples, self.since_handshake());
        for mark in &reply.marks {
            let took = |heard, said| session.truth.between(heard, said, reply.start, begins);
            self.entry.note(|call| match *mark {
                Mark::Answered { heard, said } => note_time(&mut call.answers, took(heard, said)),
                Mark::Stopped { heard, said } => note_time(&mut call.stops, took(heard, said)),
                Mark::Backchannel => call.backchannels += 1,
            });
        }
    }

    /// Closes for a fault of the audio, which looks like a goodbye, and holds the lock until the client has replied.
    async fn close(&mut self, fault: AudioFault) -> CallEnd {
        let end = CallEnd::Audio(fault);
        self.entry.end(end);
        self.socket.queue_close(CLOSE_NORMAL);
        let reply = async {
            while !matches!(self.socket.receive(true).await, Incoming::Close(_) | Incoming::Gone | Incoming::Nonsense) {
            }
        };
        // A client that never replies only makes the lock stay longer.
        let _ = timeout(self.server.settings.close_timeout, reply).await;
        end
    }
}

fn note_time(times: &mut Vec<Duration>, time: Option<Duration>) {
    if times.len() < MAX_TIMES {
        times.extend(time);
    }
}

fn delay_of(fault: Fault) -> Option<Duration> {
    match fault {
        Fault::Reset { after }
        | Fault::Finish { after }
        | Fault::Hang { after }
        | Fault::Slow { after, .. }
        | Fault::Vanish { after } => Some(after),
        Fault::Refuse | Fault::Mute | Fault::MutePages | Fault::NeverHandshake | Fault::FailPrompting { .. } => None,
    }
}
