//! Configuration: defaults, a file and the environment become [`Settings`], or every reason why not.
//!
//! Raw -> judged -> typed: past [`load`] no code checks a setting again. `config/default.toml` describes every key and
//! is the source of the defaults.

mod authority;
mod flaw;
mod force;
mod judge;
mod layers;
mod line;
mod newcomer;
mod raw;
pub mod schema;
mod settings;
mod upstream_options;
mod upstream_url;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use ::config::{Config, ConfigBuilder, ConfigError as BuildError, FileFormat, Value, ValueKind, builder::DefaultState};

pub use flaw::{ConfigError, Flaw};
pub use force::{InForce, changes};
pub use layers::Environment;
pub use line::SettingLine;
pub use newcomer::NotTaken;
pub use settings::{
    AuthSettings, DoorSettings, DrainSettings, FleetSettings, LedgerPlace, ListenSettings, LogFormat, LogLevel,
    LoggingSettings, MetricsSettings, Mode, SessionSettings, Settings, SimulatorSettings, StateSettings, StoreSettings,
    TelemetrySettings, Telling, UpstreamSettings,
};
pub use upstream_options::{UpstreamOptions, UpstreamOptionsError};
pub use upstream_url::{UpstreamUrl, UpstreamUrlError};

use raw::Raw;
use schema::{KEYS, Kind};

/// The defaults, with the description of every key.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The file that is read from the working directory when none is named.
pub const FILE_NAME: &str = "tandem.toml";

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A configuration file, read. It does not print: it may hold secrets.
pub struct ConfigFile {
    /// Its path, for messages.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl ConfigFile {
    /// Reads the file that was named, which must exist, or else [`FILE_NAME`] in `directory`, if it exists.
    pub fn find(named: Option<&Path>, directory: &Path) -> Result<Option<ConfigFile>, ConfigError> {
        let path = named.map_or_else(|| directory.join(FILE_NAME), Path::to_path_buf);
        let name = if named.is_some() { path.display().to_string() } else { FILE_NAME.to_owned() };
        if named.is_none() && !path.exists() {
            return Ok(None);
        }
        let mut text = String::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(bytes) if bytes as u64 <= MAX_FILE_BYTES => Ok(Some(ConfigFile { name, text })),
            Ok(_) => Err(Flaw::Unreadable { file: name, reason: "it is longer than 1 MiB".to_owned() }.into()),
            Err(error) => Err(Flaw::Unreadable { file: name, reason: error.to_string() }.into()),
        }
    }
}

/// The process's environment; what is not Unicode is kept as far as it can be shown.
pub fn process_environment() -> Environment {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// Makes settings out of the defaults, the file and the environment, later ones over earlier ones.
///
/// Every flaw of every layer is found in one go.
pub fn load(file: Option<&ConfigFile>, environment: &Environment) -> Result<Settings, ConfigError> {
    let mut flaws = Vec::new();
    let mut builder = Config::builder().add_source(::config::File::from_str(DEFAULTS, FileFormat::Toml));
    let mut places = BTreeMap::new();
    let from_file = file.map(|file| layers::from_file(&file.name, &file.text)).unwrap_or_default();
    for layer in [from_file, layers::from_environment(environment)] {
        flaws.extend(layer.flaws);
        for entry in layer.entries {
            places.insert(entry.key.path, entry.place);
            builder = builder.set_override(entry.key.path, entry.value).map_err(|_| Flaw::Defaults)?;
        }
    }
    let (raw, mut lines) = build(builder, &places).map_err(|_| Flaw::Defaults)?;
    let (mut settings, rules) = judge::judge(raw);
    flaws.extend(rules);
    if !flaws.is_empty() {
        return Err(ConfigError { flaws });
    }
    lines.iter_mut().for_each(|line| tell_effect(line, &settings));
    settings.lines = lines;
    Ok(settings)
}

/// The merged settings, typed, and each as a line to show.
fn build(
    builder: ConfigBuilder<DefaultState>,
    places: &BTreeMap<&'static str, String>,
) -> Result<(Raw, Vec<SettingLine>), BuildError> {
    let merged = builder.build()?;
    let mut lines = Vec::with_capacity(KEYS.len());
    for key in KEYS {
        let value = merged.get::<Value>(key.path)?;
        let source = places.get(key.path).cloned().unwrap_or_else(|| "default".to_owned());
        lines.push(SettingLine::new(key.path, show(&key.kind, &value), source, &value.to_string()));
    }
    Ok((merged.try_deserialize()?, lines))
}

fn show(kind: &Kind, value: &Value) -> String {
    match (kind, &value.kind) {
        (_, ValueKind::String(text)) if text.is_empty() => "(not set)".to_owned(),
        (_, ValueKind::Array(items)) if items.is_empty() => "(not set)".to_owned(),
        (Kind::Secret, _) => "(set)".to_owned(),
        (_, ValueKind::Array(items)) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
        (_, other) => other.to_string(),
    }
}

/// Adds what a setting that depends on others came to.
fn tell_effect(line: &mut SettingLine, settings: &Settings) {
    let effect = match line.key {
        "listen.host" => settings.listen.host.to_string(),
        "doors.caller_prompts" => settings.doors.caller_prompts.to_string(),
        "doors.query_tokens" => settings.doors.query_tokens.to_string(),
        "simulator.enabled" => settings.simulator.enabled.to_string(),
        _ => return,
    };
    if line.value != effect {
        line.value = format!("{} (so: {effect})", line.value);
    }
}

#[cfg(test)]
mod tests;
