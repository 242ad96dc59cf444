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
//! Invariants: a slot is held by at most one grant; a grant of an older generation changes nothing; a slot is withheld for
//! its pace ([`super::pace`]) only while another one is usable.

use std::time::Instant;

use serde::Serialize;

use super::pace::{Measured, Pace, Realtime, Standing};

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
    /// What becomes of an upstream that is slower than real time.
    pub realtime: Realtime,
}

impl Default for Policy {
    fn default() -> Self {
        Self { exclusive: true, realtime: Realtime::default() }
    }
}

#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    state: SlotState,
    generation: u64,
    last_ended: Option<Instant>,
    pace: Pace,
}

impl Slot {
    /// Whether calls can count on it, now or after the one that it serves.
    fn is_usable(&self) -> bool {
        !self.pace.is_slow() && !matches!(self.state, SlotState::Quarantined(_))
    }
}

/// All slots of all upstreams. A stock server has one.
#[derive(Debug)]
pub struct Roster {
    slots: Vec<Slot>,
    policy: Policy,
}

/// A slot as others may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotSnapshot {
    /// The upstream's name.
    pub upstream: String,
    /// What it is doing.
    pub state: SlotState,
    /// Whether the last call that measured it found it slower than real time.
    pub slow: bool,
    /// Seconds of audio for each second of time, as the last call that measured it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_factor: Option<f64>,
}

impl Roster {
    /// A roster in which every slot is free.
    pub fn new(endpoints: Vec<Endpoint>, policy: Policy) -> Self {
        let slots = endpoints
            .into_iter()
            .map(|endpoint| Slot {
                endpoint,
                state: SlotState::Free,
                generation: 0,
                last_ended: None,
                pace: Pace::default(),
            })
            .collect();
        Self { slots, policy }
    }

    /// Grants a free slot other than `avoid`: one that keeps up with real time, of these the one that ended longest ago;
    /// then one that was slow and may try again; then the fastest of the slow ones.
    ///
    /// Where real time is required, a slow one is withheld while another one is usable, busy ones included: a call that
    /// is refused can come again, one on a server that does not keep up is spoilt. What the caller avoids has just failed
    /// it, and does not count.
    pub fn acquire(&mut self, avoid: Option<UpstreamIndex>, now: Instant) -> Option<Grant> {
        let exclusive = self.policy.exclusive;
        let last = if self.withholds_slow(avoid) { Standing::MayTry } else { Standing::Resting };
        let (upstream, slot) = self
            .slots
            .iter_mut()
            .enumerate()
            .filter(|(index, slot)| Some(*index) != avoid && (slot.state == SlotState::Free || !exclusive))
            .filter(|(_, slot)| slot.pace.standing(now) <= last)
            .min_by(|(_, a), (_, b)| {
                let ahead = |slot: &Slot| (slot.state != SlotState::Free, slot.pace.standing(now));
                let turn = |slot: &Slot| (slot.last_ended, slot.generation);
                ahead(a).cmp(&ahead(b)).then(a.pace.faster_first(&b.pace)).then(turn(a).cmp(&turn(b)))
            })?;
        slot.state = SlotState::Leased;
        slot.generation += 1;
        Some(Grant { upstream, generation: slot.generation })
    }

    /// Whether slow upstreams that have not rested are kept from a call that avoids this one.
    pub fn withholds_slow(&self, avoid: Option<UpstreamIndex>) -> bool {
        let mut others = self.slots.iter().enumerate().filter(|(index, _)| Some(*index) != avoid);
        self.policy.realtime == Realtime::Required && others.any(|(_, slot)| slot.is_usable())
    }

    /// Takes what the call under `grant` measured. Says whether its upstream became slow, or fast again.
    pub fn measured(&mut self, grant: Grant, measured: Measured, now: Instant) -> bool {
        let Some(slot) = self.current(grant).filter(|slot| slot.state == SlotState::Leased) else { return false };
        slot.pace.measured(measured, grant.generation, now)
    }

    /// Frees the slot of `grant`: its server has no socket of ours any more. Says whether that changed anything.
    pub fn release(&mut self, grant: Grant, now: Instant) -> bool {
        let Some(slot) = self.current(grant) else { return false };
        if slot.state == SlotState::Free {
            return false;
        }
        slot.state = SlotState::Free;
        slot.last_ended = Some(now);
        slot.pace.rest(now);
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
        let see = |slot: &Slot| SlotSnapshot {
            upstream: slot.endpoint.name.clone(),
            state: slot.state,
            slow: slot.pace.is_slow(),
            realtime_factor: slot.pace.realtime_factor(),
        };
        self.slots.iter().map(see).collect()
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
        let (mut roster, now) = (roster(1), origin());
        let grant = roster.acquire(None, now).unwrap();
        assert_eq!(roster.acquire(None, now), None);
        assert!(roster.release(grant, now));
        assert!(!roster.release(grant, now), "a second release changes nothing");
        assert!(roster.acquire(None, now).is_some());
    }

    #[test]
    fn the_slot_that_ended_longest_ago_comes_first() {
        let mut roster = roster(2);
        let now = origin();
        let a = roster.acquire(None, now).unwrap();
        let b = roster.acquire(None, now).unwrap();
        roster.release(b, now);
        roster.release(a, now + Duration::from_secs(1));
        assert_eq!(roster.acquire(None, now).unwrap().upstream, b.upstream);
    }

    #[test]
    fn a_quarantine_ends_only_by_a_late_release_of_the_same_grant() {
        let (mut roster, now) = (roster(1), origin());
        let grant = roster.acquire(None, now).unwrap();
        assert!(roster.quarantine(grant, QuarantineReason::NoCloseReply));
        assert_eq!(roster.acquire(None, now), None);
        let stale = Grant { generation: grant.generation - 1, ..grant };
        assert!(!roster.release(stale, now));
        assert!(roster.release(grant, now));
        assert!(!roster.quarantine(grant, QuarantineReason::Abandoned), "a free slot cannot be quarantined");
        assert!(roster.acquire(None, now).is_some());
    }

    #[test]
    fn the_avoided_upstream_is_never_granted() {
        let (mut roster, now) = (roster(2), origin());
        assert_eq!(roster.acquire(Some(0), now).unwrap().upstream, 1);
        assert_eq!(roster.acquire(Some(0), now), None);
    }

    const SLOW: Measured = Measured { slow: true, realtime_factor: 0.8 };
    const FAST: Measured = Measured { slow: false, realtime_factor: 1.0 };
    const SECOND: Duration = Duration::from_secs(1);

    /// Two upstreams, of which the first was found slow; it is free again, and so is the other.
    fn one_is_slow(realtime: Realtime) -> (Roster, Instant) {
        let (mut roster, now) = (roster(2), origin());
        roster.policy.realtime = realtime;
        let grants = [roster.acquire(None, now).unwrap(), roster.acquire(None, now).unwrap()];
        assert!(roster.measured(grants[0], SLOW, now), "news");
        assert!(!roster.measured(grants[0], SLOW, now), "no news");
        for grant in grants {
            roster.release(grant, now);
        }
        assert_eq!(roster.snapshot().iter().map(|slot| slot.slow).collect::<Vec<_>>(), [true, false]);
        (roster, now)
    }

    #[test]
    fn a_slow_upstream_gets_no_new_call_while_another_is_usable() {
        let (mut roster, now) = one_is_slow(Realtime::Required);
        let other = roster.acquire(None, now).unwrap();
        assert_eq!((other.upstream, roster.acquire(None, now)), (1, None), "refused, although a slow one is free");
        assert_eq!(roster.acquire(Some(1), now).unwrap().upstream, 0, "the other one has just failed this call");
    }

    #[test]
    fn the_last_usable_upstream_is_never_taken_out() {
        let (mut roster, now) = one_is_slow(Realtime::Required);
        let other = roster.acquire(None, now).unwrap();
        assert!(roster.measured(other, Measured { realtime_factor: 0.9, ..SLOW }, now));
        roster.release(other, now);
        let order = [roster.acquire(None, now).unwrap(), roster.acquire(None, now).unwrap()];
        assert_eq!(order.map(|grant| grant.upstream), [1, 0], "all are slow: all are used, the fastest first");
        let (mut roster, now) = one_is_slow(Realtime::Required);
        let other = roster.acquire(None, now).unwrap();
        roster.quarantine(other, QuarantineReason::NoCloseReply);
        assert_eq!(roster.acquire(None, now).unwrap().upstream, 0, "nobody can count on a quarantined one");
    }

    #[test]
    fn where_a_warning_is_enough_a_slow_upstream_comes_last() {
        let (mut roster, now) = one_is_slow(Realtime::Warn);
        let order = [roster.acquire(None, now).unwrap(), roster.acquire(None, now).unwrap()];
        assert_eq!(order.map(|grant| grant.upstream), [1, 0]);
    }

    #[test]
    fn a_call_that_measures_real_time_again_brings_its_upstream_back() {
        let (mut roster, now) = (roster(2), origin());
        let (slow, other) = (roster.acquire(None, now).unwrap(), roster.acquire(None, now).unwrap());
        roster.measured(slow, SLOW, now);
        assert!(roster.measured(slow, FAST, now));
        roster.release(slow, now);
        assert_eq!(roster.acquire(None, now).unwrap().upstream, slow.upstream);
        assert!(!roster.measured(slow, SLOW, now), "a call that is over measures nothing");
        assert_eq!(roster.snapshot()[other.upstream].realtime_factor, None);
    }

    /// Lets the one call of the other upstream go on, and asks when the slow one gets another try.
    fn rests_for(roster: &mut Roster, from: Instant) -> (Grant, Instant) {
        let seconds = (0..=3_600).map(|second| from + second * SECOND);
        seconds.into_iter().find_map(|now| Some((roster.acquire(None, now)?, now))).expect("never tried again")
    }

    #[test]
    fn a_slow_upstream_is_tried_by_one_call_after_ever_longer_pauses() {
        let (mut roster, mut now) = one_is_slow(Realtime::Required);
        let _busy = roster.acquire(None, now).unwrap();
        for minutes in [2, 4, 8, 16, 30, 30] {
            let (trial, at) = rests_for(&mut roster, now);
            assert_eq!((trial.upstream, at - now), (0, Duration::from_secs(minutes * 60)));
            now = at + Duration::from_secs(10);
            assert!(!roster.measured(trial, SLOW, now), "still slow is no news");
            roster.release(trial, now);
        }
        // Too short to be measured: the same pause again, and no second try before it is over.
        let (unmeasured, at) = rests_for(&mut roster, now);
        roster.release(unmeasured, at);
        let (trial, again) = rests_for(&mut roster, at);
        assert_eq!(again - at, Duration::from_secs(30 * 60));
        assert!(roster.measured(trial, FAST, again));
        roster.release(trial, again);
        assert_eq!(roster.acquire(None, again).map(|grant| grant.upstream), Some(0), "it kept up: it is back");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Acquire(Option<usize>),
        Release(usize),
        Quarantine(usize),
        Measure(usize, bool),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => proptest::option::of(0..3_usize).prop_map(Step::Acquire),
            2 => (0..40_usize).prop_map(Step::Release),
            1 => (0..40_usize).prop_map(Step::Quarantine),
            3 => (0..40_usize, proptest::bool::weighted(0.7)).prop_map(|(grant, slow)| Step::Measure(grant, slow)),
            1 => (0..2_400_u64).prop_map(Step::Pass),
        ]
    }

    /// The reference for one upstream: the one grant that is out, if any, and what is known of its pace.
    #[derive(Clone, Copy, Debug, Default)]
    struct Known {
        held: Option<Grant>,
        quarantined: bool,
        /// Who said so last, after which pause it may be tried, and when.
        slow: Option<(u64, Duration, Instant)>,
    }

    impl Known {
        fn rest(&mut self, now: Instant) {
            self.slow = self.slow.map(|(by, pause, _)| (by, pause, now + pause));
        }

        fn measured(&mut self, slow: bool, by: u64, now: Instant) {
            let pause = match self.slow {
                None => Duration::from_secs(120),
                Some((before, pause, _)) if before == by => pause,
                Some((_, pause, _)) => Duration::from_secs(1_800).min(pause * 2),
            };
            self.slow = slow.then_some((by, pause, now + pause));
        }

        fn rests(&self, now: Instant) -> bool {
            self.slow.is_some_and(|(.., until)| until > now)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Never two holders, never a free slot withheld but a slow one while another can be counted on.
        #[test]
        fn grants_are_those_of_the_reference(
            required in any::<bool>(),
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let (mut roster, mut now) = (roster(3), origin());
            roster.policy.realtime = if required { Realtime::Required } else { Realtime::Warn };
            let mut known = [Known::default(); 3];
            let mut grants: Vec<Grant> = Vec::new();
            for step in steps {
                match step {
                    Step::Acquire(avoid) => {
                        let others: Vec<usize> = (0..3).filter(|n| Some(*n) != avoid).collect();
                        let usable = others.iter().any(|n| known[*n].slow.is_none() && !known[*n].quarantined);
                        let may = |n: &usize| known[*n].held.is_none() && !(required && usable && known[*n].rests(now));
                        let rank = |n: usize| (known[n].slow.is_some(), known[n].rests(now));
                        let best = others.iter().filter(|n| may(n)).map(|n| rank(*n)).min();
                        let grant = roster.acquire(avoid, now);
                        prop_assert_eq!(grant.is_some(), best.is_some());
                        if let Some(grant) = grant {
                            prop_assert!(others.contains(&grant.upstream) && may(&grant.upstream));
                            prop_assert_eq!(Some(rank(grant.upstream)), best);
                            known[grant.upstream].held = Some(grant);
                            grants.push(grant);
                        }
                    }
                    Step::Release(n) => if let Some(grant) = grants.get(n) {
                        let upstream = &mut known[grant.upstream];
                        let expected = upstream.held == Some(*grant);
                        prop_assert_eq!(roster.release(*grant, now), expected);
                        if expected {
                            (upstream.held, upstream.quarantined) = (None, false);
                            upstream.rest(now);
                        }
                    },
                    Step::Quarantine(n) => if let Some(grant) = grants.get(n) {
                        let upstream = &mut known[grant.upstream];
                        let expected = upstream.held == Some(*grant) && !upstream.quarantined;
                        prop_assert_eq!(roster.quarantine(*grant, QuarantineReason::Abandoned), expected);
                        upstream.quarantined |= expected;
                    },
                    Step::Measure(n, slow) => if let Some(grant) = grants.get(n) {
                        let upstream = &mut known[grant.upstream];
                        let counts = upstream.held == Some(*grant) && !upstream.quarantined;
                        let news = counts && upstream.slow.is_some() != slow;
                        prop_assert_eq!(roster.measured(*grant, if slow { SLOW } else { FAST }, now), news);
                        if counts {
                            upstream.measured(slow, grant.generation, now);
                        }
                    },
                    Step::Pass(seconds) => now += SECOND * u32::try_from(seconds).unwrap(),
                }
                for (slot, known) in roster.snapshot().iter().zip(&known) {
                    prop_assert_eq!(slot.state == SlotState::Free, known.held.is_none());
                    prop_assert_eq!(slot.slow, known.slow.is_some());
                }
            }
        }
    }
}
