//! `tandem fleet`: what the machines of a running Tandem do, and what they cost.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{self, Environment, Mode, Settings};
use crate::fleet::provider::{Exchange, ProviderError};
use crate::http::operator::SCOPE;

use super::fleet_report::{self, Machine, Spent};
use super::{ConfigArguments, DevState, DevStateError, dev_secret, terminal, token};

/// The variable that holds a token, so that it need not stand on the command line where others can see it.
const TOKEN_VARIABLE: &str = "TANDEM_TOKEN";
/// For whom a token is made that is made here.
const USER: &str = "tandem-fleet";
/// How long it lives.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// Which Tandem to ask, and how to print its answer.
#[derive(Debug, Args)]
pub(super) struct FleetArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The Tandem to ask, for example https://voice.example; without it the one that runs here.
    #[arg(long)]
    url: Option<String>,
    /// A token with the scope tandem:operate, or the operator's key; better given in the variable TANDEM_TOKEN. Without
    /// it a token is made that lives for a minute, with the configured secret, or the configured key is taken.
    #[arg(long)]
    token: Option<SecretString>,
    /// Prints nothing but the machines and their sums, as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks once, and prints every machine and the sums.
pub(super) async fn fleet(arguments: &FleetArguments) -> Result<ExitCode, String> {
    let Asked { url, token } = whom(arguments, &config::process_environment())?;
    let exchange = Exchange::new(Exchange::TIMEOUT);
    let answer = exchange.read(&format!("{url}/v1/upstreams"), &token).await;
    let (status, body) = answer.map_err(|error| no_answer(&url, &error))?;
    let body = body.unwrap_or_default();
    if status != 200 {
        return Err(refusal(&url, status, &body));
    }
    let known = Vec::<Machine>::deserialize(&body["machines"]);
    let machines =
        known.map_err(|_| format!("{url} answers, but not as this version of Tandem: is it another one?"))?;
    if arguments.json {
        terminal::say(json!({ "machines": body["machines"], "total": Spent::of(&machines) }).to_string());
    } else {
        terminal::say(fleet_report::table(&machines));
    }
    Ok(ExitCode::SUCCESS)
}

/// Who is asked, and with what.
struct Asked {
    url: String,
    token: SecretString,
}

fn whom(arguments: &FleetArguments, environment: &Environment) -> Result<Asked, String> {
    let variable = environment.get(TOKEN_VARIABLE).map(|token| SecretString::from(token.as_str()));
    let given = arguments.token.clone().or(variable).filter(|token| !token.expose_secret().is_empty());
    if let (Some(url), Some(token)) = (&arguments.url, &given) {
        return Ok(Asked { url: base(url)?, token: token.clone() });
    }
    let settings = arguments.config.load(environment)?;
    let url = match &arguments.url {
        Some(url) => base(url)?,
        None => here(&settings)?,
    };
    // What lives for a minute only is sent rather than what lives for long.
    let key = settings.auth.operator_key.clone().filter(|_| settings.auth.jwt_secret.is_none());
    let token = match given.or(key) {
        Some(token) => token,
        None => {
            let secret = secret(&settings, arguments.url.is_none())?;
            token::mint(&settings, &secret, USER, TOKEN_TTL, Some(SCOPE))?
        }
    };
    Ok(Asked { url, token })
}

/// Where the Tandem of this directory, or of this configuration, listens.
pub(super) fn here(settings: &Settings) -> Result<String, String> {
    let configured = || format!("http://127.0.0.1:{}", settings.listen.port);
    match DevState::read(&settings.state.dir) {
        _ if settings.mode == Mode::Production => Ok(configured()),
        Ok(state) => Ok(state.url),
        Err(DevStateError::Missing) => Ok(configured()),
        Err(error) => Err(error.to_string()),
    }
}

/// The secret that the Tandem in question knows. That of the development is good for the one here only.
fn secret(settings: &Settings, is_here: bool) -> Result<SecretString, String> {
    if let Some(secret) = &settings.auth.jwt_secret {
        return Ok(secret.clone());
    }
    let directory = &settings.state.dir;
    if is_here && settings.mode != Mode::Production && directory.join(dev_secret::FILE_NAME).exists() {
        return dev_secret::read_or_make(directory).map_err(|error| error.to_string());
    }
    Err(format!(
        "there is nothing to make a token with: set {TOKEN_VARIABLE} to one with the scope {SCOPE}, or JWT_SECRET to the \
         secret of the Tandem that is asked"
    ))
}

pub(super) fn base(url: &str) -> Result<String, String> {
    let url = url.trim_end_matches('/');
    let known = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme) && url.len() > scheme.len());
    if known { Ok(url.to_owned()) } else { Err("--url is no URL: expected one like http://127.0.0.1:8080".to_owned()) }
}

/// Why nobody answered, in terms of the command line.
fn no_answer(url: &str, error: &ProviderError) -> String {
    let why = why(error);
    format!("{url} does not answer: {why}; start `tandem serve`, or give the right --url")
}

/// What went wrong on the way.
pub(super) fn why(error: &ProviderError) -> String {
    match error {
        ProviderError::Timeout => "no answer came in time".to_owned(),
        ProviderError::Transient(why) | ProviderError::Permanent(why) => why.to_string(),
        other => other.to_string(),
    }
}

/// What a refusal means for whoever operates.
fn refusal(url: &str, status: u16, body: &Value) -> String {
    match (status, body["code"].as_str()) {
        (404, Some("no_fleet")) => {
            format!("{url} has no machines to start and stop: give a server one by provider= behind its address")
        }
        (401 | 403, _) => format!(
            "{url} refuses (status {status}): set {TOKEN_VARIABLE} to a token with the scope {SCOPE}, or JWT_SECRET to the \
             secret that it has"
        ),
        (_, code) => {
            let said = body["message"].as_str().or(code).unwrap_or("no more is said; is it a Tandem?");
            let said: String = terminal::printable(said).chars().take(300).collect();
            format!("{url} answers with status {status}: {said}")
        }
    }
}
