//! Rounds through the record of leases: this process says that it lives, and learns what others hold or have left.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::timeout;

use super::{LEDGER_TIMEOUT, PoolActor};
use crate::pool::{
    ledger::{Foreign, LeaseLedger, LedgerError, Opened, SlotKey},
    roster::{Grant, Input},
};

/// Rounds in the time after which a process counts as dead.
const ROUNDS_PER_EXPIRY: u32 = 5;

/// What one round found.
#[derive(Debug)]
struct Findings {
    /// Whether the last round was recent enough.
    in_time: bool,
    /// Slots that other living processes hold.
    held: BTreeSet<SlotKey>,
    /// Slots that dead ones left and that are ours to settle from now on.
    adopted: Vec<SlotKey>,
}

impl PoolActor {
    /// Begins the rounds, if there is a record.
    pub(super) fn begin_census(&self, ctx: &mut Context<Self>) {
        if let Some(ledger) = &self.ports.ledger {
            let every = ledger.expiry() / ROUNDS_PER_EXPIRY;
            self.census(every, ctx);
        }
    }

    /// The slot of `grant` is free: its row is not needed any more.
    pub(super) fn clear(&self, grant: Grant, ctx: &mut Context<Self>) {
        if let Some(endpoint) = self.roster.endpoint(grant) {
            self.clear_row(SlotKey::new(endpoint, grant.slot), grant.generation, ctx);
        }
    }

    /// A row that stays is overwritten by our next lease there, and kept from others until then: so the next round tries
    /// again. One that our next lease has is of a later generation, which is not cleared.
    fn clear_row(&self, slot: SlotKey, generation: u64, ctx: &mut Context<Self>) {
        let Some(ledger) = &self.ports.ledger else { return };
        let clearing = timeout(LEDGER_TIMEOUT, ledger.clear(slot.clone(), generation));
        ctx.spawn(clearing.into_actor(self).map(move |cleared, actor, _| {
            if let Err(error) = cleared.unwrap_or_else(|_| Err(LedgerError("no answer in time".into()))) {
                tracing::warn!(%error, "a row of the record of leases stays for now");
                actor.uncleared.insert(slot, generation);
            }
        }));
    }

    /// One round, and the next one after it.
    fn census(&self, every: Duration, ctx: &mut Context<Self>) {
        let Some(ledger) = self.ports.ledger.clone() else { return };
        let round = timeout(LEDGER_TIMEOUT, round(ledger));
        ctx.spawn(round.into_actor(self).map(move |found, actor, ctx| {
            for (slot, generation) in std::mem::take(&mut actor.uncleared) {
                actor.clear_row(slot, generation, ctx);
            }
            match found.unwrap_or_else(|_| Err(LedgerError("no answer in time".into()))) {
                Ok(findings) => actor.take_in(&findings, ctx),
                Err(error) => tracing::error!(%error, "nobody can know what this process holds"),
            }
            ctx.run_later(every, move |actor, ctx| actor.census(every, ctx));
        }));
    }

    fn take_in(&mut self, findings: &Findings, ctx: &mut Context<Self>) {
        if !findings.in_time {
            tracing::error!("this process was silent for so long that others may have taken it for dead");
        }
        for (id, slot, key) in self.roster.slot_keys() {
            if findings.adopted.contains(&key) {
                // One that is being granted is refused by the ledger; then this comes again.
                self.drive(Input::Orphaned(id, slot), ctx);
            } else {
                self.drive(Input::HeldElsewhere(id, slot, findings.held.contains(&key)), ctx);
            }
        }
    }
}

async fn round(ledger: Arc<dyn LeaseLedger>) -> Result<Findings, LedgerError> {
    let in_time = ledger.beat().await?;
    let (mut held, mut adopted) = (BTreeSet::new(), Vec::new());
    for Foreign { slot, alive } in ledger.foreign().await? {
        // Of two that find it, one becomes its heir; for the other it is held by the first.
        if !alive && ledger.adopt(slot.clone(), 0).await? == Opened::Ours {
            adopted.push(slot);
        } else {
            held.insert(slot);
        }
    }
    Ok(Findings { in_time, held, adopted })
}
