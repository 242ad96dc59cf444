//! Taking users in and erasing them, where nobody else is to see it and nothing is to go wrong unseen.

use std::sync::Arc;

use tandem::protocol::ending::Ending;
use tandem::store::archive::Archive;
use tandem::store::local::LocalStore;
use tandem::store::record::{Ended, Origin, Record};
use tandem::store::spool::Room;

use super::*;

fn fed(desk: &Desk, words: &[&str], input: &str) -> Ran {
    let mut command = desk.command(words, &[]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // Whoever does not read it has it closed.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

#[test]
fn a_user_comes_by_standard_input_so_that_nobody_else_sees_it() {
    let desk = Desk::new();
    let ann = r#"{"id": "ann", "name": "Ann", "healthInfo": {"conditions": ["asthma"]}, "shoeSize": 42}"#;
    let added = fed(&desk, &["user", "add", "-"], ann);
    assert_eq!((added.status, added.stdout.as_str()), (Some(0), "1 users are known now.\n"), "{added:?}");
    assert!(added.stderr.contains("Nothing is done with users.shoeSize of standard input"), "{added:?}");
    let prompt = desk.run(&["prompt", "--persona", "listener", "--user", "ann"], &[]);
    assert!(prompt.stdout.contains("Ann") && prompt.stdout.contains("asthma"), "{prompt:?}");
    for (words, input, told) in [
        (&["user", "add", "-"] as &[_], r#"{"id": "bob", "name": {"hush": 1}}"#, "standard input: user.name in"),
        (&["user", "add", "-"], r#"{"id": "bob"} {"id": "hush"}"#, "standard input: the file of users is not JSON"),
        (&["user", "add", "-", "--mood", "hush"], r#"{"id": "bob"}"#, "leave the options away"),
        (&["user", "add", ""], "", "a user's id is not empty"),
    ] {
        let ran = fed(&desk, words, input);
        assert!(ran.status == Some(1) && ran.stderr.contains(told) && !ran.stderr.contains("hush"), "{ran:?}");
    }
    let help = desk.run(&["user", "add", "--help"], &[]).stdout;
    assert!(help.contains("history") && help.contains("standard input"), "{help}");
}

#[test]
fn an_erasure_says_where_it_was_and_finds_out_when_nothing_was_there() {
    let desk = Desk::new();
    let missing = desk.run(&["user", "erase", "ann"], &[]);
    assert!(
        missing.status == Some(1) && missing.stderr.contains("nothing is erased: there is no .tandem/users.sqlite")
    );
    assert!(missing.stderr.contains("MONGODB_URI") && !desk.path(".tandem").exists(), "{missing:?}");
    fed(&desk, &["user", "add", "-"], r#"{"id": "ann"}"#);
    let nobody = desk.run(&["user", "erase", ""], &[]);
    assert!(nobody.status == Some(1) && nobody.stdout.is_empty(), "{nobody:?}");
    let unknown = desk.run(&["user", "erase", "anne"], &[]);
    let told = "Nothing was known of this user in .tandem/users.sqlite. Nothing will be written of it.\n";
    assert_eq!((unknown.status, unknown.stdout.as_str()), (Some(0), told), "{unknown:?}");
    let known = desk.run(&["user", "erase", "ann"], &[]);
    assert!(known.stdout.starts_with("Erased from .tandem/users.sqlite, with 0 calls."), "{known:?}");
    let again = desk.run(&["user", "erase", "ann"], &[]);
    assert_eq!((again.status, again.stdout.as_str()), (Some(0), told), "{again:?}");
}

#[test]
fn an_erasure_reaches_what_waits_for_the_store_while_a_gateway_runs() {
    let desk = Desk::new();
    fed(&desk, &["user", "add", "-"], r#"{"id": "ann"}"#);
    let spool = desk.path(".tandem/spool.sqlite");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // What a gateway has open, whose store takes nothing just now.
    let store = Arc::new(LocalStore::open(&desk.path(".tandem/users.sqlite"), None).unwrap());
    let archive = Archive::open_at(&spool, store, Room::default()).unwrap();
    let ended = Ended { ending: Ending::ClientLeft, recap: "I told nobody of the lump.".into(), ..Ended::lost(1) };
    let (session, origin) = (uuid::Uuid::new_v4(), Origin::default());
    let (user, persona) = ("ann".into(), "listener".into());
    let record = Record { session, user, persona, began_ms: 0, origin, ended: Some(ended) };
    runtime.block_on(archive.complete(record)).unwrap();
    let holds = || {
        let files = fs::read_dir(desk.path(".tandem")).unwrap();
        let mut bytes = files.map(|file| fs::read(file.unwrap().path()).unwrap());
        bytes.any(|bytes| bytes.windows(8).any(|window| window == b"the lump"))
    };
    assert!(holds(), "it is looked for in the right files");
    let erased = desk.run(&["user", "erase", "ann"], &[]);
    assert!(erased.status == Some(0) && erased.stdout.starts_with("Erased from"), "{erased:?}");
    assert!(!holds());
    assert_eq!(runtime.block_on(archive.waiting()).unwrap(), 0);
}

#[test]
fn users_are_taken_in_added_and_erased_and_the_check_counts_them() {
    let desk = Desk::new();
    let users = r#"{"users": [{"id": "ann", "name": "Ann", "journal": [{"date": "2026-11-22", "text": "A secret."}],
        "shoeSize": 42}, {"id": "bob"}]}"#;
    fs::write(desk.path("users.json"), users).unwrap();
    let store = |ran: &Ran| ran.stdout.split("\nStore:\n").nth(1).unwrap_or_default().to_owned();
    let checked = desk.run(&["check"], &[]);
    assert!(checked.status == Some(0) && store(&checked).contains("users.sqlite: not there yet"), "{checked:?}");
    let imported = desk.run(&["import", "users.json"], &[]);
    assert_eq!((imported.status, imported.stdout.as_str()), (Some(0), "2 users are known now.\n"), "{imported:?}");
    assert!(imported.stderr.contains("Nothing is done with users.shoeSize"), "{imported:?}");
    let added = desk.run(&["user", "add", "cleo", "--name", "Cleo", "--goal", "walk", "--goal", "rest"], &[]);
    assert_eq!(added.status, Some(0), "{added:?}");
    let waits = wait_for_the_store(&desk, "ann");
    assert!(waits(), "looked for in the right file");
    let checked = desk.run(&["check"], &[]);
    assert!(store(&checked).contains("spool.sqlite: 1 records of calls wait for the store\n"), "{checked:?}");
    assert!(waits() && !store(&checked).contains("Warning"), "it changes nothing: {checked:?}");
    let erased = desk.run(&["user", "erase", "ann"], &[]);
    assert!(!waits(), "what was on its way is gone too");
    assert!(
        erased.status == Some(0) && erased.stdout.starts_with("Erased from .tandem/users.sqlite, with 0 calls."),
        "{erased:?}"
    );
    let again = desk.run(&["import", "users.json"], &[]);
    assert_eq!((again.status, again.stdout.as_str()), (Some(1), "1 users are known now.\n"));
    let checked = desk.run(&["check"], &[]);
    assert!(store(&checked).contains("2 users (1 erased), 0 journal entries, 0 calls"), "{checked:?}");
    let mode = fs::metadata(desk.path(".tandem/users.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Has a call of this user wait for the store; says whether the file of what waits has its words.
fn wait_for_the_store(desk: &Desk, user: &str) -> impl Fn() -> bool {
    use tandem::store::{archive, local, record, spool};
    let store = local::LocalStore::open(&desk.path(".tandem/users.sqlite"), None).unwrap();
    let path = desk.path(".tandem/spool.sqlite");
    let archive = archive::Archive::open_at(&path, std::sync::Arc::new(store), spool::Room::default()).unwrap();
    let line = record::Line { speaker: record::Speaker::Assistant, at_ms: 0, text: "A heron on its way.".into() };
    let ended = record::Ended {
        ending: tandem::protocol::ending::Ending::ClientLeft,
        transcript: vec![line],
        ..record::Ended::lost(2)
    };
    let record = record::Record {
        session: uuid::Uuid::new_v4(),
        user: user.into(),
        persona: "listener".into(),
        began_ms: 1,
        origin: record::Origin::default(),
        ended: Some(ended),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(archive.complete(record)).unwrap();
    move || {
        let bytes = ["", "-wal"].map(|end| fs::read(format!("{}{end}", path.display())).unwrap_or_default()).concat();
        bytes.windows(5).any(|window| window == b"heron")
    }
}

#[test]
fn a_file_of_users_that_cannot_be_taken_in_is_named_and_not_repeated() {
    let desk = Desk::new();
    fs::write(desk.path("users.json"), r#"{"users": [{"id": "ann", "name": 5, "x": "secret"}]}"#).unwrap();
    let ran = desk.run(&["import", "users.json"], &[]);
    assert!(ran.stderr.contains("users.json: users[0].name in the file of users is not a text"), "{ran:?}");
    assert!(ran.status == Some(1) && !ran.stderr.contains("secret"), "{ran:?}");
    assert!(desk.run(&["import", "none.json"], &[]).stderr.contains("none.json cannot be read"));
    let shared = [("MONGODB_URI", "mongodb://root:hush@127.0.0.1:1/app?serverSelectionTimeoutMS=100")];
    let ran = desk.run(&["user", "add", "ann"], &shared);
    assert!(ran.status == Some(1) && ran.stderr.contains("which is only read"), "{ran:?}");
    let checked = desk.run(&["check"], &shared);
    assert!(checked.status == Some(1) && checked.stderr.contains("MongoDB cannot be reached"), "{checked:?}");
    assert!(!checked.stderr.contains("hush") && !checked.stdout.contains("hush"), "{checked:?}");
}
