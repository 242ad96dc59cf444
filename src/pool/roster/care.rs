//! The care of servers: calls without a caller, slots that are tested, servers that are elsewhere after a start, and those
//! that are stuck.

use std::time::{Duration, Instant};

use super::{Effect, Grant, Power, Roster, SlotState, UpstreamId, member::Member};
use crate::pool::endpoint::Endpoint;

/// A server that stays stuck is told again after so long: the fleet may have had other things to do.
const TELL_STUCK_EVERY: Duration = Duration::from_secs(30);

impl Roster {
    /// Says of slots that are usable again how long they were not.
    pub(super) fn tell_cleared(&mut self) {
        for slot in self.members.values_mut().flat_map(|member| &mut member.slots) {
            self.effects.extend(slot.cleared.take().map(Effect::Cleared));
        }
    }

    /// Lets go of a machine for a restart, whoever waits for it, unless somebody uses it.
    pub(super) fn vacate(&mut self, id: UpstreamId, stuck: bool, now: Instant) {
        let after = self.settings.restart_stuck;
        let may = self.members.get(&id).is_none_or(|member| {
            let used = |state| matches!(state, SlotState::Leased | SlotState::Elsewhere);
            let used = member.slots.iter().any(|slot| used(slot.state) || slot.rehearsing);
            !used && (!stuck || member.is_stuck(after, now))
        });
        if let Some(member) = self.members.get_mut(&id).filter(|_| may) {
            // It comes back by itself: nobody else is woken instead.
            (member.machine.power, member.machine.wakes) = (Power::Waking, None);
        }
        self.effects.push_back(Effect::Retired(id, may));
    }

    /// Begins a call without a caller, on a machine that takes no others yet.
    pub(super) fn warm_up(&mut self, id: UpstreamId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.slots.iter().any(|slot| matches!(slot.state, SlotState::Leased | SlotState::Elsewhere)) {
            // Somebody talks there already.
            self.effects.push_back(Effect::WarmedUp(id, true));
            return;
        }
        let testable = |state| matches!(state, SlotState::Quarantined(reason) if !reason.is_awaited());
        let free = member.slots.iter().position(|slot| slot.state == SlotState::Free);
        let index = free.or_else(|| member.slots.iter().position(|slot| testable(slot.state) && !slot.rehearsing));
        let Some((index, slot)) = index.and_then(|index| Some((index, member.slots.get_mut(index)?))) else {
            self.effects.push_back(Effect::WarmedUp(id, false));
            return;
        };
        slot.warms_up = true;
        let generation = if free.is_some() { slot.warm_up() } else { slot.rehearse() };
        let grant = Grant { upstream: id, slot: u16::try_from(index).unwrap_or(u16::MAX), generation };
        self.effects.push_back(if free.is_some() { Effect::WarmUp(grant) } else { Effect::Rehearse(grant) });
    }

    /// Keeps calls away from a server, or lets them come again: then its slots in doubt are tested at once.
    pub(super) fn withhold(&mut self, id: UpstreamId, withheld: bool, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.withheld = withheld;
        if !withheld {
            // One whose holder waits for the server still has no such time, and stays as it is.
            member.slots.iter_mut().filter_map(|slot| slot.rehearse_at.as_mut()).for_each(|at| *at = (*at).min(now));
        }
        self.estimates = None;
    }

    /// Tests quarantined slots whose pause is over.
    pub(super) fn rehearse(&mut self, now: Instant) {
        for (id, member) in &mut self.members {
            if member.machine.power != Power::Awake {
                continue;
            }
            for (index, slot) in member.slots.iter_mut().enumerate() {
                if slot.rehearse_at.is_some_and(|at| at <= now) {
                    let generation = slot.rehearse();
                    let slot = u16::try_from(index).unwrap_or(u16::MAX);
                    self.effects.push_back(Effect::Rehearse(Grant { upstream: *id, slot, generation }));
                }
            }
        }
    }

    /// Follows a server to where it is. Calls that are under way stay where they are.
    pub(super) fn moved(&mut self, id: UpstreamId, endpoint: Endpoint, now: Instant) {
        let Some(member) = self.members.get_mut(&id).filter(|member| member.upstream.endpoint != endpoint) else {
            return;
        };
        let left = std::mem::replace(&mut member.upstream.endpoint, endpoint);
        for slot in &mut member.slots {
            if slot.state != SlotState::Leased && slot.warmed_up(false).is_some() {
                self.effects.push_back(Effect::WarmedUp(id, false));
            }
            slot.moved(&left, now);
        }
    }

    /// Tells the fleet of servers that take no calls although nobody is there.
    pub(super) fn tell_stuck(&mut self, now: Instant) {
        let after = self.settings.restart_stuck;
        for (id, member) in &mut self.members {
            if !member.is_stuck(after, now) {
                member.machine.stuck_told = None;
            } else if member.machine.stuck_told.is_none_or(|told| now >= told + TELL_STUCK_EVERY) {
                member.machine.stuck_told = Some(now);
                self.effects.push_back(Effect::Stuck(*id));
            }
        }
    }

    /// When [`Roster::tell_stuck`] has something to say without further news.
    pub(super) fn stuck_at(&self, now: Instant) -> Option<Instant> {
        let after = self.settings.restart_stuck;
        let at = |member: &Member| {
            let told = member.machine.stuck_told.map(|told| told + TELL_STUCK_EVERY);
            told.or_else(|| member.stuck_at(after))
        };
        self.members.values().filter_map(at).filter(|at| *at > now).min()
    }
}

impl Member {
    /// Whether a restart may help: every slot is stuck.
    fn is_stuck(&self, after: Duration, now: Instant) -> bool {
        self.may_be_stuck(after) && self.slots.iter().all(|slot| slot.is_stuck(after, now))
    }

    fn stuck_at(&self, after: Duration) -> Option<Instant> {
        let stuck_at = || self.slots.iter().map(|slot| slot.stuck_at(after)).collect::<Option<Vec<_>>>();
        self.may_be_stuck(after).then(stuck_at)??.into_iter().max()
    }

    /// Only what is awake is known not to take calls, and only machines can be restarted.
    fn may_be_stuck(&self, after: Duration) -> bool {
        !after.is_zero()
            && self.upstream.labels.machine.is_some()
            && self.machine.power == Power::Awake
            && !self.is_out()
    }
}
