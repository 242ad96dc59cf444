//! A call with as many model servers as it opens, in virtual time: what happens is a list of lines, each with its time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tandem::{
    audio::{hush::Hush, packet::OpusPacket},
    pool::{
        quota::Allowance,
        roster::{Class, NoSlot, Offer},
    },
    protocol::{moshi::TextPiece, native::AudioTerms},
    session::machine::{
        ClientInput, ClientOutput, ContextNeed, Effect, HandshakeTerms, Input, Limits, Machine, Prompt, Terms,
        UpstreamEnd, UpstreamInput,
    },
};

use super::{FRAME, detached::resume_terms, line, role::Role};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MS: Duration = Duration::from_millis(1);

/// How requests for slots are answered.
pub type Pool = fn(Class, bool) -> Result<Duration, NoSlot>;

#[derive(Debug)]
struct Server {
    role: Role,
    prompt: Prompt,
    listens_at: Option<Instant>,
    fed: Duration,
    /// Frames that it gave.
    frames: u32,
    closed: bool,
}

#[derive(Debug)]
enum Coming {
    Caller,
    Granted(u32),
    Refused(u32, NoSlot),
    Ready(u32),
    HangsUp(u32),
    Dies(u32, UpstreamEnd),
    Wakes,
}

/// The stage, its actors, and what was seen.
pub struct Theatre {
    pub machine: Machine,
    slice: Duration,
    pub now: Instant,
    start: Instant,
    /// The roles of the servers in the order in which they are opened; the last one is played by all after it.
    cast: Vec<Role>,
    pool: Pool,
    servers: BTreeMap<u32, Server>,
    agenda: BTreeMap<(Instant, u64), Coming>,
    counter: u64,
    asks: u32,
    asking: bool,
    /// What happened, in milliseconds since the beginning.
    pub seen: Vec<(u64, String)>,
    /// When the caller got sound.
    pub sounds: Vec<Instant>,
    /// Packets of the caller that each server got.
    pub heard: BTreeMap<u32, u32>,
    /// Whether the caller still speaks.
    pub caller_speaks: bool,
    /// Whether the caller reads what it is sent.
    pub reads: bool,
    /// Whether a leg that closes in order gives its lease back.
    pub keeps_leases: bool,
}

pub fn terms(step: Duration) -> Terms {
    Terms {
        session_id: "s".into(),
        audio: AudioTerms { format: "opus".into(), sample_rate: 48_000, channels: 1 },
        handshake: HandshakeTerms { base: 20 * SECOND, step, steps: 100, continuation_steps: 120, memory_steps: 200 },
        context: ContextNeed::Nothing,
        jitter: 0.0,
        player_lead: None,
        allowance: None,
        resume: Some(resume_terms()),
        sampled: false,
    }
}

impl Theatre {
    pub fn open(limits: Limits, cast: &[Role], pool: Pool) -> Theatre {
        Theatre::with(None, limits, cast, pool)
    }

    /// The same for a caller whose quota has no end, and is booked in parts of so long.
    pub fn with_quota(slice: Duration, limits: Limits, cast: &[Role], pool: Pool) -> Theatre {
        Theatre::with(Some(slice), limits, cast, pool)
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn with(slice: Option<Duration>, limits: Limits, cast: &[Role], pool: Pool) -> Theatre {
        let limits = Limits { idle_timeout: 80_000 * SECOND, ..limits };
        let now = Instant::now();
        let mut theatre = Theatre {
            machine: Machine::new(
                Terms { allowance: slice.map(|slice| Allowance { booked: slice, left: slice }), ..terms(50 * MS) },
                limits,
                now,
            ),
            slice: slice.unwrap_or_default(),
            now,
            start: now,
            cast: cast.to_vec(),
            pool,
            servers: BTreeMap::new(),
            agenda: BTreeMap::new(),
            counter: 0,
            asks: 0,
            asking: false,
            seen: Vec::new(),
            sounds: Vec::new(),
            heard: BTreeMap::new(),
            caller_speaks: true,
            reads: true,
            keeps_leases: true,
        };
        theatre.plan(Duration::ZERO, Coming::Caller);
        theatre.settle();
        theatre
    }

    fn plan(&mut self, after: Duration, what: Coming) {
        self.counter += 1;
        self.agenda.insert((self.now + after, self.counter), what);
    }

    fn note(&mut self, line: String) {
        let at = (self.now - self.start).as_millis();
        self.seen.push((u64::try_from(at).unwrap(), line));
    }

    /// Lets the play go on for so long.
    pub fn run(&mut self, time: Duration) -> &mut Theatre {
        let end = self.now + time;
        loop {
            let agenda = self.agenda.keys().next().map(|(at, _)| *at);
            let next = [agenda, self.machine.deadline()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = at.max(self.now);
            if agenda.is_some_and(|agenda| agenda <= at)
                && let Some((_, what)) = self.agenda.pop_first()
            {
                self.happen(what);
            } else {
                self.machine.handle(Input::Tick, self.now);
                self.settle();
            }
        }
        self.now = end;
        self
    }

    fn happen(&mut self, what: Coming) {
        match what {
            Coming::Caller => {
                self.plan(20 * MS, Coming::Caller);
                if self.caller_speaks {
                    self.machine.handle(Input::Client(ClientInput::Audio(OpusPacket::silence_20ms())), self.now);
                }
                self.machine.handle(Input::Client(ClientInput::Alive), self.now);
            }
            Coming::Granted(ask) if ask == self.asks && self.asking => {
                self.asking = false;
                self.machine.handle(Input::Leased(Offer { step: Some(40 * MS), ..Offer::default() }), self.now);
            }
            Coming::Refused(ask, why) if ask == self.asks && self.asking => {
                self.asking = false;
                self.machine.handle(Input::NoSlot(why), self.now);
            }
            Coming::Granted(_) | Coming::Refused(..) => {}
            Coming::Ready(attempt) => {
                let now = self.now;
                let Some(server) = self.servers.get_mut(&attempt).filter(|server| !server.closed) else { return };
                server.listens_at = Some(now);
                let role = server.role.clone();
                self.machine.handle(Input::Upstream(attempt, UpstreamInput::Ready), self.now);
                if let Some((after, end)) = role.dies {
                    self.plan(after, Coming::Dies(attempt, end));
                }
                if let Some((_, until)) = role.silent {
                    self.plan(until, Coming::Wakes);
                }
            }
            Coming::HangsUp(attempt) => {
                let unreachable = self.servers[&attempt].role.unreachable;
                let end = if unreachable { UpstreamEnd::ConnectFailed } else { UpstreamEnd::HungUp };
                self.say(attempt, UpstreamInput::Ended(end));
                self.servers.get_mut(&attempt).unwrap().closed = true;
            }
            Coming::Dies(attempt, end) => {
                if self.servers.get_mut(&attempt).is_some_and(|server| !std::mem::replace(&mut server.closed, true)) {
                    self.note(format!("server {attempt} dies"));
                    self.machine.handle(Input::Upstream(attempt, UpstreamInput::Ended(end)), self.now);
                }
            }
            Coming::Wakes => {}
        }
        self.settle();
    }

    /// A server says this, unless its leg is closed.
    pub fn say(&mut self, attempt: u32, input: UpstreamInput) {
        if self.servers.get(&attempt).is_some_and(|server| !server.closed) {
            self.machine.handle(Input::Upstream(attempt, input), self.now);
            self.settle();
        }
    }

    pub fn words(&mut self, attempt: u32, words: &str) {
        self.say(attempt, UpstreamInput::Text(TextPiece::new(words)));
    }

    /// The pool has no answer to what it is asked.
    pub fn no_answer(&mut self) {
        assert!(std::mem::take(&mut self.asking), "it is asked");
        self.input(Input::NoAnswer);
    }

    pub fn input(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.machine.poll_effect() {
                self.perform(effect);
            }
            if !self.answer() {
                return;
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match &effect {
            Effect::Acquire { class, retry, .. } => {
                assert!(!self.asking, "two requests at a time");
                (self.asks, self.asking) = (self.asks + 1, true);
                match (self.pool)(*class, *retry) {
                    Ok(after) => self.plan(after, Coming::Granted(self.asks)),
                    Err(why) => self.plan(MS, Coming::Refused(self.asks, why)),
                }
            }
            Effect::BookMore => self.machine.handle(Input::Booked(self.slice), self.now),
            Effect::Withdraw => self.asking = false,
            Effect::KeepLease(attempt) => {
                self.servers.get_mut(attempt).unwrap().closed = true;
                assert!(!self.asking, "two requests at a time");
                (self.asks, self.asking) = (self.asks + 1, true);
                let lost = Coming::Refused(self.asks, NoSlot::Busy);
                self.plan(50 * MS, if self.keeps_leases { Coming::Granted(self.asks) } else { lost });
            }
            Effect::CloseUpstream(attempt) => self.servers.get_mut(attempt).unwrap().closed = true,
            Effect::OpenUpstream(attempt, prompt) => {
                let role = self.cast.get(*attempt as usize - 1).or(self.cast.last()).unwrap().clone();
                let coming = role
                    .handshake
                    .filter(|_| !role.unreachable)
                    .map_or((10 * MS, Coming::HangsUp(*attempt)), |after| (after, Coming::Ready(*attempt)));
                let is_there = !role.unreachable;
                let server =
                    Server { role, prompt: *prompt, listens_at: None, fed: Duration::ZERO, frames: 0, closed: false };
                self.servers.insert(*attempt, server);
                if is_there {
                    self.machine.handle(Input::Upstream(*attempt, UpstreamInput::Opened), self.now);
                }
                self.plan(coming.0, coming.1);
            }
            Effect::SendUpstream(attempt, packet) => {
                let server = self.servers.get_mut(attempt).unwrap();
                assert!(!server.closed && server.listens_at.is_some(), "fed to {server:?}");
                server.fed += packet.duration();
                *self.heard.entry(*attempt).or_default() += 1;
                self.machine.handle(Input::Upstream(*attempt, UpstreamInput::Writable), self.now);
                return;
            }
            Effect::SendClient(output) => {
                if let ClientOutput::Audio(_) = output {
                    self.sounds.push(self.now);
                }
                if self.reads {
                    self.machine.handle(Input::Client(ClientInput::Writable), self.now);
                }
                if matches!(output, ClientOutput::Audio(_) | ClientOutput::Ping) {
                    return;
                }
            }
            Effect::MarkClient(_) if !self.reads => {}
            Effect::MarkClient(mark) => self.machine.handle(Input::Client(ClientInput::Confirmed(*mark)), self.now),
            _ => {}
        }
        if let Some(line) = line(effect) {
            self.note(line);
        }
    }

    /// Whoever was fed a whole frame gives one.
    fn answer(&mut self) -> bool {
        let now = self.now;
        let due = self.servers.iter_mut().find(|(_, server)| {
            let silent = server.listens_at.zip(server.role.silent);
            let silent = silent.is_some_and(|(since, (from, to))| (since + from..since + to).contains(&now));
            let until = if server.role.stutters { Some(Duration::MAX) } else { server.role.stutters_until };
            let stutters = server.listens_at.zip(until).is_some_and(|(since, until)| {
                let seconds = (now - since).as_secs();
                now - since < until && seconds >= 20 && (seconds - 20) % 12 < 4
            });
            let busy = server.listens_at.filter(|_| server.role.slow);
            let busy = busy.is_some_and(|since| now < since + 100 * MS * server.frames);
            !server.closed && server.fed >= FRAME && !silent && !stutters && !busy
        });
        let Some((attempt, server)) = due else { return false };
        server.fed -= FRAME;
        server.frames += 1;
        let since = now - server.listens_at.unwrap();
        let speaks = server.role.speaks.is_some_and(|(from, to)| (from..to).contains(&since));
        let attempt = *attempt;
        if speaks {
            let frame = since.as_millis() / FRAME.as_millis();
            for packet in spoken(usize::try_from(frame).unwrap()) {
                self.machine.handle(Input::Upstream(attempt, UpstreamInput::Audio(packet)), now);
            }
        } else {
            self.machine.handle(Input::Upstream(attempt, UpstreamInput::Audio(quiet())), now);
        }
        true
    }

    /// The prompts with which the servers were opened, in order.
    pub fn prompts(&self) -> Vec<Prompt> {
        self.servers.values().map(|server| server.prompt).collect()
    }

    /// Servers that are open now.
    pub fn open_servers(&self) -> usize {
        self.servers.values().filter(|server| !server.closed).count()
    }

    /// When a line was first seen, in milliseconds.
    #[track_caller]
    pub fn at(&self, start: &str) -> u64 {
        let found = self.seen.iter().find(|(_, line)| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start:?} in {:#?}", self.seen)).0
    }

    #[track_caller]
    pub fn refuse(&self, start: &str) {
        assert!(self.seen.iter().all(|(_, line)| !line.starts_with(start)), "{start:?} in {:#?}", self.seen);
    }

    pub fn count(&self, start: &str) -> usize {
        self.seen.iter().filter(|(_, line)| line.starts_with(start)).count()
    }

    /// The longest time from one sound to the next, less the sound itself.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.sounds.windows(2).map(|pair| (pair[1] - pair[0]).saturating_sub(FRAME));
        gaps.max().unwrap_or_default()
    }
}

fn quiet() -> OpusPacket {
    OpusPacket::silence_80ms()
}

/// Speech that never pauses for as long as 160 ms, again and again.
fn spoken(frame: usize) -> Vec<OpusPacket> {
    static SPOKEN: std::sync::OnceLock<Vec<OpusPacket>> = std::sync::OnceLock::new();
    let spoken = SPOKEN.get_or_init(|| {
        let speech = super::sound::speech(8 * SECOND);
        let mut hush = Hush::new().unwrap();
        let quiet: Vec<_> = speech.iter().map(|packet| (hush.hear(packet), hush.quiet()).1).collect();
        let loud = (10..quiet.len() - 40).find(|at| quiet[*at..at + 40].iter().all(|quiet| *quiet < 160 * MS));
        speech[loud.expect("0.8 s of speech")..][..40].to_vec()
    });
    spoken.iter().cycle().skip(frame * 4 % 40).take(4).cloned().collect()
}
