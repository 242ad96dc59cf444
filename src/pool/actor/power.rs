//! What passes between the pool and those who start and stop machines.

use actix::{Handler, Message, MessageResult};

use super::{PoolActor, WakePort};
use crate::pool::roster::{Class, Input, PowerNews, UpstreamId};

/// The fleet says what became of a machine.
#[derive(Clone, Copy, Debug)]
pub struct PowerChanged(pub UpstreamId, pub PowerNews);

impl Message for PowerChanged {
    type Result = ();
}

impl Handler<PowerChanged> for PoolActor {
    type Result = ();

    fn handle(&mut self, PowerChanged(id, news): PowerChanged, ctx: &mut Self::Context) {
        self.drive(Input::Power(id, news), ctx);
    }
}

/// The fleet wants to stop a machine; [`WakePort::retired`] answers.
#[derive(Clone, Copy, Debug)]
pub struct Retire(pub UpstreamId);

impl Message for Retire {
    type Result = ();
}

impl Handler<Retire> for PoolActor {
    type Result = ();

    fn handle(&mut self, Retire(id): Retire, ctx: &mut Self::Context) {
        self.drive(Input::Retire(id), ctx);
    }
}

/// Asks how much is asked of the model servers.
#[derive(Clone, Copy, Debug)]
pub struct HowMuch;

impl Message for HowMuch {
    type Result = Demand;
}

/// How much is asked of the model servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Calls that wait for a slot.
    pub waiting: usize,
    /// Upstreams that calls use or wait for.
    pub machines: usize,
}

impl Handler<HowMuch> for PoolActor {
    type Result = MessageResult<HowMuch>;

    fn handle(&mut self, _: HowMuch, _: &mut Self::Context) -> Self::Result {
        MessageResult(Demand { waiting: self.roster.waiting(Class::New), machines: self.roster.wanted() })
    }
}

impl PoolActor {
    pub(super) fn tell_fleet(&self, tell: impl FnOnce(&dyn WakePort)) {
        if let Some(fleet) = &self.ports.fleet {
            tell(fleet.as_ref());
        }
    }
}
