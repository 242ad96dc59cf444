//! One upstream of the roster: its slots, its trust, and whether a call may go there now.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Ask, UpstreamId,
    slot::{Slot, SlotState},
};
use crate::pool::{
    breaker::{Breaker, BreakerSettings, Trust},
    endpoint::Upstream,
    pace::Pace,
};

/// Whether the machine of an upstream runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It runs.
    #[default]
    Awake,
    /// It is being started.
    Waking,
    /// It is stopped.
    Asleep,
}

/// Probes in a row without an answer after which a server counts as gone.
const UNANSWERED_LIMIT: u32 = 3;
/// In panic a server may be tried again after this breath.
pub(super) const PANIC_GAP: Duration = Duration::from_secs(1);

/// One upstream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) upstream: Upstream,
    pub(super) slots: Vec<Slot>,
    pub(super) breaker: Breaker,
    /// What the probes said last.
    pub(super) reachable: bool,
    /// Probes in a row without an answer.
    unanswered: u32,
    pub(super) power: Power,
    /// When it will have woken, if it is waking.
    pub(super) awake_at: Option<Instant>,
    /// It takes no more calls, and goes when its last slot is free.
    pub(super) leaving: bool,
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
            upstream,
            breaker: Breaker::new(breaker),
            reachable: true,
            unanswered: 0,
            power: Power::Awake,
            awake_at: None,
            leaving: false,
            step: None,
            pace: Pace::default(),
        }
    }

    /// What a probe found. One answer is enough; a server under load may leave some out.
    pub(super) fn probed(&mut self, answered: bool) {
        self.unanswered = if answered { 0 } else { self.unanswered + 1 };
        self.reachable = self.unanswered < UNANSWERED_LIMIT;
    }

    /// Whether such a call could ever be taken.
    pub(super) fn fits(&self, ask: &Ask, id: UpstreamId) -> bool {
        !self.leaving && !ask.avoid.contains(&id) && self.upstream.labels.fit(&ask.needs)
    }

    /// Whether calls can be sent there without fear.
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        self.reachable && self.breaker.trust(now) == Trust::Closed
    }

    /// Whether one more call may be sent there; `panic` says that too few can be trusted.
    pub(super) fn door(&self, panic: bool, now: Instant) -> Door {
        if self.power != Power::Awake || self.leaving {
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

    /// Whether calls can count on it, now or after those that it serves.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        let usable = |slot: &Slot| !matches!(slot.state, SlotState::Quarantined(_));
        !self.pace.is_slow() && self.is_trusted(now) && self.power == Power::Awake && self.slots.iter().any(usable)
    }

    /// Whether nobody uses it and nobody is owed an acknowledgement.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.state, SlotState::Free | SlotState::Elsewhere))
    }

    /// The name of a slot's state, for metrics: what it is doing, else why it may not do anything.
    pub(super) fn state_of(&self, slot: &Slot, now: Instant) -> &'static str {
        match slot.state {
            SlotState::Leased | SlotState::Elsewhere => "leased",
            SlotState::Quarantined(_) => "quarantined",
            SlotState::Free if self.leaving => "draining",
            SlotState::Free if self.power == Power::Asleep => "asleep",
            SlotState::Free if self.power == Power::Waking => "waking",
            SlotState::Free if !self.is_trusted(now) => "unhealthy",
            SlotState::Free => "free",
        }
    }

    /// A handshake took `step` for each of its prompt's steps.
    pub(super) fn learn(&mut self, step: Duration) {
        self.step = Some(self.step.map_or(step, |known| known.mul_f64(0.7) + step.mul_f64(0.3)));
    }
}
