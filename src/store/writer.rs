//! One thread that writes to a SQLite file, one piece of work after the other.
//!
//! What waits is done in one transaction: all of it is on the disk with one write, and not each with one of its own.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::StoreError;

/// Pieces of work that may wait; one more is refused.
const WAITING: usize = 1024;
/// Pieces of work that share a transaction.
const TOGETHER: usize = 64;

/// Tells whoever asked whether the transaction was kept.
type Tell = Box<dyn FnOnce(Result<(), StoreError>)>;

/// What is done in a transaction, if there is one. What fails has said so itself, and is undone alone.
type Shared = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Option<Tell> + Send>;

enum Work {
    /// In a transaction.
    Shared(Shared),
    /// Without one.
    Alone(Box<dyn FnOnce(&mut Connection) + Send>),
}

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
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(move |answer: oneshot::Sender<_>| {
            Work::Shared(Box::new(move |connection| match connection.and_then(work) {
                // Whoever asked may have given up.
                Ok(done) => Some(Box::new(move |kept: Result<(), _>| drop(answer.send(kept.map(|()| done))))),
                Err(error) => {
                    let _ = answer.send(Err(error));
                    None
                }
            }))
        })
    }

    /// The same without a transaction around it.
    pub(super) fn bare<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(move |answer: oneshot::Sender<_>| {
            Work::Alone(Box::new(move |connection| drop(answer.send(work(connection)))))
        })
    }

    fn ask<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Work,
    {
        let (answer, answered) = oneshot::channel();
        let queued = self.queue.try_send(work(answer)).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Full,
            TrySendError::Disconnected(_) => StoreError::GivenUp,
        });
        async move {
            queued?;
            answered.await.map_err(|_| StoreError::GivenUp)?
        }
    }
}

fn write(mut connection: Connection, waiting: &Receiver<Work>) {
    let mut next = None;
    while let Some(work) = next.take().or_else(|| waiting.recv().ok()) {
        match work {
            Work::Alone(work) => work(&mut connection),
            Work::Shared(first) => next = share(&mut connection, first, waiting),
        }
    }
}

/// Does what waits in one transaction; gives the first piece of work that has to be done outside of it.
fn share(connection: &mut Connection, first: Shared, waiting: &Receiver<Work>) -> Option<Work> {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            first(Err(error.into()));
            return None;
        }
    };
    let (mut done, mut next) = (Vec::new(), Some(Work::Shared(first)));
    let (mut whole, mut count) = (Ok(()), 0);
    while let Some(Work::Shared(work)) = next {
        whole = one(&transaction, work, &mut done);
        count += 1;
        let more = whole.is_ok() && count < TOGETHER;
        next = more.then(|| waiting.try_recv().ok()).flatten();
    }
    let kept = whole.and_then(|()| transaction.commit());
    for tell in done {
        tell(kept.as_ref().copied().map_err(|error| again(error).into()));
    }
    next
}

/// Does one piece of work, and undoes it alone if it fails. An error is one of the whole transaction.
fn one(transaction: &Connection, work: Shared, done: &mut Vec<Tell>) -> rusqlite::Result<()> {
    transaction.execute_batch("SAVEPOINT one")?;
    let told = work(Ok(transaction));
    let failed = told.is_none();
    done.extend(told);
    // Some errors, that of a full disk for instance, end the transaction by themselves: then this fails.
    transaction.execute_batch(if failed { "ROLLBACK TO one; RELEASE one" } else { "RELEASE one" })
}

/// The same error for somebody else.
fn again(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, sentence) => rusqlite::Error::SqliteFailure(*code, sentence.clone()),
        _ => rusqlite::Error::InvalidQuery,
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

    /// Starts all of these while the thread waits, so that they share a transaction.
    async fn together<W>(writer: &Writer, work: Vec<W>) -> Vec<Result<(), StoreError>>
    where
        W: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let blocked = writer.bare(move |_| {
            wait.recv().unwrap();
            Ok(())
        });
        let answers: Vec<_> = work.into_iter().map(|work| writer.run(work)).collect();
        go.send(()).unwrap();
        blocked.await.unwrap();
        futures_util::future::join_all(answers).await
    }

    async fn kept(writer: &Writer) -> Vec<i64> {
        let reading = writer.run(|connection| {
            let mut select = connection.prepare("SELECT b FROM a ORDER BY b")?;
            let rows = select.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        });
        reading.await.unwrap()
    }

    #[tokio::test]
    async fn what_shares_a_transaction_fails_alone_and_what_needs_none_keeps_its_place() {
        let writer = Writer::start(Connection::open_in_memory().unwrap()).unwrap();
        writer.bare(|connection| Ok(connection.execute_batch("CREATE TABLE a (b UNIQUE)")?)).await.unwrap();
        let insert = |number: i64| {
            move |connection: &Connection| {
                connection.execute("INSERT INTO a VALUES (?1)", [number])?;
                // What came before the failure is undone with it.
                if number % 2 == 1 { Err(StoreError::Traces) } else { Ok(()) }
            }
        };
        let answers = together(&writer, (0..200).map(insert).collect()).await;
        assert!(answers.iter().enumerate().all(|(number, answer)| answer.is_ok() == (number % 2 == 0)));
        assert_eq!(kept(&writer).await, (0..200).step_by(2).collect::<Vec<_>>());
        let (before, alone) = (writer.run(insert(1_000)), writer.bare(|connection| Ok(connection.is_autocommit())));
        let after = writer.run(insert(1_002));
        assert!(before.await.is_ok() && alone.await.unwrap() && after.await.is_ok());
    }

    #[tokio::test]
    async fn on_a_full_disk_who_is_told_that_it_is_kept_has_it_kept() {
        let writer = Writer::start(Connection::open_in_memory().unwrap()).unwrap();
        let made = writer.bare(|connection| {
            connection.pragma_update(None, "max_page_count", 8)?;
            Ok(connection.execute_batch("CREATE TABLE a (b, c)")?)
        });
        made.await.unwrap();
        let insert = |number: i64| {
            move |connection: &Connection| {
                let bytes = if number % 3 == 1 { 60_000 } else { 10 };
                connection.execute("INSERT INTO a VALUES (?1, zeroblob(?2))", [number, bytes])?;
                Ok(())
            }
        };
        let answers = together(&writer, (0..9).map(insert).collect()).await;
        let told: Vec<i64> = (0..9).zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n).collect();
        assert_eq!((kept(&writer).await, answers.len()), (told, 9));
        assert!(matches!(answers[1], Err(StoreError::Unwritable(_))), "{:?}", answers[1]);
    }
}
