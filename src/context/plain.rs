//! Text of users as plain sentences: no markup, nothing invisible, nothing that could end or imitate a prompt's frame
//! (pure).
//!
//! A server wraps the prompt as `<system> ... <system>`, and the model was trained on prompts in one line of English. So
//! angle brackets go, and what a tokenizer's normalisation would turn into them; every quotation mark becomes a single
//! one, so that text can be put into double ones and not end them; labels lose their colon, because prompts give facts
//! as `Label: fact.`; pictures and unknown signs go, because each costs several tokens and tells the model nothing.

mod mark;
mod markdown;

/// The most bytes of one text that are looked at.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;
/// A word longer than this, in bytes, is an address, a key or noise.
const MAX_WORD_BYTES: usize = 64;
/// So often may a letter follow itself: "sooo" says all that "sooooooo" says.
const MAX_REPEATS: usize = 3;

/// The text as one line of plain sentences. It may be empty. Doing it twice changes nothing.
pub fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let mut clean = once(text);
    // What was taken out may leave something behind that has to go too; three rounds are more than any text was seen to need.
    for _ in 0..8 {
        let again = once(&clean);
        if again == clean {
            break;
        }
        clean = again;
    }
    clean
}

fn once(text: &str) -> String {
    let folded: String = markdown::entities(text).chars().filter_map(mark::fold).collect();
    let flat = markdown::flatten(&markdown::untagged(&folded));
    let mut signs = String::with_capacity(flat.len());
    for word in flat.split_whitespace().filter(|word| !is_address(word)) {
        word.chars().for_each(|character| push_tame(&mut signs, character));
        signs.push(' ');
    }
    tidied(signs.split_whitespace().filter(|word| word.len() <= MAX_WORD_BYTES))
}

fn is_address(word: &str) -> bool {
    let word = word.trim_start_matches(['(', '\'']);
    word.contains("://") || word.starts_with("www.")
}

/// Adds a character that may stay, unless it only repeats those before it.
fn push_tame(text: &mut String, character: char) {
    let Some(kept) = mark::keep(character) else {
        // Two words with a picture in between are two words.
        text.push_str(match character {
            _ if mark::is_invisible(character) => "",
            _ if mark::is_picture(character) => " , ",
            _ => " ",
        });
        return;
    };
    // Words of digits have a limit of their own.
    let most = match kept {
        _ if kept.is_numeric() => None,
        '.' => Some(3),
        _ if kept.is_alphabetic() => Some(MAX_REPEATS),
        _ => Some(1),
    };
    let repeats = most.is_some_and(|most| text.chars().rev().take(most).filter(|last| *last == kept).count() == most);
    let piled =
        mark::is_combining(kept) && text.chars().rev().take_while(|last| mark::is_combining(*last)).count() >= 2;
    if !repeats && !piled {
        text.push(kept);
    }
}

/// Words with one space in between; signs that stand alone go, and a label loses its colon.
fn tidied<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for word in words {
        let says = word.chars().any(char::is_alphanumeric);
        if !says {
            // A sign that was put off by a space belongs to the word before it.
            let end = word.chars().find(|sign| ['.', '!', '?', ','].contains(sign));
            if let Some(end) = end.filter(|_| line.ends_with(|last: char| last.is_alphanumeric() || last == ')')) {
                line.push(end);
            } else if word == "&" && !line.is_empty() {
                line.push_str(" &");
            }
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        match word.strip_suffix([':', ';']) {
            Some(label) => {
                line.push_str(label.trim_end_matches([':', ';', ',', '.', '!', '?']));
                line.push(',');
            }
            None => line.push_str(word),
        }
    }
    line.truncate(line.trim_end_matches([',', ' ', '&', '-', '(', '/']).len());
    line
}

#[cfg(test)]
mod tests;
