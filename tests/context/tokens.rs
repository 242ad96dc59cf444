//! Tokens counted with a SentencePiece model, against the counts of SentencePiece's own library.
//!
//! `tiny.model` is a unigram model of 1,000 pieces with bytes to fall back to and each digit alone, as PersonaPlex's is
//! one of 32,000; `tokens.txt` has what version 0.2 of the library counts with it in each prompt of `prompts.txt`.

use std::{fs, path::Path};

use tandem::context::tokens::{TokenizerError, Tokens};

fn data(name: &str) -> String {
    fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context")).join(name)).unwrap()
}

fn tiny() -> Tokens {
    Tokens::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/tiny.model"))).unwrap()
}

#[test]
fn every_prompt_has_as_many_tokens_as_the_original_counts() {
    let (tokens, prompts, counts) = (tiny(), data("prompts.txt"), data("tokens.txt"));
    let prompts = prompts.lines().filter(|line| !line.is_empty() && !line.starts_with("== "));
    let counted: Vec<String> = prompts.map(|prompt| tokens.of(prompt).to_string()).collect();
    let expected: Vec<&str> = counts.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(tokens.are_counted() && expected.len() == 24);
    assert_eq!(counted, expected);
}

/// What the library counts, with the frame.
const COUNTS: [(&str, u32); 6] =
    [("Be kind.", 22), ("a", 19), ("12345 67", 27), ("日本語のテキスト", 43), ("Zoë zei: dag!", 33), ("😀", 23)];

#[test]
fn odd_texts_have_as_many_as_well() {
    let tokens = tiny();
    for (text, expected) in COUNTS {
        assert_eq!(tokens.of(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    let none = |name: &str| {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context")).join(name);
        Tokens::load(&path).unwrap_err()
    };
    assert!(matches!(none("no-such.model"), TokenizerError::Unreadable { .. }));
    assert!(matches!(none("prompts.txt"), TokenizerError::Malformed { .. }));
    let model = fs::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/context/tiny.model"))).unwrap();
    let broken = std::env::temp_dir().join(format!("tandem-tokens-{}", uuid::Uuid::new_v4()));
    for kept in [0, model.len() / 2 + 1] {
        fs::write(&broken, &model[..kept]).unwrap();
        let read = Tokens::load(&broken);
        assert!(matches!(read, Err(TokenizerError::Malformed { .. })), "{kept} bytes: {read:?}");
    }
    fs::remove_file(&broken).unwrap();
}
