//! The pure files: bytes and decisions without a clock, a socket, chance, an actor or anything to wait for.

use super::layers::own_paths;
use super::source::Source;
use super::violation::Violation;

const RULE: &str = "purity";

/// The pure files and folders, below `src/`. Those that do not exist are no fault.
const PURE: [&str; 38] = [
    "audio/",
    "protocol/",
    "pool/roster.rs",
    "pool/pace.rs",
    "pool/discovery.rs",
    "pool/endpoint.rs",
    "pool/trust.rs",
    "pool/breaker.rs",
    "pool/quota.rs",
    "pool/quota/",
    "session/chronicle.rs",
    "session/chronicle/",
    "session/machine.rs",
    "session/machine/",
    "session/transcript.rs",
    "context/prompt.rs",
    "context/recap.rs",
    "context/persona.rs",
    "context/persona/",
    "context/piece.rs",
    "context/plain.rs",
    "context/plain/",
    "context/sentence.rs",
    "context/template.rs",
    "context/topic.rs",
    "context/user.rs",
    "context/when.rs",
    "fleet/account.rs",
    "fleet/lifecycle.rs",
    "fleet/lifecycle/",
    "fleet/schedule.rs",
    "fleet/wakes.rs",
    "store/bounds.rs",
    "store/details.rs",
    "store/record.rs",
    "store/spool/waiting.rs",
    "store/mongo/document.rs",
    "store/mongo/names.rs",
];

/// What may not occur in a pure file.
pub fn check(source: &Source) -> Vec<Violation> {
    let Some(path) = source.path_in_src().filter(|path| is_pure(path)) else { return Vec::new() };
    let tokens = source.program();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut broken = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let impure = match token.text.as_str() {
            "async" | "await" => true,
            "rand" | "getrandom" => text(at + 1) == "::",
            "new_v4" => true,
            "now" => at >= 2 && ["Instant", "SystemTime"].contains(&text(at - 2)) && text(at - 1) == "::",
            word => word == "tokio" || word.starts_with("tokio_") || word.starts_with("actix"),
        };
        if impure {
            let sentence =
                format!("`{}` in the pure file {path}; take time, chance and input as arguments", token.text);
            broken.push(Violation::new(&source.path, token.line, RULE, sentence));
        }
    }
    for (path, line) in own_paths(source) {
        if path.first().is_some_and(|first| first == "metrics" || first == "telemetry") {
            let sentence = format!("`crate::{}` in a pure file; return a value and let the actor count it", path[0]);
            broken.push(Violation::new(&source.path, line, RULE, sentence));
        }
    }
    broken
}

/// Folders of tests beside the pure files may play any part.
fn is_pure(path: &str) -> bool {
    if path.contains("/tests/") {
        return false;
    }
    PURE.iter().any(|pure| path == *pure || (pure.ends_with('/') && path.starts_with(pure)))
        || ["audio.rs", "protocol.rs"].contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        check(&Source::read(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_impurity_is_named_with_its_line() {
        for text in [
            "\nuse tokio::sync::mpsc;",
            "\nuse tokio_stream::Stream;",
            "\nuse actix_web::web;",
            "\nasync fn a() {}",
            "\nfn a() { b.await; }",
            "\nlet t = std::time::Instant::now();",
            "\nlet t = SystemTime::\nnow();",
            "\nlet n = rand::random();",
            "\nlet n = Uuid::new_v4();",
            "\nuse crate::metrics::Counters;",
        ] {
            let found = broken("src/pool/roster.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("[purity]") && !found[0].contains(":1:"), "{found:?}");
        }
    }

    #[test]
    fn time_as_an_argument_and_other_files_pass() {
        let pure = "use std::time::Instant; fn a(now: Instant) { operand::x(now); /* tokio::spawn */ b(\"async fn\") }";
        assert_eq!(broken("src/session/machine/pacer.rs", pure), Vec::<String>::new());
        assert_eq!(
            broken("src/protocol/moshi.rs", "#[cfg(test)] mod tests { use tokio::time; }"),
            Vec::<String>::new()
        );
        assert_eq!(broken("src/pool/actor.rs", "use tokio::sync; async fn a() {}"), Vec::<String>::new());
    }
}
