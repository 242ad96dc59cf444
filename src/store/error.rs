//! Why a store cannot be used. No sentence repeats what is stored.

use rusqlite::ErrorCode;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file, and none can be made.
    #[error(
        "the store's file cannot be opened: {0}; set state.dir (TANDEM__STATE__DIR), or state.ledger for the record of \
         leases (TANDEM__STATE__LEDGER), to one that can"
    )]
    File(#[from] std::io::Error),
    /// SQLite said no.
    #[error("the store cannot be used: {0}")]
    Sqlite(rusqlite::Error),
    /// The file is no store, or a damaged one.
    #[error(
        "the store's file is damaged, or was never one: {0}; with every process that uses it stopped, remove it, and a \
         new one is made"
    )]
    Damaged(rusqlite::Error),
    /// Somebody else uses it for longer than a transaction takes.
    #[error("the store is locked by another process: {0}; end what has its file open, and start again")]
    Locked(rusqlite::Error),
    /// It can be read and not written, or its disk is full.
    #[error("the store cannot be written: {0}; make room, or make its file and directory writable")]
    Unwritable(rusqlite::Error),
    /// A later version of Tandem has written it.
    #[error(
        "the store was written by a later version of Tandem (schema {found}, this one knows {known}); run that one"
    )]
    TooNew {
        /// The store's schema.
        found: usize,
        /// Ours.
        known: usize,
    },
    /// The thread that worked on it is gone.
    #[error("the store's work was given up")]
    GivenUp,
    /// As many records wait for the store as may.
    #[error(
        "the spool is full: {records} records or {bytes} bytes wait for the store at most, a fifth of them ends of calls; \
         why the store takes none is in the log, and `tandem check` looks at it"
    )]
    SpoolFull {
        /// Records that may wait.
        records: u32,
        /// What they may take together.
        bytes: u32,
    },
    /// More is to be written than can be.
    #[error("the store has more to write than it can hold; try again later")]
    Full,
    /// What is in it is not what was written.
    #[error("the store holds something that cannot be read: {0}")]
    Unreadable(&'static str),
    /// The traces of what was erased could not be removed from its log yet.
    #[error(
        "what was erased is gone from the store, but another process reads its file, so that its log still has traces; it \
         is tried again by erasing again, and by a Tandem that was asked for it every hour"
    )]
    Traces,
    /// The text is no address of a MongoDB.
    #[error(
        "store.mongodb_uri (MONGODB_URI) is not understood; it looks like mongodb://USER:PASSWORD@HOST:27017/DATABASE or \
         mongodb+srv://USER:PASSWORD@HOST/DATABASE"
    )]
    Address,
    /// MongoDB does not answer.
    #[error(
        "MongoDB cannot be reached: {0}; see whether it runs, and whether store.mongodb_uri (MONGODB_URI) is right"
    )]
    Unreachable(String),
    /// MongoDB does not let us in.
    #[error("MongoDB refuses the user or the password of store.mongodb_uri (MONGODB_URI)")]
    Credentials,
    /// MongoDB lets us in, and not do this.
    #[error(
        "the user of store.mongodb_uri (MONGODB_URI) may not do this in MongoDB; grant it readWrite on the database"
    )]
    Forbidden,
    /// MongoDB did not answer in time.
    #[error("MongoDB did not answer within {0} ms")]
    Timeout(u128),
    /// MongoDB is older than its driver.
    #[error(
        "MongoDB is too old (wire version {wire_version}, which is {}): 4.4 or later is needed",
        release(wire_version)
    )]
    TooOld {
        /// The latest version of its protocol.
        wire_version: String,
    },
    /// A text is encrypted and cannot be read, or cannot be encrypted.
    #[error(transparent)]
    Sealed(#[from] super::seal::SealError),
    /// MongoDB said no.
    #[error("MongoDB refuses: {0}")]
    Mongo(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(error),
            Some(ErrorCode::ReadOnly | ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
                Self::Unwritable(error)
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// What an error in writing says of trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing can be written just now, or with these settings: whatever it is, it waits.
    Outage,
    /// It took too long. Whether this or everything does is seen by what else is taken.
    Late,
    /// The store said no. Whether to this or to everything is seen by what else it takes.
    Refusal,
    /// This can never be written.
    Record,
    /// It cannot be read without its key.
    Key,
}

impl StoreError {
    /// Whose fault it is that something was not written.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreadable(_) => Fault::Record,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => Fault::Record,
                _ => Fault::Refusal,
            },
            Self::Mongo(_) => Fault::Refusal,
            Self::Timeout(_) => Fault::Late,
            Self::Sealed(_) => Fault::Key,
            _ => Fault::Outage,
        }
    }
}

/// The releases of MongoDB that speak a version of its protocol.
fn release(wire_version: &str) -> &'static str {
    match wire_version {
        "8" => "4.2",
        "7" => "4.0",
        "6" => "3.6",
        _ => "3.4 or earlier",
    }
}
