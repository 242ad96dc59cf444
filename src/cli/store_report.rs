//! What `tandem check` says of the store.

use crate::config::Settings;
use crate::store::local::LocalStore;
use crate::store::mongo::MongoStore;
use crate::store::{Findings, Store as _, StoreError};

use super::terminal;

/// Looks at the store, changes nothing, and prints what it found.
pub(super) async fn report(settings: &Settings) -> Result<(), String> {
    terminal::say("\nStore:");
    let found = look(settings).await.map_err(|error| error.to_string())?;
    for fact in found.facts {
        terminal::say(format!("  {}", terminal::printable(&fact)));
    }
    for warning in found.warnings {
        terminal::say(format!("  Warning: {}", terminal::printable(&warning)));
    }
    Ok(())
}

async fn look(settings: &Settings) -> Result<Findings, StoreError> {
    match &settings.store.mongodb {
        Some(mongodb) => MongoStore::new(mongodb.clone()).look().await,
        None => LocalStore::look_at(&settings.store.file),
    }
}
