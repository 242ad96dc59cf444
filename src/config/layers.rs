//! Where settings come from: the defaults, a file, the environment. Later ones win, and every odd one is told.

use std::collections::{BTreeMap, HashMap};

use config::{FileFormat, Source as _, Value, ValueKind};

use super::flaw::{Flaw, quoted};
use super::schema::{KEYS, Key, Kind, PREFIX, find};

/// Environment variables by name. Passed in as a value, so that tests need not touch the process's own.
pub type Environment = BTreeMap<String, String>;

/// One value from one place, already of its key's kind.
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    /// A file's name, or a variable's.
    pub(super) place: String,
}

/// What a layer gave: the good values and all that was wrong.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) entries: Vec<Entry>,
    pub(super) flaws: Vec<Flaw>,
}

impl Layer {
    fn take(&mut self, key: &'static Key, value: Value, place: &str) {
        match fit(key, value) {
            Ok(value) => self.entries.push(Entry { key, value, place: place.to_owned() }),
            Err(shown) => {
                let shown = format!("{shown} in {place}");
                self.flaws.push(Flaw::Value { key: key.path, shown, expected: key.expected() });
            }
        }
    }
}

/// Reads the text of a TOML file.
pub(super) fn from_file(name: &str, text: &str) -> Layer {
    let mut layer = Layer::default();
    let parsed = config::File::from_str(text, FileFormat::Toml).collect();
    let top = match parsed {
        Ok(top) => top,
        Err(error) => {
            layer.flaws.push(Flaw::NotToml { file: name.to_owned(), place: place_of(&error.to_string()) });
            return layer;
        }
    };
    for (path, value) in flatten(top) {
        match find(&path) {
            Some(key) => layer.take(key, value, name),
            None => {
                layer.flaws.push(Flaw::Unknown { name: quoted(&path), place: name.to_owned(), known: known(&path) })
            }
        }
    }
    layer
}

/// Reads the variables that name a key; those with our prefix that name none are flaws, all others are not ours.
pub(super) fn from_environment(environment: &Environment) -> Layer {
    let mut layer = Layer::default();
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    for key in KEYS {
        // The full name wins over the alias: it can only have been meant for us.
        for name in [key.alias.map(str::to_owned), Some(key.variable())].into_iter().flatten() {
            if let Some(value) = set(&name) {
                layer.take(key, Value::new(None, parse(key, value)), &name);
            }
        }
    }
    for name in environment.keys().filter(|name| name.starts_with(PREFIX)) {
        if !KEYS.iter().any(|key| key.variable() == *name) {
            let path = name[PREFIX.len()..].replace("__", ".").to_lowercase();
            let place = "the environment".to_owned();
            layer.flaws.push(Flaw::Unknown { name: quoted(name), place, known: known_variables(&path) });
        }
    }
    layer
}

/// A variable's text as the kind of value that its key wants, if it can be read so.
fn parse(key: &Key, text: &str) -> ValueKind {
    match &key.kind {
        Kind::Number(_) => text.trim().parse().map_or_else(|_| ValueKind::from(text), ValueKind::I64),
        Kind::Share => text.trim().parse().map_or_else(|_| ValueKind::from(text), ValueKind::Float),
        Kind::Switch => text.trim().parse().map_or_else(|_| ValueKind::from(text), ValueKind::Boolean),
        _ => ValueKind::from(text),
    }
}

/// A value in its key's own form, or the offending value as it may be shown.
fn fit(key: &Key, value: Value) -> Result<Value, String> {
    let fitting = match (&key.kind, &value.kind) {
        (Kind::Secret, ValueKind::String(_)) => return Ok(value),
        (Kind::Text, ValueKind::String(text)) => Some(ValueKind::from(text.trim())),
        (Kind::Switch, ValueKind::Boolean(switch)) => Some(ValueKind::Boolean(*switch)),
        (Kind::Number(bounds), ValueKind::I64(number)) if bounds.contains(number) => Some(ValueKind::I64(*number)),
        (Kind::Share, ValueKind::Float(share)) if (0.0..=1.0).contains(share) => Some(ValueKind::Float(*share)),
        (Kind::Share, ValueKind::I64(share @ (0 | 1))) => Some(ValueKind::Float(*share as f64)),
        (Kind::Choice(words), ValueKind::String(word)) if words.contains(&word.trim()) => Some(word.trim().into()),
        (Kind::Choice(words), ValueKind::Boolean(switch)) if words.contains(&switch.to_string().as_str()) => {
            Some(switch.to_string().into())
        }
        (Kind::List, ValueKind::String(text)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(ValueKind::Array(items.map(|item| Value::new(None, item)).collect()))
        }
        (Kind::List, ValueKind::Array(items)) => {
            items.iter().all(|item| matches!(item.kind, ValueKind::String(_))).then(|| value.kind.clone())
        }
        _ => None,
    };
    fitting.map(|kind| Value::new(None, kind)).ok_or_else(|| shown(key, &value))
}

fn shown(key: &Key, value: &Value) -> String {
    match (&key.kind, &value.kind) {
        // A URL may carry a password where none is allowed.
        (Kind::Secret | Kind::List, _) => "a value that is not shown".to_owned(),
        (_, ValueKind::String(text)) => quoted(text),
        (_, ValueKind::Table(_)) => "a section".to_owned(),
        (_, ValueKind::Array(_)) => "a list".to_owned(),
        (_, other) => other.to_string(),
    }
}

/// `section.key` paths of a file, in alphabetical order.
fn flatten(top: HashMap<String, Value>) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in top {
        flatten_into(&mut flat, name, value);
    }
    flat
}

/// Goes into a section at the top, and into those that keys have further down.
fn flatten_into(flat: &mut BTreeMap<String, Value>, path: String, value: Value) {
    let is_section = !path.contains('.') || !below(&path).is_empty();
    match value.kind {
        ValueKind::Table(section) if is_section && find(&path).is_none() => {
            section.into_iter().for_each(|(key, value)| flatten_into(flat, format!("{path}.{key}"), value));
        }
        kind => {
            flat.insert(path, Value::new(None, kind));
        }
    }
}

fn known(path: &str) -> String {
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    let names = below(section);
    match names.is_empty() {
        false => format!("section {section} has {}", names.join(", ")),
        true => format!("there are mode and the sections {}", sections().join(", ")),
    }
}

fn known_variables(path: &str) -> String {
    let section = path.rsplit_once('.').map_or(path, |(section, _)| section).to_owned() + ".";
    let names: Vec<_> = KEYS.iter().filter(|key| key.path.starts_with(&section)).map(Key::variable).collect();
    if names.is_empty() {
        format!("there are TANDEM__MODE and TANDEM__SECTION__KEY for the sections {}", sections().join(", "))
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// The keys and sections right below a section.
fn below(section: &str) -> Vec<&'static str> {
    let name = |key: &'static Key| key.path.strip_prefix(section)?.strip_prefix('.')?.split('.').next();
    let mut names: Vec<_> = KEYS.iter().filter_map(name).collect();
    names.dedup();
    names
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().filter_map(|key| Some(key.path.rsplit_once('.')?.0)).collect();
    sections.dedup();
    sections
}

/// ` at line 3, column 5` out of a TOML error, whose further lines repeat the file and must not be shown.
fn place_of(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let Some((_, place)) = first.split_once(" at line ") else { return String::new() };
    let place: String = place.chars().take_while(|c| c.is_ascii_alphanumeric() || " ,".contains(*c)).collect();
    format!(" at line {}", place.trim_end())
}
