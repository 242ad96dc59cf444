//! A roster as others may look at it.

use std::time::Instant;

use serde::Serialize;

use super::{Class, Grant, Offer, Power, QuarantineReason, Roster, SlotState, UpstreamId, member::Member};
use crate::pool::{
    breaker::Trust,
    endpoint::{Endpoint, Labels, Upstream},
    ledger::SlotKey,
};

/// What a slot is doing, else why it may not do anything: the one word of it, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotLabel {
    /// A call may have it.
    Free,
    /// A call has it.
    Leased,
    /// Another process has it.
    Elsewhere,
    /// Nobody knows whether its server has a socket of ours still.
    Quarantined,
    /// Its server is being started.
    Waking,
    /// Its server is stopped.
    Asleep,
    /// Its server is not trusted.
    Unhealthy,
    /// Its server takes no more calls.
    Draining,
    /// An operator keeps calls away from its server.
    Withheld,
}

impl SlotLabel {
    /// Every label, for tables and metrics.
    pub const ALL: [Self; 9] = [
        Self::Free,
        Self::Leased,
        Self::Elsewhere,
        Self::Quarantined,
        Self::Waking,
        Self::Asleep,
        Self::Unhealthy,
        Self::Draining,
        Self::Withheld,
    ];

    /// The word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Leased => "leased",
            Self::Elsewhere => "elsewhere",
            Self::Quarantined => "quarantined",
            Self::Waking => "waking",
            Self::Asleep => "asleep",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Withheld => "withheld",
        }
    }
}

/// A slot as others may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotSnapshot {
    /// The upstream's name.
    pub upstream: String,
    /// What it is doing.
    pub state: SlotState,
    /// The state in one word.
    pub label: SlotLabel,
    /// Whether its server's breaker lets calls through.
    pub trust: Trust,
    /// Whether the last call that measured its server found it slower than real time.
    pub slow: bool,
    /// Seconds of audio for each second of time, as the last call that measured it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_factor: Option<f64>,
}

impl Roster {
    /// Calls in progress.
    pub fn active(&self) -> usize {
        self.slots().filter(|(_, slot)| slot.holder.is_some()).count()
    }

    /// Where the upstream of `grant` listens, or did when it was granted.
    pub fn endpoint(&self, grant: Grant) -> Option<&Endpoint> {
        let member = self.members.get(&grant.upstream)?;
        Some(self.left(grant).unwrap_or(&member.upstream.endpoint))
    }

    /// Where this grant is used, if its upstream is elsewhere now.
    pub fn left(&self, grant: Grant) -> Option<&Endpoint> {
        let slot = self.members.get(&grant.upstream)?.slots.get(usize::from(grant.slot))?;
        slot.left.as_deref().filter(|_| slot.generation == grant.generation)
    }

    /// The current grants of the slots of an upstream that nobody knows to be free.
    pub fn quarantined(&self, upstream: UpstreamId) -> Vec<Grant> {
        let slots = self.members.get(&upstream).map(|member| member.slots.as_slice()).unwrap_or_default();
        let slots = (0..).zip(slots).filter(|(_, slot)| matches!(slot.state, SlotState::Quarantined(_)));
        slots.map(|(index, slot)| Grant { upstream, slot: index, generation: slot.generation }).collect()
    }

    /// The upstream of this id.
    pub fn upstream(&self, id: UpstreamId) -> Option<&Upstream> {
        self.members.get(&id).map(|member| &member.upstream)
    }

    /// What the slot of `grant` is doing, unless the grant is stale.
    pub fn state(&self, grant: Grant) -> Option<SlotState> {
        let slot = self.members.get(&grant.upstream)?.slots.get(usize::from(grant.slot))?;
        (slot.generation == grant.generation).then_some(slot.state)
    }

    /// Whether a release under `grant` will free its slot.
    pub fn frees(&self, grant: Grant) -> bool {
        let member = self.members.get(&grant.upstream);
        let slot = member.and_then(|member| member.slots.get(usize::from(grant.slot)));
        slot.is_some_and(|slot| slot.generation == grant.generation && slot.frees())
    }

    /// The servers that run and that no call is on.
    pub fn idle_endpoints(&self) -> Vec<(UpstreamId, Endpoint)> {
        let idle = self.members.iter().filter(|(_, member)| member.machine.power == Power::Awake && member.is_idle());
        idle.map(|(id, member)| (*id, member.upstream.endpoint.clone())).collect()
    }

    /// Every slot, as this process and as the ledger names it.
    pub fn slot_keys(&self) -> Vec<(UpstreamId, u16, SlotKey)> {
        let slots = |member: &Member| 0..u16::try_from(member.slots.len()).unwrap_or(u16::MAX);
        let of = |(id, member): (&UpstreamId, &Member)| {
            let (id, endpoint) = (*id, member.upstream.endpoint.clone());
            slots(member).map(move |slot| (id, slot, SlotKey::new(&endpoint, slot))).collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of).collect()
    }

    /// The current grant of every slot that this process has used and that is not known to be free, as the ledger names the
    /// slot.
    pub fn in_use(&self) -> Vec<(Grant, SlotKey)> {
        let mut in_use = Vec::new();
        for (id, member) in &self.members {
            for (number, slot) in (0..).zip(&member.slots) {
                let used = match slot.state {
                    SlotState::Leased => true,
                    SlotState::Quarantined(reason) => reason != QuarantineReason::HolderGone,
                    SlotState::Free | SlotState::Elsewhere => false,
                };
                if used {
                    let grant = Grant { upstream: *id, slot: number, generation: slot.generation };
                    let endpoint = slot.left.as_deref().unwrap_or(&member.upstream.endpoint);
                    in_use.push((grant, SlotKey::new(endpoint, number)));
                }
            }
        }
        in_use
    }

    /// Upstreams that calls use, or wait for.
    pub fn wanted(&self) -> usize {
        self.members.values().filter(|member| member.machine.used).count()
    }

    /// How many of `class` wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.queue.count(class)
    }

    /// What is known of a server for whoever gets a slot of it.
    pub fn offer(&self, upstream: UpstreamId) -> Offer {
        let offer = |member: &Member| {
            let Labels { window_steps, model, price, .. } = &member.upstream.labels;
            Offer { step: member.step, window_steps: *window_steps, model: model.clone(), price: *price }
        };
        self.members.get(&upstream).map(offer).unwrap_or_default()
    }

    /// Every slot and what it is doing.
    pub fn snapshot(&self, now: Instant) -> Vec<SlotSnapshot> {
        self.slots()
            .map(|(member, slot)| SlotSnapshot {
                upstream: member.upstream.endpoint.name.clone(),
                state: slot.state,
                label: member.state_of(slot, now),
                trust: member.trust(now),
                slow: member.pace.is_slow(),
                realtime_factor: member.pace.realtime_factor(),
            })
            .collect()
    }
}
