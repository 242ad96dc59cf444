//! The model's clock: what is fed to a model server, and when (pure).
//!
//! A server makes sound only as fast as it is fed (personaplex.md 2.6), and never forgets a backlog (personaplex.md 7.8).
//! So its input is kept at real time, whatever the caller's network does:
//!
//! - Audio that arrives on time passes at once.
//! - A gap longer than the jitter allowance is filled with packets that decode as fading concealment, marked synthetic,
//!   so that the assistant goes on speaking to a muted caller. What comes late for time that was filled is dropped,
//!   the oldest first, and nothing is replayed.
//! - `outstanding`, fed less received, never exceeds its limit: at the limit everything is held, the oldest caller audio
//!   is dropped, all that waits in one cut, and no silence is made until the server has caught up.
//! - A server that loses frames for good is not held for ever (`probe.rs`).
//! - Where SILK or hybrid speech goes on behind a long cut that no fill covers, [`OpusPacket::glue_20ms`] takes the place
//!   of its last 20 ms: bare, up to 8 % of such joins begin with a click or a pop (95 joins of each mode, decoded).
//! - The caller's clock may run up to 500 ppm fast or slow: a packet is dropped or filled now and then, nothing adds up.
//!
//! **Invariant:** the position (audio fed, or forgiven because the server could not take it) stays between real time less
//! the jitter allowance and real time plus the lead.

mod probe;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::probe::Probe;
use super::packet::OpusPacket;

/// How a [`Pacer`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacerSettings {
    /// A gap shorter than this is not filled.
    pub jitter: Duration,
    /// How far ahead of real time the model may be fed.
    pub lead: Duration,
    /// Caller audio that waits at most while nothing may be fed.
    pub backlog: Duration,
    /// Audio fed and not yet answered, at which everything is held.
    pub outstanding_limit: Duration,
    /// Audio fed and not yet answered, from which on silence is made again.
    pub outstanding_resume: Duration,
}

impl Default for PacerSettings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            jitter: ms(120),
            lead: ms(200),
            backlog: ms(120),
            outstanding_limit: ms(400),
            outstanding_resume: ms(160),
        }
    }
}

/// How long after a filled gap a burst still counts as the gap's own audio, come late.
const LATE_WINDOW: Duration = Duration::from_millis(300);
/// By how much live audio may come early in that window.
const LATE_SLACK: Duration = Duration::from_millis(40);
/// Gaps are filled finely at first, since most are short, then in packets of a whole model frame.
const FINE_FILL: Duration = Duration::from_millis(100);

/// A shorter cut stays bare: the glue takes up 20 ms of what the cut was made for.
const LONG_CUT: Duration = Duration::from_millis(60);

/// What is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The caller's own audio.
    Caller(OpusPacket),
    /// A filled gap, or the glue of a cut.
    Synthetic(OpusPacket),
}

impl Fed {
    /// The packet, wherever it comes from.
    pub fn packet(&self) -> &OpusPacket {
        match self {
            Self::Caller(packet) | Self::Synthetic(packet) => packet,
        }
    }
}

/// Audio that was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// How many packets.
    pub packets: u64,
    /// How long they were together.
    pub duration: Duration,
}

/// One call's clock. It runs from [`Pacer::new`] on.
#[derive(Debug)]
pub struct Pacer {
    settings: PacerSettings,
    queue: VecDeque<OpusPacket>,
    queued: Duration,
    /// The real time at which position zero was due.
    anchor: Instant,
    /// Audio fed since then, and time forgiven.
    position: Duration,
    outstanding: Duration,
    recovering: bool,
    filled: Duration,
    late: Option<Late>,
    cut: Cut,
    /// The glue of the next packet was fed.
    glued: bool,
    probe: Probe,
    shed: Shed,
}

/// What lies between the caller's audio that was fed last and the next that waits.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    /// Audio of the caller that was dropped.
    dropped: Duration,
    /// What was fed in its place.
    filled: Duration,
}

impl Cut {
    /// Whether speech in this packet would start with a step.
    fn needs_glue(self, next: &OpusPacket) -> bool {
        // After as much concealment the last sound has faded, and after less than was dropped it has not.
        next.is_predicted() && self.filled < FINE_FILL && self.dropped >= self.filled + LONG_CUT
    }
}

/// The time after a filled gap: whatever comes faster than real time now is the gap's own audio.
#[derive(Clone, Copy, Debug)]
struct Late {
    until: Instant,
    /// How far the position was behind real time when audio came again.
    gap: Duration,
}

impl Pacer {
    /// A clock that starts now: the model has just begun to listen.
    pub fn new(settings: PacerSettings, now: Instant) -> Self {
        Self {
            settings,
            queue: VecDeque::new(),
            queued: Duration::ZERO,
            anchor: now,
            position: Duration::ZERO,
            outstanding: Duration::ZERO,
            recovering: false,
            filled: Duration::ZERO,
            late: None,
            cut: Cut::default(),
            glued: false,
            probe: Probe::new(now),
            shed: Shed::default(),
        }
    }

    /// Goes on after the clock stood still: that time is not made up for, and nothing from before it is fed.
    pub fn restart(&mut self, now: Instant) {
        self.position = self.due(now);
        self.probe.restart(now);
        while !self.queue.is_empty() {
            self.shed_front();
        }
        (self.filled, self.late) = (Duration::ZERO, None);
        // What the caller says next has nothing to do with what it said last.
        self.cut.dropped = self.cut.filled + LONG_CUT;
    }

    /// Takes one packet of the caller.
    pub fn push(&mut self, packet: OpusPacket, now: Instant) {
        if !std::mem::take(&mut self.filled).is_zero() {
            let gap = self.due(now).saturating_sub(self.position).min(self.settings.jitter);
            self.late = Some(Late { until: now + LATE_WINDOW, gap });
        }
        self.queued += packet.duration();
        self.queue.push_back(packet);
        self.shed_oldest(now);
    }

    /// The server answered with so much audio.
    pub fn received(&mut self, duration: Duration, now: Instant) {
        self.settle(duration);
        self.probe.answered(self.outstanding, now);
    }

    fn settle(&mut self, duration: Duration) {
        self.outstanding = self.outstanding.saturating_sub(duration);
        if self.outstanding <= self.settings.outstanding_resume {
            self.recovering = false;
        }
    }

    /// So much of what was fed will never be answered: it was dropped on its way to the server.
    pub fn lost(&mut self, duration: Duration) {
        self.settle(duration);
    }

    /// The next thing to feed now; to be asked until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<Fed> {
        // Live audio has come for a while: nothing of the gap is still on its way.
        self.late = self.late.filter(|late| now < late.until);
        if let Some(lost) = self.probe.written_off(now) {
            self.lost(lost);
        }
        if let Some(duration) = self.next_duration() {
            let held = self.is_held(duration);
            self.recovering |= held;
            if held && !self.glued {
                return self.ask(now);
            }
            if !self.glued && self.due(now) < self.feeds_at(duration) {
                return None;
            }
            return self.feed_caller();
        }
        let due = self.due(now);
        if due.saturating_sub(self.position) <= self.settings.jitter {
            return None;
        }
        let fine = self.filled < FINE_FILL;
        let packet = if fine { OpusPacket::silence_20ms() } else { OpusPacket::silence_80ms() };
        self.recovering |= self.is_held(packet.duration());
        if self.recovering {
            // Silence is shortened to nothing: this time is never made up for.
            self.position = due - self.settings.jitter;
            self.late = None;
            return self.ask(now);
        }
        self.filled += packet.duration();
        self.late = None;
        Some(self.feed_synthetic(packet))
    }

    /// One frame for a server that is not fed, to see whether it will ever answer what it owes.
    fn ask(&mut self, now: Instant) -> Option<Fed> {
        if !self.probe.is_due(now) {
            return None;
        }
        self.probe.asked(self.outstanding);
        let position = self.position;
        let fed = self.feed_synthetic(OpusPacket::silence_80ms());
        // It stands for time that was forgiven.
        self.position = position.max(self.position.min(self.due(now)));
        Some(fed)
    }

    /// The audio that waits longest, or the glue in front of it.
    fn feed_caller(&mut self) -> Option<Fed> {
        if self.queue.front().is_some_and(|front| self.cut.needs_glue(front)) {
            let glue = self.feed_synthetic(OpusPacket::glue_20ms());
            (self.cut, self.glued) = (Cut::default(), true);
            return Some(glue);
        }
        self.glued = false;
        let packet = self.queue.pop_front()?;
        self.queued = self.queued.saturating_sub(packet.duration());
        self.cut = Cut::default();
        self.feed(packet.duration());
        Some(Fed::Caller(packet))
    }

    fn feed_synthetic(&mut self, packet: OpusPacket) -> Fed {
        self.cut.filled += packet.duration();
        self.feed(packet.duration());
        Fed::Synthetic(packet)
    }

    /// How long the audio is that waits longest, its glue included: neither is fed without the other, because behind the
    /// glue another mode than the one it was made for would come too quietly.
    fn next_duration(&self) -> Option<Duration> {
        let front = self.queue.front()?;
        let glue = if self.cut.needs_glue(front) { OpusPacket::glue_20ms().duration() } else { Duration::ZERO };
        Some(glue + front.duration())
    }

    /// When [`Pacer::poll`] has something without further input, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let at = match self.next_duration() {
            Some(duration) if self.is_held(duration) => return self.probe.deadline(),
            Some(duration) => self.anchor + self.feeds_at(duration),
            None if self.recovering => return self.probe.deadline().map(|at| at.max(self.fills_at())),
            None => self.fills_at(),
        };
        Some(self.late.map_or(at, |late| at.min(late.until)))
    }

    /// When silence is due. A nanosecond later, for a gap that is longer than the allowance.
    fn fills_at(&self) -> Instant {
        self.anchor + self.position + self.settings.jitter + Duration::from_nanos(1)
    }

    /// What was dropped since the last time this was asked.
    pub fn take_shed(&mut self) -> Shed {
        std::mem::take(&mut self.shed)
    }

    /// Audio fed and not yet answered.
    pub fn outstanding(&self) -> Duration {
        self.outstanding
    }

    /// How far the model is behind the caller: audio that was fed or waits to be, and is not answered.
    pub fn lag(&self) -> Duration {
        self.outstanding + self.queued
    }

    /// How much a server that keeps up would have been fed by `now`: less than real time where the caller is late, and
    /// more where it is early, but not less because the server held everything up.
    pub fn owed(&self, now: Instant) -> Duration {
        self.position.max(self.due(now).saturating_sub(self.settings.jitter))
    }

    /// Real time since the position was zero.
    fn due(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.anchor)
    }

    /// Whether a packet of this length would be more than the server may owe.
    fn is_held(&self, packet: Duration) -> bool {
        self.outstanding + packet > self.settings.outstanding_limit
    }

    /// The real time from which on a packet of this length may be fed.
    fn feeds_at(&self, packet: Duration) -> Duration {
        match self.late {
            Some(late) => (self.position + late.gap).saturating_sub(LATE_SLACK),
            None => (self.position + packet).saturating_sub(self.settings.lead.max(packet)),
        }
    }

    fn feed(&mut self, duration: Duration) {
        self.position += duration;
        self.outstanding += duration;
    }

    /// Keeps the newest: what waits longer than the backlog would be lasting delay.
    fn shed_oldest(&mut self, now: Instant) {
        let mut cutting = false;
        while self.queue.len() > 1 {
            let Some(duration) = self.next_duration() else { return };
            let held = self.is_held(duration);
            if !held && self.due(now) >= self.feeds_at(duration) {
                return;
            }
            // A caller whose clock is fast is ahead of time: only the newest is worth waiting for.
            let ahead = !held && self.late.is_none();
            if self.queued <= self.settings.backlog && !ahead && !cutting {
                return;
            }
            // A slow server makes room for little at a time: one long cut is heard less than many short ones.
            if held {
                cutting = true;
                // What the server had no time for is never made up for, not with silence either.
                let forgiven = (self.position + self.shed_front()).min(self.due(now));
                self.position = self.position.max(forgiven);
            } else {
                self.shed_front();
            }
            if let Some(late) = &mut self.late {
                late.until = now + LATE_WINDOW;
            }
        }
    }

    fn shed_front(&mut self) -> Duration {
        let Some(packet) = self.queue.pop_front() else { return Duration::ZERO };
        let duration = packet.duration();
        self.queued = self.queued.saturating_sub(duration);
        self.cut.dropped += duration;
        self.shed.packets += 1;
        self.shed.duration += duration;
        duration
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TWENTY: Duration = Duration::from_millis(20);
    /// First bytes of packets of 20 ms, one of each mode.
    const SILK: u8 = 0x48;
    const HYBRID: u8 = 0x78;
    const CELT: u8 = 0xb8;

    /// A conversation in virtual time: a caller, a pacer, and a server that needs `step` for each 80 ms.
    struct Line {
        pacer: Pacer,
        start: Instant,
        now: Duration,
        step: Duration,
        stalled_until: Duration,
        inside: Duration,
        busy_until: Duration,
        fed: Duration,
        synthetic: Duration,
        /// Frames that the server loses from now on.
        swallows: u32,
        glue: u32,
        last_caller: u8,
        worst_lag: Duration,
    }

    impl Line {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
        fn new(step_ms: u64) -> Self {
            let start = Instant::now();
            Self {
                pacer: Pacer::new(PacerSettings::default(), start),
                start,
                now: Duration::ZERO,
                step: Duration::from_millis(step_ms),
                stalled_until: Duration::ZERO,
                inside: Duration::ZERO,
                busy_until: Duration::ZERO,
                fed: Duration::ZERO,
                synthetic: Duration::ZERO,
                swallows: 0,
                glue: 0,
                last_caller: 0,
                worst_lag: Duration::ZERO,
            }
        }

        /// A packet of 20 ms that can be told from others.
        fn packet(toc: u8, mark: u8) -> OpusPacket {
            OpusPacket::parse(Bytes::from(vec![toc, mark, 1])).unwrap()
        }

        fn say(&mut self, mark: u8) {
            self.say_in(SILK, mark);
        }

        fn say_in(&mut self, toc: u8, mark: u8) {
            self.pacer.push(Self::packet(toc, mark), self.start + self.now);
            self.turn();
        }

        fn turn(&mut self) {
            let mut glued = false;
            while let Some(fed) = self.pacer.poll(self.start + self.now) {
                let is_glue = *fed.packet() == OpusPacket::glue_20ms();
                let packet = match fed {
                    Fed::Caller(packet) => {
                        assert!(!glued || packet.toc() != CELT, "a CELT packet would come too quietly");
                        self.last_caller = packet.bytes()[1];
                        packet
                    }
                    Fed::Synthetic(packet) => {
                        assert!(!glued, "the glue has its speech right behind it");
                        self.synthetic += packet.duration();
                        packet
                    }
                };
                glued = is_glue;
                self.glue += u32::from(is_glue);
                self.fed += packet.duration();
                self.inside += packet.duration();
            }
            assert!(!glued, "the glue has its speech right behind it");
            assert!(self.pacer.outstanding() <= Duration::from_millis(480), "{:?}", self.pacer.outstanding());
        }

        /// One millisecond: the server works, the pacer is asked when it wants to be.
        fn tick(&mut self) {
            self.now += MS;
            let frame = Duration::from_millis(80);
            if self.inside >= frame && self.now >= self.busy_until && self.now >= self.stalled_until {
                self.inside -= frame;
                if self.swallows > 0 {
                    self.swallows -= 1;
                    return;
                }
                self.busy_until = self.now + self.step;
                self.pacer.received(frame, self.start + self.now);
                self.turn();
            }
            if self.pacer.deadline().is_some_and(|at| at <= self.start + self.now) {
                self.turn();
            }
            self.worst_lag = self.worst_lag.max(self.pacer.outstanding());
        }

        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.tick();
            }
        }

        /// Speaks in real time for `time`.
        fn speak(&mut self, time: Duration) {
            for n in 0..time.as_millis() / 20 {
                self.say((n % 250) as u8);
                self.pass(TWENTY);
            }
        }

        fn error(&self) -> Duration {
            self.fed.abs_diff(self.now)
        }
    }

    #[test]
    fn audio_on_time_is_never_held_and_nothing_is_added() {
        let mut line = Line::new(30);
        for n in 0..500_u32 {
            let mark = (n % 250) as u8;
            line.say(mark);
            assert_eq!(line.last_caller, mark, "fed at once");
            // Jitter of up to 60 ms either way, always the same sum.
            line.pass(Duration::from_millis(if n % 6 < 3 { 2 } else { 38 }));
        }
        assert_eq!((line.synthetic, line.pacer.take_shed()), (Duration::ZERO, Shed::default()));
    }

    #[test]
    fn a_muted_caller_does_not_stop_the_model() {
        let mut line = Line::new(30);
        line.speak(Duration::from_secs(2));
        line.pass(Duration::from_secs(30));
        assert!(line.error() <= Duration::from_millis(200), "{:?}", line.error());
        assert!(line.synthetic > Duration::from_secs(29));
        let before = line.pacer.take_shed();
        line.say(200);
        assert_eq!(line.last_caller, 200, "the first word after it passes at once");
        line.pass(TWENTY);
        line.speak(Duration::from_secs(2));
        assert_eq!((before, line.pacer.take_shed()), (Shed::default(), Shed::default()), "and nothing is lost");
        assert!(line.error() <= Duration::from_millis(200), "{:?}", line.error());
    }

    #[test]
    fn a_burst_after_a_stall_is_not_replayed() {
        let mut line = Line::new(30);
        line.speak(Duration::from_secs(2));
        line.pass(Duration::from_secs(2));
        for n in 0..100 {
            line.say(100 + n);
        }
        line.pass(TWENTY);
        line.speak(Duration::from_secs(3));
        let shed = line.pacer.take_shed();
        assert!(shed.duration >= Duration::from_millis(1_700), "{shed:?}");
        assert!(line.error() <= Duration::from_millis(200), "{:?}", line.error());
        assert!(line.pacer.outstanding() <= Duration::from_millis(160));
    }

    #[test]
    fn a_stall_of_the_server_becomes_no_lasting_delay() {
        let mut line = Line::new(40);
        line.speak(Duration::from_secs(2));
        line.stalled_until = line.now + Duration::from_secs(2);
        line.speak(Duration::from_secs(5));
        assert!(line.pacer.outstanding() <= Duration::from_millis(160), "{:?}", line.pacer.outstanding());
        assert!(line.worst_lag <= Duration::from_millis(420), "{:?}", line.worst_lag);
        assert!(line.pacer.take_shed().duration >= Duration::from_millis(1_300));
        let mark = 240;
        line.say(mark);
        assert_eq!(line.last_caller, mark, "live again");
    }

    #[test]
    fn a_long_cut_is_joined_with_the_glue_of_its_mode() {
        for (toc, glue) in [(SILK, 1), (HYBRID, 1), (CELT, 0)] {
            let mut line = Line::new(40);
            line.speak(Duration::from_secs(2));
            line.stalled_until = line.now + Duration::from_secs(1);
            while line.pacer.take_shed() == Shed::default() {
                line.say_in(toc, 100);
                line.pass(TWENTY);
            }
            let (fed, mark) = (line.fed, 101);
            line.say_in(toc, mark);
            line.stalled_until = line.now;
            line.pass(Duration::from_millis(45));
            let expected = TWENTY * 2 + TWENTY * glue;
            assert_eq!((line.glue, line.last_caller, line.fed - fed), (glue, mark, expected), "{toc:#x}");
        }
    }

    #[test]
    fn a_slow_server_is_heard_in_whole_stretches() {
        let mut line = Line::new(89);
        line.speak(Duration::from_secs(60));
        let shed = line.pacer.take_shed();
        assert!(shed.packets / u64::from(line.glue) >= 6, "{} cuts of {shed:?}", line.glue);
        assert!(shed.duration <= Duration::from_secs(7), "an eighth at most: {shed:?}");
    }

    #[test]
    fn what_a_server_had_no_time_for_is_not_made_up_for_with_silence() {
        let mut line = Line::new(40);
        line.speak(Duration::from_secs(2));
        line.stalled_until = line.now + Duration::from_secs(2);
        line.speak(Duration::from_secs(4));
        let (fed, synthetic) = (line.fed, line.synthetic);
        line.pass(Duration::from_secs(1));
        let silence = line.synthetic - synthetic;
        assert_eq!(line.fed - fed, silence);
        assert!(silence <= Duration::from_secs(1), "a second of a muted caller took {silence:?}");
    }

    #[test]
    fn a_caller_who_speaks_up_while_the_server_stalls_is_heard_when_it_recovers() {
        let mut line = Line::new(40);
        line.speak(Duration::from_secs(2));
        line.pass(Duration::from_secs(2));
        line.stalled_until = line.now + Duration::from_secs(3);
        line.pass(Duration::from_millis(2_800));
        line.speak(Duration::from_secs(1));
        let during = line.pacer.take_shed();
        assert!(during.duration <= Duration::from_millis(600), "only what the stall itself cost: {during:?}");
        line.speak(Duration::from_secs(2));
        assert_eq!(line.pacer.take_shed(), Shed::default(), "live again");
    }

    #[test]
    fn a_server_that_swallows_frames_is_fed_again() {
        for (frames, mute) in [(5, false), (4, true), (3, true), (2, true)] {
            let mut line = Line::new(40);
            line.speak(Duration::from_secs(2));
            line.swallows = frames;
            let then = |line: &mut Line, seconds| match mute {
                true => line.pass(Duration::from_secs(seconds)),
                false => line.speak(Duration::from_secs(seconds)),
            };
            then(&mut line, 8);
            let fed = line.fed;
            then(&mut line, 10);
            let made = line.fed - fed;
            assert!(made.abs_diff(Duration::from_secs(10)) <= Duration::from_millis(160), "{frames}, {mute}: {made:?}");
            assert!(line.pacer.outstanding() <= Duration::from_millis(320), "{:?}", line.pacer.outstanding());
        }
    }

    #[test]
    fn a_server_that_only_stalls_is_asked_and_believed() {
        for stall in [4, 6, 9] {
            let mut line = Line::new(60);
            line.speak(Duration::from_secs(2));
            line.stalled_until = line.now + Duration::from_secs(stall);
            line.speak(Duration::from_secs(stall) - TWENTY);
            assert_eq!(line.pacer.outstanding(), line.inside, "nothing is written off");
            assert!(line.inside >= Duration::from_millis(460), "it was asked: {:?}", line.inside);
            for _ in 0..250 {
                line.speak(TWENTY);
                assert_eq!(line.pacer.outstanding(), line.inside, "nor afterwards");
            }
            assert!(line.inside <= Duration::from_millis(160), "{:?}", line.inside);
        }
    }

    #[test]
    fn no_server_that_is_merely_slow_is_mistaken() {
        for step_ms in [84, 89, 100, 400, 1_600, 2_900] {
            let mut line = Line::new(step_ms);
            line.speak(Duration::from_secs(120));
            assert_eq!(line.pacer.outstanding(), line.inside, "{step_ms}");
            assert!(line.worst_lag <= Duration::from_millis(420), "{step_ms}: {:?}", line.worst_lag);
        }
        let mut line = Line::new(3_500);
        line.speak(Duration::from_secs(120));
        assert!(line.inside <= Duration::from_millis(480 + 1_200), "written off at most twice: {:?}", line.inside);
    }

    #[test]
    fn a_fast_clock_makes_no_lasting_delay() {
        let mut line = Line::new(20);
        let (mut sent, mut waits) = (0_u64, 0);
        while line.now < Duration::from_secs(1200) {
            while Duration::from_micros(19_990 * sent) <= line.now {
                line.say((sent % 250) as u8);
                waits += u32::from(line.pacer.queue.len() > 1);
                sent += 1;
            }
            line.pass(Duration::from_millis(5));
        }
        assert_eq!(waits, 0, "at most the newest packet waits");
    }

    #[test]
    fn a_server_that_is_too_slow_keeps_a_bounded_lag() {
        let mut line = Line::new(89);
        line.speak(Duration::from_secs(60));
        assert!(line.worst_lag <= Duration::from_millis(420), "{:?}", line.worst_lag);
        assert!(
            line.pacer.take_shed().duration >= Duration::from_secs(4),
            "a tenth of a minute is dropped, not queued"
        );
    }

    #[test]
    fn clocks_that_differ_by_500_ppm_never_add_up() {
        for period_us in [19_990_u64, 20_010] {
            let mut line = Line::new(20);
            let mut sent = 0;
            while line.now < Duration::from_secs(3600) {
                while Duration::from_micros(period_us * sent) <= line.now {
                    line.say((sent % 250) as u8);
                    sent += 1;
                }
                line.pass(Duration::from_millis(5));
            }
            assert!(line.error() <= Duration::from_millis(220), "{period_us}: {:?}", line.error());
            assert!(line.pacer.outstanding() <= Duration::from_millis(160));
        }
    }

    #[test]
    fn one_packet_in_five_lost_is_filled() {
        let mut line = Line::new(30);
        for n in 0..1500_u32 {
            if n % 5 != 0 {
                line.say((n % 250) as u8);
            }
            line.pass(TWENTY);
        }
        assert!(line.error() <= Duration::from_millis(200), "{:?}", line.error());
        assert!(line.pacer.take_shed().duration <= Duration::from_millis(400));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
        /// Whatever the caller and the server do: bounded lag, bounded queue, and a deadline that does something.
        #[test]
        fn whatever_happens_the_clock_keeps_time(script in proptest::collection::vec((0..400_u64, 0..40_u8, 0..3_u8), 1..60)) {
            let mut line = Line::new(60);
            for (wait, burst, stall) in script {
                for mark in 0..burst {
                    line.say_in([SILK, HYBRID, CELT][usize::from(mark % 7 % 3)], mark);
                }
                if stall == 0 {
                    line.stalled_until = line.now + Duration::from_millis(wait * 2);
                }
                line.pass(Duration::from_millis(wait));
                prop_assert!(line.pacer.queued <= Duration::from_millis(160));
                prop_assert!(line.pacer.deadline().is_none_or(|at| at > line.start + line.now));
            }
            line.stalled_until = line.now;
            line.pass(Duration::from_secs(4));
            let before = line.fed;
            line.pass(Duration::from_secs(10));
            let made = line.fed - before;
            prop_assert!(made.abs_diff(Duration::from_secs(10)) <= Duration::from_millis(100), "{made:?}");
            prop_assert!(line.pacer.outstanding() <= Duration::from_millis(240), "{:?}", line.pacer.outstanding());
        }
    }
}
