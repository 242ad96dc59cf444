//! What the pool says of upstreams whose machines may be ours.

use std::{rc::Rc, time::Duration};

use actix::{Addr, AsyncContext, Context, Handler, Message};
use tokio::time::Instant;

use super::{Books, FleetActor, Unit};
use crate::{
    fleet::lifecycle::{Input, Lifecycle, State},
    pool::{
        actor::WakePort,
        endpoint::Upstream,
        roster::{PowerNews, UpstreamId},
    },
};

/// For how long a machine is given up that nobody can start.
const OUT_OF_REACH: Duration = Duration::from_secs(24 * 60 * 60);

/// What the pool says.
#[derive(Debug)]
enum Word {
    Joined(Box<Upstream>),
    Gone,
    Wake,
    Used(bool),
    Leased(bool),
    Retired(bool),
    WarmedUp(bool),
    Stuck,
}

#[derive(Debug)]
struct FromPool(UpstreamId, Word);

impl Message for FromPool {
    type Result = ();
}

impl Handler<FromPool> for FleetActor {
    type Result = ();

    fn handle(&mut self, FromPool(id, word): FromPool, ctx: &mut Self::Context) {
        match word {
            Word::Joined(upstream) => self.joined(id, *upstream, ctx),
            Word::Gone => {
                self.enter(id);
                let Some(unit) = self.units.remove(&id) else { return };
                // Whatever it runs on is not ours to stop any more, and somebody pays for it.
                if unit.life.state() != State::Asleep {
                    let (upstream, state) = (&unit.upstream.endpoint.name, unit.life.state().code());
                    tracing::warn!(
                        upstream,
                        state,
                        "a machine is let go of that does not sleep; stop it at its provider"
                    );
                }
                self.ports.observer.gone(&unit.upstream.endpoint.name);
                if let Some((_, alarm)) = unit.alarm {
                    ctx.cancel_future(alarm);
                }
            }
            Word::Wake => self.drive(id, Input::Wake(Duration::ZERO), ctx),
            Word::Used(used) => self.drive(id, Input::Used(used), ctx),
            Word::Leased(leased) => self.leased(id, leased),
            Word::Retired(gone) => self.drive(id, Input::Retired(gone), ctx),
            Word::WarmedUp(passed) => self.drive(id, Input::Rehearsed(passed), ctx),
            Word::Stuck => self.stuck(id, ctx),
        }
    }
}

impl FleetActor {
    fn joined(&mut self, id: UpstreamId, upstream: Upstream, ctx: &mut Context<Self>) {
        if self.units.contains_key(&id) {
            return;
        }
        let Some(provider) = (self.ports.find)(&upstream) else {
            if upstream.labels.machine.is_some() {
                // Nobody can start it: who waits for it is told so.
                self.tell_pool(id, PowerNews::Failed(OUT_OF_REACH));
            }
            return;
        };
        // Nothing is known of it yet.
        self.tell_pool(id, PowerNews::Away);
        let now = Instant::now();
        let mut life = Lifecycle::new(self.policy, now.into_std()).jittered(rand::random());
        life.handle(Input::KeepWarm(self.is_warm_hour()), now.into_std());
        let (provider, books, asked) = (Rc::from(provider), Books::of(&upstream, now), Vec::new());
        self.units
            .insert(id, Unit { upstream, provider, life, told: None, books, alarm: None, addressed: false, asked });
        self.settle(id, ctx);
    }
}

/// The fleet's ear in the pool.
#[derive(Debug)]
pub struct Ear(pub Addr<FleetActor>);

impl Ear {
    #[expect(clippy::disallowed_methods, reason = "a few for each call, and calls are bounded by the slots")]
    fn say(&self, id: UpstreamId, word: Word) {
        self.0.do_send(FromPool(id, word));
    }
}

impl WakePort for Ear {
    fn joined(&self, id: UpstreamId, upstream: &Upstream) {
        self.say(id, Word::Joined(Box::new(upstream.clone())));
    }

    fn gone(&self, id: UpstreamId) {
        self.say(id, Word::Gone);
    }

    fn wake(&self, id: UpstreamId) {
        self.say(id, Word::Wake);
    }

    fn used(&self, id: UpstreamId, used: bool) {
        self.say(id, Word::Used(used));
    }

    fn leased(&self, id: UpstreamId, leased: bool) {
        self.say(id, Word::Leased(leased));
    }

    fn retired(&self, id: UpstreamId, gone: bool) {
        self.say(id, Word::Retired(gone));
    }

    fn warmed_up(&self, id: UpstreamId, passed: bool) {
        self.say(id, Word::WarmedUp(passed));
    }

    fn stuck(&self, id: UpstreamId) {
        self.say(id, Word::Stuck);
    }
}
