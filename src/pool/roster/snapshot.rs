//! A roster as others may look at it.

use std::time::Instant;

use serde::Serialize;

use super::{Class, Grant, Offer, Power, Roster, SlotState, UpstreamId, member::Member};
use crate::pool::{
    endpoint::{Endpoint, Upstream},
    ledger::SlotKey,
};

/// A slot as others may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotSnapshot {
    /// The upstream's name.
    pub upstream: String,
    /// What it is doing.
    pub state: SlotState,
    /// The state in one word: free, leased, quarantined, waking, asleep, unhealthy or draining.
    pub label: &'static str,
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

    /// Where the upstream of `grant` listens.
    pub fn endpoint(&self, grant: Grant) -> Option<&Endpoint> {
        self.members.get(&grant.upstream).map(|member| &member.upstream.endpoint)
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
        let idle = self.members.iter().filter(|(_, member)| member.power == Power::Awake && member.is_idle());
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

    /// How many of `class` wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.queue.count(class)
    }

    /// What is known of a server for whoever gets a slot of it.
    pub fn offer(&self, upstream: UpstreamId) -> Offer {
        let offer = |member: &Member| Offer { step: member.step, window_steps: member.upstream.labels.window_steps };
        self.members.get(&upstream).map(offer).unwrap_or_default()
    }

    /// Every slot and what it is doing.
    pub fn snapshot(&self, now: Instant) -> Vec<SlotSnapshot> {
        self.slots()
            .map(|(member, slot)| SlotSnapshot {
                upstream: member.upstream.endpoint.name.clone(),
                state: slot.state,
                label: member.state_of(slot, now),
                slow: member.pace.is_slow(),
                realtime_factor: member.pace.realtime_factor(),
            })
            .collect()
    }
}
