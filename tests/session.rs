//! The session's machine as scripts of the domain: what happens, and what the machine decides. No clock, no socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tandem::{
    audio::packet::OpusPacket,
    pool::{
        quota::Allowance,
        roster::{NoSlot, Offer},
    },
    protocol::{
        ending::Ending,
        moshi::TextPiece,
        native::{AudioTerms, ClientEvent, ResumeTerms, ServerEvent},
    },
    session::machine::{
        ClientInput, ClientOutput, Complaint, ContextNeed, Effect, HandshakeTerms, Input, LEG_CREDIT, Limits, Machine,
        Note, Rotation, Terms, UpstreamEnd, UpstreamInput, WithoutSlot,
    },
};

#[path = "session/detached.rs"]
mod detached;
#[path = "session/flight.rs"]
mod flight;
#[path = "session/hitches.rs"]
mod hitches;
#[path = "session/lag.rs"]
mod lag;
#[path = "session/pace.rs"]
mod pace;
#[path = "session/preparing.rs"]
mod preparing;
#[path = "session/relay.rs"]
mod relay;
#[path = "session/sound.rs"]
mod sound;
#[path = "session/theatre.rs"]
mod theatre;
#[path = "session/turns.rs"]
mod turns;

#[test]
fn a_call_from_the_first_word_to_the_last() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).expect("OpenUpstream(1").expect("connecting");
    call.up(UpstreamInput::Opened).up(UpstreamInput::Ready).expect("ready");
    call.client(ClientInput::Audio(frame())).expect("-> upstream audio");
    call.up(UpstreamInput::Text(TextPiece::new(" Hi"))).expect("transcript  Hi");
    call.up(UpstreamInput::Audio(frame())).expect("FirstAudio").expect("-> client audio");
    call.client(ClientInput::Event(ClientEvent::End {}));
    call.expect("CloseUpstream").expect("ended client_left").expect("CloseClient(ClientLeft)");
    call.client(ClientInput::Closed { clean: true }).expect("Done(ClientLeft)");
    assert!(call.machine.is_closed() && call.machine.deadline().is_none());
}

#[test]
fn audio_before_the_handshake_is_dropped_and_never_replayed() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default()));
    for _ in 0..100 {
        call.client(ClientInput::Audio(frame())).expect("Dropped(Up, PreHandshake");
    }
    call.up(UpstreamInput::Opened).up(UpstreamInput::Ready);
    call.refuse("-> upstream audio");
    call.client(ClientInput::Audio(frame())).expect("-> upstream audio");
}

#[test]
fn a_server_that_is_not_there_is_replaced_once() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default()));
    call.up(UpstreamInput::Ended(UpstreamEnd::ConnectFailed)).expect("Acquire { class: New, elsewhere: true");
    call.input(Input::Leased(Offer::default())).expect("OpenUpstream(2");
    call.up(UpstreamInput::Ended(UpstreamEnd::ConnectFailed)).expect("ended upstream_lost").refuse("Acquire");
}

#[test]
fn two_servers_that_hang_up_on_a_prompt_reject_it() {
    let mut call = Call::new();
    for _ in 0..2 {
        call.input(Input::Leased(Offer::default()))
            .up(UpstreamInput::Opened)
            .up(UpstreamInput::Ended(UpstreamEnd::HungUp));
    }
    call.expect("ended prompt_rejected");
}

#[test]
fn a_request_that_is_refused_counts_like_a_hang_up_and_no_third_server_suffers_from_it() {
    let mut call = Call::new();
    for suspected in ["Judge(1, Suspect)", "Judge(2, Suspect)"] {
        call.input(Input::Leased(Offer::default()))
            .up(UpstreamInput::Ended(UpstreamEnd::RequestRefused))
            .expect(suspected);
    }
    call.expect("ended prompt_rejected");
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Ended(UpstreamEnd::RequestRefused));
    call.input(Input::Leased(Offer::default()))
        .up(UpstreamInput::Opened)
        .up(UpstreamInput::Ready)
        .expect("Judge(2, Guilty)");
}

#[test]
fn who_is_to_blame_depends_on_how_far_it_came() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default()))
        .up(UpstreamInput::Opened)
        .stay(Duration::from_secs(20))
        .expect("Judge(1, Late)");
    // Left by its caller, a server is not judged.
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).client(ClientInput::Closed { clean: true });
    call.expect("CloseUpstream").refuse("Judge(");
    call = Call::talking();
    call.client(ClientInput::Closed { clean: true }).expect("CloseUpstream").refuse("Judge(");
}

#[test]
fn only_a_lost_server_is_judged_whatever_else_ends_a_call() {
    for ending in Ending::ALL.iter().filter(|ending| **ending != Ending::UpstreamLost) {
        let mut call = Call::talking();
        call.input(Input::End(*ending)).expect("CloseUpstream").refuse("Judge(");
        let mut call = Call::new();
        call.input(Input::Leased(Offer::default()))
            .up(UpstreamInput::Opened)
            .input(Input::End(*ending))
            .refuse("Judge(");
    }
    Call::talking().input(Input::End(Ending::UpstreamLost)).expect("Judge(1, Failed)");
}

#[test]
fn a_call_that_cannot_be_written_down_ends_as_one_without_a_slot() {
    let mut call = Call::new();
    call.input(Input::NoSlot(NoSlot::NoLedger)).expect("ended no_capacity");
}

#[test]
fn one_server_alone_that_hangs_up_is_lost() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).up(UpstreamInput::Ended(UpstreamEnd::HungUp));
    call.expect("Acquire { class: New, elsewhere: true")
        .input(Input::NoSlot(NoSlot::Busy))
        .expect("ended upstream_lost");
}

#[test]
fn a_server_that_never_gets_ready_is_left_and_its_late_words_are_ignored() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened);
    call.stay(Duration::from_secs(20)).expect("CloseUpstream").expect("Acquire { class: New, elsewhere: true");
    call.input(Input::Upstream(1, UpstreamInput::Ready)).refuse("ready");
    call.input(Input::Leased(Offer::default())).expect("OpenUpstream(2");
    call.input(Input::Upstream(1, UpstreamInput::Ready)).refuse("ready");
    call.up(UpstreamInput::Ready).expect("ready");
}

#[test]
fn two_servers_that_never_get_ready_are_a_handshake_timeout() {
    let mut call = Call::new();
    for _ in 0..2 {
        call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).stay(Duration::from_secs(20));
    }
    call.expect("ended handshake_timeout");
}

#[test]
fn a_server_that_is_lost_in_mid_call_ends_it_truly() {
    for end in UpstreamEnd::ALL {
        let mut call = Call::talking();
        call.up(UpstreamInput::Ended(end)).expect("ended upstream_lost").refuse("CloseUpstream");
    }
}

#[test]
fn the_longest_call_is_warned_of_and_cut() {
    let never = Duration::from_secs(3_600);
    let mut call = Call::under(Limits { idle_timeout: never, ..alone() }, false);
    call.stay(Duration::from_secs(30 * 60 - 31)).refuse("expiring");
    call.stay(Duration::from_secs(2)).expect("expiring MaxDuration").refuse("ended");
    call.stay(Duration::from_secs(31)).expect("ended max_duration");
}

#[test]
fn what_is_left_of_a_quota_runs_while_the_model_listens_and_its_end_is_told_in_time() {
    let minute = Duration::from_secs(60);
    let limits = Limits { idle_timeout: minute * 60, ..alone() };
    let mut call = Call::allowed(Some(minute * 5), limits.clone(), false, None);
    call.stay(minute * 2);
    call = call.answered();
    call.stay(minute * 4 + minute / 2 - Duration::from_secs(1)).refuse("expiring");
    call.stay(Duration::from_secs(1)).expect("expiring Quota 30000");
    call.stay(minute / 2 - Duration::from_secs(1)).refuse("expiring").refuse("ended");
    call.stay(Duration::from_secs(1)).expect("ended quota_spent").expect("CloseUpstream");
    // What another call gave back is booked when half a minute is left, and it goes on.
    let mut call = Call::allowed(Some(minute), limits.clone(), false, None);
    call.more = minute;
    call = call.answered();
    call.stay(minute).expect("BookMore").refuse("expiring").refuse("ended");
    call.stay(minute).expect("expiring Quota 30000").expect("ended quota_spent");
    // However little the caller is warned of its limits.
    let quiet = Limits { warning: Duration::ZERO, ..limits.clone() };
    let mut call = Call::allowed(Some(minute), quiet, false, None);
    call.more = minute;
    call = call.answered();
    call.stay(minute * 2 - Duration::from_secs(1)).refuse("ended");
    call.stay(Duration::from_secs(2)).expect("ended quota_spent");
    // What comes back in the last half minute is booked still.
    let mut call = Call::allowed(Some(minute), limits.clone(), false, None).answered();
    call.stay(minute * 3 / 4).expect("expiring Quota 30000");
    call.more = minute;
    call.stay(minute).refuse("ended").expect("expiring Quota");
    let mut short = Call::allowed(Some(Duration::from_secs(8)), limits.clone(), false, None).answered();
    short.stay(Duration::from_secs(4)).expect("expiring Quota 4000");
    let mut unlimited = Call::allowed(None, limits, false, None).answered();
    unlimited.stay(minute * 30).refuse("expiring Quota").expect("ended max_duration");
}

#[test]
fn a_caller_who_gives_no_sign_of_life_is_lost_after_fifteen_seconds() {
    let mut call = Call::talking();
    call.advance(Duration::from_secs(5)).expect("ping").advance(Duration::from_millis(9_999)).refuse("ended");
    call.advance(Duration::from_millis(1)).expect("ended client_lost").expect("CloseUpstream");
    call.advance(Duration::from_secs(2)).expect("Done(ClientLost)");
}

#[test]
fn a_caller_who_reads_nothing_is_too_slow() {
    let mut call = Call::talking();
    call.hold_client = true;
    let listen = |call: &mut Call| {
        call.client(ClientInput::Alive);
    };
    call.pass(120, FRAME, listen).refuse("CloseUpstream").expect("Dropped(Down, Backlog");
    call.pass(15, FRAME, listen).expect("CloseUpstream");
    call.advance(Duration::from_secs(2)).expect("Done(TooSlow)");
}

#[test]
fn a_queue_full_of_words_is_whose_who_filled_it() {
    // The server says so many pieces a second, and the caller reads one.
    for (pieces, done) in [(13, "Done(TooSlow)"), (25, "Done(TooSlow)"), (100, "Done(UpstreamLost)")] {
        let mut call = Call::talking();
        call.hold_client = true;
        call.pass(30, Duration::from_secs(1), |call| {
            let mut seen = Vec::new();
            for _ in 0..pieces {
                call.up(UpstreamInput::Text(TextPiece::new(" and")));
                seen.append(&mut call.effects);
            }
            call.client(ClientInput::Writable);
            seen.append(&mut call.effects);
            call.client(ClientInput::Alive);
            call.effects.splice(0..0, seen);
        });
        call.expect(done);
    }
}

#[test]
fn a_server_that_owes_sound_and_gives_none_is_given_up() {
    let mut call = Call::talking();
    call.answers = false;
    let speak = |call: &mut Call| {
        call.client(ClientInput::Audio(frame()));
    };
    call.pass(124, FRAME, speak).refuse("ended");
    call.pass(3, FRAME, speak).expect("ended upstream_lost").expect("CloseUpstream");
}

#[test]
fn a_muted_caller_s_server_that_gives_no_sound_is_given_up_too() {
    let mut call = Call::talking();
    call.stay(Duration::from_secs(20)).expect("-> client audio").refuse("ended");
    call.answers = false;
    call.stay(Duration::from_secs(9)).refuse("ended");
    call.stay(Duration::from_secs(2)).expect("ended upstream_lost").expect("CloseUpstream");
}

#[test]
fn nothing_is_fed_to_a_server_after_the_end() {
    let mut call = Call::talking();
    call.hold_client = true;
    call.stay(Duration::from_secs(3)).expect("-> upstream audio");
    call.client(ClientInput::Event(ClientEvent::End {})).expect("CloseUpstream");
    call.client(ClientInput::Audio(frame())).refuse("-> upstream audio");
    call.advance(Duration::from_secs(1)).refuse("-> upstream audio").refuse("Done");
}

#[test]
fn a_server_that_takes_nothing_gets_the_newest_audio_and_is_given_up() {
    let mut call = Call::talking();
    (call.answers, call.hold_upstream) = (false, true);
    for _ in 0..10 {
        call.client(ClientInput::Audio(frame()));
    }
    call.expect("Dropped(Up, Backlog");
    call.stay(Duration::from_secs(10)).expect("ended upstream_lost");
}

#[test]
fn a_drain_tells_the_caller_and_ends_at_its_deadline() {
    let mut call = Call::talking();
    call.input(Input::Drain(call.now + Duration::from_secs(8))).expect("expiring Drain 8000");
    call.stay(Duration::from_secs(7)).refuse("ended");
    call.stay(Duration::from_secs(1)).expect("ended drained");
}

#[test]
fn what_is_not_understood_is_told_and_too_much_of_it_ends_the_call() {
    let complaint = || Complaint { code: "not_understood", message: "m".into() };
    let mut call = Call::talking();
    for _ in 0..9 {
        call.client(ClientInput::Complaint(complaint())).expect("error not_understood").refuse("ended");
    }
    call.client(ClientInput::Complaint(complaint())).expect("error not_understood").expect("ended bad_input");
    let mut call = Call::talking();
    call.client(ClientInput::Bad(complaint())).expect("error not_understood").expect("ended bad_input");
}

#[test]
fn the_first_reason_is_the_ending_and_is_told_once() {
    let mut call = Call::talking();
    call.input(Input::End(Ending::Admin)).expect("ended admin");
    call.input(Input::End(Ending::Internal)).up(UpstreamInput::Ended(UpstreamEnd::Closed)).refuse("ended");
    call.client(ClientInput::Closed { clean: false }).expect("Done(Admin)");
}

#[test]
fn a_lease_that_comes_after_the_end_opens_nothing() {
    let mut call = Call::new();
    call.client(ClientInput::Closed { clean: false }).expect("Done(ClientLost)");
    call.input(Input::Leased(Offer::default())).refuse("OpenUpstream");
}

#[derive(Clone, Debug)]
enum Event {
    Leased,
    NoSlot,
    Client(u8),
    Upstream(bool, u8),
    Wait(u16),
    Drain,
    End,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Leased),
        1 => Just(Event::NoSlot),
        12 => (0..14_u8).prop_map(Event::Client),
        12 => (any::<bool>(), 0..9_u8).prop_map(|(current, what)| Event::Upstream(current, what)),
        12 => (0..4_000_u16).prop_map(Event::Wait),
        1 => Just(Event::Drain),
        1 => Just(Event::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]
    /// The reference is the list of what was decided: whatever comes in whatever order, these hold.
    #[test]
    fn whatever_happens_the_rules_hold(events in proptest::collection::vec(event(), 1..250), may_return in any::<bool>()) {
        let mut call = Call::on(may_return.then(detached::resume_terms));
        let (mut ended, mut done, mut ready, mut opened, mut asked) = (0, 0, false, 0, 1);
        for event in events {
            let closed_before = call.machine.is_closed();
            call.play(event);
            for effect in &call.effects {
                prop_assert!(!closed_before, "after the end: {effect}");
                let event = effect.starts_with("error") || effect.starts_with("pong") || effect.starts_with("expiring");
                prop_assert!(ended == 0 || !event, "{effect} after the last word");
                ended += i32::from(effect.starts_with("ended"));
                done += i32::from(effect.starts_with("Done"));
                asked += i32::from(effect.starts_with("Acquire"));
                opened += i32::from(effect.starts_with("OpenUpstream"));
                ready |= effect == "listening";
                prop_assert!(ready || !effect.starts_with("-> "), "{effect} before ready");
                prop_assert!(ended == 0 || !effect.starts_with("-> upstream"), "{effect} after the end");
            }
            prop_assert!(ended <= 1 && done <= 1 && opened <= asked && asked <= 2);
            prop_assert!(call.client_held <= LEG_CREDIT && call.upstream_held <= LEG_CREDIT);
            prop_assert_eq!(call.machine.deadline().is_none(), call.machine.is_closed());
            if let Some(deadline) = call.machine.deadline() {
                prop_assert!(deadline > call.now, "a deadline that has passed was not acted on");
            }
        }
        // Left alone, every call ends by itself.
        for _ in 0..2_000 {
            let Some(deadline) = call.machine.deadline() else { break };
            call.advance(deadline - call.now);
        }
        prop_assert!(call.machine.is_closed());
    }
}

const FRAME: Duration = Duration::from_millis(80);

fn frame() -> OpusPacket {
    OpusPacket::silence_80ms()
}

/// A call under test: the machine, its time, and what it has just decided, as lines.
struct Call {
    machine: Machine,
    now: Instant,
    effects: Vec<String>,
    attempt: u32,
    hold_client: bool,
    hold_upstream: bool,
    client_held: usize,
    upstream_held: usize,
    /// Whether the server gives 80 ms for every 80 ms that it is fed, at once.
    answers: bool,
    fed: Duration,
    /// Everything that the server was ever fed, and whether its last packet left a part of a frame with the leg.
    fed_in_all: Duration,
    mid_frame: bool,
    /// What more is left of its quota, once.
    more: Duration,
}

impl Call {
    fn new() -> Call {
        Call::with(alone(), false)
    }

    /// A call on a wire that lets callers come back, or not.
    fn on(resume: Option<ResumeTerms>) -> Call {
        Call::of(alone(), false, resume)
    }

    fn with(limits: Limits, sampled: bool) -> Call {
        Call::of(limits, sampled, None)
    }

    fn of(limits: Limits, sampled: bool, resume: Option<ResumeTerms>) -> Call {
        Call::allowed(None, limits, sampled, resume)
    }

    /// A call whose quota leaves it so much time, or all.
    fn allowed(allowance: Option<Duration>, limits: Limits, sampled: bool, resume: Option<ResumeTerms>) -> Call {
        let mut call = Call::begun(ContextNeed::Nothing, allowance, limits, sampled, resume);
        call.expect("created").expect("Acquire { class: New, elsewhere: false");
        call
    }

    /// A call whose persona knows its caller, or not, right after its beginning.
    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn begun(
        context: ContextNeed,
        allowance: Option<Duration>,
        limits: Limits,
        sampled: bool,
        resume: Option<ResumeTerms>,
    ) -> Call {
        let terms = Terms {
            session_id: "s".into(),
            audio: AudioTerms { format: "opus".into(), sample_rate: 48_000, channels: 1 },
            handshake: short_prompts(),
            context,
            jitter: 0.0,
            player_lead: None,
            resume,
            allowance: allowance.map(|left| Allowance { booked: left, left }),
            sampled,
        };
        let now = Instant::now();
        let mut call = Call {
            machine: Machine::new(terms, limits, now),
            now,
            effects: Vec::new(),
            attempt: 0,
            hold_client: false,
            hold_upstream: false,
            client_held: 0,
            upstream_held: 0,
            answers: false,
            fed: Duration::ZERO,
            fed_in_all: Duration::ZERO,
            mid_frame: false,
            more: Duration::ZERO,
        };
        call.settle();
        call
    }

    fn talking() -> Call {
        Call::under(alone(), false)
    }

    /// A conversation under these limits, measured or not.
    fn under(limits: Limits, sampled: bool) -> Call {
        Call::with(limits, sampled).answered()
    }

    fn answered(mut self) -> Call {
        self.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).up(UpstreamInput::Ready).expect("ready");
        self.answers = true;
        self
    }

    fn input(&mut self, input: Input) -> &mut Call {
        self.effects.clear();
        self.machine.handle(input, self.now);
        self.settle();
        self
    }

    fn client(&mut self, input: ClientInput) -> &mut Call {
        self.input(Input::Client(input))
    }

    fn up(&mut self, input: UpstreamInput) -> &mut Call {
        self.input(Input::Upstream(self.attempt, input))
    }

    /// Lets time pass; the machine is woken at each of its deadlines, as the actor does.
    fn advance(&mut self, time: Duration) -> &mut Call {
        let end = self.now + time;
        let mut seen = Vec::new();
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.input(Input::Tick);
            seen.append(&mut self.effects);
        }
        self.now = end;
        self.input(Input::Tick);
        self.effects.splice(0..0, seen);
        self
    }

    /// Time passes for a caller who answers pings and says nothing.
    fn stay(&mut self, time: Duration) -> &mut Call {
        self.pass(time.as_secs(), Duration::from_secs(1), |call| {
            call.client(ClientInput::Alive);
        })
    }

    /// The caller says these packets of 20 ms in real time.
    fn say(&mut self, packets: &[OpusPacket]) -> &mut Call {
        let mut seen = Vec::new();
        for packet in packets {
            self.client(ClientInput::Audio(packet.clone()));
            seen.append(&mut self.effects);
            self.advance(Duration::from_millis(20));
            seen.append(&mut self.effects);
        }
        self.effects = seen;
        self
    }

    fn pass(&mut self, steps: u64, step: Duration, each: impl Fn(&mut Call)) -> &mut Call {
        let mut seen = Vec::new();
        for _ in 0..steps {
            each(self);
            seen.append(&mut self.effects);
            self.advance(step);
            seen.append(&mut self.effects);
        }
        self.effects = seen;
        self
    }

    #[track_caller]
    fn expect(&mut self, line: &str) -> &mut Call {
        assert!(self.effects.iter().any(|effect| effect.starts_with(line)), "no {line:?} in {:#?}", self.effects);
        self
    }

    #[track_caller]
    fn refuse(&mut self, line: &str) -> &mut Call {
        assert!(!self.effects.iter().any(|effect| effect.starts_with(line)), "{line:?} in {:#?}", self.effects);
        self
    }

    /// Drains the effects; the legs write at once unless they are held.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.machine.poll_effect() {
                match &effect {
                    Effect::OpenUpstream(attempt, _) => {
                        self.attempt = *attempt;
                        self.upstream_held = 0;
                    }
                    Effect::LetClientGo => self.client_held = 0,
                    Effect::BookMore => {
                        self.machine.handle(Input::Booked(std::mem::take(&mut self.more)), self.now);
                    }
                    Effect::SendClient(_) => self.client_held += 1,
                    Effect::SendUpstream(_, packet) => {
                        self.upstream_held += 1;
                        self.fed += packet.duration();
                        let frames = self.fed_in_all.as_micros() / FRAME.as_micros();
                        self.fed_in_all += packet.duration();
                        self.mid_frame = self.fed_in_all.as_micros() / FRAME.as_micros() == frames;
                    }
                    _ => {}
                }
                self.effects.extend(line(effect));
            }
            if self.client_held > 0 && !self.hold_client {
                self.client_held -= 1;
                // What the legs write is no sign of life and no event of the script.
                self.machine.handle(Input::Client(ClientInput::Writable), self.now);
            } else if self.upstream_held > 0 && !self.hold_upstream {
                self.upstream_held -= 1;
                self.machine.handle(Input::Upstream(self.attempt, UpstreamInput::Writable), self.now);
            } else if self.answers && self.fed >= FRAME {
                self.fed -= FRAME;
                let answer = UpstreamInput::Audio(frame());
                self.machine.handle(Input::Upstream(self.attempt, answer), self.now);
            } else {
                return;
            }
        }
    }

    fn play(&mut self, event: Event) {
        let attempt = |call: &Call, current: bool| if current { call.attempt } else { call.attempt.wrapping_sub(1) };
        match event {
            Event::Leased => self.input(Input::Leased(Offer::default())),
            Event::NoSlot => self.input(Input::NoSlot(NoSlot::Busy)),
            Event::Client(what) => match what {
                0..=5 => self.client(ClientInput::Audio(frame())),
                6 => self.client(ClientInput::Alive),
                7 => self.client(ClientInput::Complaint(Complaint { code: "c", message: "m".into() })),
                8 => self.client(ClientInput::Event(ClientEvent::Ping { id: String::new() })),
                9 => {
                    self.hold_client = !self.hold_client;
                    self.input(Input::Tick)
                }
                10 => {
                    self.hold_upstream = !self.hold_upstream;
                    self.input(Input::Tick)
                }
                11 => self.client(ClientInput::Closed { clean: true }),
                12 => self.client(ClientInput::Closed { clean: false }),
                _ => {
                    self.client_held = 0;
                    self.input(Input::Attached(detached::resume_terms()))
                }
            },
            Event::Upstream(current, what) => {
                let input = match what {
                    0 => UpstreamInput::Opened,
                    1 => UpstreamInput::Ready,
                    2 => UpstreamInput::Ended(UpstreamEnd::HungUp),
                    3 => UpstreamInput::Text(TextPiece::new("<0xE2>")),
                    4 => UpstreamInput::Text(TextPiece::new(" word")),
                    _ => UpstreamInput::Audio(frame()),
                };
                self.input(Input::Upstream(attempt(self, current), input))
            }
            Event::Wait(ms) => self.advance(Duration::from_millis(u64::from(ms))),
            Event::Drain => self.input(Input::Drain(self.now + Duration::from_secs(5))),
            Event::End => self.input(Input::End(Ending::Admin)),
        };
    }
}

/// 20 s for prompts of any length.
fn short_prompts() -> HandshakeTerms {
    let base = Duration::from_secs(20);
    HandshakeTerms { base, step: Duration::ZERO, steps: 0, continuation_steps: 0, memory_steps: 0 }
}

/// Limits under which a call has one server and one window.
fn alone() -> Limits {
    Limits {
        recovery: Duration::ZERO,
        rotation: Rotation { window_steps: 0, without_slot: WithoutSlot::Off },
        ..Limits::default()
    }
}

/// An effect as a line of a script.
fn line(effect: Effect) -> Option<String> {
    Some(match effect {
        Effect::SendUpstream(..) => "-> upstream audio".into(),
        Effect::SendClient(ClientOutput::Audio(_)) => "-> client audio".into(),
        Effect::SendClient(ClientOutput::Ping) => "ping".into(),
        Effect::SendClient(ClientOutput::Event(event)) => match event {
            ServerEvent::Created { .. } => "created".into(),
            ServerEvent::Resumed { missed_audio_ms, repeats_from_ms, .. } => match repeats_from_ms {
                Some(from_ms) => format!("resumed {missed_audio_ms} from {from_ms}"),
                None => format!("resumed {missed_audio_ms}"),
            },
            ServerEvent::Queued { position, .. } => format!("queued {position}"),
            ServerEvent::Connecting { .. } => "connecting".into(),
            ServerEvent::Ready { .. } => "ready".into(),
            ServerEvent::Transcript(delta) => format!("transcript {}", delta.text),
            ServerEvent::Expiring { reason, in_ms } => format!("expiring {reason:?} {in_ms}"),
            ServerEvent::Recovering { reason } => format!("recovering {}", reason.code()),
            ServerEvent::Recovered { gap_ms } => format!("recovered {gap_ms}"),
            ServerEvent::Rotating { eta_ms } => format!("rotating {eta_ms}"),
            ServerEvent::Rotated { gap_ms } => format!("rotated {gap_ms}"),
            ServerEvent::Degraded { realtime_factor } => format!("degraded {realtime_factor}"),
            ServerEvent::Restored {} => "restored".into(),
            ServerEvent::Warning { code, .. } => format!("warning {}", code.code()),
            ServerEvent::Ended(report) => format!("ended {}", report.ending.code()),
            ServerEvent::Error(error) => format!("error {}", error.code),
            ServerEvent::TurnStarted { speaker, .. } => format!("started {}", speaker.code()),
            ServerEvent::TurnEnded { speaker, duration_ms, .. } => format!("stopped {} {duration_ms}", speaker.code()),
            ServerEvent::TurnResponse { latency_ms, .. } => format!("response {latency_ms}"),
            ServerEvent::TurnMissed { .. } => "missed".into(),
            ServerEvent::TurnInterrupted { stopped_after_ms, .. } => format!("interrupted {stopped_after_ms:?}"),
            ServerEvent::TurnBackchannel { duration_ms, .. } => format!("backchannel {duration_ms}"),
            ServerEvent::Pong { .. } => "pong".into(),
        },
        Effect::Note(Note::Passed(_) | Note::Filled(_) | Note::Second { .. } | Note::Turn(_)) => return None,
        Effect::Note(Note::Ready { .. }) => "listening".into(),
        Effect::Note(note) => format!("{note:?}"),
        Effect::Done(summary) => format!("Done({:?})", summary.ending),
        other => format!("{other:?}"),
    })
}
