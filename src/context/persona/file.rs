//! A persona's file: TOML with known fields only, each held against its bounds.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Advice, Budget, CallLimits, Persona, PersonaFlaw, Role, Sight, lint};
use crate::{
    context::{
        plain::frame_sign,
        recap::ROLE_TOKENS,
        role::shortened,
        template::{Facts, Template, one_line},
        tokens::Tokens,
        topic::Topic,
    },
    protocol::moshi::{Voice, prompt_budget_bytes, tokens_estimate},
};

/// The longest file of a persona, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The longest name of a persona, in bytes.
pub const MAX_NAME_BYTES: usize = 40;

/// The most tokens that a prompt may be given: half of a window of 3,000 steps (personaplex.md 6.5).
const MAX_TOKENS: u32 = 1_500;
const MIN_TOKENS: u32 = 16;
const MIN_BYTES: usize = 64;
const MAX_ENTRIES: usize = 20;
/// The most recaps that a prompt may be given: as many as are looked up.
pub const MAX_RECAPS: usize = 3;
const MAX_DAYS: u32 = 3_650;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    description: String,
    voice: Spanned<String>,
    model: Option<String>,
    #[serde(default = "english")]
    languages: Spanned<Vec<String>>,
    scope: Option<Spanned<String>>,
    template: Spanned<String>,
    continuation: Option<Spanned<String>>,
    budget: Spanned<RawBudget>,
    #[serde(default)]
    limits: RawLimits,
    context: Option<Spanned<RawContext>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    tokens: u32,
    bytes: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    max_duration_seconds: Option<Spanned<u64>>,
    idle_timeout_seconds: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContext {
    see: Vec<Topic>,
    #[serde(default = "five")]
    journal_entries: usize,
    #[serde(default = "month")]
    journal_days: u32,
    #[serde(default = "one")]
    recaps: usize,
    #[serde(default)]
    required: bool,
}

fn english() -> Spanned<Vec<String>> {
    Spanned::new(0..0, vec!["en".to_owned()])
}

fn five() -> usize {
    5
}

fn month() -> u32 {
    30
}

fn one() -> usize {
    1
}

/// Collects what is wrong.
struct Judge<'a> {
    stem: &'a str,
    text: &'a str,
    flaws: Vec<PersonaFlaw>,
}

impl Judge<'_> {
    fn flaw<T>(&mut self, at: &Spanned<T>, sentence: impl Into<String>) {
        self.flaws.push(PersonaFlaw::at(self.stem, self.text, Some(at.span().start), sentence));
    }

    fn check(&mut self, holds: bool, at: &Spanned<impl Sized>, sentence: &str) {
        if !holds {
            self.flaw(at, sentence);
        }
    }
}

pub(super) fn read(stem: &str, text: &str, counter: &Tokens) -> Result<(Persona, Vec<Advice>), Vec<PersonaFlaw>> {
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| span.start);
        vec![PersonaFlaw::at(stem, text, place, error.message().replace('\n', "; "))]
    })?;
    let mut judge = Judge { stem, text, flaws: Vec::new() };
    judge.check(raw.name.get_ref() == stem, &raw.name, "its name must be that of its file, without .toml");
    judge.check(is_name(raw.name.get_ref()), &raw.name, "names are 1 to 40 of a to z, 0 to 9, - and _");
    judge.languages(&raw.languages);
    if let Some(scope) = &raw.scope {
        let one_word = !scope.get_ref().is_empty() && !scope.get_ref().contains(char::is_whitespace);
        judge.check(one_word, scope, "scope must be one word; leave it out to let everybody call");
    }
    let voice = raw.voice.get_ref().parse::<Voice>().unwrap_or_else(|error| {
        judge.flaw(&raw.voice, format!("there is no such voice; {error}"));
        Voice::Natf0
    });
    let budget = judge.budget(&raw.budget, voice, counter);
    let sight = raw.context.as_ref().map(|context| judge.sight(context)).unwrap_or_default();
    let limits = CallLimits {
        max_duration: judge.seconds(raw.limits.max_duration_seconds.as_ref()),
        idle_timeout: judge.seconds(raw.limits.idle_timeout_seconds.as_ref()),
    };
    let short = raw.continuation.as_ref().map(|text| judge.continuation(text));
    let template = Template::parse(raw.template.get_ref());
    let template = template.map_err(|error| judge.flaw(&raw.template, error.to_string())).ok();
    let Some(template) = template else { return Err(judge.flaws) };
    let bare = lint::holds(&template, raw.template.get_ref(), &budget, &sight);
    let (bare, mut advice) = match bare {
        Ok(linted) => linted,
        Err(sentences) => {
            sentences.into_iter().for_each(|sentence| judge.flaw(&raw.template, sentence));
            return Err(judge.flaws);
        }
    };
    if !judge.flaws.is_empty() {
        return Err(judge.flaws);
    }
    let languages = raw.languages.into_inner();
    advice.extend(lint::advise(&languages, &budget));
    let advice = advice.into_iter().map(|sentence| Advice { persona: stem.to_owned(), sentence }).collect();
    let persona = Persona {
        name: raw.name.into_inner(),
        description: raw.description,
        voice,
        model: raw.model,
        languages,
        scope: raw.scope.map(Spanned::into_inner),
        budget,
        limits,
        sight,
        role: Role::Template(Box::new(template)),
        short: short.unwrap_or_else(|| shortened(&bare, ROLE_TOKENS)).into(),
        bare: bare.into(),
    };
    Ok((persona, advice))
}

impl Judge<'_> {
    fn languages(&mut self, languages: &Spanned<Vec<String>>) {
        let code = |code: &String| (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase());
        let good = !languages.get_ref().is_empty() && languages.get_ref().iter().all(code);
        self.check(good, languages, "languages are codes of two or three letters, such as en; at least one");
    }

    /// Who it is for servers that go on with a call. It is said as it stands.
    fn continuation(&mut self, text: &Spanned<String>) -> String {
        let line = one_line(text.get_ref());
        let tokens = tokens_estimate(&line);
        if tokens > ROLE_TOKENS {
            self.flaw(
                text,
                format!("continuation has {tokens} tokens; it has at most {ROLE_TOKENS}, beside what was said"),
            );
        }
        self.check(lint::closes(&line), text, "continuation is whole sentences, the last one with a period");
        let plain = !line.contains(['{', '}', '"']) && frame_sign(&line).is_none();
        self.check(
            plain,
            text,
            "continuation is plain text, without quotation marks, braces, < or > and what nobody sees",
        );
        line
    }

    fn budget(&mut self, raw: &Spanned<RawBudget>, voice: Voice, counter: &Tokens) -> Budget {
        let most = prompt_budget_bytes(voice);
        let RawBudget { tokens, bytes } = raw.get_ref();
        let bytes = bytes.unwrap_or(most);
        if !(MIN_TOKENS..=MAX_TOKENS).contains(tokens) {
            self.flaw(raw, format!("budget.tokens is {tokens}; expected {MIN_TOKENS} to {MAX_TOKENS}"));
        }
        if !(MIN_BYTES..=most).contains(&bytes) {
            self.flaw(
                raw,
                format!("budget.bytes is {bytes}; expected {MIN_BYTES} to {most}, what a request line has room for"),
            );
        }
        Budget { bytes: bytes.min(most), tokens: *tokens, counter: counter.clone() }
    }

    fn sight(&mut self, raw: &Spanned<RawContext>) -> Sight {
        let context = raw.get_ref();
        self.check(context.journal_entries <= MAX_ENTRIES, raw, "context.journal_entries is at most 20");
        self.check(context.recaps <= MAX_RECAPS, raw, "context.recaps is at most 3");
        let blind = context.required && context.see.is_empty();
        self.check(!blind, raw, "context.required needs a topic in context.see: without one nothing is looked up");
        self.check(context.journal_days <= MAX_DAYS, raw, "context.journal_days is at most 3650");
        let mut topics = context.see.clone();
        topics.sort_unstable();
        topics.dedup();
        self.check(topics.len() == context.see.len(), raw, "context.see names a topic twice");
        Sight {
            topics,
            journal_entries: context.journal_entries,
            journal_days: context.journal_days,
            recaps: context.recaps,
            required: context.required,
        }
    }

    fn seconds(&mut self, raw: Option<&Spanned<u64>>) -> Option<Duration> {
        let raw = raw?;
        self.check((10..=86_400).contains(raw.get_ref()), raw, "a limit is 10 to 86400 seconds");
        Some(Duration::from_secs(*raw.get_ref()))
    }
}

/// Whether this may be a persona's name.
pub(in crate::context) fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(known)
}

/// What a template is tried with.
pub(super) fn sample() -> Facts {
    Facts {
        name: "Maria".to_owned(),
        pronouns: "she/her".to_owned(),
        about: "Mood: low.".to_owned(),
        journal: "Yesterday Maria wrote: \"I slept.\"".to_owned(),
        recaps: "Last call, a week ago: \"We talked.\"".to_owned(),
    }
}
