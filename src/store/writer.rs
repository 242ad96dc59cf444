//! One thread that writes to a SQLite file, one piece of work after the other.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

/// Pieces of work that may wait; one more is refused.
const WAITING: usize = 1024;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the thread. Clones share it; it ends when the last one is gone and all work is done.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: SyncSender<Work>,
}

impl Writer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (queue, work) = sync_channel(WAITING);
        std::thread::Builder::new().name("store".to_owned()).spawn(move || write(connection, &work))?;
        Ok(Self { queue })
    }

    /// Has one piece of work done, in a transaction that is kept if it succeeds. What was accepted is done even if
    /// nobody waits for it any more.
    pub(super) fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.bare(move |connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// The same without a transaction around it.
    pub(super) fn bare<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // Whoever asked may have given up.
            let _ = answer.send(work(connection));
        });
        let queued = self.queue.try_send(work);
        async move {
            queued.map_err(|refused| match refused {
                std::sync::mpsc::TrySendError::Full(_) => StoreError::Full,
                std::sync::mpsc::TrySendError::Disconnected(_) => StoreError::GivenUp,
            })?;
            answered.await.map_err(|_| StoreError::GivenUp)?
        }
    }
}

fn write(mut connection: Connection, work: &Receiver<Work>) {
    for work in work {
        work(&mut connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_one_too_much_is_refused_and_what_fails_leaves_nothing() {
        let writer = Writer::start(Connection::open_in_memory().unwrap()).unwrap();
        let (begun, began) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = writer.bare(move |connection| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            Ok(connection.execute_batch("CREATE TABLE a (b)")?)
        });
        began.recv().unwrap();
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                writer.run(|transaction| {
                    transaction.execute("INSERT INTO a VALUES (1)", [])?;
                    Err::<(), _>(StoreError::Traces)
                })
            })
            .collect();
        assert!(matches!(writer.bare(|_| Ok(())).await, Err(StoreError::Full)));
        go.send(()).unwrap();
        first.await.unwrap();
        for one in waiting {
            assert!(matches!(one.await, Err(StoreError::Traces)));
        }
        let count = writer.run(|t| Ok(t.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0))?));
        assert_eq!(count.await.unwrap(), 0);
    }
}
