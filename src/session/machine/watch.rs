//! The machine's clockwork: every limit of a call, and the one deadline that follows from them.

use std::time::{Duration, Instant};

use super::{
    ClientOutput, Effect, Limits, Machine,
    server::Server,
    state::{Phase, millis},
};
use crate::{
    pool::quota::Allowance,
    protocol::{
        ending::Ending,
        native::{ExpiryReason, ServerEvent},
    },
};

/// When what last happened, and which warnings are out.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) last_input: Instant,
    pub(super) closing_sent: bool,
    heard_at: Instant,
    next_ping: Instant,
    spoke_at: Option<Instant>,
    idle_warned: Option<Instant>,
    max_warned: bool,
    /// When what is left of the caller's quota is used up.
    quota_end: Option<Instant>,
    /// When more of it is booked next; none while that is asked for.
    quota_asks_at: Option<Instant>,
    /// Whether no more was left, and the caller was told.
    quota_warned: bool,
    drain_by: Option<Instant>,
}

impl Watch {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            last_input: now,
            closing_sent: false,
            heard_at: now,
            next_ping: now + limits.ping_interval,
            spoke_at: None,
            idle_warned: None,
            max_warned: false,
            quota_end: None,
            quota_asks_at: None,
            quota_warned: false,
            drain_by: None,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The caller speaks, or may have spoken.
    pub(super) fn spoke(&mut self, now: Instant) {
        if let Some(spoke_at) = &mut self.spoke_at {
            *spoke_at = now;
            self.idle_warned = None;
        }
    }

    /// The caller is on a new socket; the time for which it was away does not count as silence.
    pub(super) fn attached(&mut self, away_since: Option<Instant>, limits: &Limits, now: Instant) {
        self.heard_at = now;
        self.next_ping = now + limits.ping_interval;
        let away = away_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.spoke_at = self.spoke_at.map(|at| at + away);
        self.idle_warned = self.idle_warned.map(|at| at + away);
    }

    /// The model listens: from now on silence of the caller counts, and the time that it may talk runs.
    pub(super) fn listening(&mut self, allowance: Option<Allowance>, now: Instant) {
        self.spoke_at = Some(now);
        if let Some(allowance) = allowance.filter(|_| self.quota_end.is_none()) {
            self.quota_end = Some(now + allowance.booked);
            self.quota_asks_at = Some(now + (allowance.booked - quota_lead(allowance)));
        }
    }

    /// Nobody was on stage for so long: that time is not the caller's.
    pub(super) fn stage_was_empty(&mut self, time: Duration) {
        self.quota_end = self.quota_end.map(|at| at + time);
        self.quota_asks_at = self.quota_asks_at.map(|at| at + time);
    }

    pub(super) fn drain_by(&mut self, deadline: Instant) {
        self.drain_by = Some(self.drain_by.map_or(deadline, |known| known.min(deadline)));
    }
}

/// So long before what is booked of a quota is used up, more is booked; sooner where it is little.
const QUOTA_LEAD: Duration = Duration::from_secs(30);
/// Where no more was left, it is asked for again so often.
const ASK_AGAIN: Duration = Duration::from_secs(5);

fn quota_lead(allowance: Allowance) -> Duration {
    QUOTA_LEAD.min(allowance.booked / 2)
}

/// A limit that ends the call, when it does, and why.
type Limit = (Instant, Ending);

impl Machine {
    /// When [`Machine::handle`] wants to be called again, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed => None,
            Phase::Closing { until, .. } => Some(until),
            Phase::Preparing { .. }
            | Phase::Leasing
            | Phase::Pausing { .. }
            | Phase::Handshaking
            | Phase::Streaming => {
                let limits = self.limits_in_force().map(|(at, _)| at);
                let warnings = self.warnings().map(|(at, _)| at);
                let others =
                    [self.client_open.then_some(self.watch.next_ping), self.next_second(), self.quota_asks_at()];
                limits
                    .chain(self.pause_until())
                    .chain(self.relay_deadlines())
                    .chain(warnings)
                    .chain(others.into_iter().flatten())
                    .chain(self.next_audio())
                    .min()
            }
        }
    }

    /// When audio moves next without further input: to the model, and to a caller whose player keeps little.
    fn next_audio(&self) -> impl Iterator<Item = Instant> + use<> {
        let now = self.watch.last_input;
        let runs = !self.is_clock_stopped();
        let up = self.server.as_ref().filter(|_| runs).and_then(|server| server.pacer.deadline());
        let backstage = self.relay.next_feed().filter(|_| runs);
        let listens = self.client_open.then_some(&self.to_client);
        let down =
            listens.and_then(|queue| queue.next_audio()).and_then(|duration| self.smoother.leaves_at(duration, now));
        up.into_iter().chain(backstage).chain(down)
    }

    /// Acts on every limit that has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        self.watch.last_input = now;
        if let Phase::Closing { ending, until } = self.phase {
            if now >= until {
                self.finish(ending);
            }
            return;
        }
        if self.phase == Phase::Closed {
            return;
        }
        self.preparing_over(now);
        self.pause_over(now);
        self.understudy_pause_over(now);
        if self.upstream.handshake_until().is_some_and(|until| now >= until) {
            self.attempt_failed(Ending::HandshakeTimeout, None, now);
            if self.is_ending() {
                return;
            }
        }
        while let Some(ending) = self.passed_limit(now) {
            match ending {
                Ending::ClientLost => self.lose_client(now),
                Ending::TooSlow => self.give_up_slow(now),
                Ending::UpstreamLost => self.give_server_up(now),
                _ => self.end(ending, now),
            }
            if self.is_ending() {
                return;
            }
        }
        self.book_more(now);
        self.warn(now);
        self.ping(now);
    }

    /// What the limit asks for that passed first.
    fn passed_limit(&self, now: Instant) -> Option<Ending> {
        let passed = self.limits_in_force().filter(|(at, _)| now >= *at).min_by_key(|(at, _)| *at);
        passed.map(|(_, ending)| ending)
    }

    /// What the servers must do by then, before others are tried.
    fn relay_deadlines(&self) -> impl Iterator<Item = Instant> + use<> {
        let backstage = self.relay.backstage_stuck_since().map(|at| at + self.limits.silent_after);
        let others = [
            self.upstream.handshake_until(),
            self.preparing_until(),
            self.relay.pause_until(),
            self.silence_until(),
            backstage,
            self.forgives_at(),
        ];
        others.into_iter().flatten()
    }

    /// Every limit that may end the call now, but the handshake's, after which others may be tried.
    fn limits_in_force(&self) -> impl Iterator<Item = Limit> + '_ {
        let (limits, watch, here) = (&self.limits, &self.watch, !self.is_detached());
        let stuck = self.server.as_ref().filter(|_| !self.is_clock_stopped()).and_then(Server::stuck_since);
        [
            self.patience(),
            Some((self.started + limits.max_duration, Ending::MaxDuration)),
            watch.quota_end.filter(|_| self.server.is_some()).map(|at| (at, Ending::QuotaSpent)),
            here.then_some((watch.heard_at + limits.lost_after, Ending::ClientLost)),
            self.detached_until().map(|at| (at, Ending::ClientLost)),
            self.idle_end().filter(|_| here).map(|at| (at, Ending::IdleTimeout)),
            watch.drain_by.map(|at| (at, Ending::Drained)),
            self.stuck_since().filter(|_| here).map(|at| (at + limits.too_slow_after, Ending::TooSlow)),
            stuck.map(|at| (at + limits.stall_after, Ending::UpstreamLost)),
            self.empty_until().map(|at| (at, Ending::UpstreamLost)),
        ]
        .into_iter()
        .flatten()
    }

    /// When the call ends at the latest, as far as that is known.
    pub(super) fn ends_at(&self) -> Instant {
        let longest = self.started + self.limits.max_duration;
        // Before it is known that no more is left, more will be booked.
        let quota_end = self.watch.quota_end.filter(|_| self.watch.quota_warned);
        [quota_end, self.watch.drain_by].into_iter().flatten().fold(longest, Instant::min)
    }

    /// Since when the caller takes nothing, or confirms nothing, of what waits for it.
    fn stuck_since(&self) -> Option<Instant> {
        self.to_client.blocked_since().into_iter().chain(self.flight.held_since()).min()
    }

    /// The caller takes nothing. One who said nothing either meanwhile may have lost its network: it can come back.
    fn give_up_slow(&mut self, now: Instant) {
        let heard_at = self.watch.heard_at;
        let silent = self.stuck_since().is_some_and(|since| heard_at <= since)
            || now.saturating_duration_since(heard_at) >= self.limits.ping_interval;
        if silent && self.can_wait() { self.lose_client(now) } else { self.end(Ending::TooSlow, now) }
    }

    /// How long before a limit it is warned of.
    fn ahead(&self, limit: Duration) -> Duration {
        self.limits.warning.min(limit / 2)
    }

    /// When the caller is warned of the idle limit: not while the assistant speaks, to which it may be listening.
    fn idle_warning(&self) -> Option<Instant> {
        let limit = self.limits.idle_timeout;
        let at = self.watch.spoke_at? + (limit - self.ahead(limit));
        Some(self.ears.assistant_speaks_until().map_or(at, |until| at.max(until)))
    }

    /// When a caller who does not speak is hung up: not without the whole warning, and not while the assistant speaks.
    fn idle_end(&self) -> Option<Instant> {
        let limit = self.limits.idle_timeout;
        let warned = self.watch.idle_warned.or_else(|| self.idle_warning())?;
        let end = (self.watch.spoke_at? + limit).max(warned + self.ahead(limit));
        Some(self.ears.assistant_speaks_until().map_or(end, |until| end.max(until)))
    }

    /// The call may talk for so much longer, or is warned that it may not.
    pub(super) fn booked(&mut self, more: Duration, now: Instant) {
        let (Some(end), Some(allowance)) = (self.watch.quota_end, self.terms.allowance) else { return };
        if more.is_zero() {
            // Others may give some back at any time.
            self.watch.quota_asks_at = Some(now + ASK_AGAIN);
            if !std::mem::replace(&mut self.watch.quota_warned, true) {
                let in_ms = millis(end.saturating_duration_since(now));
                self.say(ServerEvent::Expiring { reason: ExpiryReason::Quota, in_ms }, now);
            }
        } else {
            let end = end + more;
            (self.watch.quota_end, self.watch.quota_warned) = (Some(end), false);
            self.watch.quota_asks_at = end.checked_sub(quota_lead(allowance));
        }
    }

    /// When more of the quota is booked: not while nobody listens.
    fn quota_asks_at(&self) -> Option<Instant> {
        self.watch.quota_asks_at.filter(|_| self.server.is_some())
    }

    /// Books more of the quota, if it is time to.
    fn book_more(&mut self, now: Instant) {
        if self.quota_asks_at().is_some_and(|at| now >= at) {
            self.watch.quota_asks_at = None;
            self.effects.push_back(Effect::BookMore);
        }
    }

    /// The warnings that are still to be given, and when.
    fn warnings(&self) -> impl Iterator<Item = (Instant, ExpiryReason)> + '_ {
        let (limits, watch) = (&self.limits, &self.watch);
        let longest = limits.max_duration;
        let idle = self.idle_warning().filter(|_| watch.idle_warned.is_none() && !self.is_detached());
        [
            idle.map(|at| (at, ExpiryReason::Idle)),
            (!watch.max_warned).then(|| (self.started + (longest - self.ahead(longest)), ExpiryReason::MaxDuration)),
        ]
        .into_iter()
        .flatten()
    }

    fn warn(&mut self, now: Instant) {
        let due: Vec<ExpiryReason> = self.warnings().filter(|(at, _)| now >= *at).map(|(_, reason)| reason).collect();
        for reason in due {
            let end = match reason {
                ExpiryReason::Idle => {
                    self.watch.idle_warned = Some(now);
                    self.idle_end().unwrap_or(now)
                }
                ExpiryReason::MaxDuration | ExpiryReason::Quota | ExpiryReason::Drain | ExpiryReason::Persona => {
                    self.watch.max_warned = true;
                    self.started + self.limits.max_duration
                }
            };
            let in_ms = millis(end.saturating_duration_since(now));
            self.say(ServerEvent::Expiring { reason, in_ms }, now);
        }
    }

    fn ping(&mut self, now: Instant) {
        if self.client_open && now >= self.watch.next_ping {
            self.watch.next_ping = now + self.limits.ping_interval;
            // A queue too full for a ping is watched by its own limit.
            let _ = self.to_client.push(ClientOutput::Ping, now);
        }
    }
}
