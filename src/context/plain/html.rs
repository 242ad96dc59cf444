//! HTML, flattened: its words stay, its tags go, and what is struck out leaves a gap (pure).

use std::borrow::Cow;

use super::mark::GAP;
use crate::context::work::looked_at;

/// The longest thing between angle brackets that counts as a tag, in bytes.
const MAX_TAG_BYTES: usize = 200;

/// The longest name of a character, in bytes.
const MAX_ENTITY_BYTES: usize = 8;

/// Tags that begin or end a line.
const BLOCKS: [&str; 35] = [
    "p",
    "br",
    "div",
    "li",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "tr",
    "td",
    "th",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "table",
    "tbody",
    "thead",
    "tfoot",
    "caption",
    "blockquote",
    "pre",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "html",
    "body",
    "figure",
];
/// Tags within a line. The last ones are no HTML: they are the frame of a prompt.
const INLINE: [&str; 22] = [
    "a", "b", "i", "u", "em", "strong", "span", "font", "mark", "small", "big", "code", "kbd", "samp", "cite", "q",
    "abbr", "time", "img", "sub", "label", "system",
];
/// Tags around what does not hold any more.
const STRUCK: [&str; 3] = ["s", "del", "strike"];

/// Named characters of HTML that journals have, and numbered ones. One that is not known leaves a gap.
pub(super) fn entities(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let end = after.bytes().take(MAX_ENTITY_BYTES + 1).position(|byte| byte == b';');
        let named = end.filter(|end| {
            let name = after[..*end].strip_prefix('#').unwrap_or(&after[..*end]);
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        match named {
            Some(end) => {
                plain.push(character(&after[..end]).unwrap_or(GAP));
                rest = &after[end + 1..];
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
    const NAMES: [(&str, char); 31] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("hellip", '…'),
        ("ndash", '-'),
        ("mdash", '-'),
        ("minus", '-'),
        ("lsquo", '\''),
        ("rsquo", '\''),
        ("ldquo", '"'),
        ("rdquo", '"'),
        ("le", '≤'),
        ("ge", '≥'),
        ("times", '×'),
        ("deg", '°'),
        ("micro", 'µ'),
        ("frac12", '½'),
        ("frac14", '¼'),
        ("frac34", '¾'),
        ("bull", '•'),
        ("euro", '€'),
        ("pound", '£'),
        ("eacute", 'é'),
        ("egrave", 'è'),
        ("auml", 'ä'),
        ("ouml", 'ö'),
        ("uuml", 'ü'),
        ("euml", 'ë'),
    ];
    let known = NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, character)| character);
    known.or_else(|| {
        let number = name.strip_prefix('#')?;
        let hexadecimal = number.strip_prefix(['x', 'X']);
        let code = hexadecimal.map_or_else(|| number.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok());
        code.and_then(char::from_u32)
    })
}

/// The text without tags and without angle brackets. Tags that end a line in a browser end one here; before a number a
/// bracket is a comparison, and anywhere else it leaves a gap.
pub(super) fn untagged(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let lower = text.to_ascii_lowercase();
    while let Some(at) = rest.find(['<', '>']) {
        plain.push_str(&rest[..at]);
        let bracket = &rest[at..];
        let Some((tag, after)) = tag(bracket) else {
            rest = compared(&mut plain, bracket);
            continue;
        };
        rest = after;
        match tag {
            Tag::Block => plain.push_str("\n\n"),
            Tag::Inline => {
                let behind = plain.trim_end_matches(['*', '_', '`']);
                let parts_number = behind.ends_with(char::is_numeric) && starts_in_number(after);
                if parts_number {
                    plain.push(GAP);
                }
            }
            Tag::Struck(name) => {
                plain.push(GAP);
                // What nothing closes is struck out to the end.
                let lower = &lower[text.len() - after.len()..];
                rest = closing(lower, &name).map_or("", |end| &after[end..]);
            }
            Tag::Other => plain.push(GAP),
        }
    }
    plain.push_str(rest);
    plain
}

enum Tag {
    Block,
    Inline,
    Struck(String),
    Other,
}

/// The tag that a text begins with, and what is behind it.
fn tag(text: &str) -> Option<(Tag, &str)> {
    let after = text.strip_prefix('<')?;
    let opens = after.starts_with(|first: char| first.is_ascii_alphabetic() || "/!?|".contains(first));
    let end = after.find(['<', '>', '\n']).filter(|end| opens && *end <= MAX_TAG_BYTES)?;
    let (tag, rest) = (&after[..end], after[end..].strip_prefix('>')?);
    let inner = tag.strip_prefix('/').unwrap_or(tag);
    let length = inner.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(inner.len());
    let (name, attributes) = (inner[..length].to_ascii_lowercase(), inner[length..].trim());
    // "keep it <b and c>" is no tag.
    let plain = attributes.is_empty() || attributes == "/" || attributes.contains('=');
    let kind = match name.as_str() {
        _ if tag.starts_with("!--") || (tag.contains("://") && !tag.contains(' ')) => Tag::Inline,
        _ if !plain => Tag::Other,
        name if BLOCKS.contains(&name) => Tag::Block,
        name if INLINE.contains(&name) => Tag::Inline,
        name if STRUCK.contains(&name) && !tag.starts_with('/') => Tag::Struck(name.to_owned()),
        _ => Tag::Other,
    };
    Some((kind, rest))
}

/// Whether the text goes on with a digit, whatever tags stand before it.
fn starts_in_number(text: &str) -> bool {
    let text = text.trim_start_matches(['*', '_', '`', '[']);
    text.starts_with(|next: char| next.is_numeric() || next == '<')
}

/// The end of the tag that closes `name`, in lower case.
fn closing(text: &str, name: &str) -> Option<usize> {
    let tag = format!("</{name}>");
    let end = text.find(&tag).map(|at| at + tag.len());
    looked_at(end.unwrap_or(text.len()));
    end
}

/// Writes what a bracket says that is no tag's. What is left of the text is given back.
fn compared<'a>(plain: &mut String, text: &'a str) -> &'a str {
    let less = text.starts_with('<');
    let after = &text[1..];
    let begins = plain.trim_end_matches(' ').chars().next_back().is_none_or(|last| last == '\n' || last == QUOTE);
    let equal = after.starts_with('=');
    let number = after[usize::from(equal)..].trim_start_matches(' ');
    let counts = number.trim_start_matches(['$', '€', '£', '.']).starts_with(|first: char| first.is_ascii_digit());
    let heart = less
        && after.starts_with('3')
        && !after[1..].starts_with(|next: char| next.is_ascii_digit() || ".,".contains(next));
    // A quotation's mark at the start of a line is left to those who know Markdown.
    if begins && !less && !equal && !counts {
        plain.push(QUOTE);
        return after;
    }
    if !counts || heart || plain.ends_with(['=', '-', '<', '>', '~']) || (begins && !less && !equal) {
        plain.push(GAP);
        return after;
    }
    plain.push_str(match (less, equal) {
        (true, false) => " under ",
        (true, true) => " at most ",
        (false, false) => " over ",
        (false, true) => " at least ",
    });
    number
}

/// Stands for the sign of a quotation at the start of a line; no text of a user has it.
pub(super) const QUOTE: char = '\u{1}';
