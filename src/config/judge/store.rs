//! Where users, journals and records are kept.

use std::{path::Path, time::Duration};

use secrecy::SecretString;

use super::super::flaw::quoted;
use super::super::raw::RawStore;
use super::super::settings::StoreSettings;
use super::{Judge, set};
use crate::store::{
    mongo::{MongoSettings, Names, check_address, is_path},
    seal::Seal,
};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// The embedded store in the state directory.
const FILE_NAME: &str = "users.sqlite";

impl Judge {
    pub(super) fn store(&mut self, raw: RawStore, state: &Path) -> StoreSettings {
        let retention = Some(Duration::from_secs(raw.retention_days * SECONDS_PER_DAY)).filter(|time| !time.is_zero());
        let mongodb = set(raw.mongodb_uri).map(SecretString::from).map(|uri| {
            if check_address(&uri).is_err() {
                self.value(
                    "store.mongodb_uri",
                    "not understood",
                    "mongodb://USER:PASSWORD@HOST:27017/DATABASE or mongodb+srv://USER:PASSWORD@HOST/DATABASE",
                );
            }
            let database = set(raw.mongodb_database);
            if database.as_deref().is_some_and(|name| !is_path(name) || name.contains('.')) {
                self.value("store.mongodb_database", "not a name", "letters, digits, - and _");
            }
            let names = Names {
                users: self.path("store.users_collection", raw.users_collection),
                user_id: self.path("store.user_id_field", raw.user_id_field),
                name: self.path("store.name_field", raw.name_field),
                pronouns: self.path("store.pronouns_field", raw.pronouns_field),
                health: self.path("store.health_field", raw.health_field),
                journal: self.path("store.journal_collection", raw.journal_collection),
                journal_user: self.path("store.journal_user_field", raw.journal_user_field),
                journal_date: self.path("store.journal_date_field", raw.journal_date_field),
                journal_text: self.path("store.journal_text_field", raw.journal_text_field),
            };
            MongoSettings { uri, database, names, retention }
        });
        let seal = self.seal(raw.encryption_key.into());
        StoreSettings { mongodb, file: state.join(FILE_NAME), retention, seal }
    }

    fn seal(&mut self, keys: SecretString) -> Seal {
        Seal::read(&keys).unwrap_or_else(|error| {
            let expected = "32 random bytes in base64, as openssl rand -base64 32 makes them, or several with commas in \
                 between";
            self.value("store.encryption_key", format!("not usable ({error})"), expected);
            Seal::default()
        })
    }

    fn path(&mut self, key: &'static str, path: String) -> String {
        if !is_path(&path) {
            self.value(key, quoted(&path), "a name such as users, or a path such as profile.name");
        }
        path
    }
}
