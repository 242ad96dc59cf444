//! The one writer of every machine's life: it drives the lifecycles, and does what they decide.

mod books;
mod ear;
mod errand;
mod moves;
mod ports;
mod requests;
mod restarts;
#[cfg(test)]
mod tests;

pub use ear::Ear;
pub use ports::{FindProvider, FleetObserver, PoolPort, Ports, Readiness};
pub use requests::{FallAsleep, MachineSnapshot, Machines, Resign, Tune, WakeUp};
pub use restarts::{Restart, RestartAnswer};

use std::{
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use tokio::{sync::oneshot, time::Instant};

use self::{
    books::Books,
    errand::{Errand, Outcome},
};
use super::{
    lifecycle::{Effect, Input, Lifecycle, Policy, WakeFailure},
    provider::{Provider, ProviderError},
    schedule::Schedule,
    wakes::WakeEta,
};
use crate::pool::{
    actor::{PowerChanged, Retire, WarmUp},
    endpoint::Upstream,
    roster::{Eta, PowerNews, UpstreamId},
};

/// Between two looks at the clock on the wall.
const CLOCK_EVERY: Duration = Duration::from_secs(20);

/// One machine.
struct Unit {
    upstream: Upstream,
    provider: Rc<dyn Provider>,
    life: Lifecycle,
    /// What was told of its state last.
    told: Option<&'static str>,
    books: Books,
    alarm: Option<(Instant, SpawnHandle)>,
    /// Whether the provider has told where its server is.
    addressed: bool,
    /// Operators who wait to hear whether a restart begins.
    asked: Vec<oneshot::Sender<bool>>,
}

/// Owns every machine's lifecycle.
pub struct FleetActor {
    policy: Policy,
    ports: Ports,
    units: BTreeMap<UpstreamId, Unit>,
    keep_warm: Schedule,
    /// Whether the clock on the wall is looked at.
    watches: bool,
    /// Nothing is started or stopped any more.
    resigned: bool,
}

impl FleetActor {
    /// A fleet without machines; they come with the upstreams that the pool tells of.
    pub fn new(policy: Policy, ports: Ports) -> Self {
        Self { policy, ports, units: BTreeMap::new(), keep_warm: Schedule::default(), watches: false, resigned: false }
    }

    /// The same, with hours in which all machines are kept awake.
    pub fn kept_warm(self, keep_warm: Schedule) -> Self {
        Self { keep_warm, ..self }
    }

    /// Looks at the clock on the wall every now and then, from the first hours on that there are.
    fn watch_the_clock(&mut self, ctx: &mut Context<Self>) {
        if !self.keep_warm.is_empty() && !std::mem::replace(&mut self.watches, true) {
            ctx.run_interval(CLOCK_EVERY, Self::look_at_the_clock);
        }
    }

    /// Looks at the clock on the wall.
    fn look_at_the_clock(&mut self, ctx: &mut Context<Self>) {
        let on = self.is_warm_hour();
        let ids: Vec<_> = self.units.keys().copied().collect();
        for id in ids {
            self.drive(id, Input::KeepWarm(on), ctx);
        }
    }

    fn is_warm_hour(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.keep_warm.is_on(i64::try_from(now).unwrap_or(i64::MAX))
    }

    /// The one door to a machine's life. **Invariant:** all effects are drained before the next input.
    fn drive(&mut self, id: UpstreamId, input: Input, ctx: &mut Context<Self>) {
        let Some(unit) = self.units.get_mut(&id).filter(|_| !self.resigned) else { return };
        unit.life.handle(input, Instant::now().into_std());
        self.settle(id, ctx);
    }

    fn settle(&mut self, id: UpstreamId, ctx: &mut Context<Self>) {
        while let Some(effect) = self.units.get_mut(&id).and_then(|unit| unit.life.poll_effect()) {
            self.perform(id, effect, ctx);
        }
        self.tell_state(id);
        self.enter(id);
        self.arm(id, ctx);
    }

    fn perform(&mut self, id: UpstreamId, effect: Effect, ctx: &mut Context<Self>) {
        self.note(id, effect);
        let Some(unit) = self.units.get(&id) else { return };
        let name = unit.upstream.endpoint.name.as_str();
        match effect {
            Effect::Start => self.ask(id, Errand::Start, ctx),
            Effect::Stop => self.ask(id, Errand::Stop, ctx),
            Effect::Look => self.ask(id, Errand::Look, ctx),
            Effect::Restart => self.ask(id, Errand::Restart, ctx),
            Effect::Probe => {
                let asking = self.ports.readiness.answers(&unit.upstream.endpoint);
                ctx.spawn(asking.into_actor(self).map(move |answers, actor, ctx| {
                    actor.drive(id, Input::Probed(answers), ctx);
                }));
            }
            Effect::Retire => self.ports.pool.retire(Retire::ToSleep(id)),
            Effect::Vacate { stuck } => self.ports.pool.retire(Retire::ToRestart { id, stuck }),
            Effect::Rehearse => self.ports.pool.warm_up(WarmUp(id)),
            Effect::Wakes(eta) => self.tell_pool(id, PowerNews::Waking(eta.into())),
            Effect::Delayed => self.tell_pool(id, PowerNews::Delayed),
            Effect::Serves => self.tell_pool(id, PowerNews::Awake),
            Effect::ServesAnew => self.tell_pool(id, PowerNews::Anew),
            Effect::Off => self.tell_pool(id, PowerNews::Off),
            Effect::Away => self.tell_pool(id, PowerNews::Away),
            Effect::Fails(why, pause) => {
                tracing::warn!(upstream = name, why = why.code(), "machine could not be woken");
                self.ports.observer.wake_failed(name, why.code());
                self.tell_pool(id, PowerNews::Failed(pause));
            }
            Effect::Woke(took) => {
                tracing::info!(upstream = name, took_ms = ms(took), "machine woke");
                self.ports.observer.woke(name, took);
            }
            Effect::Restarts(begins) => self.restart_begins(id, begins),
            Effect::Restarted(took) => {
                tracing::warn!(upstream = name, took_ms = ms(took), "machine was restarted and takes calls");
                self.ports.observer.restarted(name, "ready");
            }
            Effect::RestartFails(why, pause) => {
                self.restart_failed(name, why);
                self.tell_pool(id, PowerNews::Failed(pause));
            }
        }
    }

    fn tell_pool(&self, id: UpstreamId, news: PowerNews) {
        self.ports.pool.power(PowerChanged(id, news));
    }

    /// Sends the provider on an errand; what came of it is an input.
    fn ask(&self, id: UpstreamId, errand: Errand, ctx: &mut Context<Self>) {
        let Some(unit) = self.units.get(&id) else { return };
        let provider = Rc::clone(&unit.provider);
        let asking = async move { (provider.name(), errand.run(provider.as_ref()).await) };
        ctx.spawn(asking.into_actor(self).map(move |(provider, outcome), actor, ctx| {
            let Outcome { input, address, failed } = outcome;
            let result = failed.as_ref().map_or("ok", ProviderError::code);
            actor.ports.observer.asked(provider, errand.code(), result);
            if let Some(error) = failed
                && let Some(unit) = actor.units.get(&id)
            {
                let upstream = unit.upstream.endpoint.name.as_str();
                tracing::warn!(upstream, provider, errand = errand.code(), %error, "provider did not do as asked");
            }
            // What follows from the answer is asked at the new address.
            let moved = address.as_ref().is_some_and(|address| actor.found_at(id, address));
            let input = if address.is_none() { actor.without_address(id, input) } else { input };
            actor.drive(id, input, ctx);
            if moved {
                actor.drive(id, Input::Moved, ctx);
            }
        }));
    }

    fn tell_state(&mut self, id: UpstreamId) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        let state = unit.life.state().code();
        if unit.told.replace(state) != Some(state) {
            let upstream = unit.upstream.endpoint.name.as_str();
            tracing::info!(upstream, state, "machine");
            self.ports.observer.state(upstream, state);
        }
    }

    /// One timer a machine, and none while the right one runs.
    fn arm(&mut self, id: UpstreamId, ctx: &mut Context<Self>) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        let at = unit.life.deadline().map(Instant::from_std);
        if unit.alarm.as_ref().map(|(at, _)| *at) == at {
            return;
        }
        if let Some((_, alarm)) = unit.alarm.take() {
            ctx.cancel_future(alarm);
        }
        let Some(at) = at else { return };
        let alarm = tokio::time::sleep_until(at).into_actor(self).map(move |(), actor, ctx| {
            if let Some(unit) = actor.units.get_mut(&id) {
                unit.alarm = None;
            }
            actor.drive(id, Input::Tick, ctx);
        });
        let alarm = ctx.spawn(alarm);
        if let Some(unit) = self.units.get_mut(&id) {
            unit.alarm = Some((at, alarm));
        }
    }
}

impl Actor for FleetActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(books::ENTER_EVERY, Self::keep_books);
        self.watch_the_clock(ctx);
    }
}

impl From<WakeEta> for Eta {
    fn from(eta: WakeEta) -> Self {
        Self { median: eta.median, p90: eta.p90 }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
