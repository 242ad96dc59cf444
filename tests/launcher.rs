//! The launcher of model servers: what they are told of callers stays out of their output, and all else is as without it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "who runs the tests is told what was left out")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Output, Stdio},
};

/// The words of the prompt that the stub of a server writes in every way there is.
const PRIVATE: [&str; 2] = ["Planted", "Maria"];

/// The launcher over the stub; none where there is no Python.
fn launcher(words: &[&str]) -> Option<Command> {
    let root = env!("CARGO_MANIFEST_DIR");
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(), "python3 was not found: install it");
        eprintln!("SKIPPED: python3 was not found");
        return None;
    }
    let mut command = Command::new("python3");
    command.arg("-B").arg(format!("{root}/config/personaplex/launch.py")).args(words);
    command.env("PYTHONPATH", format!("{root}/tests/launcher")).current_dir(std::env::temp_dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

/// Runs to the end: its status, and what it wrote to each stream, held against what must not be in there.
fn run(words: &[&str]) -> Option<(Option<i32>, String, String)> {
    let Output { status, stdout, stderr } = launcher(words)?.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for private in PRIVATE {
        assert!(!stdout.contains(private) && !stderr.contains(private), "{private}\n{stdout}\n---\n{stderr}");
    }
    Some((status.code(), stdout, stderr))
}

fn assert_says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn a_server_says_what_it_said_but_not_what_it_is_told_of_callers() {
    let Some((status, stdout, stderr)) = run(&["exit", "7"]) else { return };
    assert_eq!(status, Some(7));
    assert_says(
        &stdout,
        &[
            "Access the Web UI directly at https://10.0.0.7:8998",
            "======== Running on https://0.0.0.0:8998 ========",
            "Incoming connection from 10.0.0.9:51234",
            "text prompt: (withheld by launch.py)",
            "voice prompt: /voices/NATF0.pt (requested: /voices/NATF0.pt)",
            "Done loading text prompt.",
            "unknown message kind 9",
            "session closed",
        ],
    );
    assert_says(
        &stderr,
        &[
            "Error handling request",
            "Traceback (most recent call last):",
            "ValueError: (withheld by launch.py)",
            "Task exception was never retrieved",
        ],
    );
    assert!(!stderr.contains("text_prompt"), "no request line: {stderr}");
}

#[test]
fn an_exception_that_ends_the_server_is_told_without_its_words() {
    let Some((status, _, stderr)) = run(&["raise"]) else { return };
    assert_eq!(status, Some(1));
    assert_says(&stderr, &["moshi/server.py\", line", "KeyError: (withheld by launch.py)"]);
}

#[test]
fn why_a_server_cannot_start_is_told_and_what_it_has_for_its_end_is_done() {
    let Some((status, _, stderr)) = run(&["taken"]) else { return };
    assert_eq!(status, Some(1));
    assert_says(&stderr, &["OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', "]);
    assert_says(&stderr, &[": address already in use"]);
    let (status, stdout, _) = run(&["tidy"]).unwrap();
    assert_eq!(status, Some(0));
    assert_says(&stdout, &["session closed"]);
}

#[test]
fn a_server_of_another_make_gives_itself_away_by_its_first_prompt() {
    let Some((status, stdout, _)) = run(&["odd"]) else { return };
    assert_eq!(status, Some(0));
    assert_says(&stdout, &["text prompt: (withheld by launch.py)", "connection closed"]);
}

/// Waits for a line, asks it to end, and reads what is left: that ends too, so nothing of it runs on.
fn terminated_after(mut child: Child, line: &str) -> (std::process::ExitStatus, String) {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains(line) {
        assert!(out.read_line(&mut said).unwrap() > 0, "{line:?} never came:\n{said}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    out.read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(PRIVATE.iter().all(|private| !said.contains(private)), "{said}");
    (child.wait().unwrap(), said)
}

#[test]
fn a_signal_ends_the_server_as_it_would_without_the_launcher() {
    let Some(mut early) = launcher(&["early", "--ssl", "a b"]) else { return };
    let (status, said) = terminated_after(early.spawn().unwrap(), "waiting for a signal");
    assert_eq!(status.signal(), Some(15), "nothing in the server hears it yet");
    // Until it listens it may say whatever it wants.
    let all = ["arguments: ['early', '--ssl', 'a b']", "INFO - loading moshi", "some library warns of something"];
    assert_says(&said, &all);
    let mut serving = launcher(&["wait"]).unwrap();
    let (status, _) = terminated_after(serving.spawn().unwrap(), "connection closed\n");
    assert_eq!(status.code(), Some(0), "the server ended in its own way");
}
