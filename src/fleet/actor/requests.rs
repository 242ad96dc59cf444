//! What operators, autoscalers and doors ask of the fleet.

use std::time::Duration;

use actix::{Handler, Message, MessageResult};
use tokio::time::Instant;

use super::{FleetActor, Unit};
use crate::{
    fleet::{
        account::Money,
        lifecycle::{Input, Policy, State},
        schedule::Schedule,
    },
    pool::roster::UpstreamId,
};

/// What is known of one machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MachineSnapshot {
    /// The upstream's name.
    pub upstream: String,
    /// Who starts and stops it.
    pub provider: &'static str,
    /// The state in one word.
    pub state: &'static str,
    /// When it will be awake, in milliseconds, if it wakes: half of such wakes are shorter.
    pub eta_ms: Option<u64>,
    /// Nine of ten are shorter.
    pub eta_p90_ms: Option<u64>,
    /// Whether somebody wants it awake: a call, an order, a hold, its hours.
    pub wanted: bool,
    /// Why it could not be woken, or is not for now.
    pub failure: Option<&'static str>,
    /// When another try makes sense, in milliseconds.
    pub retry_ms: Option<u64>,
    /// How much longer it is held awake, in seconds, if it is.
    pub held_seconds: Option<u64>,
    /// How long it was awake, and so was paid for, since this process knows it, in seconds: leased and idle.
    pub awake_seconds: u64,
    /// How long calls had slots there.
    pub leased_seconds: u64,
    /// How long it was awake without a call.
    pub idle_seconds: u64,
    /// How long it was asleep.
    pub asleep_seconds: u64,
    /// What an hour awake costs, if that is known.
    pub price_per_hour: Option<Money>,
    /// What its time awake has cost.
    pub cost: Option<Money>,
    /// What its time asleep would have cost.
    pub saving: Option<Money>,
}

/// Asks what is known of every machine.
#[derive(Clone, Copy, Debug)]
pub struct Machines;

impl Message for Machines {
    type Result = Vec<MachineSnapshot>;
}

impl Handler<Machines> for FleetActor {
    type Result = MessageResult<Machines>;

    fn handle(&mut self, _: Machines, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.snapshots(self.units.keys()))
    }
}

/// Asks for a machine to wake and to stay so for a while. The answer is what is known of it: nothing, if there is no such
/// machine.
#[derive(Clone, Debug)]
pub struct WakeUp {
    /// The upstream's name; without one, some machine that is enough for a call: one that is ready or wakes, else one that
    /// can be woken, the cheapest first.
    pub upstream: Option<String>,
    /// For how long it stays awake at least.
    pub hold: Duration,
}

impl Message for WakeUp {
    type Result = Vec<MachineSnapshot>;
}

impl Handler<WakeUp> for FleetActor {
    type Result = MessageResult<WakeUp>;

    fn handle(&mut self, WakeUp { upstream, hold }: WakeUp, ctx: &mut Self::Context) -> Self::Result {
        let id = match &upstream {
            Some(name) => self.named(name),
            None => self.units.iter().min_by_key(|(_, unit)| unit.readiness()).map(|(id, _)| *id),
        };
        if let Some(id) = id {
            self.drive(id, Input::Wake(hold), ctx);
        }
        MessageResult(self.snapshots(id.iter()))
    }
}

/// Asks for a machine to sleep as soon as nobody uses it, whatever holds it. The answer is as that to [`WakeUp`].
#[derive(Clone, Debug)]
pub struct FallAsleep {
    /// The upstream's name.
    pub upstream: String,
}

impl Message for FallAsleep {
    type Result = Vec<MachineSnapshot>;
}

impl Handler<FallAsleep> for FleetActor {
    type Result = MessageResult<FallAsleep>;

    fn handle(&mut self, FallAsleep { upstream }: FallAsleep, ctx: &mut Self::Context) -> Self::Result {
        let id = self.named(&upstream);
        if let Some(id) = id {
            self.drive(id, Input::Sleep, ctx);
        }
        MessageResult(self.snapshots(id.iter()))
    }
}

/// Leaves every machine as it is from now on: whoever comes after this process deals with them.
#[derive(Clone, Copy, Debug)]
pub struct Resign;

impl Message for Resign {
    type Result = ();
}

impl Handler<Resign> for FleetActor {
    type Result = ();

    fn handle(&mut self, _: Resign, _: &mut Self::Context) {
        self.resigned = true;
    }
}

/// Deals with machines in this way from now on, and keeps them awake in these hours.
#[derive(Clone, Debug)]
pub struct Tune {
    /// How they are dealt with.
    pub policy: Policy,
    /// The hours.
    pub keep_warm: Schedule,
}

impl Message for Tune {
    type Result = ();
}

impl Handler<Tune> for FleetActor {
    type Result = ();

    fn handle(&mut self, Tune { policy, keep_warm }: Tune, ctx: &mut Self::Context) {
        (self.policy, self.keep_warm) = (policy, keep_warm);
        self.watch_the_clock(ctx);
        let ids: Vec<_> = self.units.keys().copied().collect();
        for id in ids {
            self.drive(id, Input::Tune(policy), ctx);
        }
        self.look_at_the_clock(ctx);
    }
}

impl FleetActor {
    pub(super) fn named(&self, name: &str) -> Option<UpstreamId> {
        self.units.iter().find(|(_, unit)| unit.upstream.endpoint.name == name).map(|(id, _)| *id)
    }

    fn snapshots<'a>(&self, ids: impl Iterator<Item = &'a UpstreamId>) -> Vec<MachineSnapshot> {
        let now = Instant::now().into_std();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let snapshot = |unit: &Unit| {
            let eta = unit.life.eta(now);
            let failed = unit.life.refusal();
            let held = unit.life.held_until().and_then(|until| until.checked_duration_since(now));
            let statement = unit.books.account.statement(now);
            let (leased_seconds, idle_seconds) = (statement.leased.as_secs(), statement.idle.as_secs());
            MachineSnapshot {
                upstream: unit.upstream.endpoint.name.clone(),
                provider: unit.provider.name(),
                state: unit.life.state().code(),
                eta_ms: eta.map(|eta| ms(eta.median)),
                eta_p90_ms: eta.map(|eta| ms(eta.p90)),
                wanted: unit.life.is_wanted(now),
                failure: failed.map(|(why, _)| why.code()),
                retry_ms: failed.map(|(_, until)| ms(until.saturating_duration_since(now))),
                held_seconds: held.map(|held| held.as_secs()).filter(|seconds| *seconds > 0),
                awake_seconds: leased_seconds + idle_seconds,
                leased_seconds,
                idle_seconds,
                asleep_seconds: statement.asleep.as_secs(),
                price_per_hour: statement.price.map(Money::from),
                cost: statement.cost(),
                saving: statement.saving(),
            }
        };
        ids.filter_map(|id| self.units.get(id)).map(snapshot).collect()
    }
}

impl Unit {
    /// Sorts machines by how soon a call could be there, and what that costs.
    fn readiness(&self) -> (u8, u64) {
        let soon = match self.life.state() {
            State::Ready { .. } | State::Retiring { .. } => 0,
            State::Warming { .. } => 1,
            State::Waking { .. } | State::Restarting { .. } => 2,
            State::Asleep | State::Unknown => 3,
            State::FallingAsleep => 4,
            State::Failed { .. } => 5,
        };
        (soon, self.upstream.labels.price.map_or(u64::MAX, |price| price.millionths()))
    }
}
