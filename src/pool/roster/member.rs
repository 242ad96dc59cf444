//! One upstream of the roster: its slots, its trust, and whether a call may go there now.

use std::time::{Duration, Instant};

use super::{
    Ask, Power, SlotLabel, UpstreamId, UserHash, Verdict,
    power::Machine,
    slot::{Slot, SlotState},
};
use crate::pool::{
    breaker::{Breaker, BreakerSettings, TrialId, Trust},
    endpoint::Upstream,
    pace::Pace,
};

/// For so long after a handshake a server that leaves out probes is taken to be busy.
const VOUCHED_FOR: Duration = Duration::from_secs(60);
/// Probes in a row without an answer after which a server counts as gone.
const UNANSWERED_LIMIT: u32 = 3;
/// In panic a server may be tried again after this breath.
pub(super) const PANIC_GAP: Duration = Duration::from_secs(1);

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// An answer, whatever it said.
    Answered,
    /// No answer in time, or none that a server which is well would give.
    Silent,
    /// Nothing listens there.
    Refused,
}

/// What a verdict has to know beside the call: the time, a number of 0 to 1, and whether servers are probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    pub(super) now: Instant,
    pub(super) jitter: f64,
    pub(super) probes: bool,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) upstream: Upstream,
    pub(super) slots: Vec<Slot>,
    pub(super) breaker: Breaker,
    /// Whether the server is there, as the probes and the calls said last.
    pub(super) reachable: bool,
    /// Probes in a row without an answer.
    unanswered: u32,
    /// When it last got ready for a call.
    ready_at: Option<Instant>,
    /// Whose call failed last, where that may be its caller's doing.
    doubted_by: Option<UserHash>,
    /// Whether its machine runs.
    pub(super) machine: Machine,
    /// It takes no more calls, and goes when its last slot is free.
    pub(super) leaving: bool,
    /// An operator keeps calls away from it.
    pub(super) withheld: bool,
    /// The time of one prompt step, smoothed over its handshakes.
    pub(super) step: Option<Duration>,
    pub(super) pace: Pace,
}

/// How a call may come to be sent to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// Only because no server can be trusted.
    Panic,
    Shut,
}

impl Member {
    pub(super) fn new(upstream: Upstream, breaker: BreakerSettings) -> Self {
        Self {
            slots: (0..upstream.capacity.max(1)).map(|_| Slot::new()).collect(),
            machine: Machine::of(&upstream.labels),
            upstream,
            breaker: Breaker::new(breaker),
            reachable: true,
            unanswered: 0,
            ready_at: None,
            doubted_by: None,
            leaving: false,
            withheld: false,
            step: None,
            pace: Pace::default(),
        }
    }

    /// What a probe found. One answer is enough; a server under load may leave some out. While calls succeed, silence
    /// says nothing: a call is better evidence.
    pub(super) fn probed(&mut self, probed: Probed, now: Instant) {
        let vouched = self.ready_at.is_some_and(|at| now < at + VOUCHED_FOR);
        match probed {
            Probed::Answered => (self.unanswered, self.reachable) = (0, true),
            Probed::Silent if vouched => {}
            Probed::Silent | Probed::Refused => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.reachable &= self.unanswered < UNANSWERED_LIMIT;
            }
        }
    }

    /// Takes what a call says of the server. `by` is the caller, and whether its call was a trial.
    pub(super) fn judge(&mut self, verdict: Verdict, by: (Option<UserHash>, Option<TrialId>), chance: Chance) {
        let (user, trial) = by;
        let Chance { now, jitter, probes } = chance;
        // One caller alone proves nothing, however often it calls.
        let again = matches!(verdict, Verdict::Late | Verdict::Lost) && user.is_some() && self.doubted_by == user;
        if let (true, Some(trial)) = (again, trial) {
            self.breaker.unjudged(trial);
        }
        match verdict {
            Verdict::Ready { step } => {
                self.breaker.succeeded();
                (self.ready_at, self.unanswered, self.reachable) = (Some(now), 0, true);
                self.step = Some(self.step.map_or(step, |known| known.mul_f64(0.7) + step.mul_f64(0.3)));
                return;
            }
            Verdict::Late | Verdict::Lost if again => {}
            Verdict::Lost => self.breaker.lost(now, jitter),
            Verdict::Unreachable | Verdict::Failed | Verdict::Late => self.breaker.failed(now, jitter),
        }
        if matches!(verdict, Verdict::Late | Verdict::Lost) {
            self.doubted_by = user;
        }
        if verdict != Verdict::Lost {
            // What it could do once it may not do again: the next call has all the time that there is.
            self.step = None;
        }
        if probes && verdict == Verdict::Unreachable && self.breaker.trust(now) == Trust::Open {
            // The next caller is not the one to find out whether it is back.
            self.reachable = false;
        }
    }

    /// A call that the server got ready for was not lost.
    pub(super) fn served(&mut self) {
        self.breaker.served();
        self.doubted_by = None;
    }

    /// Whether such a call could ever be taken.
    pub(super) fn fits(&self, ask: &Ask, id: UpstreamId) -> bool {
        !self.is_out() && !ask.avoid.contains(&id) && self.upstream.fits(&ask.needs)
    }

    /// Whether it takes no more calls, for good or for now.
    pub(super) fn is_out(&self) -> bool {
        self.leaving || self.withheld
    }

    /// Whether calls are sent there, as its calls and the probes say.
    pub(super) fn trust(&self, now: Instant) -> Trust {
        if self.reachable { self.breaker.trust(now) } else { Trust::Open }
    }

    /// Whether calls can be sent there without fear.
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        self.trust(now) == Trust::Closed
    }

    /// Whether one more call may be sent there; `panic` says that too few can be trusted.
    pub(super) fn door(&self, panic: bool, now: Instant) -> Door {
        if self.machine.power != Power::Awake || self.is_out() {
            Door::Shut
        } else if self.reachable && self.breaker.admits(now) {
            Door::Open
        } else if panic && self.breaker.admits_in_panic(now, PANIC_GAP) {
            Door::Panic
        } else {
            Door::Shut
        }
    }

    /// The free slot that ended longest ago.
    pub(super) fn free_slot(&self) -> Option<usize> {
        let free = self.slots.iter().enumerate().filter(|(_, slot)| slot.state == SlotState::Free);
        free.min_by_key(|(_, slot)| (slot.last_ended, slot.generation)).map(|(index, _)| index)
    }

    /// Whether calls can count on it, now or after those that it serves: so much that slower ones are kept from them.
    /// One that failed its last call may be tried, but not counted on.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        !self.pace.is_slow() && self.breaker.is_proven() && self.is_within_reach(now)
    }

    /// Whether calls can get there, now or after those that it serves, and without fear.
    pub(super) fn is_within_reach(&self, now: Instant) -> bool {
        let usable = |slot: &Slot| !matches!(slot.state, SlotState::Quarantined(_));
        !self.withheld && self.is_trusted(now) && self.machine.power == Power::Awake && self.slots.iter().any(usable)
    }

    /// Whether nobody uses it and nobody is owed an acknowledgement.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.state, SlotState::Free | SlotState::Elsewhere))
    }

    /// The word for a slot's state: what it is doing, else why it may not do anything.
    pub(super) fn state_of(&self, slot: &Slot, now: Instant) -> SlotLabel {
        match slot.state {
            SlotState::Leased => SlotLabel::Leased,
            SlotState::Elsewhere => SlotLabel::Elsewhere,
            SlotState::Quarantined(_) => SlotLabel::Quarantined,
            SlotState::Free if self.leaving => SlotLabel::Draining,
            SlotState::Free if self.withheld => SlotLabel::Withheld,
            SlotState::Free if self.machine.power == Power::Asleep => SlotLabel::Asleep,
            SlotState::Free if self.machine.power == Power::Waking => SlotLabel::Waking,
            SlotState::Free if !self.is_trusted(now) => SlotLabel::Unhealthy,
            SlotState::Free => SlotLabel::Free,
        }
    }
}
