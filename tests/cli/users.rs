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
