//! What machines' time goes into and what was promised of their wakes, told to whoever counts.

use std::time::Duration;

use actix::Context;
use tokio::time::Instant;

use super::{FleetActor, Unit};
use crate::{
    fleet::{account::Account, lifecycle::Effect},
    pool::{endpoint::Upstream, roster::UpstreamId},
};

/// Between two entries while nothing happens.
pub(super) const ENTER_EVERY: Duration = Duration::from_secs(5);

/// One machine's books.
pub(super) struct Books {
    pub(super) account: Account,
    /// Whole seconds leased, idle and asleep that were told.
    told: [u64; 3],
    /// In nine of ten times the wake that is under way is shorter, it was said when it began.
    promised: Option<(Instant, Duration)>,
}

impl Books {
    pub(super) fn of(upstream: &Upstream, now: Instant) -> Self {
        Self { account: Account::new(upstream.labels.price, now.into_std()), told: [0; 3], promised: None }
    }
}

impl FleetActor {
    /// Time passes while nothing happens, too.
    pub(super) fn keep_books(&mut self, _: &mut Context<Self>) {
        let ids: Vec<_> = self.units.keys().copied().collect();
        for id in ids {
            self.enter(id);
        }
    }

    /// Enters what a machine does from now on, and tells what it did until now.
    pub(super) fn enter(&mut self, id: UpstreamId) {
        let now = Instant::now().into_std();
        let Some(Unit { upstream, life, books, .. }) = self.units.get_mut(&id) else { return };
        books.account.runs(life.runs(), now);
        let (name, observer) = (upstream.endpoint.name.as_str(), &self.ports.observer);
        let statement = books.account.statement(now);
        let times = [("leased", statement.leased), ("idle", statement.idle), ("asleep", statement.asleep)];
        for ((what, time), told) in times.into_iter().zip(&mut books.told) {
            let seconds = time.as_secs();
            observer.spent(name, what, seconds.saturating_sub(std::mem::replace(told, seconds)));
        }
        if let (Some(price), Some(cost), Some(saving)) = (statement.price, statement.cost(), statement.saving()) {
            observer.bill(name, price.into(), cost, saving);
        }
    }

    /// Whether a call has a slot on this machine changed.
    pub(super) fn leased(&mut self, id: UpstreamId, leased: bool) {
        if let Some(unit) = self.units.get_mut(&id) {
            unit.books.account.leased(leased, Instant::now().into_std());
            self.enter(id);
        }
    }

    /// Remembers what is said of a wake as it begins, and whether that was kept as it ends.
    pub(super) fn note(&mut self, id: UpstreamId, effect: Effect) {
        let Some(Books { promised, .. }) = self.units.get_mut(&id).map(|unit| &mut unit.books) else { return };
        let kept = match effect {
            Effect::Wakes(eta) => {
                *promised = Some((Instant::now(), eta.p90));
                None
            }
            Effect::Woke(took) => promised.take().map(|(_, p90)| took <= p90),
            // Somebody else began this wake, earlier than can be known.
            Effect::Serves | Effect::Restarted(_) => promised.take().and(None),
            // What was broken off before that might have been there in time.
            Effect::Fails(..) | Effect::RestartFails(..) | Effect::Off | Effect::Away => {
                promised.take().filter(|(since, p90)| since.elapsed() > *p90).map(|_| false)
            }
            _ => None,
        };
        if let Some(kept) = kept {
            self.ports.observer.wake_promised(kept);
        }
    }
}
