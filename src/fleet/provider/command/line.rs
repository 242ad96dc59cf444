//! A command line with places for a server's name, host and port.
//!
//! It is split into words as a shell would, by blanks, quotes and backslashes, and nothing else: no shell runs it. What is
//! put into the places stays within its word.

use std::str::FromStr;

/// A program and its arguments, with `{name}`, `{host}` and `{port}` in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

/// Why a text is no command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// No word at all.
    #[error("a program and its arguments")]
    Empty,
    /// Something is open at its end.
    #[error("quotes that are closed, and no \\ at the end")]
    Open,
    /// A place that there is not.
    #[error("no other places than {{name}}, {{host}} and {{port}}")]
    Place,
}

impl CommandLine {
    /// The words for one server.
    pub fn fill(&self, name: &str, host: &str, port: u16) -> Vec<String> {
        let fill =
            |word: &String| word.replace("{name}", name).replace("{host}", host).replace("{port}", &port.to_string());
        self.0.iter().map(fill).collect()
    }
}

impl FromStr for CommandLine {
    type Err = CommandLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = split(text).ok_or(CommandLineError::Open)?;
        if words.first().is_none_or(String::is_empty) {
            return Err(CommandLineError::Empty);
        }
        let has_odd_place = |word: &String| word.split('{').skip(1).any(is_odd_place);
        if words.iter().any(has_odd_place) { Err(CommandLineError::Place) } else { Ok(Self(words)) }
    }
}

/// Whether what follows a `{` is written like a place and is none of ours. Other braces are the program's own.
fn is_odd_place(rest: &str) -> bool {
    let Some((name, _)) = rest.split_once('}') else { return false };
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word && !["name", "host", "port"].contains(&name)
}

/// The words, unless a quote is left open.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Result<Vec<String>, CommandLineError> {
        text.parse().map(|line: CommandLine| line.fill("big", "127.0.0.1", 8998))
    }

    #[test]
    fn words_are_split_as_by_a_shell_and_places_filled() {
        for (text, words) in [
            ("serve --host {host} --port {port}", vec!["serve", "--host", "127.0.0.1", "--port", "8998"]),
            ("  /opt/{name}/run.sh\t--x='a b' ", vec!["/opt/big/run.sh", "--x=a b"]),
            (r#"run "a \"b\"" 'c\d' e\ f "" $HOME *"#, vec!["run", "a \"b\"", r"c\d", "e f", "", "$HOME", "*"]),
            (r#"run '{"a": {}}' ${X} {Y} {"#, vec!["run", r#"{"a": {}}"#, "${X}", "{Y}", "{"]),
        ] {
            assert_eq!(filled(text).unwrap(), words, "{text}");
        }
        let odd: CommandLine = "run {name}".parse().unwrap();
        assert_eq!(odd.fill("a b; c", "h", 1), ["run", "a b; c"], "what is filled in stays in its word");
    }

    #[test]
    fn each_mistake_says_what_is_expected() {
        use CommandLineError::{Empty, Open, Place};
        let table = [
            ("", Empty),
            (" \t", Empty),
            ("''", Empty),
            ("a 'b", Open),
            ("a \"b\\\"", Open),
            ("a \\", Open),
            ("a {pid}", Place),
        ];
        for (text, expected) in table {
            assert_eq!(filled(text), Err(expected), "{text}");
        }
        assert_eq!(Place.to_string(), "no other places than {name}, {host} and {port}");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_quoted_words_come_back(words in proptest::collection::vec("[^'{]{1,9}", 1..5), odd in ".{0,30}") {
            let _ = filled(&odd);
            let text = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(filled(&text), Ok(words));
        }
    }
}
