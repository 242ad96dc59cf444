//! What is kept: what is known of users, a record of each call, and the record of leases.
//!
//! A [`Store`] is one of two: [`local`] keeps everything in one SQLite file, [`mongo`] reads the users and journals of
//! an app where they are and keeps its records beside them. [`source`] gives what is known to calls.

pub mod archive;
pub mod bounds;
pub mod details;
pub mod embedded;
pub mod error;
pub mod ledger;
pub mod local;
pub mod mongo;
pub mod record;
pub mod source;
pub mod spool;
mod writer;

use std::{pin::Pin, time::SystemTime};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub use self::error::StoreError;
use self::record::{Page, Record, Written};
use crate::context::{private::Private, user::Context};

/// An answer of a store on its way.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Where users and records are kept. What it accepts survives a power failure.
pub trait Store: Send + Sync {
    /// What is known of a user, within [`bounds`]; nothing of one that is not known or was erased.
    fn context(&self, user: Private<String>) -> StoreFuture<Option<Context>>;
    /// Writes down that a call began. Once is enough: a second time changes nothing.
    fn open(&self, record: Record) -> StoreFuture<Written>;
    /// Writes down how a call ended, whether or not its beginning was. Once is enough: the first one counts, but that an
    /// end that somebody saw takes the place of one that was only found out ([`Ended::lost`](record::Ended::lost)).
    fn complete(&self, record: Record) -> StoreFuture<Written>;
    /// A user's calls, the newest first, without transcripts.
    fn sessions(&self, user: Private<String>, page: Page) -> StoreFuture<Vec<Record>>;
    /// One call with its transcript.
    fn session(&self, session: Uuid) -> StoreFuture<Option<Record>>;
    /// Removes everything of ours about a user, for good: later writes about it are refused. Once more does no harm.
    /// Gives the number of calls that were removed.
    fn erase(&self, user: Private<String>) -> StoreFuture<u64>;
    /// Removes one call with its transcript, for good: what comes of it later is refused. Says whether it was there.
    fn erase_session(&self, session: Uuid) -> StoreFuture<bool>;
    /// Closes the calls that nobody carries any more as [`Ended::lost`](record::Ended::lost): those of this home that
    /// another process than this one began, and whosever ones cannot last until now. Gives their number.
    fn close_lost(&self, home: String, process: Uuid) -> StoreFuture<u64>;
    /// Removes the records whose time is over, if they have one; gives their number. Readers never see them, removed or
    /// not.
    fn expire(&self) -> StoreFuture<u64>;
    /// What is in it, for people. Nothing is written.
    fn look(&self) -> StoreFuture<Findings>;
}

/// What a look at a store found: one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is there.
    pub facts: Vec<String>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// How an erased user is remembered: by a digest, not by its name.
fn digest(user: &str) -> [u8; 32] {
    Sha256::digest(user.as_bytes()).into()
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
