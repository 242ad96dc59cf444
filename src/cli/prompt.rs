//! `tandem prompt`: what a model server is told of a user, and what that costs.
//!
//! Users are looked up where calls look them up, in the configured store, or in a file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::civil::Date;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::config::{self, Settings};
use crate::context::cast::Cast;
use crate::context::prompt::{Built, Told, build};
use crate::context::user::{Context, MAX_FILE_BYTES, Users};
use crate::protocol::moshi::{Voice, prompt_budget_bytes, prompt_steps};
use crate::session::preparation::today;

use super::{ConfigArguments, terminal, users};

/// What a step of the model takes at best and at worst, with the 11 ms that the server waits in each (personaplex.md 6).
const STEP_MS: [u32; 2] = [40, 90];
/// How long a person waits for a store.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a frame of the model lasts: there are 12.5 in a second.
const FRAME_MS: u32 = 80;

/// Whose prompt, and who the assistant is.
#[derive(Debug, Args)]
pub(super) struct PromptArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The user's id, as tokens name it; without it nothing is known of the caller.
    #[arg(long)]
    user: Option<String>,
    /// The persona's name; without it the default one.
    #[arg(long)]
    persona: Option<String>,
    /// A file of users in place of the store, as JSON: {"users": [{"id", "name", "pronouns", "healthInfo", "journal", "recaps"}]}.
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// The day of the call, such as 2026-11-23; without it today.
    #[arg(long, value_name = "DATE")]
    date: Option<Date>,
}

/// Prints the prompt alone on standard output, and its cost on standard error.
pub(super) fn prompt(arguments: &PromptArguments) -> Result<(), String> {
    let settings = arguments.config.load(&config::process_environment())?;
    let cast = Cast::load(&settings.persona).map_err(|error| error.to_string())?;
    let named = arguments.persona.as_deref().unwrap_or(&settings.persona.default);
    let known = || cast.all().map(|persona| persona.name.clone()).collect::<Vec<_>>().join(", ");
    let persona = cast.all().find(|persona| persona.name == named);
    let persona = persona.ok_or_else(|| format!("there is no such persona; there are {}", known()))?;
    let context = context(arguments, &settings)?;
    let built = build(persona, &context, arguments.date.unwrap_or_else(today));
    terminal::say(built.prompt.expose_secret());
    let counted = persona.budget.counter.are_counted();
    terminal::status(cost(&built, persona.voice, settings.upstreams.voice_steps, counted));
    for told in &built.told {
        terminal::status(line(told));
    }
    Ok(())
}

fn context(arguments: &PromptArguments, settings: &Settings) -> Result<Context, String> {
    let Some(id) = &arguments.user else {
        let asked_for = arguments.context.as_ref().map(|_| "say whose prompt: --user ID".to_owned());
        return asked_for.map_or_else(|| Ok(Context::default()), Err);
    };
    let Some(path) = &arguments.context else { return stored(id, settings) };
    let users = read(path)?;
    for field in &users.ignored {
        terminal::status(format!("Ignored: {}", terminal::printable(field)));
    }
    let user =
        users.find(id).ok_or_else(|| format!("no user of this id is among the {} of the file", users.users.len()))?;
    Ok(user.context.clone())
}

/// What the store knows of a user, as a call would get it.
fn stored(id: &str, settings: &Settings) -> Result<Context, String> {
    let found = actix_rt::System::new().block_on(async {
        let looked = timeout(PATIENCE, users::open(settings)?.context(id.into())).await;
        let late = |_| format!("the store did not answer within {} s", PATIENCE.as_secs());
        looked.map_err(late)?.map_err(|error| error.to_string())
    })?;
    found.ok_or_else(|| {
        "the store knows no user of this id; `tandem user add` and `tandem import` take users in, and in development \
         `tandem serve` brings some for a trial, `developer` among them"
            .to_owned()
    })
}

fn read(path: &Path) -> Result<Users, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    // Bytes first: the limit may fall inside a character.
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{} is longer than {MAX_FILE_BYTES} bytes", path.display()));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is no text in UTF-8", path.display()))?;
    Users::read(&text).map_err(|error| error.to_string())
}

/// What the prompt takes of the request line, of the caller's time and of the model's window.
fn cost(built: &Built, voice: Voice, voice_steps: u32, counted: bool) -> String {
    let steps = prompt_steps(voice_steps, built.tokens);
    let [least, most] = STEP_MS.map(|step_ms| f64::from(steps * step_ms) / 1_000.0);
    let window = f64::from(steps * FRAME_MS) / 1_000.0;
    format!(
        "\n{} {} tokens, {} of {} bytes; with the voice {steps} steps: {least:.1} to {most:.1} s until the model \
         listens, {window:.1} s of the time that it remembers.",
        if counted { "Exactly" } else { "At most" },
        built.tokens,
        built.bytes,
        prompt_budget_bytes(voice)
    )
}

fn line(told: &Told) -> String {
    let Told { topic, told, of, seen } = told;
    let cut = match (seen, of - told) {
        (false, _) => "not for this persona".to_owned(),
        (true, 0) => "all told".to_owned(),
        (true, cut) => format!("{cut} left out"),
    };
    format!("  {:<10}  {told} of {of}   {cut}", topic.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::topic::Topic;

    #[test]
    fn the_cost_is_told_in_bytes_tokens_and_seconds() {
        let built = Built { prompt: "Hi.".into(), tokens: 137, bytes: 500, told: Vec::new() };
        let told = cost(&built, Voice::Natf0, 51, false);
        assert!(told.contains("137 tokens, 500 of 8146 bytes; with the voice 200 steps: 8.0 to 18.0 s"), "{told}");
        assert!(told.ends_with("16.0 s of the time that it remembers."), "{told}");
    }

    #[test]
    fn what_was_cut_is_told_by_topic() {
        let told = |told, seen| line(&Told { topic: Topic::Journal, told, of: 5, seen });
        assert_eq!(told(5, true), "  journal     5 of 5   all told");
        assert_eq!(told(2, true), "  journal     2 of 5   3 left out");
        assert!(told(0, false).ends_with("not for this persona"));
    }
}
