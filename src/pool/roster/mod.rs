//! Which slots exist, who holds each, and who waits: a pure machine that the pool's actor drives through one door.
//!
//! ```text
//!            granted             released (the server acknowledged the end, or no socket was opened)
//!   Free ---------------> Leased ------------------------------------------------> Free
//!    ^                      | quarantined (the end was not acknowledged)             ^
//!    |                      v                  released late, or a rehearsal passed  |
//!    |                  Quarantined -------------------------------------------------+
//!    +-- Elsewhere: another process holds it, says the ledger
//! ```
//!
//! **Invariants:** a slot is held by at most one grant; a grant of an older generation changes nothing; nobody waits
//! while a slot that fits and may be used is free; each who asks hears exactly one outcome, unless they leave.
//! **Choice:** of the fitting servers that run and can be trusted, the one whose slot ended longest ago. A server that
//! just failed this user comes last. Where less than half of the servers can be trusted, one call at a time may try
//! each of the others.

mod ask;
mod care;
mod choice;
mod estimate;
mod input;
mod member;
mod overview;
mod power;
mod queue;
mod slot;
mod snapshot;
#[cfg(test)]
mod tests;
mod tuning;
mod waiting;

pub use ask::{Ask, Class, NoSlot, Offer, Ongoing, Place, UserHash, Verdict, WaitEnd, WaitReason, Waited, WaiterId};
pub use estimate::Eta;
pub use input::{Effect, Input};
pub use member::Probed;
pub use overview::{MemberSlot, MemberSnapshot, PoolSnapshot, WaiterSnapshot};
pub use power::{Power, PowerNews};
pub use queue::Waiter;
pub use slot::{QuarantineReason, SlotState};
pub use snapshot::{SlotLabel, SlotSnapshot};
pub use tuning::Tuning;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;

use self::{
    choice::Grudges,
    estimate::History,
    member::{Chance, Member},
    queue::Queue,
    slot::Slot,
};
use super::{
    breaker::{BreakerSettings, Trust},
    pace::{Measured, Realtime},
    retry::{RetryBudget, RetrySettings},
};

/// One upstream, for as long as the process lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct UpstreamId(pub u32);

/// The right to one slot, valid for one generation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Which upstream.
    pub upstream: UpstreamId,
    /// Which of its slots, from 0.
    pub slot: u16,
    /// The fence: an answer with another generation than the slot's is stale.
    pub generation: u64,
}

/// How slots are given out.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether a leased slot is kept from everybody else. Only the test that proves its worth turns it off.
    pub exclusive: bool,
    /// What becomes of an upstream that is slower than real time.
    pub realtime: Realtime,
}

impl Default for Policy {
    fn default() -> Self {
        Self { exclusive: true, realtime: Realtime::default() }
    }
}

/// How a [`Roster`] behaves.
#[derive(Clone, Debug)]
pub struct RosterSettings {
    /// How slots are given out.
    pub policy: Policy,
    /// New calls that may wait.
    pub queue_limit: usize,
    /// The longest that a slot is held: the longest call.
    pub longest: Duration,
    /// Each upstream's breaker.
    pub breaker: BreakerSettings,
    /// The budget of retries.
    pub retry: RetrySettings,
    /// How often the queue is played forward for an estimate.
    pub play_throughs: usize,
    /// After how long without a slot that can be used a machine is restarted; zero: never.
    pub restart_stuck: Duration,
    /// Whether servers are probed, so that one that was found gone is known to be back before a call goes there.
    pub probes: bool,
    /// Of pauses and estimates.
    pub seed: u64,
}

impl Default for RosterSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            queue_limit: 100,
            longest: Duration::from_secs(30 * 60),
            breaker: BreakerSettings::default(),
            retry: RetrySettings::default(),
            play_throughs: 100,
            restart_stuck: Duration::from_secs(300),
            probes: false,
            seed: 0,
        }
    }
}

/// All slots of all upstreams, and everybody who waits for one.
#[derive(Debug)]
pub struct Roster {
    settings: RosterSettings,
    members: BTreeMap<UpstreamId, Member>,
    queue: Queue,
    history: History,
    estimates: Option<(Instant, Vec<Eta>)>,
    retries: RetryBudget,
    grudges: Grudges,
    told_trust: BTreeMap<UpstreamId, Trust>,
    rng: SmallRng,
    effects: VecDeque<Effect>,
}

impl Roster {
    /// An empty roster.
    pub fn new(settings: RosterSettings) -> Self {
        Self {
            members: BTreeMap::new(),
            queue: Queue::default(),
            history: History::new(settings.longest, settings.play_throughs, settings.seed),
            estimates: None,
            retries: RetryBudget::new(settings.retry),
            grudges: Grudges::default(),
            told_trust: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(settings.seed),
            effects: VecDeque::new(),
            settings,
        }
    }

    /// The one door: takes what happened. Drain [`Roster::poll_effect`] before the next call.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Ask(id, ask) => self.ask(id, ask, now),
            Input::Leave(id) => self.leave(id, WaitEnd::Left, now),
            Input::TimedOut(id) => self.leave(id, WaitEnd::TimedOut, now),
            Input::Release(grant) => self.release(grant, now),
            Input::Quarantine(grant, reason) => {
                self.unjudged(grant);
                self.rehearsed(grant, false);
                self.with(grant, |slot| {
                    slot.quarantine(reason, now);
                });
            }
            Input::Contested(grant, waiter) => self.contested(grant, waiter, now),
            Input::HeldElsewhere(id, slot, held) => self.held_elsewhere(id, slot, held),
            Input::Orphaned(id, slot) => self.orphaned(id, slot, now),
            Input::Judge(grant, verdict) => self.judge(grant, verdict, now),
            Input::Measured(grant, measured) => self.measured(grant, measured, now),
            Input::Passed(grant) => self.with(grant, Slot::pass),
            Input::Probed(id, probed) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.probed(probed, now);
                }
            }
            Input::Power(id, news) => self.powered(id, news, now),
            Input::Retire(id) => self.retire(id),
            Input::Vacate(id, stuck) => self.vacate(id, stuck, now),
            Input::WarmUp(id) => self.warm_up(id),
            Input::Moved(id, endpoint) => self.moved(id, endpoint, now),
            Input::Join(id, upstream) => {
                let stays = |member: &mut Member| member.leaving = false;
                let breaker = self.settings.breaker;
                self.members.entry(id).and_modify(stays).or_insert_with(|| Member::new(upstream, breaker));
            }
            Input::Part(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.leaving = true;
                }
            }
            Input::Tune(tuning) => self.tune(tuning),
            Input::Withhold(id, withheld) => self.withhold(id, withheld, now),
            Input::Tick => {}
        }
        self.settle(now);
    }

    /// The next thing to do, until there is nothing.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Everything that follows from a change.
    fn settle(&mut self, now: Instant) {
        self.tell_cleared();
        self.see_off();
        self.match_waiters(now);
        self.refuse_the_hopeless(now);
        self.call_for_power(now);
        self.tell_use();
        self.tell_places(now);
        self.rehearse(now);
        self.tell_stuck(now);
        self.tell_trust(now);
    }

    fn release(&mut self, grant: Grant, now: Instant) {
        self.unjudged(grant);
        self.rehearsed(grant, true);
        self.served(grant);
        // A second slot that is given back is not the call's end.
        let had = self.current(grant).and_then(|slot| slot.holder.as_ref()?.ongoing);
        let had = had.is_some_and(|had| self.state(had.holds) == Some(SlotState::Leased));
        let Some(held) = self.current(grant).and_then(|slot| slot.release(now)) else { return };
        if let Some(member) = self.members.get_mut(&grant.upstream) {
            member.pace.rest(now);
        }
        if !held.is_zero() && !had && !self.is_continued(grant) {
            self.history.ended(grant, held);
        }
    }

    /// Whether the call of this grant goes on under another one, or asks for one.
    fn is_continued(&self, grant: Grant) -> bool {
        let continues = |ongoing: Option<Ongoing>| ongoing.is_some_and(|ongoing| ongoing.holds == grant);
        self.slots().any(|(_, slot)| slot.holder.as_ref().is_some_and(|holder| continues(holder.ongoing)))
            || self.queue.iter().any(|waiter| continues(waiter.ask.ongoing))
    }

    /// The rehearsal under this grant is over, if there is one; it passed if it came far enough and ended in order.
    fn rehearsed(&mut self, grant: Grant, in_order: bool) {
        if let Some(passed) = self.current(grant).and_then(|slot| slot.rehearsal()) {
            self.effects.push_back(Effect::Rehearsed(grant.upstream, passed && in_order));
        }
        if let Some(passed) = self.current(grant).and_then(|slot| slot.warmed_up(in_order)) {
            self.effects.push_back(Effect::WarmedUp(grant.upstream, passed));
        }
    }

    /// A call is over; where it was a trial and was not judged, the next one is the trial.
    fn unjudged(&mut self, grant: Grant) {
        if let Some(trial) = self.current(grant).and_then(|slot| slot.trial.take())
            && let Some(member) = self.members.get_mut(&grant.upstream)
        {
            member.breaker.unjudged(trial);
        }
    }

    /// A call is over and its server has let go: it was served, if it got as far as that and was not lost.
    /// That it was lost stays: its handshake may be told later still.
    fn served(&mut self, grant: Grant) {
        let praised = |verdict: &mut Verdict| matches!(verdict, Verdict::Ready { .. });
        if self.current(grant).and_then(|slot| slot.verdict.take_if(praised)).is_some()
            && let Some(member) = self.members.get_mut(&grant.upstream)
        {
            member.served();
        }
    }

    fn contested(&mut self, grant: Grant, waiter: Option<Waiter>, now: Instant) {
        self.unjudged(grant);
        let Some(slot) = self.current(grant) else { return };
        slot.state = SlotState::Elsewhere;
        slot.holder = None;
        if slot.warmed_up(true).is_some() {
            // Somebody talks there.
            self.effects.push_back(Effect::WarmedUp(grant.upstream, true));
        }
        let Some(waiter) = waiter else { return };
        let (id, waits) = (waiter.id, waiter.ask.waits);
        self.queue.put_back(waiter);
        if !waits {
            self.not_waiting(id, now);
        }
    }

    fn held_elsewhere(&mut self, id: UpstreamId, slot: u16, held: bool) {
        let Some(slot) = self.slot(id, slot) else { return };
        slot.state = match (slot.state, held) {
            (SlotState::Free, true) => SlotState::Elsewhere,
            (SlotState::Elsewhere, false) => SlotState::Free,
            // Taken over from this process while it was stopped: now the other one has to find out what is there.
            (SlotState::Quarantined(_), true) if !slot.rehearsing => {
                slot.taken_over();
                SlotState::Elsewhere
            }
            (state, _) => state,
        };
    }

    fn orphaned(&mut self, id: UpstreamId, slot: u16, now: Instant) {
        let Some(slot) = self.slot(id, slot) else { return };
        if matches!(slot.state, SlotState::Free | SlotState::Elsewhere) {
            slot.state = SlotState::Leased;
            slot.quarantine(QuarantineReason::HolderGone, now);
            self.effects.push_back(Effect::Orphaned(id));
        }
    }

    /// Takes a verdict, of a grant that is over too: which of two servers is to blame may only be known later.
    fn judge(&mut self, grant: Grant, verdict: Verdict, now: Instant) {
        let chance = Chance { now, jitter: self.rng.random(), probes: self.settings.probes };
        let praise = matches!(verdict, Verdict::Ready { .. });
        let (mut user, mut trial) = (None, None);
        if let Some(slot) = self.current(grant) {
            // Two tell of one call, and a failure may overtake the handshake before it.
            if praise && slot.verdict.is_some() {
                return;
            }
            slot.verdict = Some(verdict);
            (user, trial) = (slot.user, slot.trial.take());
        } else if praise {
            return;
        }
        let Some(member) = self.members.get_mut(&grant.upstream) else { return };
        member.judge(verdict, (user, trial), chance);
        if let (false, Some(user)) = (praise, user) {
            self.grudges.hold(user, grant.upstream, now);
        }
    }

    fn measured(&mut self, grant: Grant, measured: Measured, now: Instant) {
        if self.state(grant) != Some(SlotState::Leased) {
            return;
        }
        let Some(member) = self.members.get_mut(&grant.upstream) else { return };
        if member.pace.measured(measured, grant.generation, now) {
            self.effects.push_back(Effect::Pace(grant.upstream, measured));
        }
    }

    /// Upstreams that leave go when nobody uses them.
    fn see_off(&mut self) {
        let gone: Vec<UpstreamId> =
            self.members.iter().filter(|(_, member)| member.leaving && member.is_idle()).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(member) = self.members.remove(&id) {
                self.told_trust.remove(&id);
                self.effects.push_back(Effect::Gone(id, member.upstream));
            }
        }
    }

    fn tell_trust(&mut self, now: Instant) {
        for (id, member) in &self.members {
            let trust = member.trust(now);
            if self.told_trust.insert(*id, trust).unwrap_or(Trust::Closed) != trust {
                self.effects.push_back(Effect::Trust(*id, trust));
            }
        }
    }

    fn slots(&self) -> impl Iterator<Item = (&Member, &Slot)> {
        self.members.values().flat_map(|member| member.slots.iter().map(move |slot| (member, slot)))
    }

    fn slot(&mut self, id: UpstreamId, slot: u16) -> Option<&mut Slot> {
        self.members.get_mut(&id)?.slots.get_mut(usize::from(slot))
    }

    fn current(&mut self, grant: Grant) -> Option<&mut Slot> {
        self.slot(grant.upstream, grant.slot).filter(|slot| slot.generation == grant.generation)
    }

    fn with(&mut self, grant: Grant, act: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.current(grant) {
            act(slot);
        }
    }
}
