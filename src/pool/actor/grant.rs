//! A slot on its way from the roster to whoever asked: written down where others see it, then handed over.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::{Instant, timeout};

use super::{LEDGER_TIMEOUT, PoolActor, Ungranted, census, desk::PoolDesk};
use crate::pool::{
    lease::Lease,
    ledger::{LeaseLedger, LedgerError, Opened, SlotKey},
    pulse::Pulse,
    roster::{Grant, Input, NoSlot, WaitEnd, Waited, Waiter},
    wait::Outcome,
};

impl PoolActor {
    /// Writes the lease down where others can see it, then hands it over.
    pub(super) fn grant(&mut self, waiter: Waiter, grant: Grant, waited: Waited, ctx: &mut Context<Self>) {
        let Some(ledger) = self.ports.ledger.clone() else { return self.hand_over(&waiter, grant, waited, ctx) };
        let Some(endpoint) = self.roster.endpoint(grant) else { return };
        let slot = SlotKey::new(endpoint, grant.slot);
        let opening = timeout(LEDGER_TIMEOUT, open(ledger, Arc::clone(&self.pulse), slot, grant.generation));
        ctx.spawn(opening.into_actor(self).map(move |opened, actor, ctx| {
            match opened.unwrap_or_else(|_| Err(LedgerError("no answer in time".into()))) {
                Ok(Opened::Ours) => actor.hand_over(&waiter, grant, waited, ctx),
                Ok(Opened::Theirs) => {
                    actor.ports.observer.ungranted(Ungranted::HeldElsewhere);
                    let waits = actor.asked.contains_key(&waiter.id);
                    if !waits {
                        actor.ports.observer.waited(waiter.ask.class, WaitEnd::Left, waited);
                    }
                    actor.drive(Input::Contested(grant, waits.then_some(waiter)), ctx);
                }
                Err(error) => {
                    tracing::error!(%error, "a slot is not given out");
                    actor.ports.observer.ungranted(Ungranted::NoLedger);
                    let end = WaitEnd::Refused(NoSlot::NoLedger);
                    actor.ports.observer.waited(waiter.ask.class, end, waited);
                    actor.answer(waiter.id, Outcome::Refused(NoSlot::NoLedger, LEDGER_TIMEOUT));
                    // An answer that is late only may have opened it.
                    actor.clear(grant, ctx);
                    actor.drive(Input::Release(grant), ctx);
                }
            }
        }));
    }

    fn hand_over(&mut self, waiter: &Waiter, grant: Grant, waited: Waited, ctx: &mut Context<Self>) {
        let Some(lease) = self.lease(grant, ctx) else { return };
        let offer = self.roster.offer(grant.upstream);
        let end = if self.asked.contains_key(&waiter.id) { WaitEnd::Granted } else { WaitEnd::Left };
        self.ports.observer.waited(waiter.ask.class, end, waited);
        // Whoever left in the meantime is not there: the lease goes back by itself.
        self.answer(waiter.id, Outcome::Granted(lease, offer));
    }

    pub(super) fn lease(&self, grant: Grant, ctx: &mut Context<Self>) -> Option<Lease> {
        let endpoint = self.roster.endpoint(grant)?.clone();
        let pulse = self.ports.ledger.is_some().then(|| Arc::clone(&self.pulse));
        Some(Lease::new(grant, endpoint, Arc::new(PoolDesk::new(ctx.address(), pulse))))
    }
}

/// Opens a row, and says that it is ours only if nobody can have taken this process for dead meanwhile.
async fn open(
    ledger: Arc<dyn LeaseLedger>,
    pulse: Arc<Pulse>,
    slot: SlotKey,
    generation: u64,
) -> Result<Opened, LedgerError> {
    let beats = || pulse.beats(Instant::now().into_std());
    loop {
        if !beats() {
            census::beat(&*ledger, &pulse).await?;
        }
        let opened = ledger.open(slot.clone(), generation).await?;
        if opened == Opened::Theirs || beats() {
            return Ok(opened);
        }
    }
}
