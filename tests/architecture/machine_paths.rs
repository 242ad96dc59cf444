//! No file names a folder of the machine it was written on.

use super::violation::Violation;

const RULE: &str = "machine_paths";

/// Folders that exist on somebody's machine only, without their slashes so that this file keeps the rule.
const FOLDERS: [&str; 4] = ["work", "root", "home", "Users"];

/// Finds absolute paths of such folders; a path inside a URL or below another folder is none.
pub fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for folder in FOLDERS {
            let wanted = format!("/{folder}/");
            if line.match_indices(&wanted).any(|(start, _)| starts_a_path(&line[..start])) {
                let sentence = format!("`{wanted}` is a path of one machine: use one relative to the package");
                broken.push(Violation::new(path, at + 1, RULE, sentence));
            }
        }
    }
    broken
}

fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_-.}~*".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_named() {
        for folder in FOLDERS {
            for (before, after) in [("", "x"), ("cd ", "x"), ("\"", "x\""), ("file://", "x"), ("P=", "")] {
                let found = check("docs/a.md", &format!("\n{before}/{folder}/{after}"));
                assert_eq!(found.len(), 1, "{before}");
                assert!(found[0].to_string().starts_with("docs/a.md:2: [machine_paths]"), "{}", found[0]);
            }
        }
    }

    #[test]
    fn relative_paths_and_addresses_pass() {
        for text in ["src/work/x", "../home/x", "https://example.org/home/x", "{root}/home/x", "$HOME/x", "/homework/"]
        {
            assert_eq!(check("docs/a.md", text), [], "{text}");
        }
    }
}
