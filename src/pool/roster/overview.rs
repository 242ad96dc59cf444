//! All servers and everybody who waits, as operators may look at them.

use std::time::{Duration, Instant};

use super::{Class, Place, Power, Roster, SlotLabel, SlotState, UserHash, Waiter, member::Member, slot::Slot};
use crate::pool::{
    breaker::Trust,
    endpoint::{Labels, Price},
};

/// Everything that a pool holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolSnapshot {
    /// The servers, in the order in which they came.
    pub members: Vec<MemberSnapshot>,
    /// Who waits, in order.
    pub waiters: Vec<WaiterSnapshot>,
    /// New calls that may wait.
    pub queue_limit: usize,
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberSnapshot {
    /// What it is called.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Whether TLS is spoken with it.
    pub tls: bool,
    /// The model that it is said to run.
    pub model: Option<String>,
    /// Where it is said to stand.
    pub region: Option<String>,
    /// What an hour of it is said to cost.
    pub price: Option<Price>,
    /// Whether its machine runs.
    pub power: Power,
    /// Whether its breaker lets calls through.
    pub trust: Trust,
    /// It takes no more calls, and goes when its last one is over.
    pub leaving: bool,
    /// An operator keeps calls away from it.
    pub withheld: bool,
    /// Whether the last call that measured it found it slower than real time.
    pub slow: bool,
    /// Seconds of audio for each second of time, as the last call that measured it said.
    pub realtime_factor: Option<f64>,
    /// The time of one step of a prompt, smoothed over its handshakes.
    pub step: Option<Duration>,
    /// Its slots.
    pub slots: Vec<MemberSlot>,
}

/// One slot of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberSlot {
    /// What it is doing.
    pub state: SlotState,
    /// The same in one word.
    pub label: SlotLabel,
    /// For how long its call has held slots, if a call has it.
    pub held: Option<Duration>,
}

/// One who waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WaiterSnapshot {
    /// Whose call it is.
    pub user: UserHash,
    /// What for.
    pub class: Class,
    /// For how long it has waited.
    pub waited: Duration,
    /// Where it stands, as it was told last.
    pub place: Option<Place>,
}

impl MemberSnapshot {
    /// The one word for it: what it cannot be used for, else how it is.
    pub fn state(&self) -> &'static str {
        match (self.power, self.trust) {
            _ if self.leaving => "leaving",
            _ if self.withheld => "withheld",
            (Power::Asleep, _) => "asleep",
            (Power::Waking, _) => "waking",
            (Power::Awake, Trust::Open | Trust::HalfOpen) => "unhealthy",
            (Power::Awake, Trust::Closed) if self.slow => "slow",
            (Power::Awake, Trust::Closed) => "ready",
        }
    }

    /// What an hour costs, in units of the currency.
    pub fn price_per_hour(&self) -> Option<f64> {
        self.price.map(|price| price.millionths() as f64 / 1e6)
    }
}

impl MemberSlot {
    /// Why nobody knows whether it is free, if so.
    pub const fn reason(&self) -> Option<&'static str> {
        match self.state {
            SlotState::Quarantined(reason) => Some(reason.code()),
            SlotState::Free | SlotState::Leased | SlotState::Elsewhere => None,
        }
    }
}

impl Roster {
    /// Everything, as it is now.
    pub fn overview(&self, now: Instant) -> PoolSnapshot {
        PoolSnapshot {
            members: self.members.values().map(|member| member.overview(now)).collect(),
            waiters: self.queue.iter().map(|waiter| waiter.overview(now)).collect(),
            queue_limit: self.settings.queue_limit,
        }
    }
}

impl Member {
    fn overview(&self, now: Instant) -> MemberSnapshot {
        let Labels { model, region, price, .. } = &self.upstream.labels;
        let slot = |slot: &Slot| MemberSlot {
            state: slot.state,
            label: self.state_of(slot, now),
            held: slot.holder.as_ref().map(|holder| now.saturating_duration_since(holder.since)),
        };
        MemberSnapshot {
            name: self.upstream.endpoint.name.clone(),
            address: self.upstream.endpoint.address(),
            tls: self.upstream.endpoint.tls.is_some(),
            model: model.clone(),
            region: region.clone(),
            price: *price,
            power: self.machine.power,
            trust: self.trust(now),
            leaving: self.leaving,
            withheld: self.withheld,
            slow: self.pace.is_slow(),
            realtime_factor: self.pace.realtime_factor(),
            step: self.step,
            slots: self.slots.iter().map(slot).collect(),
        }
    }
}

impl Waiter {
    fn overview(&self, now: Instant) -> WaiterSnapshot {
        WaiterSnapshot {
            user: self.ask.user,
            class: self.ask.class,
            waited: self.waited(now).time,
            place: self.told.map(|(place, _)| place),
        }
    }
}
