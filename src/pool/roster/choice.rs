//! Which free slot a call gets.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Ask, Class, Grant, Roster, SlotLabel, SlotState, UpstreamId, UserHash,
    member::{Door, Member, PANIC_GAP},
    slot::Holder,
};
use crate::pool::pace::{Realtime, Standing};

/// How long a server that failed a user comes last for that user.
const GRUDGE: Duration = Duration::from_secs(60);
/// Grudges that are kept; older ones are forgotten first.
const GRUDGES: usize = 1024;

/// Which servers failed whom lately.
#[derive(Debug, Default)]
pub(super) struct Grudges(VecDeque<(UserHash, UpstreamId, Instant)>);

impl Grudges {
    pub(super) fn hold(&mut self, user: UserHash, upstream: UpstreamId, now: Instant) {
        if self.0.len() == GRUDGES {
            self.0.pop_front();
        }
        self.0.push_back((user, upstream, now + GRUDGE));
    }

    fn has(&self, user: &UserHash, upstream: UpstreamId, now: Instant) -> bool {
        self.0.iter().any(|(who, whom, until)| *whom == upstream && now < *until && who == user)
    }
}

impl Roster {
    /// Takes the slot that suits this call best, if there is one.
    pub(super) fn take(&mut self, ask: &Ask, now: Instant) -> Option<Grant> {
        if ask.class == Class::Rotation && !self.may_rotate(now) {
            return None;
        }
        let (upstream, slot) = self.best(ask, now)?;
        let member = self.members.get_mut(&upstream)?;
        let trial = member.breaker.admitted(now);
        member.pace.rest(now);
        let generation = member.slots.get_mut(slot)?.lease(ask, trial, now);
        Some(Grant { upstream, slot: u16::try_from(slot).unwrap_or(u16::MAX), generation })
    }

    fn best(&self, ask: &Ask, now: Instant) -> Option<(UpstreamId, usize)> {
        if !self.settings.policy.exclusive {
            return self.any_slot(ask);
        }
        let panic = self.is_panic(now);
        let slowest = if self.withholds_slow(ask, now) { Standing::MayTry } else { Standing::Resting };
        let open = self.members.iter().filter(|(id, member)| member.fits(ask, **id));
        let candidates = open.filter_map(|(id, member)| {
            let (door, standing) = (member.door(panic, now), member.pace.standing(now));
            let slot = member.free_slot().filter(|_| door != Door::Shut && standing <= slowest)?;
            let wasted = is_wasted(ask, member.upstream.endpoint.may_be_told());
            let rank = (door == Door::Panic, self.grudges.has(&ask.user, *id, now), standing, wasted);
            Some((rank, member, (*id, slot)))
        });
        let best = candidates.min_by(|(rank, member, (_, slot)), (other_rank, other, (_, other_slot))| {
            let turn = last_ended(member, *slot).cmp(&last_ended(other, *other_slot));
            rank.cmp(other_rank).then(member.pace.faster_first(&other.pace)).then(turn)
        });
        best.map(|(.., found)| found)
    }

    /// Whether servers that are slower than real time and have not rested are kept from this call: while it could count
    /// on a faster one, busy ones included. A call that waits comes to talk, one on a slow server is spoilt.
    pub(super) fn withholds_slow(&self, ask: &Ask, now: Instant) -> bool {
        let fitting = self.members.iter().filter(|(id, member)| member.fits(ask, **id));
        let required = self.settings.policy.realtime == Realtime::Required;
        required && fitting.map(|(_, member)| member).any(|member| member.is_usable(now))
    }

    /// What a pool without leases would do.
    fn any_slot(&self, ask: &Ask) -> Option<(UpstreamId, usize)> {
        let fitting = self.members.iter().filter(|(id, member)| member.fits(ask, **id));
        let slots = fitting.flat_map(|(id, member)| {
            member.slots.iter().enumerate().map(|(index, slot)| ((slot.state != SlotState::Free, slot), (*id, index)))
        });
        slots.min_by_key(|((taken, slot), _)| (*taken, slot.last_ended, slot.generation)).map(|(_, found)| found)
    }

    /// Whether too few servers can be trusted to wait for them: then one call at a time may try each of the others.
    pub(super) fn is_panic(&self, now: Instant) -> bool {
        let awake =
            || self.members.values().filter(|member| member.machine.power == super::Power::Awake && !member.is_out());
        awake().filter(|member| member.is_within_reach(now)).count() * 2 < awake().count()
    }

    /// Whether one more call may hold a second slot for its rotation: if none does, or if slots are free in abundance, so
    /// that more than those that rotate are left for new calls.
    fn may_rotate(&self, now: Instant) -> bool {
        let holders = self.slots().filter_map(|(_, slot)| slot.holder.as_ref().filter(|holder| holder.rotates));
        let holds_both =
            |holder: &Holder| holder.ongoing.is_none_or(|had| self.state(had.holds) == Some(SlotState::Leased));
        let rotating = holders.filter(|holder| holds_both(holder)).count();
        let free = self.slots().filter(|(member, slot)| member.state_of(slot, now) == SlotLabel::Free).count();
        rotating == 0 || rotating + self.queue.count(Class::New) < free
    }

    /// When a door that is shut now opens without further news.
    pub(super) fn next_door(&self, now: Instant) -> Option<Instant> {
        let shut = self.members.values().filter(|member| !member.is_trusted(now) && member.free_slot().is_some());
        let panic = self.is_panic(now);
        let opens = shut.filter_map(|member| {
            let breath = member.breaker.failed_at().map(|at| at + PANIC_GAP).filter(|_| panic);
            [member.breaker.reopens_at(), breath].into_iter().flatten().filter(|at| *at > now).min()
        });
        let tries = self.members.values().filter_map(|member| member.pace.tries_at()).filter(|at| *at > now);
        opens.chain(tries).min()
    }
}

/// Whether another server would do better, because of what this one may be told: those that may are kept for new calls
/// that need it, and a call that moves can take along what was said to such a one only.
fn is_wasted(ask: &Ask, may_be_told: bool) -> bool {
    !ask.needs.told && may_be_told == (ask.class == Class::New)
}

fn last_ended(member: &Member, slot: usize) -> (Option<Instant>, u64) {
    member.slots.get(slot).map_or((None, 0), |slot| (slot.last_ended, slot.generation))
}
