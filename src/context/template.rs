//! A persona's template: how its prompt is made of what is known of the caller (pure).
//!
//! Templates are written in Jinja's language. They are the operator's; what users wrote comes as values, and values are
//! never read as templates.

use std::fmt;

use minijinja::{Environment, UndefinedBehavior, context};

/// The variables that every template has; those of which nothing is known are empty.
pub const VARIABLES: [&str; 6] = ["name", "pronouns", "about", "journal", "recaps", "context"];

/// Instructions that filling a template may take: a loop without end is a mistake.
const FUEL: u64 = 20_000;
/// The name of the one template of an environment; without an ending nothing is escaped.
const NAME: &str = "persona";

/// What a template is filled with: sentences, each text in one line.
#[derive(Clone, Default)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) pronouns: String,
    /// `Conditions: asthma. Sleep: five hours.`
    pub(super) about: String,
    /// `Yesterday Maria wrote: "..."`
    pub(super) journal: String,
    /// `Last call, yesterday: "..."`
    pub(super) recaps: String,
}

/// Why a template cannot be used, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template, line {line}, column {column}: {reason}")]
pub struct TemplateError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// A template that was understood. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Template {
    /// Understands a template, and knows all of its variables.
    pub(super) fn parse(source: &str) -> Result<Template, TemplateError> {
        let mut environment = Environment::new();
        // Errors would keep what users wrote.
        environment.set_debug(false);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| told(&error, source))?;
        let template = environment.get_template(NAME).map_err(|error| told(&error, source))?;
        let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !VARIABLES.contains(&name.as_str()) && !is_function(name));
        unknown.sort();
        if let Some(name) = unknown.first() {
            let at = source.match_indices(name.as_str()).map(|(at, _)| at).find(|at| is_word(source, *at, name.len()));
            let (line, column) = position(source, at.unwrap_or_default());
            let reason = format!("there is no variable {name}; there are {}", VARIABLES.join(", "));
            return Err(TemplateError { line, column, reason });
        }
        Ok(Template { environment, source: source.to_owned() })
    }

    /// The prompt in one line. An error is one of the template's, but may repeat what it was filled with: it is for
    /// samples.
    pub(super) fn fill(&self, facts: &Facts) -> Result<String, TemplateError> {
        let all = [&facts.about, &facts.journal, &facts.recaps];
        let context: Vec<&str> = all.into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let values = context! {
            name => facts.name.as_str(),
            pronouns => facts.pronouns.as_str(),
            about => facts.about.as_str(),
            journal => facts.journal.as_str(),
            recaps => facts.recaps.as_str(),
            context => context.join(" "),
        };
        let filled = self.environment.get_template(NAME).and_then(|template| template.render(values));
        filled.map(|text| one_line(&text)).map_err(|error| told(&error, &self.source))
    }
}

/// Words with one space in between.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_function(name: &str) -> bool {
    ["range", "dict", "namespace", "debug"].contains(&name)
}

fn is_word(source: &str, at: usize, length: usize) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !source[..at].ends_with(part) && !source[at + length..].starts_with(part)
}

fn told(error: &minijinja::Error, source: &str) -> TemplateError {
    let place = error.range().filter(|range| range.start <= source.len()).map(|range| position(source, range.start));
    let (line, column) = place.unwrap_or((error.line().unwrap_or(1), 1));
    let kind = error.kind().to_string();
    let reason = error.detail().map_or(kind.clone(), |detail| format!("{kind}: {detail}"));
    TemplateError { line, column, reason }
}

/// The line and column of a byte, both from 1.
pub(super) fn position(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { name: "Maria".into(), about: "Mood: low.".into(), recaps: "Bye.".into(), ..Facts::default() }
    }

    #[test]
    fn a_template_is_filled_into_one_line() {
        let source =
            "You talk with {{ name or 'somebody' }}.\n{% if journal %}{{ journal }}{% endif %}\n  {{ context }}";
        let template = Template::parse(source).unwrap();
        assert_eq!(template.fill(&facts()).unwrap(), "You talk with Maria. Mood: low. Bye.");
        assert_eq!(template.fill(&Facts::default()).unwrap(), "You talk with somebody.");
        assert_eq!(format!("{template:?}"), "Template");
    }

    #[test]
    fn values_are_not_read_as_templates_and_nothing_is_escaped() {
        let facts = Facts { name: "{{ about }} & 'x'".into(), ..facts() };
        assert_eq!(Template::parse("{{ name }}").unwrap().fill(&facts).unwrap(), "{{ about }} & 'x'");
    }

    #[test]
    fn what_is_wrong_with_a_template_has_its_place() {
        for (source, place, reason) in [
            ("You are\n  {{ name", (2, 6), "unexpected end"),
            ("You {% if name %} are", (1, 18), "unexpected end"),
            ("You are.\nHi {{ naem }}.", (2, 7), "there is no variable naem; there are name, pronouns"),
            ("{% if false %}{{ user.name }}{% endif %}", (1, 18), "there is no variable user"),
            ("é {{ name|upcase }}", (1, 11), "upcase"),
            ("{% include 'x' %}", (1, 4), "include"),
        ] {
            let error = Template::parse(source).and_then(|template| template.fill(&facts()).map(|_| ())).unwrap_err();
            assert!(error.reason.contains(reason), "{source}: {error}");
            assert_eq!((error.line, error.column), place, "{source}: {error}");
        }
    }

    #[test]
    fn a_template_without_end_is_stopped() {
        let template = Template::parse("{% for i in range(9000) %}{% for j in range(9000) %}x{% endfor %}{% endfor %}");
        assert!(template.unwrap().fill(&facts()).unwrap_err().reason.contains("fuel"));
    }
}
