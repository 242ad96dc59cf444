//! What is wrong, where, and by which rule.

use std::fmt;

/// One broken rule at one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the package.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The rule's short name.
    pub rule: &'static str,
    /// What is wrong and what to do instead.
    pub sentence: String,
}

impl Violation {
    pub fn new(path: &str, line: usize, rule: &'static str, sentence: impl Into<String>) -> Violation {
        Violation { path: path.to_owned(), line, rule, sentence: sentence.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.sentence)
    }
}

#[test]
fn a_violation_names_file_line_and_rule() {
    let violation = Violation::new("src/a.rs", 7, "layers", "no");
    assert_eq!(violation.to_string(), "src/a.rs:7: [layers] no");
}
