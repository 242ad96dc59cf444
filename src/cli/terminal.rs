//! The terminal: results on standard output, everything else on standard error.
//!
//! A reader that went away is no reason to fail, so write errors are passed over.

use std::io::{Write, stderr, stdout};

/// Prints a line of the result.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(stdout().lock(), "{}", line.as_ref());
}

/// Prints words of the result without ending the line, at once.
pub fn say_words(words: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(words.as_bytes());
    let _ = out.flush();
}

/// Prints how it goes, or what went wrong.
pub fn status(line: impl AsRef<str>) {
    let _ = writeln!(stderr().lock(), "{}", line.as_ref());
}

/// What another machine sent, fit for a terminal: control characters, which could steer it, become spaces.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{7}"), "a [2Jb\nc ");
    }
}
