//! Restarts: one machine at a time, because each takes away what is left to serve those who wait.

use actix::{ActorFutureExt, Context, Handler, Message, ResponseActFuture, WrapFuture};
use tokio::{sync::oneshot, time::Instant};

use super::{FleetActor, WakeFailure};
use crate::{
    fleet::lifecycle::{Input, State},
    pool::roster::UpstreamId,
};

/// Asks for a machine to begin anew. No call is cut for it.
#[derive(Clone, Debug)]
pub struct Restart {
    /// The upstream's name.
    pub upstream: String,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartAnswer {
    /// It begins: no call gets there until it is over.
    Begins,
    /// There is no such machine.
    Unknown,
    /// A call has it, or a test of a slot is under way.
    InUse,
    /// It does not run: there is nothing to restart.
    NotAwake,
    /// This machine or another one is being restarted.
    OneAtATime,
}

impl Message for Restart {
    type Result = RestartAnswer;
}

impl Handler<Restart> for FleetActor {
    type Result = ResponseActFuture<Self, RestartAnswer>;

    fn handle(&mut self, Restart { upstream }: Restart, ctx: &mut Self::Context) -> Self::Result {
        match self.order_restart(&upstream, ctx) {
            Err(answer) => Box::pin(std::future::ready(answer).into_actor(self)),
            Ok(told) => Box::pin(told.into_actor(self).map(|begins, _, _| match begins {
                Ok(true) => RestartAnswer::Begins,
                Ok(false) => RestartAnswer::InUse,
                // Its upstream is gone meanwhile.
                Err(_) => RestartAnswer::Unknown,
            })),
        }
    }
}

impl FleetActor {
    fn order_restart(
        &mut self,
        upstream: &str,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<bool>, RestartAnswer> {
        let id = self.named(upstream).ok_or(RestartAnswer::Unknown)?;
        if self.is_restarting(Instant::now().into_std()) {
            return Err(RestartAnswer::OneAtATime);
        }
        let unit = self.units.get_mut(&id).ok_or(RestartAnswer::Unknown)?;
        if !matches!(unit.life.state(), State::Ready { .. } | State::Failed { .. }) {
            return Err(RestartAnswer::NotAwake);
        }
        let (tell, told) = oneshot::channel();
        unit.asked.push(tell);
        self.drive(id, Input::Restart, ctx);
        Ok(told)
    }

    /// The pool says that no slot of a server can be used and that nobody is there.
    pub(super) fn stuck(&mut self, id: UpstreamId, ctx: &mut Context<Self>) {
        let now = Instant::now().into_std();
        let may = self.units.get(&id).is_some_and(|unit| unit.life.may_restart(now));
        // The pool says it again.
        if !may || self.is_restarting(now) {
            return;
        }
        if let Some(unit) = self.units.get(&id) {
            tracing::error!(
                upstream = unit.upstream.endpoint.name,
                "a model server takes no calls: it holds a socket of somebody who is gone, or hangs. Its machine is to be \
                 restarted; if this comes again, see its log and the network between"
            );
        }
        self.drive(id, Input::Stuck, ctx);
    }

    fn is_restarting(&self, now: std::time::Instant) -> bool {
        self.units.values().any(|unit| unit.life.is_restarting(now))
    }

    pub(super) fn restart_begins(&mut self, id: UpstreamId, begins: bool) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        tracing::info!(upstream = unit.upstream.endpoint.name, begins, "restart");
        for asked in unit.asked.drain(..) {
            // Who asked may have gone.
            let _ = asked.send(begins);
        }
    }

    pub(super) fn restart_failed(&self, upstream: &str, why: WakeFailure) {
        let why = why.code();
        tracing::error!(upstream, why, "a machine could not be restarted, and is out of use for a while: see to it");
        self.ports.observer.restarted(upstream, why);
    }
}
