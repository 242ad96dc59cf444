//! HTML and Markdown, flattened: their words stay, their signs go (pure).

use std::borrow::Cow;

/// The longest thing between angle brackets that counts as a tag, in bytes.
const MAX_TAG_BYTES: usize = 200;

/// The longest name of a character, in bytes.
const MAX_ENTITY_BYTES: usize = 8;

/// Named characters of HTML that journals have, and numbered ones.
pub(super) fn entities(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let end = after.bytes().take(MAX_ENTITY_BYTES + 1).position(|byte| byte == b';');
        match end.and_then(|end| Some((character(&after[..end])?, &after[end + 1..]))) {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain.into()
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        "hellip" => Some('…'),
        "ndash" | "mdash" => Some('-'),
        _ => {
            let number = name.strip_prefix('#')?;
            let hexadecimal = number.strip_prefix(['x', 'X']);
            let code = hexadecimal.map_or_else(|| number.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok());
            code.and_then(char::from_u32)
        }
    }
}

/// The text without tags and without angle brackets. Tags that end a line in a browser end one here.
pub(super) fn untagged(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>']) {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let tag = after.find(['<', '>', '\n']).filter(|end| {
            let opens = after.starts_with(|first: char| first.is_ascii_alphabetic() || "/!?|".contains(first));
            rest[at..].starts_with('<') && opens && *end <= MAX_TAG_BYTES && !after[*end..].starts_with('\n')
        });
        match tag {
            Some(end) => {
                plain.push_str(if breaks(&after[..end]) { "\n\n" } else { " " });
                rest = &after[end + 1..];
            }
            // "<3" and "a < b": the bracket alone.
            None => {
                let heart = rest[at..].starts_with("<3");
                // A quotation's mark at the start of a line is left to those who know Markdown.
                let quotes = rest[at..].starts_with('>') && (plain.is_empty() || plain.ends_with('\n'));
                plain.push(if quotes { '\u{1}' } else { ' ' });
                rest = &after[usize::from(heart)..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn breaks(tag: &str) -> bool {
    let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default().to_ascii_lowercase();
    let headings = ["h1", "h2", "h3", "h4", "h5", "h6"];
    ["p", "br", "div", "li", "ul", "ol", "tr", "td", "hr"].contains(&name.as_str()) || headings.contains(&name.as_str())
}

/// The text of Markdown as one line: headings and points of lists are sentences of their own.
pub(super) fn flatten(text: &str) -> String {
    let mut line_of = String::with_capacity(text.len());
    let mut breaks = false;
    for line in text.split('\n') {
        let (line, starts) = bare(line);
        let line = unstressed(&unlinked(line));
        // A row of a table begins and ends with nothing.
        let line = line.trim_matches(if line.contains(" , ") { [' ', ','].as_slice() } else { &[' '] });
        if !line.contains(char::is_alphanumeric) {
            breaks = true;
            continue;
        }
        if !line_of.is_empty() {
            let begins = starts || breaks || line.starts_with(char::is_uppercase);
            let open = line_of.ends_with(|last: char| last.is_alphanumeric() || "')]%".contains(last));
            line_of.push_str(if begins && open { ". " } else { " " });
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
        let stripped = rest.strip_prefix('\u{1}').map(str::trim_start).or_else(|| {
            let after_sign = rest.trim_start_matches(['#', '-', '*', '+', '•', '~', '=']);
            let signs = rest.len() - after_sign.len();
            let list = signs > 0 && (after_sign.starts_with(' ') || after_sign.is_empty() || rest.starts_with("~~~"));
            let boxed = ["[ ] ", "[x] ", "[X] "].into_iter().find_map(|sign| rest.strip_prefix(sign));
            boxed.or_else(|| list.then(|| after_sign.trim_start())).or_else(|| numbered(rest)).or_else(|| fence(rest))
        });
        match stripped {
            Some(after) => (rest, starts) = (after, true),
            None => return (rest, starts),
        }
    }
}

fn numbered(line: &str) -> Option<&str> {
    let after = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let digits = line.len() - after.len();
    ((1..=2).contains(&digits)).then(|| after.strip_prefix(". ").or_else(|| after.strip_prefix(") "))).flatten()
}

fn fence(line: &str) -> Option<&str> {
    // What is behind the fence names a language.
    line.starts_with("```").then_some("")
}

/// `[words](address)` and `![words](address)` are their words.
fn unlinked(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('[') {
        let link = rest[at + 1..].split_once("](").and_then(|(words, after)| {
            let (_, after) = after.split_once(')')?;
            (!words.contains('[')).then_some((words, after))
        });
        match link {
            Some((words, after)) => {
                plain.push_str(rest[..at].trim_end_matches('!'));
                plain.push_str(words);
                rest = after;
            }
            None => {
                plain.push_str(&rest[..at]);
                plain.push(' ');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

/// The text without the signs of stress: asterisks, underscores around words, tildes and backticks.
fn unstressed(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let inside =
            plain.ends_with(char::is_alphanumeric) && characters.peek().is_some_and(|next| next.is_alphanumeric());
        match character {
            '*' | '~' | '`' => {}
            '_' if inside => plain.push(' '),
            '_' => {}
            // Cells of a table.
            '|' => plain.push_str(" , "),
            '\\' => plain.push(' '),
            _ => plain.push(character),
        }
    }
    plain
}
