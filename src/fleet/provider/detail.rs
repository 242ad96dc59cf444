//! What a provider says, made fit to be logged.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// The longest remark, in characters.
const MAX_CHARS: usize = 160;

/// What stands for what must not be shown.
const HIDDEN: &str = "(hidden)";

/// Shorter secrets than this would hide ordinary words.
const MIN_SECRET_BYTES: usize = 4;

/// A remark of a provider: one line of at most 160 characters, without secrets, addresses and control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// The remark, without what must not be shown. None: nothing was said.
    pub(super) fn said(text: &str, secrets: &[SecretString]) -> Option<Self> {
        let printable = |c: char| if c.is_control() || is_invisible(c) { ' ' } else { c };
        let text: String = without(text, secrets).chars().map(printable).collect();
        let words: Vec<&str> =
            text.split_whitespace().map(|word| if is_address(word) { HIDDEN } else { word }).collect();
        // Once more: with fewer blanks it may be one again.
        let mut line = without(&words.join(" "), secrets);
        if let Some((end, _)) = line.char_indices().nth(MAX_CHARS) {
            line.truncate(end);
            line.push('…');
        }
        (!line.is_empty()).then_some(Self(line))
    }

    /// A remark of our own.
    pub(super) fn own(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn without(text: &str, secrets: &[SecretString]) -> String {
    let secrets = secrets.iter().map(ExposeSecret::expose_secret).filter(|it| it.len() >= MIN_SECRET_BYTES);
    let mut secrets: Vec<&str> = secrets.collect();
    // What is a part of another one would leave the rest of it.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}

/// Whether the text says that there is no hardware. No provider has a code of its own for that.
pub(super) fn tells_of_no_capacity(text: &str) -> bool {
    const SIGNS: [&str; 10] = [
        "not enough free gpu",
        "no free gpu",
        "no gpu available",
        "no longer any instances",
        "no instances available",
        "no capacity",
        "insufficient capacity",
        "out of capacity",
        "could not be placed",
        "resources are currently unavailable",
    ];
    let text = text.to_lowercase();
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// URLs, and whatever has a query: both may hold tokens.
fn is_address(word: &str) -> bool {
    word.contains("://") || (word.contains('?') && word.contains('='))
}

/// Characters that turn or hide what follows on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_said_fits_a_line_and_keeps_the_secret(
            before in ".{0,200}", between in "[ \\t\\n\\x07]{1,3}", after in ".{0,200}",
        ) {
            let secret = SecretString::from("first second");
            let said = Detail::said(&format!("{before}first{between}second{after}"), &[secret]).unwrap();
            prop_assert!(!said.as_str().contains("first second"), "{said}");
            prop_assert!(said.as_str().chars().count() <= MAX_CHARS + 1 && !said.as_str().contains(char::is_control));
        }
    }

    fn said(text: &str) -> Option<String> {
        let secrets = ["k3y-value", "two  blanks", "no", ""].map(SecretString::from);
        Detail::said(text, &secrets).map(|detail| detail.0)
    }

    #[test]
    fn secrets_addresses_and_control_characters_are_not_shown() {
        for (text, shown) in [
            ("no such pod", Some("no such pod")),
            ("key k3y-value,\r\n\u{1b}[31mis wrong", Some("key (hidden), [31mis wrong")),
            ("see https://x.example/?token=abc now", Some("see (hidden) now")),
            ("see https://x.example/abc now", Some("see (hidden) now")),
            ("it has two  blanks", Some("it has (hidden)")),
            ("/start?key=abc failed", Some("(hidden) failed")),
            ("a\u{202e}b", Some("a b")),
            (" \n\t\0", None),
            ("", None),
        ] {
            assert_eq!(said(text).as_deref(), shown, "{text:?}");
        }
    }

    #[test]
    fn a_secret_within_another_one_leaves_nothing_of_it() {
        let secrets = ["k3y-", "k3y-value", "value"].map(SecretString::from);
        assert_eq!(Detail::said("no k3y-value", &secrets).unwrap().as_str(), "no (hidden)");
    }

    #[test]
    fn long_remarks_are_cut_and_a_secret_is_not_cut_in_half() {
        let text = format!("{}k3y-value{}", "é".repeat(MAX_CHARS - 3), "x".repeat(100_000));
        let shown = said(&text).unwrap();
        assert_eq!(shown.chars().count(), MAX_CHARS + 1);
        assert!(!shown.contains("k3y"), "{shown}");
    }
}
