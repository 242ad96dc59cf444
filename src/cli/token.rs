//! `tandem token`: a token that lets a user call.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::{SigningKey, Tokens, UserId};
use crate::config::{self, Mode, Settings};

use super::{ConfigArguments, dev_secret, terminal};

/// For whom the token is.
#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The user's id, as the token's `sub`.
    #[arg(long)]
    user: String,
    /// A scope that the token has beside the one that calls need, such as tandem:operate.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// How long the token lives.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    ttl_seconds: u64,
    /// The environment variable that holds the signing secret, instead of the configured one.
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
}

/// Prints the token alone on standard output.
pub(super) fn token(arguments: &TokenArguments) -> Result<(), String> {
    let environment = config::process_environment();
    let settings = arguments.config.load(&environment)?;
    let secret = match (&arguments.secret_env, settings.auth.jwt_secret.clone()) {
        (Some(name), _) => match environment.get(name).filter(|secret| !secret.is_empty()) {
            Some(secret) => SecretString::from(secret.as_str()),
            None => return Err(format!("the environment variable {name} is not set; it holds the signing secret")),
        },
        (None, Some(secret)) => secret,
        (None, None) if settings.mode == Mode::Production => return Err("JWT_SECRET is not set".to_owned()),
        (None, None) => {
            let directory = &settings.state.dir;
            terminal::status(format!("signed with the development secret in {}", directory.display()));
            dev_secret::read_or_make(directory).map_err(|error| error.to_string())?
        }
    };
    let ttl = Duration::from_secs(arguments.ttl_seconds);
    terminal::say(mint(&settings, &secret, &arguments.user, ttl, arguments.scope.as_deref())?.expose_secret());
    Ok(())
}

/// A token that this configuration accepts, with a scope besides the one that it requires.
pub(super) fn mint(
    settings: &Settings,
    secret: &SecretString,
    user: &str,
    ttl: Duration,
    scope: Option<&str>,
) -> Result<SecretString, String> {
    let user = UserId::new(user).map_err(|error| error.to_string())?;
    let key = SigningKey::new(secret).map_err(|error| error.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970".to_owned())?;
    let tokens = Tokens::new(key, settings.auth.rules.clone());
    tokens.mint_with(&user, scope, ttl, now.as_secs()).map_err(|error| error.to_string())
}
