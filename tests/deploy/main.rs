//! What operators run beside the program: its alert rules, the fence before its model servers, the files of each host.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

mod alerts;
mod dashboards;
mod fence;
mod hosts;
mod local;
mod program;
mod prometheus;
mod promql;
mod start;
mod watcher;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// A file of the package.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Its text.
fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All documents of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files of a folder of the package, in order.
fn files(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path(folder))
        .unwrap()
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| path(name).is_file())
        .collect();
    names.sort();
    names
}

/// What a program of the machine says, or nothing where it is missing and may be.
fn run(program: &str, words: &[&str]) -> Option<Output> {
    match Command::new(program).args(words).stdin(Stdio::null()).current_dir(path("")).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(), "{program} was not found: install it");
            eprintln!("SKIPPED: {program} was not found");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// The same, and that it is content.
#[track_caller]
fn assert_content(program: &str, words: &[&str]) {
    if let Some(Output { status, stdout, stderr }) = run(program, words) {
        let (said, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{program} {words:?}: {said}{complaints}");
    }
}
