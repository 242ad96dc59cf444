//! One slot: who holds it, and which grant is the current one.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Ask, Class, Ongoing, UserHash, Verdict};
use crate::pool::{breaker::TrialId, endpoint::Endpoint};

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
    /// The process that held it is gone and left it open.
    HolderGone,
}

impl QuarantineReason {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 5] =
        [Self::NoCloseReply, Self::NoUpgradeReply, Self::Vanished, Self::Abandoned, Self::HolderGone];

    /// Whether somebody holds the socket still and waits for the server's answer: a second socket would be one too many.
    pub const fn is_awaited(self) -> bool {
        matches!(self, Self::NoCloseReply | Self::NoUpgradeReply)
    }

    /// The metric label and log field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCloseReply => "no_close_reply",
            Self::NoUpgradeReply => "no_upgrade_reply",
            Self::Vanished => "vanished",
            Self::Abandoned => "abandoned",
            Self::HolderGone => "holder_gone",
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
    /// It may not be used until its last holder's end is acknowledged, or a rehearsal went well.
    Quarantined(QuarantineReason),
    /// Another process holds it.
    Elsewhere,
}

/// The first pause before a quarantined slot is rehearsed; each failure doubles it.
const REHEARSAL_PAUSE: Duration = Duration::from_secs(15);
/// The same where the process that held it is dead.
const ORPHAN_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_REHEARSAL_PAUSE: Duration = Duration::from_secs(600);

/// Tests that failed in a row after which a slot is stuck.
const STUCK_AFTER: u32 = 3;

/// Who holds a slot.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) user: UserHash,
    /// Since when its call holds slots.
    pub(super) since: Instant,
    /// Taken for a rotation: a second one, while the call holds the other still.
    pub(super) rotates: bool,
    /// What the call had before.
    pub(super) ongoing: Option<Ongoing>,
}

/// One slot of an upstream.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    pub(super) generation: u64,
    pub(super) last_ended: Option<Instant>,
    pub(super) holder: Option<Holder>,
    /// Who holds it, or held it last.
    pub(super) user: Option<UserHash>,
    /// When a quarantine is tested next; none while a test runs.
    pub(super) rehearse_at: Option<Instant>,
    pub(super) rehearsing: bool,
    /// The fleet waits for the test, or for the call without a caller, that is under way.
    pub(super) warms_up: bool,
    passed: bool,
    setbacks: u32,
    /// Tests that failed since it was in doubt, and since when it is.
    failed_tests: u32,
    doubted_since: Option<Instant>,
    /// For how long it was in doubt, if it is not any more and nobody was told.
    pub(super) cleared: Option<Duration>,
    /// Where the current grant is used, if its server is elsewhere now.
    pub(super) left: Option<Box<Endpoint>>,
    /// The trial that the current grant is for its server's breaker.
    pub(super) trial: Option<TrialId>,
    /// What was said of the server under the current grant last.
    pub(super) verdict: Option<Verdict>,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            state: SlotState::Free,
            generation: 0,
            last_ended: None,
            holder: None,
            user: None,
            rehearse_at: None,
            rehearsing: false,
            warms_up: false,
            passed: false,
            setbacks: 0,
            failed_tests: 0,
            doubted_since: None,
            cleared: None,
            left: None,
            trial: None,
            verdict: None,
        }
    }

    /// A grant goes out.
    pub(super) fn lease(&mut self, ask: &Ask, trial: Option<TrialId>, now: Instant) -> u64 {
        (self.trial, self.verdict, self.left) = (trial, None, None);
        self.state = SlotState::Leased;
        let since = ask.ongoing.map_or(now, |ongoing| ongoing.since);
        let rotates = ask.class == Class::Rotation;
        self.user = Some(ask.user);
        self.holder = Some(Holder { user: ask.user, since, rotates, ongoing: ask.ongoing });
        self.generation += 1;
        self.generation
    }

    /// The machine of its server was off: nobody has a socket there any more.
    pub(super) fn switched_off(&mut self, now: Instant) {
        if matches!(self.state, SlotState::Quarantined(_)) {
            self.generation += 1;
            (self.holder, self.rehearsing) = (None, false);
            self.is_free(now);
        }
    }

    /// Another process has it now, and whatever doubt there is about it.
    pub(super) fn taken_over(&mut self) {
        self.generation += 1;
        self.holder = None;
        (self.rehearse_at, self.setbacks, self.failed_tests, self.doubted_since) = (None, 0, 0, None);
    }

    /// Its server is another process now, at another place: what is open at the old one is in nobody's way.
    pub(super) fn moved(&mut self, left: &Endpoint, now: Instant) {
        if self.state == SlotState::Leased {
            self.left.get_or_insert_with(|| Box::new(left.clone()));
        }
        self.switched_off(now);
    }

    fn is_free(&mut self, now: Instant) {
        (self.state, self.last_ended) = (SlotState::Free, Some(now));
        self.cleared = self.doubted_since.map(|since| now.saturating_duration_since(since));
        (self.rehearse_at, self.setbacks, self.failed_tests, self.doubted_since) = (None, 0, 0, None);
    }

    /// Whether it has been in doubt for so long, and nothing that can be tried helps: neither tests, nor the patience of
    /// one who waits for the server's answer.
    pub(super) fn is_stuck(&self, after: Duration, now: Instant) -> bool {
        let SlotState::Quarantined(reason) = self.state else { return false };
        let tried = reason.is_awaited() || self.failed_tests >= STUCK_AFTER;
        tried && !self.rehearsing && self.stuck_at(after).is_some_and(|at| now >= at)
    }

    /// When it is stuck at the earliest, if it stays in doubt.
    pub(super) fn stuck_at(&self, after: Duration) -> Option<Instant> {
        self.doubted_since.map(|since| since + after)
    }

    /// Whether a release frees it.
    pub(super) fn frees(&self) -> bool {
        if self.rehearsing { self.passed } else { matches!(self.state, SlotState::Leased | SlotState::Quarantined(_)) }
    }

    /// Its server has no socket of ours any more. Says how long it was held, if that changed anything.
    pub(super) fn release(&mut self, now: Instant) -> Option<Duration> {
        if std::mem::take(&mut self.rehearsing) {
            return self.rehearsed(now);
        }
        if matches!(self.state, SlotState::Free | SlotState::Elsewhere) {
            return None;
        }
        let held = self.holder.take().map_or(Duration::ZERO, |holder| now.saturating_duration_since(holder.since));
        self.is_free(now);
        Some(held)
    }

    /// The rehearsal's own socket is closed.
    fn rehearsed(&mut self, now: Instant) -> Option<Duration> {
        if !std::mem::take(&mut self.passed) {
            self.failed_tests += 1;
            self.postpone(now);
            return None;
        }
        self.is_free(now);
        Some(Duration::ZERO)
    }

    /// Its server's end was not acknowledged. Says whether that changed anything.
    pub(super) fn quarantine(&mut self, reason: QuarantineReason, now: Instant) -> bool {
        if std::mem::take(&mut self.rehearsing) {
            self.passed = false;
            self.failed_tests += 1;
            self.postpone(now);
            return false;
        }
        if !matches!(self.state, SlotState::Leased | SlotState::Quarantined(_)) {
            return false;
        }
        self.holder = None;
        self.state = SlotState::Quarantined(reason);
        self.rehearse_at = None;
        self.doubted_since.get_or_insert(now);
        if !reason.is_awaited() {
            self.postpone(now);
        }
        if self.left.is_some() {
            self.switched_off(now);
        }
        true
    }

    /// A rehearsal begins under a grant of its own.
    pub(super) fn rehearse(&mut self) -> u64 {
        self.rehearse_at = None;
        self.rehearsing = true;
        self.nobodys_call()
    }

    /// A call without a caller begins: a lease like any other.
    pub(super) fn warm_up(&mut self) -> u64 {
        self.state = SlotState::Leased;
        self.nobodys_call()
    }

    fn nobodys_call(&mut self) -> u64 {
        (self.passed, self.left) = (false, None);
        (self.user, self.trial, self.verdict) = (None, None, None);
        self.generation += 1;
        self.generation
    }

    /// Whether the rehearsal that is under way, if one is, reached the server's handshake.
    pub(super) fn rehearsal(&self) -> Option<bool> {
        self.rehearsing.then_some(self.passed)
    }

    /// What is to be told to the fleet, if it waits for the call without a caller that is over now.
    pub(super) fn warmed_up(&mut self, in_order: bool) -> Option<bool> {
        std::mem::take(&mut self.warms_up).then_some(self.passed && in_order)
    }

    /// The rehearsal reached the server's handshake; what is left is that its close is acknowledged.
    pub(super) fn pass(&mut self) {
        self.passed = self.rehearsing || self.warms_up;
    }

    fn postpone(&mut self, now: Instant) {
        let first = match self.state {
            // Its kernel has closed its sockets, unless the machine is gone with it.
            SlotState::Quarantined(QuarantineReason::HolderGone) => ORPHAN_PAUSE,
            _ => REHEARSAL_PAUSE,
        };
        let pause = first.saturating_mul(1 << self.setbacks.min(16)).min(LONGEST_REHEARSAL_PAUSE);
        self.setbacks += 1;
        self.rehearse_at = Some(now + pause);
    }
}
