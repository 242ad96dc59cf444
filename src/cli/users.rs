//! `tandem import` and `tandem user`: who is known to the store.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::config::{self, Settings};
use crate::context::private::Private;
use crate::context::user::{Context, Health, MAX_FILE_BYTES, User, Users};
use crate::store::Store;
use crate::store::archive::Archive;
use crate::store::local::LocalStore;
use crate::store::mongo::MongoStore;
use crate::store::spool::{self, Room};

use super::{ConfigArguments, private_file, terminal};

/// The file to take in.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// A JSON file: {"users": [{"id", "name", "pronouns", "healthInfo", "journal": [{"date", "text"}], "recaps"}]}.
    file: PathBuf,
}

/// What to do with one user.
#[derive(Debug, Args)]
pub(super) struct UserArguments {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Makes a user known, in place of what was known of it.
    Add(AddArguments),
    /// Removes everything that is kept of a user, for good.
    Erase(EraseArguments),
}

/// What is to be known of a user.
#[derive(Debug, Args)]
struct AddArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The user's id, as tokens name it.
    id: String,
    /// What the user is called.
    #[arg(long, default_value = "")]
    name: String,
    /// Such as she/her.
    #[arg(long, default_value = "")]
    pronouns: String,
    /// A condition; may be given several times, as the others may.
    #[arg(long = "condition", value_name = "TEXT")]
    conditions: Vec<String>,
    /// A medication.
    #[arg(long, value_name = "TEXT")]
    medication: Vec<String>,
    /// How the user sleeps.
    #[arg(long, value_name = "TEXT")]
    sleep: Vec<String>,
    /// How the user feels.
    #[arg(long, value_name = "TEXT")]
    mood: Vec<String>,
    /// A goal.
    #[arg(long = "goal", value_name = "TEXT")]
    goals: Vec<String>,
    /// An allergy.
    #[arg(long = "allergy", value_name = "TEXT")]
    allergies: Vec<String>,
}

/// Whom to erase.
#[derive(Debug, Args)]
struct EraseArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The user's id, as tokens name it.
    id: String,
}

/// Takes a file of users in: all of them, or none.
pub(super) async fn import(arguments: &ImportArguments) -> Result<ExitCode, String> {
    let settings = arguments.config.load(&config::process_environment())?;
    let path = arguments.file.display();
    let bytes = read(&arguments.file).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))?;
    let read = Users::read(&text).map_err(|error| format!("{path}: {error}"))?;
    for field in &read.ignored {
        terminal::status(format!("Nothing is done with {} of the file.", terminal::printable(field)));
    }
    take_in(&settings, read.users).await
}

/// Makes one user known, or removes what is kept of one.
pub(super) async fn user(arguments: UserArguments) -> Result<ExitCode, String> {
    match arguments.command {
        UserCommand::Add(add) => {
            let settings = add.config.load(&config::process_environment())?;
            let health = Health {
                conditions: add.conditions.into(),
                medication: add.medication.into(),
                sleep: add.sleep.into(),
                mood: add.mood.into(),
                goals: add.goals.into(),
                allergies: add.allergies.into(),
            };
            let context =
                Context { name: add.name.into(), pronouns: add.pronouns.into(), health, ..Context::default() };
            if add.id.is_empty() {
                return Err("a user's id is not empty".to_owned());
            }
            take_in(&settings, vec![User { id: add.id, context }]).await
        }
        UserCommand::Erase(erase) => {
            let settings = erase.config.load(&config::process_environment())?;
            let store: Arc<dyn Store> = match &settings.store.mongodb {
                Some(mongodb) => Arc::new(MongoStore::new(mongodb.clone())),
                None => Arc::new(local(&settings)?),
            };
            let calls = archive(&settings, store)?.erase(Private::new(erase.id)).await;
            let calls = calls.map_err(|error| error.to_string())?;
            terminal::say(format!("Erased, with {calls} calls. Nothing will be written of this user again."));
            if settings.store.mongodb.is_some() {
                terminal::say("The app's own users and journals are the app's to erase.");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn take_in(settings: &Settings, users: Vec<User>) -> Result<ExitCode, String> {
    if settings.store.mongodb.is_some() {
        return Err("users are in MongoDB (store.mongodb_uri), which is only read: write them down there".to_owned());
    }
    let imported = local(settings)?.import(users).await.map_err(|error| error.to_string())?;
    terminal::say(format!("{} users are known now.", imported.users));
    match imported.erased {
        0 => Ok(ExitCode::SUCCESS),
        erased => Err(format!("{erased} users were erased before, and are not taken in again")),
    }
}

/// The store, and what is on its way to it from this state directory.
fn archive(settings: &Settings, store: Arc<dyn Store>) -> Result<Archive, String> {
    let directory = &settings.state.dir;
    private_file::make_directory(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    Archive::open_at(&directory.join(spool::FILE_NAME), store, Room::default()).map_err(|error| error.to_string())
}

fn local(settings: &Settings) -> Result<LocalStore, String> {
    let directory = &settings.state.dir;
    private_file::make_directory(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    LocalStore::open(&settings.store.file, settings.store.retention).map_err(|error| error.to_string())
}

/// Reads a file of at most [`MAX_FILE_BYTES`].
fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is longer than 64 MiB"));
    }
    Ok(bytes)
}
