//! `tandem prompt`.

use super::*;

#[test]
fn a_prompt_is_printed_alone_and_its_cost_beside_it() {
    let desk = Desk::new();
    let words = ["prompt", "--persona", "listener", "--user", "maria", "--context", USERS, "--date", "2026-11-23"];
    let ran = desk.run(&words, &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(ran.stdout.contains("Yesterday Maria wrote: \"Slept badly again."), "{ran:?}");
    let prompts = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/prompts.txt")).unwrap();
    assert!(prompts.contains(&ran.stdout), "the same prompt as in the tests of prompts");
    for told in ["tokens", "of 8146 bytes", " s until the model listens", "goals       0 of 2   2 left out"] {
        assert!(ran.stderr.contains(told), "{told}: {ran:?}");
    }
    let bare = desk.run(&["prompt"], &[]);
    assert!(bare.stdout.starts_with("You are a wise and friendly teacher."), "{bare:?}");
}

#[test]
fn a_prompt_is_made_of_what_the_store_knows() {
    let desk = Desk::new();
    let added = desk.run(&["user", "add", "ann", "--name", "Ann", "--mood", "calm"], &[]);
    assert_eq!(added.status, Some(0), "{added:?}");
    let ran = desk.run(&["prompt", "--user", "ann", "--persona", "listener"], &[]);
    assert!(ran.stdout.ends_with("Information: Mood: calm.\n") && ran.stdout.contains("with Ann about"), "{ran:?}");
}

#[test]
fn a_prompt_that_cannot_be_made_says_why_and_repeats_nothing_private() {
    let desk = Desk::new();
    fs::write(desk.path("users.json"), r#"{"users": [{"id": "ann", "name": {"first": "hush"}}]}"#).unwrap();
    for (words, told) in [
        (["--persona", "nobody"].as_slice(), "there is no such persona; there are assistant, listener, service"),
        (&["--user", "ann", "--context", "none.json"], "none.json cannot be read"),
        (&["--user", "ann", "--context", "users.json"], "users[0].name in the file of users is not a text"),
        (&["--user", "nobody", "--context", USERS], "no user of this id is among the 12 of the file"),
        (&["--context", USERS], "say whose prompt: --user ID"),
        (&["--user", "hush"], "the store knows no user of this id; `tandem user add`"),
    ] {
        let ran = desk.run(&[&["prompt"], words].concat(), &[]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(told) && !ran.stderr.contains("hush"), "{ran:?}");
    }
}
