//! Rounds through the record of leases: this process says that it lives, and learns what others hold or have left.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::{Instant, timeout};

use super::{LEDGER_TIMEOUT, PoolActor};
use crate::pool::{
    ledger::{Foreign, LeaseLedger, LedgerError, Opened, SlotKey},
    pulse::Pulse,
    roster::{Grant, Input},
};

/// Rounds in the time after which a process counts as dead.
const ROUNDS_PER_EXPIRY: u32 = 5;

/// What one round found.
#[derive(Debug)]
struct Findings {
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
        let round = timeout(LEDGER_TIMEOUT, round(ledger, Arc::clone(&self.pulse)));
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

    /// Writes down once more what is in use: whoever took it over may have found its server idle, and cleared it.
    fn open_again(&self, ctx: &mut Context<Self>) {
        let Some(ledger) = &self.ports.ledger else { return };
        for (grant, key) in self.roster.in_use() {
            let opening = timeout(LEDGER_TIMEOUT, ledger.open(key.clone(), grant.generation));
            ctx.spawn(opening.into_actor(self).map(move |opened, actor, ctx| {
                match opened.unwrap_or_else(|_| Err(LedgerError("no answer in time".into()))) {
                    // It may have been given back in the meantime.
                    Ok(Opened::Ours) if !actor.roster.in_use().iter().any(|(used, _)| *used == grant) => {
                        actor.clear_row(key, grant.generation, ctx);
                    }
                    Ok(Opened::Ours) => {}
                    Ok(Opened::Theirs) => {
                        tracing::warn!(
                            upstream = key.upstream,
                            slot = key.slot,
                            "another process took over a slot in use"
                        );
                    }
                    Err(_) => actor.pulse.owe(),
                }
            }));
        }
    }

    fn take_in(&mut self, findings: &Findings, ctx: &mut Context<Self>) {
        if self.pulse.take_owed() {
            tracing::error!("this process was silent for so long that others may have taken it for dead");
            self.open_again(ctx);
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

/// Says that this process lives.
pub(super) async fn beat(ledger: &dyn LeaseLedger, pulse: &Pulse) -> Result<(), LedgerError> {
    let sent = Instant::now().into_std();
    pulse.beat(sent, ledger.beat().await?);
    Ok(())
}

async fn round(ledger: Arc<dyn LeaseLedger>, pulse: Arc<Pulse>) -> Result<Findings, LedgerError> {
    beat(&*ledger, &pulse).await?;
    let (mut held, mut adopted) = (BTreeSet::new(), Vec::new());
    for Foreign { slot, alive } in ledger.foreign().await? {
        // Of two that find it, one becomes its heir; for the other it is held by the first.
        if !alive && ledger.adopt(slot.clone(), 0).await? == Opened::Ours {
            adopted.push(slot);
        } else {
            held.insert(slot);
        }
    }
    Ok(Findings { held, adopted })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering},
        },
    };

    use actix::{Actor, Addr};
    use tokio::time::advance;

    use super::*;
    use crate::pool::{
        actor::{Acquire, PoolObserver, Ports, Slots},
        endpoint::{Endpoint, Labels, Upstream},
        lease::Lease,
        ledger::LedgerFuture,
        roster::{Ask, RosterSettings, SlotState},
        wait::{News, Outcome, Wait},
    };

    const EXPIRY: Duration = Duration::from_secs(10);

    struct Nobody;

    impl PoolObserver for Nobody {}

    /// A record that can be silent, and in which others can take rows.
    #[derive(Default)]
    struct Record {
        silent: AtomicBool,
        /// The rows, and whether they are ours.
        rows: Mutex<BTreeMap<SlotKey, bool>>,
        /// While the next row is opened, this process is stopped, and another one takes it.
        stops: AtomicBool,
    }

    impl Record {
        /// The pool of one server that writes here, once it has said that it lives.
        async fn pool() -> (Arc<Self>, Addr<PoolActor>) {
            let this = Arc::<Self>::default();
            let upstream = Upstream { endpoint: Endpoint::plain("1", "h", 1), capacity: 1, labels: Labels::default() };
            let ledger: Option<Arc<dyn LeaseLedger>> = Some(Arc::clone(&this) as _);
            let ports = Ports { observer: Box::new(Nobody), rehearser: None, prober: None, ledger, fleet: None };
            (this, PoolActor::new(vec![upstream], RosterSettings::default(), ports).start())
        }

        fn answer<T: Send + 'static>(&self, answer: T) -> LedgerFuture<T> {
            let silent = self.silent.load(Ordering::SeqCst);
            let answer = if silent { Err(LedgerError("silence".into())) } else { Ok(answer) };
            Box::pin(std::future::ready(answer))
        }

        fn ours(&self) -> Vec<bool> {
            self.rows.lock().unwrap().values().copied().collect()
        }

        /// This process is stopped for so long that others take it for dead.
        async fn stopped(&self) {
            self.silent.store(true, Ordering::SeqCst);
            advance(EXPIRY * 3).await;
            self.silent.store(false, Ordering::SeqCst);
        }
    }

    impl LeaseLedger for Record {
        fn open(&self, slot: SlotKey, _: u64) -> LedgerFuture<Opened> {
            if self.stops.swap(false, Ordering::SeqCst) {
                self.rows.lock().unwrap().insert(slot, false);
                return Box::pin(async {
                    advance(EXPIRY * 3).await;
                    Ok(Opened::Ours)
                });
            }
            let ours = *self.rows.lock().unwrap().entry(slot).or_insert(true);
            self.answer(if ours { Opened::Ours } else { Opened::Theirs })
        }

        fn clear(&self, slot: SlotKey, _: u64) -> LedgerFuture<()> {
            self.rows.lock().unwrap().retain(|key, ours| *key != slot || !*ours);
            self.answer(())
        }

        fn adopt(&self, _: SlotKey, _: u64) -> LedgerFuture<Opened> {
            self.answer(Opened::Theirs)
        }

        fn foreign(&self) -> LedgerFuture<Vec<Foreign>> {
            let rows = self.rows.lock().unwrap();
            let theirs = rows.iter().filter(|(_, ours)| !**ours);
            self.answer(theirs.map(|(slot, _)| Foreign { slot: slot.clone(), alive: true }).collect())
        }

        fn beat(&self) -> LedgerFuture<bool> {
            self.answer(true)
        }

        fn retire(&self) -> LedgerFuture<()> {
            self.answer(())
        }

        fn expiry(&self) -> Duration {
            EXPIRY
        }
    }

    async fn ask(pool: &Addr<PoolActor>) -> Wait {
        pool.send(Acquire(Ask::new([1; 32]))).await.unwrap()
    }

    async fn lease(wait: &mut Wait) -> Lease {
        loop {
            match wait.news().await {
                News::Place(_) => {}
                News::Outcome(Some(Outcome::Granted(lease, _))) => return lease,
                News::Outcome(other) => panic!("{other:?}"),
            }
        }
    }

    async fn state(pool: &Addr<PoolActor>) -> SlotState {
        pool.send(Slots).await.unwrap()[0].state
    }

    /// Lets rounds pass.
    async fn rounds(pool: &Addr<PoolActor>) {
        for _ in 0..3 {
            advance(EXPIRY / ROUNDS_PER_EXPIRY).await;
            state(pool).await;
        }
    }

    #[actix::test]
    async fn a_lease_from_before_a_long_stop_opens_no_socket() {
        tokio::time::pause();
        let (record, pool) = Record::pool().await;
        let old = lease(&mut ask(&pool).await).await;
        rounds(&pool).await;
        assert!(old.stands(), "as long as the process says that it lives");
        record.stopped().await;
        assert!(!old.stands(), "before anything else was heard of the record");
        rounds(&pool).await;
        assert!(!old.stands(), "and afterwards: the slot may be somebody else's");
        drop(old);
        assert!(lease(&mut ask(&pool).await).await.stands());
    }

    #[actix::test]
    async fn a_row_that_was_opened_before_a_long_stop_is_opened_once_more_before_it_counts() {
        tokio::time::pause();
        let (record, pool) = Record::pool().await;
        rounds(&pool).await;
        record.stops.store(true, Ordering::SeqCst);
        let mut wait = ask(&pool).await;
        let news = wait.news().await;
        assert!(matches!(news, News::Place(_)), "{news:?}");
        assert_eq!(state(&pool).await, SlotState::Elsewhere);
    }

    #[actix::test]
    async fn what_is_in_use_is_written_down_again_after_a_long_stop() {
        tokio::time::pause();
        let (record, pool) = Record::pool().await;
        let mut call = lease(&mut ask(&pool).await).await;
        call.opening();
        record.stopped().await;
        // Another process took it over, found room on the server, and cleared it.
        record.rows.lock().unwrap().clear();
        rounds(&pool).await;
        assert_eq!(record.ours(), [true]);
        call.close();
        rounds(&pool).await;
        assert_eq!(record.ours(), [] as [bool; 0]);
    }

    #[actix::test]
    async fn a_slot_in_doubt_that_another_process_took_over_is_its_to_settle() {
        tokio::time::pause();
        let (record, pool) = Record::pool().await;
        let mut call = lease(&mut ask(&pool).await).await;
        call.opening();
        drop(call);
        assert!(matches!(state(&pool).await, SlotState::Quarantined(_)));
        record.stopped().await;
        record.rows.lock().unwrap().values_mut().for_each(|ours| *ours = false);
        rounds(&pool).await;
        assert_eq!(state(&pool).await, SlotState::Elsewhere);
        record.rows.lock().unwrap().clear();
        rounds(&pool).await;
        assert_eq!(state(&pool).await, SlotState::Free);
    }
}
