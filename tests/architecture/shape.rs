//! How big a file may grow and what it may be called. Functions are measured by clippy; its limit is read here.

use super::source::Source;
use super::violation::Violation;

const RULE: &str = "shape";

/// The longest file, in lines, without the items that only tests compile.
const MAX_LINES: usize = 400;

/// Names that say nothing: what is in such a file belongs to a noun.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"];

/// Measures the file, and reads the names of the file, its folders and its modules.
pub fn check(source: &Source) -> Vec<Violation> {
    let mut broken = Vec::new();
    if source.lines > MAX_LINES {
        let sentence = format!("{} lines without tests, at most {MAX_LINES}: split it by its nouns", source.lines);
        broken.push(Violation::new(&source.path, 1, RULE, sentence));
    }
    for part in source.path.trim_end_matches(".rs").split('/') {
        broken.extend(empty_name(part).map(|sentence| Violation::new(&source.path, 1, RULE, sentence)));
    }
    for pair in source.tokens.windows(2).filter(|pair| pair[0].text == "mod") {
        broken.extend(empty_name(&pair[1].text).map(|said| Violation::new(&source.path, pair[1].line, RULE, said)));
    }
    broken
}

fn empty_name(name: &str) -> Option<String> {
    let empty = name.split(['_', '-']).find(|word| EMPTY_NAMES.contains(word))?;
    Some(format!("`{name}`: `{empty}` says nothing; name the thing it holds"))
}

/// Functions have at most 60 lines, because clippy is told so.
pub fn check_clippy_limit(clippy_toml: &str) -> Vec<Violation> {
    if clippy_toml.lines().any(|line| line.split_whitespace().eq(["too-many-lines-threshold", "=", "60"])) {
        return Vec::new();
    }
    vec![Violation::new("clippy.toml", 1, RULE, "expected `too-many-lines-threshold = 60`: no longer functions")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_named_and_its_tests_do_not_count() {
        let body = "fn a() {}\n".repeat(MAX_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{body}}}\n");
        assert_eq!(check(&Source::read("src/audio/ogg.rs", &format!("{body}{tests}"))), []);
        let found = check(&Source::read("src/audio/ogg.rs", &format!("{body}\n{tests}")));
        assert!(found[0].to_string().starts_with("src/audio/ogg.rs:1: [shape] 401 lines"), "{}", found[0]);
    }

    #[test]
    fn an_empty_name_is_named() {
        for path in ["src/utils.rs", "src/audio/helpers.rs", "tests/common/mod.rs", "src/session_manager.rs"] {
            assert_eq!(check(&Source::read(path, "")).len(), 1, "{path}");
        }
        assert_eq!(check(&Source::read("src/audio/ogg.rs", "\nmod utils {}"))[0].line, 2);
        assert_eq!(check(&Source::read("src/audio/ogg.rs", "mod page {}")), []);
    }

    #[test]
    fn another_limit_for_functions_is_named() {
        assert_eq!(check_clippy_limit("a = 1\ntoo-many-lines-threshold = 60\n"), []);
        for text in ["", "too-many-lines-threshold = 600", "# too-many-lines-threshold = 60"] {
            assert_eq!(check_clippy_limit(text).len(), 1, "{text}");
        }
    }
}
