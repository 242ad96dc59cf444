//! The prompts that all connections of a PersonaPlex server share, and how a request changes them (pure).
//!
//! The real server writes a request's voice and text into the one model *before* it waits for the lock, also when
//! the request is about to fail. Whoever is prompted next gets whatever was written last.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::settings::Settings;

/// The steps of silence after the voice prompt, and again after the text prompt: half a second of 80 ms frames.
pub const SILENCE_STEPS: u32 = 6;

/// A text prompt. It does not print; [`expose`](Self::expose) shows it.
#[derive(Clone)]
pub struct PromptText(Arc<SecretString>);

impl PromptText {
    /// Keeps a text from being printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(SecretString::from(text.into())))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Its length in tokens, as the simulated tokenizer has it.
    ///
    /// One token for every four characters, rounded up (measured with the real one: 1,000 characters are about 250
    /// tokens, 8,000 about 1,900), and five for the system tags around it, which are not counted as characters.
    pub fn tokens(&self) -> u32 {
        let inner = self.expose().trim_start_matches("<system>").trim_end_matches("<system>").trim();
        u32::try_from(inner.chars().count().div_ceil(4)).unwrap_or(u32::MAX).saturating_add(5)
    }

    /// The text between system tags, unless it is there already.
    fn wrapped(text: &str) -> Self {
        let cleaned = text.trim();
        if cleaned.starts_with("<system>") && cleaned.ends_with("<system>") {
            return Self::new(cleaned);
        }
        Self::new(format!("<system> {cleaned} <system>"))
    }
}

impl fmt::Debug for PromptText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PromptText({} tokens)", self.tokens())
    }
}

/// Why a request fails after its 101; on the wire all of these are a FIN without a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartFault {
    /// No `voice_prompt` in the query.
    #[error("the query lacks voice_prompt; send the name of a voice")]
    NoVoiceKey,
    /// No file of that name.
    #[error("there is no such voice; send one of the known names")]
    NoSuchVoice,
    /// The path exists but cannot be loaded as a voice.
    #[error("the voice cannot be loaded; send one of the known names")]
    UnreadableVoice,
    /// No `text_prompt` in the query.
    #[error("the query lacks text_prompt; send a text")]
    NoTextKey,
    /// The query has a `seed`, which the server's code stumbles over.
    #[error("the query has a seed; leave it out")]
    Seed,
    /// The text prompt is empty, which shows only after the voice was stepped.
    #[error("the text prompt is empty; send a text")]
    EmptyText,
}

/// What a request asks for: the first value of each key counts, as in the real server.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `voice_prompt`, decoded.
    pub voice: Option<String>,
    /// `text_prompt`, decoded.
    pub text: Option<PromptText>,
    /// Whether there is a `seed` of any value.
    pub seed: bool,
    /// Every key, in order, known or not.
    pub keys: Vec<String>,
}

impl Query {
    /// Reads the query of a request target.
    pub fn parse(target: &str) -> Self {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        let mut asked = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "voice_prompt" if asked.voice.is_none() => asked.voice = Some(value.into_owned()),
                "text_prompt" if asked.text.is_none() => asked.text = Some(PromptText::new(value)),
                "seed" => asked.seed = true,
                _ => {}
            }
            asked.keys.push(key.into_owned());
        }
        asked
    }
}

/// The prompts as they stand in the one model.
#[derive(Clone, Debug, Default)]
pub struct SharedPrompts {
    /// The path that was last asked for: the same path again is not loaded again, even if loading it failed.
    path: Option<String>,
    /// The voice that is stepped: the last one that loaded.
    voice: Option<Arc<str>>,
    /// The text that is stepped; none if the last one was empty.
    text: Option<PromptText>,
}

impl SharedPrompts {
    /// Takes over what a request asks for, in the real server's order: what precedes a fault stays written.
    pub fn accept(&mut self, asked: &Query, settings: &Settings) -> Result<(), StartFault> {
        let name = asked.voice.as_deref().ok_or(StartFault::NoVoiceKey)?;
        let path = joined(&settings.voice_dir, name);
        let found = find(&path, settings).ok_or(StartFault::NoSuchVoice)?;
        if self.path.as_deref() != Some(&path) {
            self.path = Some(path);
            match found {
                Found::Voice(voice) => self.voice = Some(voice.into()),
                Found::Unreadable => return Err(StartFault::UnreadableVoice),
            }
        }
        let text = asked.text.as_ref().ok_or(StartFault::NoTextKey)?;
        self.text = (!text.expose().is_empty()).then(|| PromptText::wrapped(text.expose()));
        if asked.seed { Err(StartFault::Seed) } else { Ok(()) }
    }

    /// The voice that would be stepped now.
    pub fn voice(&self) -> Option<Arc<str>> {
        self.voice.clone()
    }

    /// The text that would be stepped now.
    pub fn text(&self) -> Option<PromptText> {
        self.text.clone()
    }
}

enum Found {
    Voice(String),
    Unreadable,
}

/// As `os.path.join`: an absolute name replaces the directory.
fn joined(dir: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{dir}/{name}") }
}

/// What lies at a path, dots resolved. Only the voice directory, its files and the directories above it exist.
fn find(path: &str, settings: &Settings) -> Option<Found> {
    let resolved = resolved(path);
    let dir = self::resolved(&settings.voice_dir);
    if dir.starts_with(&resolved) {
        return Some(Found::Unreadable);
    }
    let [file] = resolved.strip_prefix(&dir[..])? else { return None };
    if settings.corrupt_voices.iter().any(|voice| voice == file) {
        return Some(Found::Unreadable);
    }
    settings.voices.iter().find(|voice| voice == file).map(|voice| Found::Voice(voice.clone()))
}

fn resolved(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(prompts: &mut SharedPrompts, query: &str) -> Result<(), StartFault> {
        let settings = Settings { corrupt_voices: vec!["BAD.pt".into()], ..Settings::default() };
        prompts.accept(&Query::parse(&format!("/api/chat?{query}")), &settings)
    }

    #[test]
    fn what_a_request_leaves_behind() {
        // query, outcome, voice and text that the next one to be prompted gets; the server starts with A's prompts.
        let rows = [
            ("voice_prompt=NATM1.pt&text_prompt=b", Ok(()), "NATM1.pt", "<system> b <system>"),
            ("", Err(StartFault::NoVoiceKey), "NATF0.pt", "<system> a <system>"),
            ("text_prompt=b", Err(StartFault::NoVoiceKey), "NATF0.pt", "<system> a <system>"),
            ("voice_prompt=NATM1.pt", Err(StartFault::NoTextKey), "NATM1.pt", "<system> a <system>"),
            ("voice_prompt=NO.pt&text_prompt=b", Err(StartFault::NoSuchVoice), "NATF0.pt", "<system> a <system>"),
            ("voice_prompt=NATM1.pt&text_prompt=b&seed=5", Err(StartFault::Seed), "NATM1.pt", "<system> b <system>"),
            ("voice_prompt=NATM1.pt&text_prompt=b&seed=-1", Err(StartFault::Seed), "NATM1.pt", "<system> b <system>"),
            ("voice_prompt=NATM1.pt&text_prompt=b&seed=", Err(StartFault::Seed), "NATM1.pt", "<system> b <system>"),
            ("voice_prompt=&text_prompt=b", Err(StartFault::UnreadableVoice), "NATF0.pt", "<system> a <system>"),
            ("voice_prompt=BAD.pt&text_prompt=b", Err(StartFault::UnreadableVoice), "NATF0.pt", "<system> a <system>"),
            ("voice_prompt=../voices/NATM1.pt&text_prompt=b", Ok(()), "NATM1.pt", "<system> b <system>"),
            ("voice_prompt=/voices/NATM1.pt&text_prompt=b", Ok(()), "NATM1.pt", "<system> b <system>"),
            (
                "voice_prompt=%2Fetc%2Fpasswd&text_prompt=b",
                Err(StartFault::NoSuchVoice),
                "NATF0.pt",
                "<system> a <system>",
            ),
            ("voice_prompt=NATM1.pt&text_prompt=<system>+b+<system>", Ok(()), "NATM1.pt", "<system> b <system>"),
            (
                "voice_prompt=NATM1.pt&text_prompt=b+%C3%A9&topk=3&text_seed=1",
                Ok(()),
                "NATM1.pt",
                "<system> b é <system>",
            ),
            (
                "voice_prompt=NATM1.pt&voice_prompt=NO.pt&text_prompt=b&text_prompt=",
                Ok(()),
                "NATM1.pt",
                "<system> b <system>",
            ),
        ];
        for (query, outcome, voice, text) in rows {
            let mut prompts = SharedPrompts::default();
            request(&mut prompts, "voice_prompt=NATF0.pt&text_prompt=a").unwrap();
            assert_eq!(request(&mut prompts, query), outcome, "{query}");
            assert_eq!(prompts.voice().as_deref(), Some(voice), "{query}");
            assert_eq!(prompts.text().unwrap().expose(), text, "{query}");
        }
    }

    #[test]
    fn a_voice_that_failed_once_passes_the_second_time_with_the_stale_one() {
        for voice in ["", "BAD.pt"] {
            let mut prompts = SharedPrompts::default();
            request(&mut prompts, "voice_prompt=NATF0.pt&text_prompt=a").unwrap();
            let query = format!("voice_prompt={voice}&text_prompt=b");
            assert_eq!(request(&mut prompts, &query), Err(StartFault::UnreadableVoice));
            assert_eq!(request(&mut prompts, &query), Ok(()));
            assert_eq!(prompts.voice().as_deref(), Some("NATF0.pt"));
            request(&mut prompts, "voice_prompt=NATF0.pt&text_prompt=c").unwrap();
            assert_eq!(request(&mut prompts, &query), Err(StartFault::UnreadableVoice));
        }
    }

    #[test]
    fn an_empty_text_is_taken_over_as_none() {
        let mut prompts = SharedPrompts::default();
        assert_eq!(request(&mut prompts, "voice_prompt=NATF0.pt&text_prompt="), Ok(()));
        assert!(prompts.text().is_none());
    }

    #[test]
    fn tokens_follow_the_length_without_the_tags() {
        for (text, tokens) in [("<system> a <system>", 6), ("<system>  <system>", 5), ("<system> éééé <system>", 6)]
        {
            assert_eq!(PromptText::new(text).tokens(), tokens, "{text}");
        }
        assert_eq!(PromptText::new(format!("<system> {} <system>", "x".repeat(1000))).tokens(), 255);
    }

    #[test]
    fn prompts_do_not_print() {
        let mut prompts = SharedPrompts::default();
        request(&mut prompts, "voice_prompt=NATF0.pt&text_prompt=secret").unwrap();
        let query = Query::parse("/api/chat?text_prompt=secret");
        assert!(!format!("{prompts:?} {query:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_target_is_read_without_panic(target in ".{0,200}") {
            let mut prompts = SharedPrompts::default();
            let _ = prompts.accept(&Query::parse(&target), &Settings::default());
        }
    }
}
