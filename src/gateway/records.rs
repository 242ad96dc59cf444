//! The records of this gateway's calls: kept in the spool at once, and brought to the store beside the calls.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use super::{recaps::Recaps, storage::Storage};
use crate::{
    context::recap::scribe::Scribe,
    metrics::Metrics,
    session::{
        machine::millis,
        registrar::{Opening, Registrar},
    },
    store::{
        StoreError,
        archive::Archive,
        record::{Origin, Record, Written},
        spool::Brought,
    },
};

/// The longest that a call waits for its beginning to be written down.
const OPENING: Duration = Duration::from_millis(250);
/// After a store that is down was tried for the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Between two rounds of closing lost calls and removing what is too old.
pub(super) const ROUND: Duration = Duration::from_secs(60 * 60);
/// After such a round that failed for the first time, and at most.
const UPKEEP_PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5 * 60));
/// The longest that a shutdown waits for the store.
const FLUSH: Duration = Duration::from_secs(5);
/// Between two error lines about records that are not kept: each is counted.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Takes records from calls, and brings them to the store.
pub(super) struct Records {
    archive: Arc<Archive>,
    metrics: Arc<Metrics>,
    home: String,
    process: Uuid,
    /// Something was kept.
    news: Notify,
    /// Where what outlives a call is waited for.
    runtime: Handle,
    complained_at: Mutex<Option<Instant>>,
    /// What asks a model for better recaps.
    recaps: Option<Recaps>,
    tidy_every: Duration,
}

/// When the next round of closing and removing is due, and how long it is put off if it fails.
#[derive(Clone, Copy)]
struct Upkeep {
    due: Instant,
    pause: Duration,
}

/// Why records wait.
struct Trouble {
    error: String,
    /// Whether it is the store's, and not one record's.
    is_down: bool,
    /// Whether it takes others meanwhile.
    takes: bool,
}

impl Records {
    /// Takes the records of this storage, and tends them on the current runtime for as long as that runs.
    pub(super) fn keep(
        storage: &Storage,
        scribe: Option<&Scribe>,
        metrics: &Arc<Metrics>,
        tidy_every: Duration,
    ) -> Arc<Self> {
        let recaps = |scribe: &Scribe| Recaps::start(scribe.clone(), Arc::clone(&storage.archive), metrics);
        let this = Arc::new(Self {
            archive: Arc::clone(&storage.archive),
            metrics: Arc::clone(metrics),
            home: storage.home.clone(),
            process: storage.process,
            news: Notify::new(),
            runtime: Handle::current(),
            complained_at: Mutex::new(None),
            recaps: scribe.map(recaps),
            tidy_every,
        });
        actix_rt::spawn(Arc::clone(&this).tend());
        this
    }

    async fn tend(self: Arc<Self>) {
        let (mut pause, mut upkeep) = (PAUSES.0, Upkeep { due: Instant::now(), pause: UPKEEP_PAUSES.0 });
        loop {
            let outcome = self.bring().await;
            // By the clock alone: a record that is refused keeps nobody's records longer than they may be kept.
            if Instant::now() >= upkeep.due {
                upkeep = self.keep_up(upkeep).await;
            }
            let Err(Trouble { error, is_down, takes }) = outcome else {
                pause = PAUSES.0;
                tokio::select! {
                    () = self.news.notified() => {}
                    () = sleep_until(upkeep.due) => {}
                }
                continue;
            };
            if takes {
                pause = PAUSES.0;
            }
            // Processes that lost the same store come back at different times.
            let retry = pause.mul_f64(rand::random_range(0.5..=1.0));
            tracing::warn!(error, retry_ms = millis(retry), "records of calls wait");
            pause = (pause * 2).min(PAUSES.1);
            tokio::select! {
                () = sleep(retry) => {}
                // What one record suffers keeps nothing from the others.
                () = self.news.notified(), if !is_down => {}
            }
        }
    }

    /// Brings what waits, and says what was in the way of the rest.
    async fn bring(&self) -> Result<(), Trouble> {
        let outcome = match self.archive.bring().await {
            Ok(Brought { records, erased, set_aside, dropped, trouble, is_down }) => {
                for (result, count) in
                    [("brought", records), ("erased", erased), ("set_aside", set_aside), ("dropped", dropped)]
                {
                    self.metrics.records(result, count);
                }
                trouble.map_or(Ok(()), |error| Err(Trouble { error, is_down, takes: records > 0 }))
            }
            Err(error) => Err(Trouble { error: error.to_string(), is_down: true, takes: false }),
        };
        if let Ok(waiting) = self.archive.waiting().await {
            self.metrics.records_waiting(waiting);
        }
        outcome
    }

    /// Does one round of what is due by the clock. What fails of it keeps no record from being brought.
    async fn keep_up(&self, Upkeep { pause, .. }: Upkeep) -> Upkeep {
        match self.round().await {
            Ok(()) => Upkeep { due: Instant::now() + self.tidy_every, pause: UPKEEP_PAUSES.0 },
            Err(error) => {
                let retry_ms = millis(pause);
                tracing::warn!(%error, retry_ms, "lost calls are not all closed, or old records not all removed");
                Upkeep { due: Instant::now() + pause, pause: (pause * 2).min(UPKEEP_PAUSES.1) }
            }
        }
    }

    /// Closes calls that nobody carries any more, and removes what is too old.
    async fn round(&self) -> Result<(), StoreError> {
        let closed = self.close_lost().await;
        let removed = self.archive.expire().await?;
        if removed > 0 {
            tracing::info!(calls = removed, "records were removed, their time is over");
        }
        closed
    }

    async fn close_lost(&self) -> Result<(), StoreError> {
        loop {
            let lost = self.archive.store().close_lost(self.home.clone(), self.process).await?;
            if lost == 0 {
                return Ok(());
            }
            self.metrics.records("lost", lost);
            tracing::warn!(calls = lost, "calls were found whose process is gone");
        }
    }

    /// Brings what can be brought in 5 s; the rest stays in the file for the next process.
    pub(super) async fn flush(&self) {
        let bringing = async {
            // What calls left last is in the file once this has answered.
            while self.archive.waiting().await.is_ok_and(|waiting| waiting > 0) && self.bring().await.is_err() {
                sleep(PAUSES.0).await;
            }
        };
        let in_time = timeout(FLUSH, bringing).await.is_ok();
        match timeout(PAUSES.0, self.archive.waiting()).await {
            Ok(Ok(0)) if in_time => {}
            Ok(Ok(records)) => tracing::warn!(records, "records stay in the state directory for the next start"),
            _ => tracing::error!("whether records of calls are left is not known: their file does not answer"),
        }
    }

    fn own(&self, record: Record) -> Record {
        let origin = Origin { home: self.home.clone(), process: self.process, ..record.origin };
        Record { origin, ..record }
    }

    /// What became of a record that was to be kept.
    fn count(&self, kept: Result<Written, StoreError>) {
        match kept {
            Ok(Written::Erased) => self.metrics.records("erased", 1),
            Ok(Written::Kept) => {
                self.metrics.records("kept", 1);
                // Exact again after the next round of bringing, which may take a while.
                self.metrics.record_waits();
                self.news.notify_one();
            }
            Err(error) => {
                self.metrics.records("not_kept", 1);
                let mut last = self.complained_at.lock().unwrap_or_else(PoisonError::into_inner);
                if last.is_none_or(|at| at.elapsed() >= COMPLAINTS) {
                    *last = Some(Instant::now());
                    tracing::error!(%error, "a record of a call cannot be kept; the call goes on");
                }
            }
        }
    }
}

/// What calls have of it.
pub(super) struct Desk(pub(super) Arc<Records>);

impl Registrar for Desk {
    fn open(&self, record: Record) -> Opening {
        let records = Arc::clone(&self.0);
        let keeping = records.archive.open(records.own(record));
        let counting = self.0.runtime.spawn(async move { records.count(keeping.await) });
        let records = Arc::clone(&self.0);
        Box::pin(async move {
            if timeout(OPENING, counting).await.is_err() {
                records.metrics.records("late", 1);
            }
        })
    }

    fn complete(&self, record: Record) {
        let records = Arc::clone(&self.0);
        let (session, talked) = (record.session, record.ended.as_ref().is_some_and(|end| !end.transcript.is_empty()));
        let keeping = records.archive.complete(records.own(record));
        self.0.runtime.spawn(async move {
            let kept = keeping.await;
            let is_kept = matches!(kept, Ok(Written::Kept));
            records.count(kept);
            if let Some(recaps) = records.recaps.as_ref().filter(|_| is_kept && talked) {
                recaps.ask_about(session);
            }
        });
    }
}
