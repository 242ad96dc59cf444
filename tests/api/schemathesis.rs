//! A gateway that is asked everything that its document allows, and much that it does not, by schemathesis.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    desk::{CREDENTIALS, Desk},
    document::Document,
    openapi::operations,
};

/// Names the program; without it nothing is asked.
const PROGRAM: &str = "SCHEMATHESIS_TEST_PROGRAM";
/// How long the run may take, in seconds; it takes a fifth of that on two cores.
const LONGEST_SECONDS: &str = "90";
/// Users of whom there are records; the hooks know how many.
const USERS: usize = 3;

#[test]
fn whatever_is_asked_the_answers_are_as_the_document_says() {
    let Some(program) = env::var_os(PROGRAM) else {
        assert!(env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(), "{PROGRAM} does not name schemathesis");
        return eprintln!("SKIPPED: {PROGRAM} does not name schemathesis");
    };
    let mut desk = Desk::new();
    (0..USERS).for_each(|user| desk.call(&format!("user-{user}")));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["tests/api/hooks.py", "tests/api/schemathesis.toml", "docs/api/openapi.yaml"] {
        fs::copy(here.join(file), desk.directory.join(file.rsplit('/').next().unwrap())).unwrap();
    }
    let mut command = Command::new("timeout");
    // Ending the process would end the questions: what becomes of it is tested elsewhere.
    command
        .arg(LONGEST_SECONDS)
        .arg(program)
        .args(["--config-file", "schemathesis.toml", "run", "openapi.yaml", "--exclude-path", "/admin/drain"])
        .args(["--url", &desk.url])
        .current_dir(&desk.directory)
        .envs(CREDENTIALS)
        .env("PYTHONPATH", &desk.directory)
        .env("TEST_USERS", USERS.to_string())
        .stdin(Stdio::null());
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}:\n{said}\n{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    // A run that asked for nothing finds nothing.
    let asked = operations(&Document::read("docs/api/openapi.yaml")).len() - 1;
    assert!(said.contains(&format!("Tested: {asked}")) && said.contains("Stateful"), "{said}");
    desk.assert_well();
}

#[test]
fn no_address_that_asks_for_a_credential_answers_without_one_or_to_a_wrong_one() {
    let (document, mut desk) = (Document::read("docs/api/openapi.yaml"), Desk::new());
    let mut asked = 0;
    for (operation, told) in operations(&document) {
        let (method, path) = operation.split_once(' ').unwrap();
        if told.get("security").is_none() || told["tags"][0] == "calls" {
            continue;
        }
        let path = path.replace("{id}", "4cd05ffb-2e6c-4a37-b1fb-467425761e07").replace("{name}", "1");
        let [_, operator, admin] = CREDENTIALS.map(|(_, key)| format!("Bearer {key}"));
        let other = if path.starts_with("/admin") { &operator } else { &admin };
        for wrong in [None, Some("Bearer x"), Some("Basic eDp5"), Some(other.as_str())] {
            let status = desk.ask(method, &path.replace("{user}", "ann"), wrong);
            // Of those who guess at /admin most are told to wait.
            assert!(status == 401 || (status == 429 && path.starts_with("/admin")), "{operation}: {status}");
        }
        asked += 1;
    }
    assert!(asked >= 27, "{asked}");
    desk.assert_well();
}
