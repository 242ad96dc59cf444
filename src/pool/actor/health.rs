//! Rounds of probes: servers that no call is on are asked whether they live.
//!
//! A server with a call on it is not asked: the call says more. A sleeper is not asked either: on some clouds any
//! request wakes it, or keeps it awake.

use std::{future::Future, pin::Pin, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::PoolActor;
use crate::pool::{
    endpoint::Endpoint,
    roster::{Input, Probed},
};

/// Between two rounds.
pub const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Asks a server whether it lives. The pool defines it, the session's legs provide it.
pub trait Prober: Send {
    /// What comes of asking; bounded in time.
    fn probe(&self, endpoint: &Endpoint) -> Pin<Box<dyn Future<Output = Probed>>>;

    /// The time between two rounds.
    fn every(&self) -> Duration {
        PROBE_EVERY
    }
}

impl PoolActor {
    /// Begins the rounds, if there is a prober.
    pub(super) fn begin_probing(&self, ctx: &mut Context<Self>) {
        if let Some(prober) = &self.ports.prober {
            ctx.run_interval(prober.every(), |actor, ctx| actor.probe(ctx));
        }
    }

    fn probe(&self, ctx: &mut Context<Self>) {
        let Some(prober) = &self.ports.prober else { return };
        for (id, endpoint) in self.roster.idle_endpoints() {
            let asking = prober.probe(&endpoint);
            ctx.spawn(
                asking.into_actor(self).map(move |probed, actor, ctx| actor.drive(Input::Probed(id, probed), ctx)),
            );
        }
    }
}
