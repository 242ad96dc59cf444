//! The personas that there are: those that are built in, and those of a directory.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;

use super::{
    persona::{Advice, MAX_FILE_BYTES, Persona, PersonaFlaw},
    tokens::{TokenizerError, Tokens},
};
use crate::protocol::moshi::Voice;

/// The personas that are built in, with their files.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("assistant", include_str!("../../config/personas/assistant.toml")),
    ("listener", include_str!("../../config/personas/listener.toml")),
    ("service", include_str!("../../config/personas/service.toml")),
];

/// The most personas that a directory may have.
const MAX_PERSONAS: usize = 64;

/// Where personas come from, and who speaks when nobody chooses.
#[derive(Clone, Debug, Default)]
pub struct CastSettings {
    /// The persona of calls that name none.
    pub default: String,
    /// A directory of further personas; those of a name that is built in replace it.
    pub directory: Option<PathBuf>,
    /// A voice in place of the default persona's.
    pub voice: Option<Voice>,
    /// A prompt in place of the default persona's template; not empty.
    pub prompt: Option<SecretString>,
    /// A file of the model's tokenizer, to count tokens with; without it they are guessed.
    pub tokenizer: Option<PathBuf>,
}

/// Why there are no personas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// The directory or a file in it.
    #[error("{path} (persona.dir) cannot be read: {reason}; check the path and its permissions")]
    Unreadable {
        /// Which.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// More files than are read.
    #[error("persona.dir has more than {MAX_PERSONAS} files that end in .toml")]
    TooMany,
    /// Personas that break rules.
    #[error("personas cannot be used:{}", List(.0))]
    Flaws(Vec<PersonaFlaw>),
    /// No tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// No such default.
    #[error("persona.default names no persona; there are {0}")]
    NoDefault(String),
}

struct List<'a>(&'a [PersonaFlaw]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|flaw| write!(f, "\n- {flaw}"))
    }
}

/// Why a caller does not get the persona that it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPersona {
    /// There is none of this name.
    #[error("there is no such persona")]
    Unknown,
    /// The caller lacks its scope.
    #[error("this persona needs a scope that the caller does not have")]
    Forbidden,
}

/// All personas by name.
#[derive(Clone, Debug)]
pub struct Cast {
    personas: BTreeMap<String, Arc<Persona>>,
    default: String,
    advice: Vec<Advice>,
}

impl Cast {
    /// Reads every persona, built in or not. Every flaw of every file is told at once.
    pub fn load(settings: &CastSettings) -> Result<Cast, CastError> {
        let mut files: BTreeMap<String, String> =
            BUILT_IN.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        if let Some(directory) = &settings.directory {
            files.extend(read_directory(directory)?);
        }
        let counter = settings.tokenizer.as_deref().map(Tokens::load).transpose()?.unwrap_or_default();
        let (mut personas, mut advice, mut flaws) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (stem, text) in files {
            match Persona::read(&stem, &text, &counter) {
                Ok((persona, found)) => {
                    advice.extend(found);
                    personas.insert(stem, persona);
                }
                Err(found) => flaws.extend(found),
            }
        }
        if !flaws.is_empty() {
            return Err(CastError::Flaws(flaws));
        }
        let Some(mut chosen) = personas.remove(&settings.default) else {
            return Err(CastError::NoDefault(personas.into_keys().collect::<Vec<_>>().join(", ")));
        };
        chosen.voice = settings.voice.unwrap_or(chosen.voice);
        if let Some(prompt) = &settings.prompt {
            chosen = chosen.with_prompt(prompt.clone());
        }
        personas.insert(settings.default.clone(), chosen);
        let personas = personas.into_iter().map(|(name, persona)| (name, Arc::new(persona))).collect();
        Ok(Cast { personas, default: settings.default.clone(), advice })
    }

    /// The persona of this name, or the one of calls that name none, if somebody with these scopes may call it.
    pub fn find(&self, name: Option<&str>, scopes: &[String]) -> Result<&Arc<Persona>, NoPersona> {
        let persona = self.personas.get(name.unwrap_or(&self.default)).ok_or(NoPersona::Unknown)?;
        if persona.is_open_to(scopes) { Ok(persona) } else { Err(NoPersona::Forbidden) }
    }

    /// The names that somebody with these scopes may choose from, in alphabetical order.
    pub fn names(&self, scopes: &[String]) -> Vec<String> {
        self.personas
            .values()
            .filter(|persona| persona.is_open_to(scopes))
            .map(|persona| persona.name.clone())
            .collect()
    }

    /// Every persona, in alphabetical order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Persona>> {
        self.personas.values()
    }

    /// What could be better in them.
    pub fn advice(&self) -> &[Advice] {
        &self.advice
    }
}

/// The texts of the files that end in `.toml`, by their names without it.
fn read_directory(directory: &Path) -> Result<BTreeMap<String, String>, CastError> {
    let failed = |path: &Path, reason: String| CastError::Unreadable { path: path.display().to_string(), reason };
    let entries = fs::read_dir(directory).map_err(|error| failed(directory, error.to_string()))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, error.to_string()))?.path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        if files.len() == MAX_PERSONAS {
            return Err(CastError::TooMany);
        }
        // Bytes first: the limit may fall inside a character.
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| failed(&path, error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(failed(&path, format!("it is longer than {MAX_FILE_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| failed(&path, "it is no text in UTF-8".to_owned()))?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        files.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
