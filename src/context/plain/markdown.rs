//! Markdown, flattened: its words stay, its signs go (pure).

use super::{html::QUOTE, mark::GAP};
use crate::context::work::looked_at;

/// What stands between two lines where the first one ends no sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::context) enum Lines {
    /// Headings, points of lists and lines that begin with a capital are sentences of their own.
    Prose,
    /// Every line is one thing of a list.
    List,
}

/// The text of Markdown as one line.
pub(super) fn flatten(text: &str, lines: Lines) -> String {
    let mut line_of = String::with_capacity(text.len());
    let mut breaks = false;
    for line in text.split('\n') {
        let (written, (line, starts)) = (line, bare(line));
        let is_numbered =
            written.trim_start_matches(|sign: char| !sign.is_alphanumeric()).starts_with(char::is_numeric)
                && !line.starts_with(char::is_numeric);
        let line = unstressed(&unaddressed(&unlinked(line)));
        // A row of a table begins and ends with nothing.
        let line = line.trim_matches(if line.contains(" , ") { [' ', ','].as_slice() } else { &[' '] });
        if !line.contains(|letter: char| letter.is_alphanumeric() || letter == GAP) {
            breaks = true;
            continue;
        }
        if !line_of.is_empty() {
            let numbers = line_of.ends_with(char::is_numeric) && line.starts_with(char::is_numeric);
            let begins = starts || breaks || numbers || line.starts_with(char::is_uppercase);
            let open = line_of.ends_with(|last: char| last.is_alphanumeric() || "')]%".contains(last) || last == GAP);
            line_of.push_str(match lines {
                Lines::Prose if begins && open => ". ",
                Lines::List if open => "; ",
                _ => " ",
            });
            // "take 3" and "2. insulin" below it: the two would be "take 3. insulin".
            if is_numbered && line_of.trim_end_matches([' ', '.', ';']).ends_with(char::is_numeric) {
                line_of.push(GAP);
            }
        }
        breaks = false;
        line_of.push_str(line);
    }
    line_of
}

/// A line without the signs at its start, and whether it had any.
fn bare(line: &str) -> (&str, bool) {
    let (mut rest, mut starts) = (line.trim(), false);
    loop {
        let stripped = rest.strip_prefix(QUOTE).map(str::trim_start).or_else(|| {
            let boxed = ["[ ] ", "[x] ", "[X] "].into_iter().find_map(|sign| rest.strip_prefix(sign));
            boxed.or_else(|| point(rest)).or_else(|| numbered(rest)).or_else(|| fence(rest))
        });
        match stripped {
            Some(after) => (rest, starts) = (after, true),
            None => return (rest, starts),
        }
    }
}

/// A heading, a point of a list, or a line that only divides.
fn point(line: &str) -> Option<&str> {
    let after = line.trim_start_matches(['#', '-', '*', '+', '•', '=']);
    let signs = &line[..line.len() - after.len()];
    // "+ 5 kg" and "= 5" are more than points.
    let counts = signs.contains(['+', '=']) && after.trim_start().starts_with(|next: char| next.is_numeric());
    let point = !signs.is_empty() && (after.starts_with(' ') || after.is_empty()) && !counts;
    point.then(|| after.trim_start())
}

fn numbered(line: &str) -> Option<&str> {
    let after = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let digits = line.len() - after.len();
    let named = ((1..=2).contains(&digits)).then(|| after.strip_prefix(". ").or_else(|| after.strip_prefix(") ")));
    // "2. 5 mg" may be a number with a space in it.
    named.flatten().filter(|rest| !rest.trim_start_matches([' ', '*', '_', '`', '[']).starts_with(char::is_numeric))
}

fn fence(line: &str) -> Option<&str> {
    // What is behind the fence names a language.
    (line.starts_with("```") || line.starts_with("~~~")).then_some("")
}

/// `[words](address)` and `![words](address)` are their words. Each part of the line is looked at once.
fn unlinked(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let (mut from, mut middle) = (0, line.find("]("));
    while let Some(at) = line[from..].find('[').map(|at| from + at) {
        while let Some(before) = middle.filter(|middle| *middle < at) {
            middle = line[before + 1..].find("](").map(|at| before + 1 + at);
        }
        let Some(words_end) = middle else { break };
        let Some(end) = line[words_end..].find(')').map(|end| words_end + end) else { break };
        looked_at(end - from);
        // The nearest bracket before the middle is the one that it belongs to.
        let opens = line[at..words_end].rfind('[').map_or(at, |last| at + last);
        let (words, address) = (&line[opens + 1..words_end], &line[words_end + 2..end]);
        if is_address(address) {
            plain.push_str(line[from..opens].strip_suffix('!').unwrap_or(&line[from..opens]));
            part(&mut plain, words);
            plain.push_str(words);
            part(&mut plain, &line[end + 1..]);
        } else {
            plain.push_str(&line[from..=end]);
        }
        from = end + 1;
    }
    plain + &line[from..]
}

/// Keeps apart two words that were on both sides of a bracket; whether two numbers are one is not known.
fn part(plain: &mut String, next: &str) {
    match (plain.chars().next_back(), next.chars().next()) {
        (Some(last), Some(next)) if last.is_numeric() && next.is_numeric() => plain.push(GAP),
        (Some(last), Some(next)) if last.is_alphanumeric() && next.is_alphanumeric() => plain.push(' '),
        _ => {}
    }
}

/// The line without addresses. One that a word is glued to leaves a gap.
fn unaddressed(line: &str) -> String {
    let word = |word: &str| {
        let address = word.trim_start_matches(['(', '\'', '"']);
        let scheme = address.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            Some(scheme) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => String::new(),
            Some(_) => GAP.to_string(),
            None if address.starts_with("www.") => String::new(),
            None => word.to_owned(),
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Whether this is where a link leads, and no remark in brackets.
fn is_address(text: &str) -> bool {
    let named = text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.contains('.');
    text.contains("://")
        || text.starts_with(['/', '#'])
        || text.starts_with("mailto:")
        || (named && !text.contains(' '))
}

/// The text without the signs of stress. A sign that may be one of arithmetic is written as a word, or leaves a gap, and
/// so does what is struck out.
fn unstressed(line: &str) -> String {
    let mut stress = Stress { plain: String::with_capacity(line.len()), is_open: false, number: None, may_close: true };
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let length = rest.len() - rest.trim_start_matches(character).len();
        let (run, after) = rest.split_at(length);
        rest = match character {
            '*' => stress.stars(run, after),
            '~' => stress.tildes(run, after),
            '^' | '=' => {
                stress.relation(character, &rest[1..]);
                &rest[1..]
            }
            '_' | '`' | '|' => {
                stress.mark(character, &rest[1..]);
                &rest[1..]
            }
            '\\' => stress.escaped(&rest[1..]),
            // One is enough, and looking back at it is no work.
            ' ' => {
                stress.space();
                after
            }
            _ => {
                stress.plain.push_str(run);
                after
            }
        };
    }
    if let Some(at) = stress.number {
        stress.plain.insert(at, GAP);
    }
    stress.plain
}

struct Stress {
    /// No two spaces in a row.
    plain: String,
    /// Whether stress began that nothing has ended yet.
    is_open: bool,
    /// Where it began, if with a number.
    number: Option<usize>,
    /// Whether something struck out may still end.
    may_close: bool,
}

impl Stress {
    fn space(&mut self) {
        if !self.plain.ends_with(' ') {
            self.plain.push(' ');
        }
    }

    fn word(&mut self, word: &str) {
        self.space();
        self.plain.push_str(word);
        self.plain.push(' ');
    }

    /// Whether a number stands before and behind, spaces aside.
    fn is_between_numbers(&self, after: &str) -> bool {
        self.plain.trim_end_matches(' ').ends_with(char::is_numeric)
            && after.trim_start_matches(' ').starts_with(char::is_numeric)
    }

    fn stars<'a>(&mut self, run: &str, after: &'a str) -> &'a str {
        let last = self.plain.chars().next_back().filter(|last| *last != ' ');
        let next = after.chars().next().filter(|next| *next != ' ');
        let counts = |letter: Option<char>| letter.is_some_and(char::is_numeric);
        let ahead = Self::ahead(after);
        let is_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        if last.is_some() == next.is_some() && self.is_between_numbers(after) {
            if run.len() == 1 { self.word("x") } else { self.plain.push(GAP) }
        } else if (is_word(last) && (is_word(next) || (next.is_some() && ahead.starts_with(char::is_numeric))))
            || (last.is_none() && next.is_none() && self.is_by_number(ahead))
        {
            self.plain.push(GAP);
        } else if next.is_some() && !is_word(last) {
            (self.is_open, self.number) = (true, counts(next).then_some(self.plain.len()));
        } else if self.is_open {
            (self.is_open, self.number) = (false, None);
        } else if counts(last) {
            self.plain.push(GAP);
        }
        after
    }

    fn is_by_number(&self, after: &str) -> bool {
        self.plain.trim_end_matches(' ').ends_with(char::is_numeric)
            || after.trim_start_matches(' ').starts_with(char::is_numeric)
    }

    /// What comes behind spaces and the beginning of stress.
    fn ahead(after: &str) -> &str {
        after.trim_start_matches([' ', '*', '_', '`'])
    }

    fn tildes<'a>(&mut self, run: &str, after: &'a str) -> &'a str {
        let opens = after.starts_with(|next: char| !next.is_whitespace());
        if run.len() >= 2 && opens {
            self.plain.push(GAP);
            let end = self.may_close.then(|| after.find("~~")).flatten();
            looked_at(end.unwrap_or(after.len()));
            self.may_close = end.is_some();
            return end.map_or(after, |end| &after[end + 2..]);
        }
        let ahead = Self::ahead(after);
        let tight = self.plain.ends_with(char::is_alphanumeric) && !after.starts_with(' ');
        let joins = tight && ahead.starts_with(char::is_alphanumeric);
        let numbers = self.is_between_numbers(ahead);
        if numbers && self.plain.ends_with(' ') != after.starts_with(' ') {
            // "5 ~7" is both a range and about seven.
            self.plain.push(GAP);
        } else if run.len() == 1 && (joins || numbers) {
            self.plain.push('-');
        } else if run.len() == 1 && ahead.starts_with(char::is_alphanumeric) {
            self.word("about");
        }
        after
    }

    /// An equals sign, or one of powers.
    fn relation(&mut self, sign: char, after: &str) {
        let ahead = Self::ahead(after);
        let joins = self.plain.trim_end_matches(' ').ends_with(char::is_alphanumeric)
            && ahead.starts_with(char::is_alphanumeric);
        match sign {
            '^' if joins => self.plain.push(GAP),
            '=' if joins && self.is_by_number(ahead) => self.word("equals"),
            _ => self.space(),
        }
    }

    /// An underscore, a backtick, or what parts the cells of a table.
    fn mark(&mut self, sign: char, after: &str) {
        let joins = self.plain.ends_with(char::is_alphanumeric) && after.starts_with(char::is_alphanumeric);
        match sign {
            '|' => self.word(","),
            _ if joins && self.is_between_numbers(after) => self.plain.push(GAP),
            '_' if joins => self.space(),
            _ => {}
        }
    }

    /// A sign behind a backslash is meant as it stands.
    fn escaped<'a>(&mut self, after: &'a str) -> &'a str {
        let sign = after.chars().next().filter(char::is_ascii_punctuation);
        match sign {
            Some(sign) => self.plain.push(sign),
            None if self.plain.ends_with(char::is_numeric) && after.starts_with(char::is_numeric) => {
                self.plain.push(GAP)
            }
            None => self.space(),
        }
        &after[sign.map_or(0, char::len_utf8)..]
    }
}
