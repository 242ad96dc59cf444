//! What passes between the pool and those who start and stop machines.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use tokio::time::timeout;

use super::{LEDGER_TIMEOUT, PoolActor, WakePort};
use crate::pool::{
    ledger::{LedgerError, Opened, SlotKey},
    roster::{Class, Grant, Input, PowerNews, UpstreamId},
};

/// The fleet says what became of a machine.
#[derive(Clone, Copy, Debug)]
pub struct PowerChanged(pub UpstreamId, pub PowerNews);

impl Message for PowerChanged {
    type Result = ();
}

impl Handler<PowerChanged> for PoolActor {
    type Result = ();

    fn handle(&mut self, PowerChanged(id, news): PowerChanged, ctx: &mut Self::Context) {
        if matches!(news, PowerNews::Off | PowerNews::Anew) {
            self.clear_doubts(id, ctx);
        }
        self.drive(Input::Power(id, news), ctx);
    }
}

/// The fleet wants to stop a machine, or to restart it; [`WakePort::retired`] answers.
#[derive(Clone, Copy, Debug)]
pub enum Retire {
    /// Unless somebody uses it or waits for it.
    ToSleep(UpstreamId),
    /// Unless somebody uses it.
    ToRestart {
        /// Which.
        id: UpstreamId,
        /// Only if it is still stuck.
        stuck: bool,
    },
}

impl Message for Retire {
    type Result = ();
}

impl Handler<Retire> for PoolActor {
    type Result = ();

    fn handle(&mut self, retire: Retire, ctx: &mut Self::Context) {
        let input = match retire {
            Retire::ToSleep(id) => Input::Retire(id),
            Retire::ToRestart { id, stuck } => Input::Vacate(id, stuck),
        };
        self.drive(input, ctx);
    }
}

/// The fleet wants a call without a caller on a machine that takes no others yet; [`WakePort::warmed_up`] answers.
#[derive(Clone, Copy, Debug)]
pub struct WarmUp(pub UpstreamId);

impl Message for WarmUp {
    type Result = ();
}

impl Handler<WarmUp> for PoolActor {
    type Result = ();

    fn handle(&mut self, WarmUp(id): WarmUp, ctx: &mut Self::Context) {
        if self.ports.rehearser.is_some() {
            self.drive(Input::WarmUp(id), ctx);
        } else {
            // Nobody can make such a call: callers find out.
            self.tell_fleet(|fleet| fleet.warmed_up(id, true));
        }
    }
}

/// Where the server of a machine is reached, as its provider says of it while it runs.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Which.
    pub id: UpstreamId,
    /// Name or IP address, IPv6 in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Message for Moved {
    type Result = ();
}

impl Handler<Moved> for PoolActor {
    type Result = ();

    fn handle(&mut self, Moved { id, host, port }: Moved, ctx: &mut Self::Context) {
        let Some(known) = self.roster.upstream(id).map(|upstream| &upstream.endpoint) else { return };
        let Some(endpoint) = known.at(&host, port).filter(|endpoint| endpoint != known) else { return };
        if !self.directory.moved(id, &endpoint) {
            let upstream = &known.name;
            tracing::error!(upstream, "its machine is said to be where another model server is; it stays as it was");
            return;
        }
        self.clear_doubts(id, ctx);
        self.drive(Input::Moved(id, endpoint), ctx);
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
    /// What was left open at a process that is gone stands in nobody's way: nor do its rows in the record of leases.
    fn clear_doubts(&self, id: UpstreamId, ctx: &mut Context<Self>) {
        for grant in self.roster.quarantined(id) {
            self.clear(grant, ctx);
        }
    }

    /// Makes a call without a caller, under a lease that is written down like any other.
    pub(super) fn warm_up(&mut self, grant: Grant, ctx: &mut Context<Self>) {
        let Some(ledger) = self.ports.ledger.clone() else { return self.rehearse(grant, ctx) };
        let Some(endpoint) = self.roster.endpoint(grant) else { return };
        let opening = timeout(LEDGER_TIMEOUT, ledger.open(SlotKey::new(endpoint, grant.slot), grant.generation));
        ctx.spawn(opening.into_actor(self).map(move |opened, actor, ctx| {
            match opened.unwrap_or_else(|_| Err(LedgerError("no answer in time".into()))) {
                Ok(Opened::Ours) => actor.rehearse(grant, ctx),
                Ok(Opened::Theirs) => actor.drive(Input::Contested(grant, None), ctx),
                Err(error) => {
                    tracing::error!(%error, "a machine that woke is not tried out");
                    actor.clear(grant, ctx);
                    actor.drive(Input::Release(grant), ctx);
                }
            }
        }));
    }

    pub(super) fn tell_fleet(&self, tell: impl FnOnce(&dyn WakePort)) {
        if let Some(fleet) = &self.ports.fleet {
            tell(fleet.as_ref());
        }
    }
}
