//! The files of the package: what git would commit, or everything but build output where git is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file of the package.
pub struct TextFile {
    /// Relative to the package, with `/` between its parts.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Every UTF-8 file of the package, in the order of their paths. Files that are not text are left out.
pub fn text_files() -> Vec<TextFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = paths_by_git(root).unwrap_or_else(|| paths_by_walking(root));
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(root.join(&path)).ok()?;
            (!text.contains('\0')).then_some(TextFile { path, text })
        })
        .collect()
}

/// The text of the file at `path`, or nothing if it does not exist.
pub fn text_of(files: &[TextFile], path: &str) -> String {
    files.iter().find(|file| file.path == path).map(|file| file.text.clone()).unwrap_or_default()
}

fn paths_by_git(root: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let listed = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn paths_by_walking(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if ["target", ".git", ".tandem", "node_modules"].iter().any(|skipped| name == *skipped) {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                found.push(path.replace('\\', "/"));
            }
        }
    }
    found
}

#[test]
fn walking_finds_what_git_lists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let walked = paths_by_walking(root);
    for path in ["Cargo.toml", "src/lib.rs", "tests/architecture.rs"] {
        assert!(walked.iter().any(|found| found == path), "{path} was not found by walking");
    }
    assert!(!walked.iter().any(|found| found.starts_with("target/")));
}
