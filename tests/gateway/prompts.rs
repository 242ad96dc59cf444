//! What `tandem prompt` prints is what a model server is told, of users with much, with nothing, and with harm in mind.

use std::process::Command;

use crate::{
    archives::Library,
    personas::asked,
    refusals::{bearer, knock},
};

/// Twelve users; their prompts were read by a person (`prompts.txt` beside it).
const USERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/users.json");

/// The program beside this gateway, on the same store.
fn tandem(library: &Library, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    let ran = command.args(words).env_clear().env("TANDEM__STATE__DIR", &library.path).output().unwrap();
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[actix_web::test]
async fn a_model_server_is_told_of_every_user_what_the_command_prints() {
    let library = Library::new(&[]).await;
    tandem(&library, &["import", USERS]);
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(USERS).unwrap()).unwrap();
    let users: Vec<&str> = file["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect();
    assert_eq!(users.len(), 12);
    let mut prompts = std::collections::BTreeSet::new();
    for user in users {
        for persona in ["listener", "service"] {
            let printed = tandem(&library, &["prompt", "--user", user, "--persona", persona]);
            let path = format!("/v1/voice?persona={persona}");
            let answer = knock(&library.house, &path, &[bearer(&library.house, user)]).await;
            let (_, told) = asked(&library.house, answer).await;
            assert_eq!(told, printed.trim_end_matches('\n'), "{user} and {persona}");
            prompts.insert(told);
        }
    }
    assert!(prompts.len() > 20, "nearly every user has prompts of its own: {}", prompts.len());
}
