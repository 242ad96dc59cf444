//! Every input that a fuzz target found worth keeping, checked again; fuzz/README.md says how more are found.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and names its input"
)]

#[path = "../fuzz/src/lib.rs"]
mod checks;

use std::fs;
use std::path::Path;

/// Runs a target's check over its corpus. A failure names the file: the test harness shows what was printed last.
fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&corpus).expect("the target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry is read").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{target} has only {} inputs", paths.len());
    for path in paths {
        println!("{}", path.display());
        check(&fs::read(&path).expect("an input is read"));
    }
}

macro_rules! replay {
    ($($target:ident)+) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), checks::$target);
            }
        )+

        #[test]
        fn every_corpus_is_replayed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            for (kept, ending) in [("corpus", ""), ("fuzz_targets", ".rs")] {
                let entries = fs::read_dir(folder.join(kept)).expect("the folder is there");
                let mut names: Vec<_> =
                    entries.map(|entry| entry.expect("an entry is read").file_name().into_string().unwrap()).collect();
                names.sort();
                let mut replayed = [$(format!("{}{ending}", stringify!($target))),+];
                replayed.sort();
                assert_eq!(names, replayed, "{kept}");
            }
        }
    };
}

replay! {
    ogg_demuxer
    opus_packet
    opus_decoder
    moshi_message
    native_control
    client_decoder
    call_query
    chat_target
    config_file
}
