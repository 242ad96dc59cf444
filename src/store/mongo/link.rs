//! The way to one MongoDB database: connected when it is first needed, and checked once.

use std::time::Duration;

use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc},
    error::{Error, ErrorKind, WriteFailure},
    options::{
        ClientOptions, CollectionOptions, ConnectionString, ReadConcern, ReadPreference, SelectionCriteria,
        WriteConcern,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::OnceCell, time::timeout};

use crate::store::StoreError;

/// How long a server may be looked for, and a connection may take; the address may say otherwise.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a reader waits.
pub(super) const READ: Duration = Duration::from_secs(2);
/// How long a writer waits for most servers to have it on disk.
pub(super) const WRITE: Duration = Duration::from_secs(5);
/// How long it may take to remove all records of a user, or all that are too old, and to find out whose there are.
pub(super) const REMOVE: Duration = Duration::from_secs(60);
/// Connections to one server; the address may say otherwise.
const POOL: u32 = 32;
/// What mongoose calls a database of which nothing is said.
const NAMELESS: &str = "test";
/// What the driver says of a server that is too old for it, before the number of its wire version.
const TOO_OLD: &str = "reports wire version ";
/// The most characters of a driver's sentence that are repeated.
const TOLD: usize = 240;

/// The user has not the right to do this.
const UNAUTHORIZED: i32 = 13;
/// No fault of what was asked: the server is not the primary, is ending or changing its role, most servers do not answer,
/// its disk is full, or whoever hosts it says no (Atlas does so to every write of a cluster whose quota is used up).
const PASSING: [i32; 16] = [6, 7, 50, 64, 89, 91, 100, 189, 262, 8_000, 10_107, 11_600, 11_602, 13_435, 13_436, 14_031];

/// Two documents were to have one key.
const DUPLICATE_KEY: i32 = 11000;

/// A database that is connected when it is first needed.
pub(super) struct Link {
    uri: SecretString,
    name: Option<String>,
    database: OnceCell<Database>,
}

/// Whether a text is the address of a MongoDB. Nothing is connected.
pub fn check_address(uri: &SecretString) -> Result<(), StoreError> {
    ConnectionString::parse(uri.expose_secret()).map(drop).map_err(|_| StoreError::Address)
}

impl Link {
    pub(super) fn new(uri: SecretString, name: Option<String>) -> Self {
        Self { uri, name, database: OnceCell::new() }
    }

    /// The database; whether a server answers is not known yet.
    pub(super) async fn database(&self) -> Result<&Database, StoreError> {
        self.database.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Database, StoreError> {
        let parsed = ClientOptions::parse(self.uri.expose_secret()).await;
        let mut options = parsed.map_err(|error| match *error.kind {
            ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => told(&error),
            _ => StoreError::Address,
        })?;
        options.app_name.get_or_insert_with(|| "tandem".to_owned());
        options.server_selection_timeout.get_or_insert(CONNECT);
        options.connect_timeout.get_or_insert(CONNECT);
        options.max_pool_size.get_or_insert(POOL);
        // What is acknowledged is on most servers, and on their disks: a weaker wish would lose leases.
        options.write_concern = Some(WriteConcern::majority());
        options.retry_writes = Some(true);
        let name = self.name.clone().or_else(|| options.default_database.clone());
        let client = Client::with_options(options).map_err(|error| match *error.kind {
            ErrorKind::InvalidTlsConfig { .. } => StoreError::Unreachable("its TLS files cannot be used".to_owned()),
            _ => StoreError::Address,
        })?;
        Ok(client.database(name.as_deref().unwrap_or(NAMELESS)))
    }
}

/// A collection of ours. Where an address sends readers is for the app's collections alone: a server that is behind, or
/// ahead of most others, would show what is gone, and hide what is there.
pub(super) fn own(database: &Database, name: &str) -> Collection<Document> {
    let options = CollectionOptions::builder()
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .read_concern(ReadConcern::majority())
        .write_concern(WriteConcern::majority())
        .build();
    database.collection_with_options(name, options)
}

/// The server's version, as it names it.
pub(super) async fn version(database: &Database) -> String {
    let info = within(READ, database.run_command(doc! { "buildInfo": 1 })).await.unwrap_or_default();
    info.get_str("version").unwrap_or("of an unknown version").to_owned()
}

/// Waits for the driver, but not for longer than this.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, StoreError> {
    match timeout(limit, work.into_future()).await {
        Ok(done) => done.map_err(|error| told(&error)),
        Err(_) => Err(StoreError::Timeout(limit.as_millis())),
    }
}

/// The same for a write that may find that another one was first: `false` then.
pub(super) async fn first<T>(
    limit: Duration,
    work: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<bool, StoreError> {
    match timeout(limit, work.into_future()).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) if is_duplicate(&error) => Ok(false),
        Ok(Err(error)) => Err(told(&error)),
        Err(_) => Err(StoreError::Timeout(limit.as_millis())),
    }
}

fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// What the driver says, in a sentence without documents in it.
fn told(error: &Error) -> StoreError {
    match &*error.kind {
        ErrorKind::Authentication { .. } => StoreError::Credentials,
        ErrorKind::Io(error) => StoreError::Unreachable(error.kind().to_string()),
        ErrorKind::DnsResolve { .. } => StoreError::Unreachable("its name cannot be looked up".to_owned()),
        ErrorKind::ServerSelection { message, .. } => selection(message),
        ErrorKind::ConnectionPoolCleared { .. } => StoreError::Unreachable("the connection was lost".to_owned()),
        ErrorKind::Command(error) => refused(error.code, &error.code_name),
        ErrorKind::Write(WriteFailure::WriteError(error)) => refused(error.code, "a write"),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => refused(error.code, &error.code_name),
        ErrorKind::Bson(_) => StoreError::Unreadable("a document"),
        _ => StoreError::Mongo("what was asked of it".to_owned()),
    }
}

/// What a code of MongoDB says of trying again.
fn refused(code: i32, name: &str) -> StoreError {
    match code {
        18 => StoreError::Credentials,
        UNAUTHORIZED => StoreError::Forbidden,
        code if PASSING.contains(&code) => StoreError::Unreachable(format!("{name} ({code})")),
        code => StoreError::Mongo(format!("{name} ({code})")),
    }
}

/// Why no server can be used.
fn selection(message: &str) -> StoreError {
    let number = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    match message.split_once(TOO_OLD) {
        Some((_, rest)) => StoreError::TooOld { wire_version: number(rest) },
        None => StoreError::Unreachable(message.chars().take(TOLD).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::Fault;

    #[test]
    fn what_passes_is_told_from_what_is_refused_for_good() {
        for (code, fault) in [
            (13, Fault::Outage),
            (10_107, Fault::Outage),
            (64, Fault::Outage),
            (14_031, Fault::Outage),
            (8_000, Fault::Outage),
            (121, Fault::Refusal),
        ] {
            assert_eq!(refused(code, "x").fault(), fault, "{code}");
        }
    }

    #[test]
    fn addresses_are_judged_without_a_server_and_not_repeated() {
        for good in
            ["mongodb://u:p@a,b:1/db?replicaSet=r", "mongodb+srv://u:p@cluster.example.org/db", "mongodb://[::1]"]
        {
            assert!(check_address(&good.into()).is_ok(), "{good}");
        }
        for wrong in ["", "hush", "http://hush", "mongodb://", "mongodb://hush:hush@", "mongodb://h/?tls=hush"] {
            let told = check_address(&wrong.into()).unwrap_err().to_string();
            assert!(!told.contains("hush") && told.contains("MONGODB_URI"), "{wrong}: {told}");
        }
    }
}
