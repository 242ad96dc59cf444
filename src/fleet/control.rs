//! The fleet, for doors: what operators, autoscalers and callers who will come soon may ask of it.

use std::time::Duration;

use actix::Addr;
use tokio::time::timeout;

use super::{
    actor::{FallAsleep, FleetActor, Machines, Resign, Restart, Tune, WakeUp},
    lifecycle::Policy,
    schedule::Schedule,
};

pub use super::actor::{MachineSnapshot, RestartAnswer};

/// The fleet answers from memory: an answer that takes longer will not come.
const FLEET_TIMEOUT: Duration = Duration::from_secs(2);
/// Before a restart begins, a look at the provider that is under way comes to its end.
const RESTART_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks the fleet on behalf of operators, autoscalers and callers who will come soon.
#[derive(Clone, Debug)]
pub struct Control(Addr<FleetActor>);

impl Control {
    /// For this fleet.
    pub fn new(fleet: Addr<FleetActor>) -> Self {
        Self(fleet)
    }

    /// Every machine; `None` if the fleet is gone.
    pub async fn machines(&self) -> Option<Vec<MachineSnapshot>> {
        timeout(FLEET_TIMEOUT, self.0.send(Machines)).await.ok()?.ok()
    }

    /// Wakes the machine of this upstream, or without a name one that is enough for a call, and holds it awake for so
    /// long. Gives what is known of it: nothing where there is no such machine.
    pub async fn wake(&self, upstream: Option<String>, hold: Duration) -> Option<Vec<MachineSnapshot>> {
        timeout(FLEET_TIMEOUT, self.0.send(WakeUp { upstream, hold })).await.ok()?.ok()
    }

    /// Lets the machine of this upstream sleep as soon as nobody uses it.
    pub async fn sleep(&self, upstream: String) -> Option<Vec<MachineSnapshot>> {
        timeout(FLEET_TIMEOUT, self.0.send(FallAsleep { upstream })).await.ok()?.ok()
    }

    /// Deals with machines in this way from now on, and keeps them awake in these hours.
    pub async fn tune(&self, policy: Policy, keep_warm: Schedule) {
        // A fleet that does not answer does nothing either.
        let _ = timeout(FLEET_TIMEOUT, self.0.send(Tune { policy, keep_warm })).await;
    }

    /// Leaves every machine as it is from now on: this process is about to end, and another one may have its calls there.
    pub async fn resign(&self) {
        // A fleet that does not answer does nothing either.
        let _ = timeout(FLEET_TIMEOUT, self.0.send(Resign)).await;
    }

    /// Lets the machine of this upstream begin anew, unless somebody uses it.
    pub async fn restart(&self, upstream: String) -> Option<RestartAnswer> {
        timeout(RESTART_TIMEOUT, self.0.send(Restart { upstream })).await.ok()?.ok()
    }
}
