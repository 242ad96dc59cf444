//! Which machines run: who is woken for those who wait, and which may be stopped.
//!
//! The fleet starts and stops machines; the roster says which ones it needs, and which ones it lets go of. Both are
//! decided in the step in which a slot is given out, so no call is ever sent to a machine that is being stopped.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Class, Effect, NoSlot, Roster, SlotState, UpstreamId, WaiterId, estimate::Eta};
use crate::pool::endpoint::{Labels, Price};

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

/// What the fleet says of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerNews {
    /// Its server takes calls.
    Awake,
    /// The same after a restart: none of ours has an older socket there.
    Anew,
    /// It is being started, and will be there after so long.
    Waking(Eta),
    /// It is to be started, and its provider does not do so for now: nobody knows when it will be there.
    Delayed,
    /// It runs no more, or will not for long: none of ours has a socket there.
    Off,
    /// It is not there for now, and whether sockets of ours are is not known.
    Away,
    /// It could not be woken; another try makes sense after so long.
    Failed(Duration),
}

/// What a roster knows of one machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    pub(super) power: Power,
    /// Since when it wakes, and how long that will take from then on.
    pub(super) wakes: Option<(Instant, Eta)>,
    /// The fleet was asked to wake it, and has not said anything since.
    pub(super) called: bool,
    /// Its provider does not start it for now: others are woken in its place.
    pub(super) delayed: bool,
    /// It could not be woken, and is not tried before that.
    pub(super) failed_until: Option<Instant>,
    /// When the fleet was told last that its server is stuck.
    pub(super) stuck_told: Option<Instant>,
    /// What was told of its use last.
    pub(super) used: bool,
    /// What was told of its calls last.
    pub(super) leased: bool,
}

impl Roster {
    /// The fleet says what became of a machine.
    pub(super) fn powered(&mut self, id: UpstreamId, news: PowerNews, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let machine = &mut member.machine;
        (machine.called, machine.wakes) = (false, None);
        // That it is off says nothing of whether it can be woken.
        machine.failed_until = machine.failed_until.filter(|until| news == PowerNews::Off && now < *until);
        machine.delayed = news == PowerNews::Delayed;
        machine.power = match news {
            PowerNews::Awake | PowerNews::Anew => Power::Awake,
            PowerNews::Waking(eta) => {
                machine.wakes = Some((now, eta));
                Power::Waking
            }
            PowerNews::Delayed => Power::Waking,
            PowerNews::Off | PowerNews::Away => Power::Asleep,
            PowerNews::Failed(pause) => {
                machine.failed_until = Some(now + pause);
                Power::Asleep
            }
        };
        // Whoever waits hears at once what that means.
        self.estimates = None;
        self.queue.iter_mut().for_each(|waiter| waiter.told = None);
        if matches!(news, PowerNews::Off | PowerNews::Anew) {
            member.slots.iter_mut().for_each(|slot| slot.switched_off(now));
        }
    }

    /// Lets go of a machine that nobody uses and nobody waits for, or does not.
    pub(super) fn retire(&mut self, id: UpstreamId) {
        let wanted = self.members.get(&id).is_some_and(|member| {
            let used = |state| matches!(state, SlotState::Leased | SlotState::Elsewhere);
            member.slots.iter().any(|slot| used(slot.state) || slot.rehearsing)
                || self.queue.iter().any(|waiter| member.fits(&waiter.ask, id))
        });
        if let Some(member) = self.members.get_mut(&id).filter(|_| !wanted) {
            member.machine.power = Power::Asleep;
        }
        self.effects.push_back(Effect::Retired(id, !wanted));
    }

    /// Wakes as many machines as those who wait need, the cheapest first.
    pub(super) fn call_for_power(&mut self, now: Instant) {
        let waiting = self.queue.iter().filter(|waiter| waiter.ask.class != Class::Rotation);
        let coming = self.members.iter().filter(|(_, member)| member.machine.is_coming());
        let mut coming: BTreeMap<UpstreamId, usize> = coming.map(|(id, member)| (*id, member.slots.len())).collect();
        let mut called = Vec::new();
        for waiter in waiting {
            let fits = |id: &UpstreamId| self.members.get(id).is_some_and(|member| member.fits(&waiter.ask, *id));
            if let Some((_, slots)) = coming.iter_mut().find(|(id, slots)| **slots > 0 && fits(id)) {
                *slots -= 1;
                continue;
            }
            let asleep = self.members.iter().filter(|(id, member)| {
                member.machine.may_be_woken(now) && !coming.contains_key(id) && member.fits(&waiter.ask, **id)
            });
            let price = |price: Option<_>| price.map_or((true, 0), |price: Price| (false, price.millionths()));
            let cheapest = asleep.min_by_key(|(id, member)| (price(member.upstream.labels.price), **id));
            if let Some((id, member)) = cheapest {
                coming.insert(*id, member.slots.len().saturating_sub(1));
                called.push(*id);
            }
        }
        for id in called {
            if let Some(member) = self.members.get_mut(&id) {
                member.machine.called = true;
                self.effects.push_back(Effect::Wake(id));
            }
        }
    }

    /// Ends the wait of those whom only machines could serve that cannot be woken.
    pub(super) fn refuse_the_hopeless(&mut self, now: Instant) {
        let hopeless = |id: &WaiterId| {
            self.queue.iter().find(|waiter| waiter.id == *id).is_some_and(|waiter| {
                let mut fitting = self.members.iter().filter(|(id, member)| member.fits(&waiter.ask, **id)).peekable();
                fitting.peek().is_some() && fitting.all(|(_, member)| member.machine.has_failed(now))
            })
        };
        let waiting: Vec<WaiterId> = self.queue.iter().map(|waiter| waiter.id).filter(hopeless).collect();
        for id in waiting {
            if let Some(waiter) = self.queue.remove(id) {
                self.refuse(id, waiter.ask.class, NoSlot::WakeFailed, waiter.waited(now));
            }
        }
    }

    /// Tells the fleet which machines are used or waited for, and which of them have calls.
    pub(super) fn tell_use(&mut self) {
        let queue = &self.queue;
        for (id, member) in &mut self.members {
            let held = member
                .slots
                .iter()
                .any(|slot| matches!(slot.state, SlotState::Leased | SlotState::Elsewhere) && !slot.warms_up);
            let awaited = || queue.iter().any(|waiter| member.fits(&waiter.ask, *id));
            let used = held || (member.machine.may_come() && awaited());
            if std::mem::replace(&mut member.machine.used, used) != used {
                self.effects.push_back(Effect::Used(*id, used));
            }
            if std::mem::replace(&mut member.machine.leased, held) != held {
                self.effects.push_back(Effect::Leased(*id, held));
            }
        }
    }
}

impl Machine {
    /// One that sleeps is not known to run before the fleet says so.
    pub(super) fn of(labels: &Labels) -> Self {
        Self { power: if labels.machine.is_some() { Power::Asleep } else { Power::Awake }, ..Self::default() }
    }

    /// Whether it is on its way, or was asked for.
    fn may_come(&self) -> bool {
        self.power == Power::Waking || self.called
    }

    /// Whether it can be counted on to come.
    fn is_coming(&self) -> bool {
        self.may_come() && !self.delayed
    }

    fn may_be_woken(&self, now: Instant) -> bool {
        self.power == Power::Asleep && !self.called && !self.has_failed(now)
    }

    fn has_failed(&self, now: Instant) -> bool {
        self.power == Power::Asleep && self.failed_until.is_some_and(|until| now < until)
    }

    /// How much longer it will take to wake.
    pub(super) fn awake_in(&self, now: Instant) -> Option<Eta> {
        let (since, eta) = self.wakes?;
        let passed = now.saturating_duration_since(since);
        Some(Eta { median: eta.median.saturating_sub(passed), p90: eta.p90.saturating_sub(passed) })
    }
}
