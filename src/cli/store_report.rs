//! What `tandem check` says of the store.

use crate::config::{Mode, Settings};
use crate::store::local::LocalStore;
use crate::store::mongo::MongoStore;
use crate::store::spool::{self, Spool};
use crate::store::{Findings, Store as _, StoreError};

use super::terminal;

/// Looks at the store, changes nothing, and prints what it found.
pub(super) async fn report(settings: &Settings) -> Result<(), String> {
    terminal::say("\nStore:");
    terminal::say(format!("  {}", encryption(settings)));
    let found = look(settings).await.map_err(|error| error.to_string())?;
    let spool = Spool::look_at(&settings.state.dir.join(spool::FILE_NAME)).map_err(|error| error.to_string())?;
    let found =
        Findings { facts: [found.facts, spool.facts].concat(), warnings: [found.warnings, spool.warnings].concat() };
    for fact in found.facts {
        terminal::say(format!("  {}", terminal::printable(&fact)));
    }
    for warning in found.warnings {
        terminal::say(format!("  Warning: {}", terminal::printable(&warning)));
    }
    Ok(())
}

/// Whether what was said is encrypted, and with what.
fn encryption(settings: &Settings) -> String {
    let ids: Vec<&str> = settings.store.seal.ids().collect();
    match ids.as_slice() {
        [] if settings.mode == Mode::Production => {
            "What was said is not encrypted where it is kept; store.encryption_key \
                                                     (TANDEM_ENCRYPTION_KEY) encrypts it, if the disks do not."
                .to_owned()
        }
        [] => "What was said is not encrypted where it is kept.".to_owned(),
        [key] => format!("What was said is encrypted with the key {key}."),
        [key, older @ ..] => {
            format!("What was said is encrypted with the key {key}, or before with {}.", older.join(", "))
        }
    }
}

async fn look(settings: &Settings) -> Result<Findings, StoreError> {
    match &settings.store.mongodb {
        Some(mongodb) => MongoStore::new(mongodb.clone()).look().await,
        None => LocalStore::look_at(&settings.store.file),
    }
}
