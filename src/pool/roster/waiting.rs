//! Asking, waiting, and being told where one stands.

use std::time::{Duration, Instant};

use super::{
    Ask, Class, Effect, Grant, NoSlot, Place, Power, Roster, UserHash, WaitEnd, WaitReason, Waited, Waiter, WaiterId,
    estimate::Eta, slot::SlotState,
};
use crate::pool::endpoint::Needs;

/// Who waits is told where it stands at least so often.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Estimates are made anew at most so often.
const ESTIMATE_EVERY: Duration = Duration::from_millis(250);
/// A live call that waits for so long takes the server that failed it as well, which may be back.
const FORGIVEN_AFTER: Duration = Duration::from_secs(2);
/// A refusal's advice where nothing better is known.
const TRY_LATER: Duration = Duration::from_secs(5);

impl Roster {
    pub(super) fn ask(&mut self, id: WaiterId, mut ask: Ask, now: Instant) {
        if let Some(ongoing) = ask.ongoing {
            self.history.goes_on(ongoing.holds);
        }
        if ask.retry {
            let allowed = self.retries.spend(&ask.user, self.active(), now);
            self.effects.push_back(Effect::Retried(allowed));
            if !allowed {
                return self.refuse(id, ask.class, NoSlot::RetriesSpent, Waited::default());
            }
        }
        let fits = |ask: &Ask| self.members.iter().any(|(upstream, member)| member.fits(ask, *upstream));
        if ask.class == Class::Failover && !fits(&ask) {
            // A live call rather goes back to a server that failed than nowhere.
            ask.avoid.clear();
        }
        if !fits(&ask) {
            let bare = Ask { needs: Needs { told: false, ..ask.needs.clone() }, ..ask.clone() };
            let why = if fits(&bare) { NoSlot::NotTold } else { NoSlot::NoFit };
            return self.refuse(id, ask.class, why, Waited::default());
        }
        // Nobody who waits is passed, even where only this one fits: they are looked at first.
        let others = self.others_of(&ask.user);
        let waits = ask.waits;
        let full = self.queue.count(Class::New) >= self.settings.queue_limit;
        let class = ask.class;
        self.queue.arrive(id, ask, others, now);
        self.match_waiters(now);
        let waiting = self.queue.iter().any(|waiter| waiter.id == id);
        if waiting && (!waits || (full && class == Class::New)) {
            self.queue.remove(id);
            self.refuse(id, class, if waits { NoSlot::QueueFull } else { NoSlot::Busy }, Waited::default());
        }
    }

    /// One that cannot wait gets what is free now, or nothing.
    pub(super) fn not_waiting(&mut self, id: WaiterId, now: Instant) {
        self.match_waiters(now);
        if let Some(waiter) = self.queue.remove(id) {
            self.refuse(id, waiter.ask.class, NoSlot::Busy, waiter.waited(now));
        }
    }

    /// One that waited waits no more.
    pub(super) fn leave(&mut self, id: WaiterId, end: WaitEnd, now: Instant) {
        if let Some(waiter) = self.queue.remove(id) {
            let waited = waiter.waited(now);
            self.effects.push_back(Effect::Waited(waiter.ask.class, end, waited));
        }
    }

    pub(super) fn refuse(&mut self, id: WaiterId, class: Class, why: NoSlot, waited: Waited) {
        let advice = if matches!(why, NoSlot::Busy | NoSlot::QueueFull) { self.advice() } else { TRY_LATER };
        self.effects.push_back(Effect::Refuse(id, why, advice));
        self.effects.push_back(Effect::Waited(class, WaitEnd::Refused(why), waited));
    }

    /// When one more caller might get a slot.
    fn advice(&self) -> Duration {
        let last = self.queue.iter().last().and_then(|waiter| waiter.told).and_then(|(place, _)| place.eta);
        last.map_or(TRY_LATER, |eta| eta.median).max(Duration::from_secs(1))
    }

    /// Calls and places that a user has.
    fn others_of(&self, user: &UserHash) -> usize {
        let calls = self.slots().filter(|(_, slot)| slot.holder.as_ref().is_some_and(|holder| holder.user == *user));
        calls.count() + self.queue.count_of(user)
    }

    /// Gives every slot that may be used to the first in order whom it fits.
    pub(super) fn match_waiters(&mut self, now: Instant) {
        let waiting: Vec<WaiterId> = self.queue.iter().map(|waiter| waiter.id).collect();
        for id in waiting {
            if !self.settings.policy.exclusive || self.slots().any(|(_, slot)| slot.state == SlotState::Free) {
                self.try_grant(id, now);
            }
        }
    }

    fn try_grant(&mut self, id: WaiterId, now: Instant) {
        let Some(mut waiter) = self.queue.remove(id) else { return };
        if waiter.ask.class == Class::Failover && now >= waiter.since + FORGIVEN_AFTER {
            waiter.ask.avoid.clear();
        }
        match self.take(&waiter.ask, now) {
            Some(grant) => self.granted(waiter, grant, now),
            None => self.queue.put_back(waiter),
        }
    }

    fn granted(&mut self, waiter: Waiter, grant: Grant, now: Instant) {
        let waited = waiter.waited(now);
        self.effects.push_back(Effect::Grant(waiter, grant, waited));
    }

    /// Tells everybody who waits where they stand: on every change, and every now and then.
    pub(super) fn tell_places(&mut self, now: Instant) {
        if self.queue.is_empty() {
            return;
        }
        let stale = |told: Option<(Place, Instant)>| told.is_none_or(|(_, at)| now >= at + TELL_EVERY);
        let order: Vec<usize> = self
            .queue
            .iter()
            .enumerate()
            .filter(|(index, waiter)| {
                stale(waiter.told) || waiter.told.is_some_and(|(place, _)| place.position != index + 1)
            })
            .map(|(index, _)| index)
            .collect();
        if order.is_empty() {
            return;
        }
        let estimates = self.estimates(now);
        let mut taking = 0;
        let reasons: Vec<WaitReason> = self.queue.iter().map(|waiter| self.reason(&waiter.ask)).collect();
        for (index, waiter) in self.queue.iter_mut().enumerate() {
            let eta = estimates.get(taking).or(estimates.last()).copied();
            // A rotation gives a slot back for the one that it takes.
            taking += usize::from(waiter.ask.class != Class::Rotation);
            let place = Place { position: index + 1, eta, reason: reasons[index] };
            if order.contains(&index) || waiter.told.is_some_and(|(told, _)| told.reason != place.reason) {
                waiter.promised = waiter.promised.or(eta);
                waiter.told = Some((place, now));
                self.effects.push_back(Effect::Place(waiter.id, place));
            }
        }
    }

    fn reason(&self, ask: &Ask) -> WaitReason {
        let fitting = || self.members.iter().filter(|(id, member)| member.fits(ask, **id));
        let awake = fitting().any(|(_, member)| member.machine.power == Power::Awake);
        if awake { WaitReason::Busy } else { WaitReason::Waking }
    }

    /// The waits of everybody in order; made anew at most once a second, since a play-through costs something.
    fn estimates(&mut self, now: Instant) -> Vec<Eta> {
        let fresh = self.estimates.as_ref().is_some_and(|(at, waits)| {
            now < *at + ESTIMATE_EVERY && waits.len() >= self.queue.len().min(super::estimate::FARTHEST)
        });
        if !fresh {
            self.estimates = Some((now, self.play_forward(now)));
        }
        self.estimates.as_ref().map(|(_, waits)| waits.clone()).unwrap_or_default()
    }

    /// Plays the queue forward as if every slot fitted everybody.
    fn play_forward(&mut self, now: Instant) -> Vec<Eta> {
        let mut held = Vec::new();
        let mut coming = Vec::new();
        let at = |at: Instant| {
            let time = at.saturating_duration_since(now);
            Eta { median: time, p90: time }
        };
        for member in self.members.values().filter(|member| !member.is_out()) {
            for slot in &member.slots {
                match (&slot.holder, slot.state) {
                    (Some(holder), _) => held.push(now.saturating_duration_since(holder.since)),
                    (None, SlotState::Elsewhere) => held.push(Duration::ZERO),
                    (None, SlotState::Free) => coming.extend(match member.machine.power {
                        Power::Awake => member.breaker.reopens_at().map(at),
                        Power::Waking => member.machine.awake_in(now),
                        Power::Asleep => None,
                    }),
                    (None, SlotState::Leased) if slot.warms_up => coming.extend(member.machine.awake_in(now)),
                    (None, SlotState::Leased | SlotState::Quarantined(_)) => {
                        coming.extend(slot.rehearse_at.map(at));
                    }
                }
            }
        }
        self.history.waits(&held, &coming, self.queue.len())
    }

    /// When [`Roster::handle`] wants to be called again, at the latest.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let told = self.queue.iter().map(|waiter| waiter.told.map_or(now, |(_, at)| at + TELL_EVERY)).min();
        let door = self.next_door(now).filter(|_| !self.queue.is_empty());
        let awake = self.members.values().filter(|member| member.machine.power == Power::Awake);
        let rehearsal = awake.flat_map(|member| &member.slots).filter_map(|slot| slot.rehearse_at).min();
        let trust = self.members.values().filter_map(|member| member.breaker.reopens_at()).filter(|at| *at > now).min();
        [told, door, rehearsal, trust, self.stuck_at(now)].into_iter().flatten().min()
    }
}
