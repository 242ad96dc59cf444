//! One slot: who holds it, and which grant is the current one.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Ask, Class, Ongoing, UserHash, Verdict};
use crate::pool::breaker::TrialId;

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
    passed: bool,
    setbacks: u32,
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
            passed: false,
            setbacks: 0,
            trial: None,
            verdict: None,
        }
    }

    /// A grant goes out.
    pub(super) fn lease(&mut self, ask: &Ask, trial: Option<TrialId>, now: Instant) -> u64 {
        (self.trial, self.verdict) = (trial, None);
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
            (self.state, self.holder, self.rehearsing) = (SlotState::Free, None, false);
            (self.rehearse_at, self.setbacks, self.last_ended) = (None, 0, Some(now));
        }
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
        self.state = SlotState::Free;
        self.last_ended = Some(now);
        self.rehearse_at = None;
        self.setbacks = 0;
        Some(held)
    }

    /// The rehearsal's own socket is closed.
    fn rehearsed(&mut self, now: Instant) -> Option<Duration> {
        if !std::mem::take(&mut self.passed) {
            self.postpone(now);
            return None;
        }
        self.state = SlotState::Free;
        self.last_ended = Some(now);
        self.rehearse_at = None;
        self.setbacks = 0;
        Some(Duration::ZERO)
    }

    /// Its server's end was not acknowledged. Says whether that changed anything.
    pub(super) fn quarantine(&mut self, reason: QuarantineReason, now: Instant) -> bool {
        if std::mem::take(&mut self.rehearsing) {
            self.passed = false;
            self.postpone(now);
            return false;
        }
        if !matches!(self.state, SlotState::Leased | SlotState::Quarantined(_)) {
            return false;
        }
        self.holder = None;
        self.state = SlotState::Quarantined(reason);
        self.rehearse_at = None;
        if !reason.is_awaited() {
            self.postpone(now);
        }
        true
    }

    /// A rehearsal begins under a grant of its own.
    pub(super) fn rehearse(&mut self) -> u64 {
        self.rehearse_at = None;
        self.rehearsing = true;
        self.passed = false;
        // A test is nobody's call.
        (self.user, self.trial, self.verdict) = (None, None, None);
        self.generation += 1;
        self.generation
    }

    /// Whether the rehearsal that is under way, if one is, reached the server's handshake.
    pub(super) fn rehearsal(&self) -> Option<bool> {
        self.rehearsing.then_some(self.passed)
    }

    /// The rehearsal reached the server's handshake; what is left is that its close is acknowledged.
    pub(super) fn pass(&mut self) {
        self.passed = self.rehearsing;
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
