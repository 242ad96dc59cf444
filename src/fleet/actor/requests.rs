//! What operators, autoscalers and doors ask of the fleet.

use std::time::Duration;

use actix::{Handler, Message, MessageResult};
use tokio::time::Instant;

use super::{FleetActor, Unit};
use crate::fleet::lifecycle::{Input, WakeReason};

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
        let now = Instant::now().into_std();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let snapshot = |unit: &Unit| {
            let eta = unit.life.eta(now);
            MachineSnapshot {
                upstream: unit.upstream.endpoint.name.clone(),
                provider: unit.provider.name(),
                state: unit.life.state().code(),
                eta_ms: eta.map(|eta| ms(eta.median)),
                eta_p90_ms: eta.map(|eta| ms(eta.p90)),
            }
        };
        MessageResult(self.units.values().map(snapshot).collect())
    }
}

/// Asks for a machine to wake and to stay so for a while; without a name, for every machine.
#[derive(Clone, Debug)]
pub struct WakeUp {
    /// The upstream's name.
    pub upstream: Option<String>,
    /// Who wants it.
    pub reason: WakeReason,
    /// For how long it stays awake at least.
    pub hold: Duration,
}

impl Message for WakeUp {
    type Result = ();
}

impl Handler<WakeUp> for FleetActor {
    type Result = ();

    fn handle(&mut self, WakeUp { upstream, reason, hold }: WakeUp, ctx: &mut Self::Context) {
        let wanted = |unit: &Unit| upstream.as_ref().is_none_or(|name| unit.upstream.endpoint.name == *name);
        let ids: Vec<_> = self.units.iter().filter(|(_, unit)| wanted(unit)).map(|(id, _)| *id).collect();
        for id in ids {
            self.drive(id, Input::Wake(reason, hold), ctx);
        }
    }
}
