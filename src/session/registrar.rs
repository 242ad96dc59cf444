//! Where the records of calls go: a port, and what a call has of it.

use std::{pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::{chronicle::Chronicle, glance::Glance, machine::Limits};
use crate::{
    context::private::Private,
    protocol::ending::Ending,
    store::record::{Origin, Record},
};

/// What a call may last longer than its limits say: for its last words, and for clocks that differ.
const SLACK: Duration = Duration::from_secs(10 * 60);

/// A beginning on its way.
pub type Opening = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the records of calls. It knows which process it is of, and writes that into them.
pub trait Registrar: Send + Sync {
    /// Takes the record of a call that begins. The answer comes when that will be known after a crash, or cannot be in time.
    fn open(&self, record: Record) -> Opening;
    /// Takes the record of a call that ended. Nothing is waited for.
    fn complete(&self, record: Record);
}

/// What a new call says of itself.
pub struct Beginning {
    /// Its name.
    pub session: Uuid,
    /// Who calls, as tokens name it.
    pub user: Private<String>,
    /// Which persona answers.
    pub persona: String,
    /// The wire.
    pub protocol: &'static str,
}

/// One call's place among the records. Dropped without an end, by a panic for instance, it says that there was a fault.
pub struct Entry {
    /// What is gathered of the call.
    pub chronicle: Chronicle,
    /// What operators see of the call.
    pub glance: Arc<Glance>,
    registrar: Arc<dyn Registrar>,
    record: Option<Record>,
    started: bool,
}

impl Entry {
    /// An entry of a call that begins now, and can last as long as these limits say.
    pub fn new(registrar: &Arc<dyn Registrar>, beginning: Beginning, limits: &Limits) -> Self {
        let Beginning { session, user, persona, protocol } = beginning;
        let began_ms = Timestamp::now().as_millisecond();
        let longest = limits.max_duration.saturating_add(limits.closing).saturating_add(SLACK);
        let until_ms = began_ms.saturating_add(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX));
        let origin = Origin { until_ms, ..Origin::default() };
        Self {
            glance: Arc::new(Glance::new(persona.clone(), protocol, began_ms)),
            chronicle: Chronicle::new(protocol, Instant::now().into_std()),
            registrar: Arc::clone(registrar),
            record: Some(Record { session, user, persona, began_ms, origin, ended: None }),
            started: false,
        }
    }

    /// Has the beginning written down. When the answer comes the call may begin, whether or not that succeeded.
    pub fn open(&self) -> Opening {
        match &self.record {
            Some(record) => self.registrar.open(record.clone()),
            None => Box::pin(std::future::ready(())),
        }
    }

    /// The call has an actor: from now on a drop is a fault of ours, and before it is a caller who did not wait.
    pub fn start(&mut self) {
        self.started = true;
    }

    /// The call ended. Only the first end counts.
    pub fn end(&mut self, ending: Ending) {
        if let Some(record) = self.record.take() {
            let ended = self.chronicle.end(ending, record.began_ms, Instant::now().into_std());
            self.registrar.complete(Record { ended: Some(ended), ..record });
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(if self.started { Ending::Internal } else { Ending::ClientLost });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Book(Mutex<Vec<Record>>);

    impl Registrar for Book {
        fn open(&self, record: Record) -> Opening {
            self.complete(record);
            Box::pin(std::future::ready(()))
        }

        fn complete(&self, record: Record) {
            self.0.lock().unwrap().push(record);
        }
    }

    /// What is written down of a call that does this.
    async fn endings(call: impl FnOnce(&mut Entry)) -> Vec<Option<Ending>> {
        let book = Arc::new(Book::default());
        let registrar: Arc<dyn Registrar> = book.clone();
        let beginning =
            Beginning { session: Uuid::new_v4(), user: "ann".into(), persona: "listener".into(), protocol: "native" };
        let limits = Limits::default();
        let mut entry = Entry::new(&registrar, beginning, &limits);
        entry.open().await;
        call(&mut entry);
        drop(entry);
        let records = book.0.lock().unwrap();
        let until =
            records[0].began_ms + i64::try_from((limits.max_duration + limits.closing + SLACK).as_millis()).unwrap();
        assert!(records.iter().all(|record| record.session == records[0].session && record.origin.until_ms == until));
        records.iter().map(|record| record.ended.as_ref().map(|ended| ended.ending)).collect()
    }

    #[tokio::test]
    async fn a_call_has_one_end_whatever_becomes_of_it() {
        assert_eq!(endings(|_| {}).await, [None, Some(Ending::ClientLost)], "nobody waited for the upgrade");
        assert_eq!(endings(Entry::start).await, [None, Some(Ending::Internal)], "its actor panicked");
        let twice = endings(|entry| {
            entry.start();
            entry.end(Ending::Drained);
            entry.end(Ending::ClientLeft);
        });
        assert_eq!(twice.await, [None, Some(Ending::Drained)]);
    }
}
