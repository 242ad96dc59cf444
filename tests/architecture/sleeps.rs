//! No test sleeps: it waits for an event with a deadline, or moves a paused clock.

use super::source::Source;
use super::violation::Violation;

const RULE: &str = "sleeps";

/// Finds sleeps in test code. A method `.sleep()` or a function of that name that is defined is not a sleep.
///
/// A benchmark may let time pass: that is what it measures over.
pub fn check(source: &Source) -> Vec<Violation> {
    if source.path.starts_with("benches/") {
        return Vec::new();
    }
    let text = |at: usize| source.tokens.get(at).map_or("", |token| token.text.as_str());
    let mut broken = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| token.in_test) {
        let before = if at == 0 { "" } else { text(at - 1) };
        let sleeps = ["sleep", "sleep_until", "sleep_ms"].contains(&token.text.as_str())
            && match before {
                "::" => at >= 2 && ["thread", "time", "clock"].contains(&text(at - 2)),
                "." | "fn" => false,
                _ => text(at + 1) == "(",
            };
        if sleeps {
            let sentence = "a test may not sleep: wait for an event with a deadline, or advance a paused clock";
            broken.push(Violation::new(&source.path, token.line, RULE, sentence));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples are spelled differently, so that a search for sleeping tests finds none here.
    fn with_sleep(text: &str) -> String {
        text.replace("NAP", "sleep")
    }

    #[test]
    fn a_sleeping_test_is_named() {
        for text in [
            "\nfn a() { std::thread::NAP(x); }",
            "\nfn a() { tokio::time::NAP(x).await; }",
            "\nuse tokio::time::NAP_until;",
            "\nfn a() { NAP(x).await; }",
        ] {
            let text = &with_sleep(text);
            let found = check(&Source::read("tests/call.rs", text));
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].to_string().starts_with("tests/call.rs:2: [sleeps]"), "{}", found[0]);
            let inside = format!("fn b() {{}}\n#[cfg(test)] mod tests {{ {text} }}");
            assert_eq!(check(&Source::read("src/pool/actor.rs", &inside)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_benchmark_may_sleep() {
        let text = with_sleep("fn a() { tokio::time::NAP(x).await; }");
        assert_eq!(check(&Source::read("benches/load.rs", &text)), []);
    }

    #[test]
    fn the_program_may_sleep_and_a_machine_may_be_put_to_sleep() {
        assert_eq!(
            check(&Source::read("src/sim/upstream.rs", &with_sleep("fn a() { tokio::time::NAP(x).await; }"))),
            []
        );
        assert_eq!(
            check(&Source::read("tests/fleet.rs", "fn sleep(x: u8) { provider.sleep(x); Fleet::sleep(x); }")),
            []
        );
    }
}
