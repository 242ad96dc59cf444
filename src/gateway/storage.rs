//! The store of a running gateway: opened once, for contexts, records and leases.

use std::sync::Arc;

use uuid::Uuid;

use super::Rehearsal;
use crate::{
    config::{LedgerPlace, Mode, Settings},
    pool::ledger::LeaseLedger,
    store::{
        Store, StoreError,
        archive::Archive,
        ledger::{self, SqliteLedger},
        local::LocalStore,
        mongo::{self, MongoStore},
        spool,
    },
};

/// What is kept, and by whom.
pub(super) struct Storage {
    pub(super) archive: Arc<Archive>,
    pub(super) ledger: Option<Arc<dyn LeaseLedger>>,
    /// The state directory's own name.
    pub(super) home: String,
    /// This process's own name, which is never used twice.
    pub(super) process: Uuid,
}

/// Opens the store of these settings. A MongoDB that is down is no reason not to start: it is connected when it is first
/// needed, by everybody over the same connections.
pub(super) fn open(settings: &Settings, rehearsal: &Rehearsal) -> Result<Storage, StoreError> {
    let directory = &settings.state.dir;
    let (home, process) = (ledger::home(directory)?, Uuid::new_v4());
    let mongodb = settings.store.mongodb.clone().map(MongoStore::new);
    let ledger: Option<Arc<dyn LeaseLedger>> = match (&settings.state.ledger, &mongodb) {
        (LedgerPlace::File(file), _) => Some(Arc::new(SqliteLedger::open(file, directory)?)),
        (LedgerPlace::MongoDb, Some(mongodb)) => Some(Arc::new(mongodb.ledger(process, home.clone(), mongo::EXPIRY))),
        (LedgerPlace::Off | LedgerPlace::MongoDb, _) => None,
    };
    let store: Arc<dyn Store> = match (&rehearsal.store, mongodb) {
        (Some(store), _) => Arc::clone(store),
        (None, Some(mongodb)) => prepared(mongodb),
        (None, None) => local(settings)?,
    };
    let archive = Arc::new(Archive::open_at(&directory.join(spool::FILE_NAME), store, rehearsal.spool)?);
    Ok(Storage { archive, ledger, home, process })
}

fn prepared(store: MongoStore) -> Arc<dyn Store> {
    let preparing = store.prepare();
    actix_rt::spawn(async move {
        if let Err(error) = preparing.await {
            tracing::warn!(%error, "the store is not ready; it is tried again when it is needed");
        }
    });
    Arc::new(store)
}

fn local(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let store = LocalStore::open(&settings.store.file, settings.store.retention)?;
    if settings.mode == Mode::Development {
        let importing = store.import_demo();
        actix_rt::spawn(async move {
            match importing.await {
                Ok(0) => {}
                Ok(users) => tracing::info!(users, "users for a trial are known; `developer` is one of them"),
                Err(error) => tracing::warn!(%error, "the users for a trial cannot be written down"),
            }
        });
    }
    Ok(Arc::new(store))
}
