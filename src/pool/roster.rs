//! Which slots exist and who holds each: a pure struct that the pool's actor drives.
//!
//! ```text
//!            acquire            released (the server acknowledged the end, or no socket was opened)
//!   Free ---------------> Leased ------------------------------------------------> Free
//!                           | quarantined (the end was not acknowledged)             ^
//!                           v                       released late                    |
//!                       Quarantined ---------------------------------------------------
//! ```
//!
//! Invariants: a slot is held by at most one grant; a grant of an older generation changes nothing.

use std::time::Instant;

use serde::Serialize;

/// The index of an upstream in the roster.
pub type UpstreamIndex = usize;

/// Where a model server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What it is called in metrics and readiness, which strangers may read: whoever knows the address of a stock server
    /// can open a second socket to it.
    pub name: String,
    /// Whether TLS is spoken (`wss`).
    pub tls: bool,
    /// Host name or address, IPv6 in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path in front of `/api/chat`, empty or starting with `/`.
    pub path_prefix: String,
}

impl Endpoint {
    /// `host:port`, for the log.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The right to one slot, valid for one generation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which upstream.
    pub upstream: UpstreamIndex,
    /// The fence: an answer with another generation than the slot's is stale.
    pub generation: u64,
}

/// Why a slot may not be used although nobody is known to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineReason {
    /// The server did not acknowledge the close in time.
    NoCloseReply,
    /// The request was sent and no answer to it came: the server may still read it.
    NoUpgradeReply,
    /// The connection timed out in the network: nobody knows what the server saw.
    Vanished,
    /// The holder died without closing its socket in order.
    Abandoned,
}

impl QuarantineReason {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 4] = [Self::NoCloseReply, Self::NoUpgradeReply, Self::Vanished, Self::Abandoned];

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCloseReply => "no_close_reply",
            Self::NoUpgradeReply => "no_upgrade_reply",
            Self::Vanished => "vanished",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// Nobody holds it and its server is known to have no socket of ours.
    Free,
    /// A grant is out.
    Leased,
    /// It may not be used until its last holder's end is acknowledged.
    Quarantined(QuarantineReason),
}

/// How slots are given out.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether a leased slot is kept from everybody else. Only the test that proves its worth turns it off.
    pub exclusive: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { exclusive: true }
    }
}

#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    state: SlotState,
    generation: u64,
    last_ended: Option<Instant>,
}

/// All slots of all upstreams. A stock server has one.
#[derive(Debug)]
pub struct Roster {
    slots: Vec<Slot>,
    policy: Policy,
}

/// A slot as others may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotSnapshot {
    /// The upstream's name.
    pub upstream: String,
    /// What it is doing.
    pub state: SlotState,
}

impl Roster {
    /// A roster in which every slot is free.
    pub fn new(endpoints: Vec<Endpoint>, policy: Policy) -> Self {
        let slots = endpoints
            .into_iter()
            .map(|endpoint| Slot { endpoint, state: SlotState::Free, generation: 0, last_ended: None })
            .collect();
        Self { slots, policy }
    }

    /// Grants the free slot that ended longest ago, other than `avoid`.
    pub fn acquire(&mut self, avoid: Option<UpstreamIndex>) -> Option<Grant> {
        let exclusive = self.policy.exclusive;
        let (upstream, slot) = self
            .slots
            .iter_mut()
            .enumerate()
            .filter(|(index, slot)| Some(*index) != avoid && (slot.state == SlotState::Free || !exclusive))
            .min_by_key(|(_, slot)| (slot.state != SlotState::Free, slot.last_ended, slot.generation))?;
        slot.state = SlotState::Leased;
        slot.generation += 1;
        Some(Grant { upstream, generation: slot.generation })
    }

    /// Frees the slot of `grant`: its server has no socket of ours any more. Says whether that changed anything.
    pub fn release(&mut self, grant: Grant, now: Instant) -> bool {
        let Some(slot) = self.current(grant) else { return false };
        if slot.state == SlotState::Free {
            return false;
        }
        slot.state = SlotState::Free;
        slot.last_ended = Some(now);
        true
    }

    /// Takes the slot of `grant` out of use until it is released. Says whether that changed anything.
    pub fn quarantine(&mut self, grant: Grant, reason: QuarantineReason) -> bool {
        let Some(slot) = self.current(grant) else { return false };
        if slot.state != SlotState::Leased {
            return false;
        }
        slot.state = SlotState::Quarantined(reason);
        true
    }

    /// Where the upstream of `grant` listens.
    pub fn endpoint(&self, grant: Grant) -> Option<&Endpoint> {
        self.slots.get(grant.upstream).map(|slot| &slot.endpoint)
    }

    /// Every slot and what it is doing.
    pub fn snapshot(&self) -> Vec<SlotSnapshot> {
        self.slots.iter().map(|slot| SlotSnapshot { upstream: slot.endpoint.name.clone(), state: slot.state }).collect()
    }

    fn current(&mut self, grant: Grant) -> Option<&mut Slot> {
        self.slots.get_mut(grant.upstream).filter(|slot| slot.generation == grant.generation)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn roster(count: u16) -> Roster {
        let endpoints = (0..count)
            .map(|n| Endpoint { name: "1".into(), tls: false, host: "h".into(), port: n, path_prefix: String::new() })
            .collect();
        Roster::new(endpoints, Policy::default())
    }

    // Time is an argument here; the only clock call gives the tests an origin.
    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_slot_is_granted_once_until_it_is_released() {
        let mut roster = roster(1);
        let grant = roster.acquire(None).unwrap();
        assert_eq!(roster.acquire(None), None);
        assert!(roster.release(grant, origin()));
        assert!(!roster.release(grant, origin()), "a second release changes nothing");
        assert!(roster.acquire(None).is_some());
    }

    #[test]
    fn the_slot_that_ended_longest_ago_comes_first() {
        let mut roster = roster(2);
        let (now, a) = (origin(), roster.acquire(None).unwrap());
        let b = roster.acquire(None).unwrap();
        roster.release(b, now);
        roster.release(a, now + Duration::from_secs(1));
        assert_eq!(roster.acquire(None).unwrap().upstream, b.upstream);
    }

    #[test]
    fn a_quarantine_ends_only_by_a_late_release_of_the_same_grant() {
        let mut roster = roster(1);
        let grant = roster.acquire(None).unwrap();
        assert!(roster.quarantine(grant, QuarantineReason::NoCloseReply));
        assert_eq!(roster.acquire(None), None);
        let stale = Grant { generation: grant.generation - 1, ..grant };
        assert!(!roster.release(stale, origin()));
        assert!(roster.release(grant, origin()));
        assert!(!roster.quarantine(grant, QuarantineReason::Abandoned), "a free slot cannot be quarantined");
        assert!(roster.acquire(None).is_some());
    }

    #[test]
    fn the_avoided_upstream_is_never_granted() {
        let mut roster = roster(2);
        assert_eq!(roster.acquire(Some(0)).unwrap().upstream, 1);
        assert_eq!(roster.acquire(Some(0)), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Acquire(Option<usize>),
        Release(usize),
        Quarantine(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::option::of(0..3_usize).prop_map(Step::Acquire),
            (0..40_usize).prop_map(Step::Release),
            (0..40_usize).prop_map(Step::Quarantine),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// The reference keeps, for each upstream, the one grant that is out, if any.
        #[test]
        fn never_two_holders_and_never_a_free_slot_withheld(steps in proptest::collection::vec(step(), 1..200)) {
            let (mut roster, now) = (roster(3), origin());
            let mut held: [Option<Grant>; 3] = [None; 3];
            let mut grants: Vec<Grant> = Vec::new();
            for step in steps {
                match step {
                    Step::Acquire(avoid) => match roster.acquire(avoid) {
                        Some(grant) => {
                            prop_assert!(held[grant.upstream].is_none() && Some(grant.upstream) != avoid);
                            held[grant.upstream] = Some(grant);
                            grants.push(grant);
                        }
                        None => prop_assert!((0..3).all(|n| held[n].is_some() || Some(n) == avoid)),
                    },
                    Step::Release(n) => if let Some(grant) = grants.get(n) {
                        let expected = held[grant.upstream] == Some(*grant);
                        prop_assert_eq!(roster.release(*grant, now), expected);
                        if expected { held[grant.upstream] = None }
                    },
                    Step::Quarantine(n) => if let Some(grant) = grants.get(n) {
                        roster.quarantine(*grant, QuarantineReason::Abandoned);
                    },
                }
                let free = roster.snapshot().iter().filter(|slot| slot.state == SlotState::Free).count();
                prop_assert_eq!(free, held.iter().filter(|h| h.is_none()).count());
            }
        }
    }
}
