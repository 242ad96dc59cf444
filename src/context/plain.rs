//! Text of users as plain sentences: no markup, nothing invisible, nothing that could end or imitate a prompt's frame
//! (pure).
//!
//! A server wraps the prompt as `<system> ... <system>`, and the model was trained on prompts in one line of English. So
//! angle brackets go, and what a tokenizer's normalisation would turn into them; every quotation mark becomes a single
//! one, so that text can be put into double ones and not end them; labels lose their colon, because prompts give facts
//! as `Label: fact.`; pictures go, because each costs several tokens and tells the model little. Where a sign that goes could
//! change what is said, the sentence is marked, to be left out.

mod html;
mod mark;
mod markdown;

use mark::Fate;

use super::{sentence::sentences, work::looked_at};

pub use mark::GAP;
pub(in crate::context) use markdown::Lines;

/// The most bytes of one text that are looked at.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;
/// A word of more Latin letters than this is an address, a key or noise.
const MAX_WORD_LETTERS: usize = 64;
/// So often may a letter follow itself: "sooo" says all that "sooooooo" says.
const MAX_REPEATS: usize = 3;
/// What was taken out may leave something behind that has to go too; three rounds are more than any text was seen to need.
const MAX_ROUNDS: usize = 8;

/// The text as one line of plain sentences, those that cannot be told as they were written left out. It may be empty.
pub fn plain(text: &str) -> String {
    let marked = marked(text, Lines::Prose);
    let told = sentences(&marked).into_iter().filter(|sentence| !sentence.contains(GAP));
    told.collect::<Vec<_>>().join(" ")
}

/// The text as one line of plain sentences, with a [`GAP`] in those that cannot be told as they were written. Doing it twice
/// changes nothing.
pub(super) fn marked(text: &str, lines: Lines) -> String {
    let kept = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let mut clean = once(kept, lines);
    if kept.len() < text.len() {
        // The last sentence was cut.
        clean.push(GAP);
    }
    for _ in 0..MAX_ROUNDS {
        let again = once(&clean, lines);
        if again == clean {
            return clean;
        }
        clean = again;
    }
    GAP.to_string()
}

/// What a prompt must not hold, if it holds any: the brackets of the frame, whatever they look like, and what nobody sees.
pub(super) fn frame_sign(text: &str) -> Option<char> {
    let is_bracket = |sign: char| match sign.is_ascii() {
        true => ['<', '>'].contains(&sign),
        false => ["<", ">"].contains(&mark::fold(sign.encode_utf8(&mut [0; 4])).as_str()),
    };
    text.chars().find(|sign| is_bracket(*sign) || (mark::is_invisible(*sign) && !sign.is_whitespace()))
}

fn once(text: &str, lines: Lines) -> String {
    looked_at(text.len());
    let folded = mark::fold(&html::entities(text));
    let flat = markdown::flatten(&html::untagged(&folded), lines);
    let mut signs = String::with_capacity(flat.len());
    for word in flat.split_whitespace() {
        word.chars().for_each(|character| push_tame(&mut signs, character));
        signs.push(' ');
    }
    tidied(&signs.split_whitespace().collect::<Vec<_>>())
}

/// Adds a character that may stay, unless it only repeats those before it.
fn push_tame(text: &mut String, character: char) {
    let kept = match mark::fate(character) {
        Fate::Stays(kept) => kept,
        Fate::Space => return text.push(' '),
        Fate::Lost => return text.push(GAP),
        // Two words with a picture in between are two words. Behind "no" it is a word itself.
        Fate::Picture if text.ends_with(GAP) => return,
        Fate::Picture => {
            let last = text.split_whitespace().next_back().unwrap_or_default();
            return text.push_str(if is_negation(last) { "\u{fffc}" } else { " , " });
        }
    };
    // Words of digits have a limit of their own.
    let most = match kept {
        _ if kept.is_numeric() => None,
        '+' => None,
        '.' => Some(3),
        _ if kept.is_alphabetic() => Some(MAX_REPEATS),
        _ => Some(1),
    };
    let repeats = most.is_some_and(|most| text.chars().rev().take(most).filter(|last| *last == kept).count() == most);
    let piled = mark::is_combining(kept)
        && text.chars().rev().take_while(|last| mark::is_combining(*last)).take(2).count() == 2;
    if !repeats && !piled {
        text.push(kept);
    }
}

/// Words that turn what stands behind them into its contrary.
pub(super) fn is_negation(word: &str) -> bool {
    const NEGATIONS: [&str; 24] = [
        "no", "not", "non", "none", "nor", "never", "without", "except", "stop", "stopped", "quit", "geen", "niet",
        "nooit", "zonder", "kein", "keine", "nicht", "ohne", "pas", "sans", "sin", "nada", "senza",
    ];
    let word = word.trim_matches(|sign: char| !sign.is_alphanumeric()).to_lowercase();
    NEGATIONS.contains(&word.as_str()) || word.ends_with("n't")
}

/// Words with one space in between; signs that stand alone go where nothing is lost with them, and a label loses its colon.
fn tidied(words: &[&str]) -> String {
    let mut line = String::new();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied().unwrap_or_default();
        if !word.contains(|sign: char| sign.is_alphanumeric() || sign == GAP) {
            push_signs(&mut line, word, next);
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        if word.chars().filter(|letter| *letter < '\u{250}').count() > MAX_WORD_LETTERS {
            line.push(GAP);
            continue;
        }
        match word.strip_suffix([':', ';']) {
            Some(label) => {
                line.push_str(label.trim_end_matches([':', ';', ',', '.', '!', '?']));
                let parts = parts_number(&line, next);
                line.push(match word.ends_with(';') {
                    _ if parts => GAP,
                    true => ';',
                    false => ',',
                });
            }
            None => line.push_str(word),
        }
    }
    line.truncate(line.trim_end_matches([',', ';', ' ', '&', '(', '/']).len());
    if line.ends_with(" -") {
        line.push(GAP);
    }
    line
}

fn parts_number(line: &str, next: &str) -> bool {
    line.ends_with(char::is_numeric) && next.starts_with(char::is_numeric)
}

/// Signs between two spaces. Those that end a phrase belong to the word before them.
fn push_signs(line: &mut String, word: &str, next: &str) {
    let signs = word.trim_matches(['\'', '(', ')']);
    let ends = signs.trim_start_matches(['.', '!', '?', ',', ':', ';']).is_empty();
    if signs.is_empty() {
        // Feet, minutes and inches.
        if word.contains('\'') && line.ends_with(char::is_numeric) {
            line.push(GAP);
        }
    } else if signs == "%" && !line.ends_with(char::is_numeric) && !next.starts_with(char::is_numeric) {
        // Of a template.
    } else if !ends {
        let body = signs.trim_end_matches([':', ';', ',']);
        line.push(if line.is_empty() { GAP } else { ' ' });
        line.push_str(if line.ends_with(GAP) { "" } else { body });
        line.push_str(if body.len() < signs.len() { "," } else { "" });
    } else if line.ends_with(|last: char| last.is_alphanumeric() || last == ')') {
        let end = if signs.starts_with("..") { "..." } else { &signs[..1] };
        line.push_str(if parts_number(line, next) && end != "," { "\u{fffc}" } else { end });
    }
}

#[cfg(test)]
mod tests;
