//! The store of a running gateway: opened, made ready, and kept to its retention.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{Mode, Settings},
    store::{Store, StoreError, local::LocalStore, mongo::MongoStore},
};

/// Between two rounds of removing what is too old.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Opens the store of these settings and keeps it: what is too old goes, MongoDB gets its indexes, and in development
/// the first start brings users for a trial. A MongoDB that is down is no reason not to start.
pub fn keep(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let seal = settings.store.seal.clone();
    let store: Arc<dyn Store> = match &settings.store.mongodb {
        Some(mongodb) => {
            let store = MongoStore::new(mongodb.clone()).sealed(seal);
            let preparing = store.prepare();
            actix_rt::spawn(async move {
                if let Err(error) = preparing.await {
                    tracing::warn!(%error, "the store is not ready; it is tried again when it is needed");
                }
            });
            Arc::new(store)
        }
        None => {
            let store = LocalStore::open(&settings.store.file, settings.store.retention)?.sealed(seal);
            if settings.mode == Mode::Development {
                import_demo(&store);
            }
            Arc::new(store)
        }
    };
    if settings.store.retention.is_some() {
        actix_rt::spawn(expire(Arc::clone(&store)));
    }
    Ok(store)
}

fn import_demo(store: &LocalStore) {
    let importing = store.import_demo();
    actix_rt::spawn(async move {
        match importing.await {
            Ok(0) => {}
            Ok(users) => tracing::info!(users, "users for a trial are known; `developer` is one of them"),
            Err(error) => tracing::warn!(%error, "the users for a trial cannot be written down"),
        }
    });
}

async fn expire(store: Arc<dyn Store>) {
    let mut round = tokio::time::interval(EVERY);
    loop {
        round.tick().await;
        match store.expire().await {
            Ok(0) => {}
            Ok(calls) => tracing::info!(calls, "records were removed, their time is over"),
            Err(error) => tracing::warn!(%error, "records whose time is over cannot be removed"),
        }
    }
}
