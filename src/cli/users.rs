//! `tandem import` and `tandem user`: who is known to the store.

use std::io::Read as _;
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

const NO_ID: &str = "a user's id is not empty: give the one that tokens name";

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
    ///
    /// What stands on a command line is seen by everybody on this machine while it runs (ps), and stays in the history of
    /// the shell: give what is private as JSON on standard input, with `-` in place of the id:
    /// {"id", "name", "pronouns", "healthInfo", "journal": [{"date", "text"}], "recaps"}.
    #[command(verbatim_doc_comment)]
    Add(AddArguments),
    /// Removes everything that is kept of a user, for good.
    Erase(EraseArguments),
}

/// What is to be known of a user.
#[derive(Debug, Args)]
struct AddArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The user's id, as tokens name it; `-` for a user as JSON on standard input, which nobody else sees.
    id: String,
    #[command(flatten)]
    told: Told,
}

/// What may be told of a user where others may see it.
#[derive(Debug, Args)]
struct Told {
    /// What the user is called. Like all that follows, others on this machine can see it.
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
    tell_ignored(&read, "the file");
    take_in(&settings, read.users).await
}

/// Makes one user known, or removes what is kept of one.
pub(super) async fn user(arguments: UserArguments) -> Result<ExitCode, String> {
    match arguments.command {
        UserCommand::Add(mut add) => {
            let settings = add.config.load(&config::process_environment())?;
            let context = add.told.context();
            let users = match add.id.as_str() {
                "" => return Err(NO_ID.to_owned()),
                "-" if context != Context::default() => {
                    return Err("with `-` all of the user is on standard input: leave the options away".to_owned());
                }
                "-" => piped()?,
                _ => vec![User { id: add.id, context }],
            };
            take_in(&settings, users).await
        }
        UserCommand::Erase(arguments) => erase(arguments).await,
    }
}

impl Told {
    fn context(&mut self) -> Context {
        let take = |texts: &mut Vec<String>| std::mem::take(texts).into();
        let health = Health {
            conditions: take(&mut self.conditions),
            medication: take(&mut self.medication),
            sleep: take(&mut self.sleep),
            mood: take(&mut self.mood),
            goals: take(&mut self.goals),
            allergies: take(&mut self.allergies),
        };
        let (name, pronouns) = (std::mem::take(&mut self.name).into(), std::mem::take(&mut self.pronouns).into());
        Context { name, pronouns, health, ..Context::default() }
    }
}

/// The user on standard input.
fn piped() -> Result<Vec<User>, String> {
    let bytes = bounded(std::io::stdin().lock()).map_err(|error| format!("standard input cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "standard input is not UTF-8".to_owned())?;
    let read = Users::read_one(&text).map_err(|error| format!("standard input: {error}"))?;
    tell_ignored(&read, "standard input");
    Ok(read.users)
}

async fn erase(arguments: EraseArguments) -> Result<ExitCode, String> {
    let settings = arguments.config.load(&config::process_environment())?;
    if arguments.id.is_empty() {
        return Err(NO_ID.to_owned());
    }
    let (place, store) = (place(&settings)?, open(&settings)?);
    let user = Private::new(arguments.id);
    // What cannot be read is known.
    let known = store.context(user.clone()).await.map_or(true, |context| context.is_some());
    match erase_everywhere(&settings, store, user).await? {
        0 if !known => {
            terminal::say(format!("Nothing was known of this user in {place}. Nothing will be written of it."));
        }
        calls => {
            let words = format!("Erased from {place}, with {calls} calls.");
            terminal::say(format!("{words} Nothing will be written of this user again."));
        }
    }
    if settings.store.mongodb.is_some() {
        terminal::say("The app's own users and journals are the app's to erase.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the configured store is. A file is not made: there would be nothing in it to erase.
fn place(settings: &Settings) -> Result<String, String> {
    let file = &settings.store.file;
    match &settings.store.mongodb {
        Some(_) => Ok("MongoDB (store.mongodb_uri)".to_owned()),
        None => match file.try_exists() {
            Ok(true) => Ok(terminal::printable(&file.display().to_string())),
            Ok(false) => Err(format!(
                "nothing is erased: there is no {}; give the settings of the gateway, store.mongodb_uri (MONGODB_URI) if \
                 it keeps its records in MongoDB, else state.dir (TANDEM__STATE__DIR)",
                file.display()
            )),
            Err(error) => Err(format!("nothing is erased: {} cannot be looked at: {error}", file.display())),
        },
    }
}

/// Erases a user in the store, and in what waits for it in this state directory; a gateway may be running. One on another
/// machine finds the tombstone in the store.
async fn erase_everywhere(settings: &Settings, store: Arc<dyn Store>, user: Private<String>) -> Result<u64, String> {
    let spool = settings.state.dir.join(spool::FILE_NAME);
    let erased = match spool.try_exists() {
        Ok(false) => store.erase(user).await,
        // What is there and cannot be opened is not passed over.
        _ => match Archive::open_at(&spool, store, Room::default()) {
            Ok(archive) => archive.erase(user).await,
            Err(error) => Err(error),
        },
    };
    erased.map_err(|error| error.to_string())
}

fn tell_ignored(read: &Users, place: &str) {
    for field in &read.ignored {
        terminal::status(format!("Nothing is done with {} of {place}.", terminal::printable(field)));
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

/// The configured store.
pub(super) fn open(settings: &Settings) -> Result<Arc<dyn Store>, String> {
    Ok(match &settings.store.mongodb {
        Some(mongodb) => Arc::new(MongoStore::new(mongodb.clone()).sealed(settings.store.seal.clone())),
        None => Arc::new(local(settings)?),
    })
}

fn local(settings: &Settings) -> Result<LocalStore, String> {
    let directory = &settings.state.dir;
    private_file::make_directory(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let store = LocalStore::open(&settings.store.file, settings.store.retention).map_err(|error| error.to_string())?;
    Ok(store.sealed(settings.store.seal.clone()))
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    bounded(std::fs::File::open(path)?)
}

/// Reads at most [`MAX_FILE_BYTES`].
fn bounded(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is longer than 64 MiB"));
    }
    Ok(bytes)
}
