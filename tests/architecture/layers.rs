//! Who may use whom: the table of modules, and every `crate::`, `super::` and `self::` path held against it.

use super::source::{Source, Token};
use super::violation::Violation;

const RULE: &str = "layers";

/// What a module may use of ours.
enum May {
    /// Everything under this path.
    Use(&'static str),
    /// Only names with `snapshot` in them: the module is looked at, not asked to act.
    See(&'static str),
}
use May::{See, Use};

/// The dependency table. `metrics` and `telemetry` are leaves for actors, the edge and the assembly; the endings are
/// the one vocabulary that everybody shares.
const TABLE: &[(&str, &[May])] = &[
    ("audio", &[]),
    ("protocol", &[Use("audio")]),
    ("auth", &[Use("protocol::ending")]),
    ("pool", &[Use("protocol::ending"), Use("metrics"), Use("telemetry")]),
    ("context", &[Use("protocol")]),
    ("fleet", &[Use("pool"), Use("protocol"), Use("metrics"), Use("telemetry")]),
    ("store", &[Use("context"), Use("protocol"), Use("pool"), Use("fleet")]),
    (
        "session",
        &[Use("protocol"), Use("audio"), Use("context"), Use("store"), Use("pool"), Use("metrics"), Use("telemetry")],
    ),
    (
        "http",
        &[
            Use("auth"),
            Use("context"),
            Use("session"),
            Use("protocol"),
            Use("config"),
            Use("metrics"),
            Use("telemetry"),
            Use("fleet::control"),
            Use("store::archive"),
            See("pool"),
            See("store"),
        ],
    ),
    (
        "config",
        &[
            Use("protocol"),
            Use("audio"),
            Use("auth"),
            Use("context"),
            Use("store"),
            Use("pool"),
            Use("fleet"),
            Use("session"),
        ],
    ),
    (
        "gateway",
        &[
            Use("protocol"),
            Use("audio"),
            Use("auth"),
            Use("context"),
            Use("store"),
            Use("pool"),
            Use("fleet"),
            Use("session"),
            Use("http"),
            Use("config"),
            Use("metrics"),
            Use("telemetry"),
        ],
    ),
    ("metrics", &[Use("protocol::ending")]),
    ("telemetry", &[Use("protocol::ending")]),
    ("sim", &[Use("protocol"), Use("audio")]),
    (
        "cli",
        &[
            Use("protocol"),
            Use("audio"),
            Use("auth"),
            Use("context"),
            Use("store"),
            Use("pool"),
            Use("fleet"),
            Use("session"),
            Use("http"),
            Use("config"),
            Use("gateway"),
            Use("metrics"),
            Use("telemetry"),
            Use("sim"),
        ],
    ),
];

fn row(module: &str) -> Option<&'static [May]> {
    TABLE.iter().find(|(name, _)| *name == module).map(|(_, may)| *may)
}

/// Holds every path of the file against the table. `lib.rs` and `main.rs` may use everything.
pub fn check(source: &Source) -> Vec<Violation> {
    let Some(owner) = source.path_in_src().and_then(|_| source.module().into_iter().next()) else { return Vec::new() };
    let Some(may) = row(&owner) else {
        let sentence = format!("`{owner}` is not a known module: add it to the table in tests/architecture/layers.rs");
        return vec![Violation::new(&source.path, 1, RULE, sentence)];
    };
    let mut broken = Vec::new();
    for (path, line) in own_paths(source) {
        let target = path.first().cloned().unwrap_or_default();
        if target == owner || may.iter().any(|entry| permits(entry, &path)) {
            continue;
        }
        let sentence = match row(&target) {
            None => format!("`crate::{target}` is not a known module: name one, or add it to the table"),
            Some(_) => format!("`{owner}` may not use `crate::{}`; it may use {}", path.join("::"), list(may)),
        };
        broken.push(Violation::new(&source.path, line, RULE, sentence));
    }
    broken
}

fn permits(entry: &May, path: &[String]) -> bool {
    match entry {
        Use(prefix) => prefix.split("::").enumerate().all(|(at, part)| path.get(at).is_some_and(|have| have == part)),
        See(module) => path[0] == *module && path[1..].iter().any(|part| part.to_lowercase().contains("snapshot")),
    }
}

fn list(may: &[May]) -> String {
    let names: Vec<String> = may
        .iter()
        .map(|entry| match entry {
            Use(path) => format!("`{path}`"),
            See(module) => format!("snapshots of `{module}`"),
        })
        .collect();
    if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") }
}

/// Every path of ours that the program names, from the crate's root, with its line.
pub fn own_paths(source: &Source) -> Vec<(Vec<String>, usize)> {
    let tokens = source.program();
    let mut walk = Walk { tokens: &tokens, found: Vec::new() };
    let (mut at, mut depth) = (0, 0_usize);
    let mut inline: Vec<(String, usize)> = Vec::new();
    while at < tokens.len() {
        match walk.text(at) {
            "{" => {
                if at >= 2 && walk.text(at - 2) == "mod" {
                    inline.push((walk.text(at - 1).to_owned(), depth));
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|(_, outside)| *outside == depth);
            }
            "crate" | "super" | "self" if walk.text(at + 1) == "::" && (at == 0 || walk.text(at - 1) != "::") => {
                let mut here = source.module();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                at = walk.tree(at, here);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    walk.found
}

struct Walk<'a> {
    tokens: &'a [&'a Token],
    found: Vec<(Vec<String>, usize)>,
}

impl Walk<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// Reads one use tree or path under `prefix`; returns the index behind it.
    fn tree(&mut self, mut at: usize, mut prefix: Vec<String>) -> usize {
        loop {
            match self.text(at) {
                "crate" => prefix.clear(),
                "super" => _ = prefix.pop(),
                "self" => {}
                "{" => return self.group(at + 1, &prefix),
                "<" => break,
                name => prefix.push(name.to_owned()),
            }
            if self.text(at + 1) != "::" {
                at += 1;
                break;
            }
            at += 2;
        }
        let line = self.tokens[(at - 1).min(self.tokens.len() - 1)].line;
        self.found.push((prefix, line));
        at
    }

    fn group(&mut self, mut at: usize, prefix: &[String]) -> usize {
        while at < self.tokens.len() {
            match self.text(at) {
                "}" => return at + 1,
                "," => at += 1,
                "as" => at += 2,
                _ => at = self.tree(at, prefix.to_vec()),
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        check(&Source::read(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_forbidden_use_is_named_with_its_line_however_it_is_written() {
        for text in [
            "\nuse crate::session::Call;",
            "\nuse crate::{protocol::ending::Ending, session::{self, Call}};",
            "\nfn a() { crate::session::start::<u8>(); }",
            "\nuse super::super::session;",
            "\nmod inner { use super::super::super::session; }",
            "\npub use super::super::{session as other};",
        ] {
            let found = broken("src/auth/token.rs", text);
            assert!(!found.is_empty(), "{text}");
            for line in found {
                assert!(line.starts_with("src/auth/token.rs:2: [layers] `auth` may not use `crate::session"), "{line}");
            }
        }
    }

    #[test]
    fn permitted_uses_and_tests_pass() {
        for (path, text) in [
            ("src/auth/token.rs", "use crate::protocol::ending::Ending; use super::keys; use self::x::y;"),
            ("src/auth/token.rs", "#[cfg(test)] mod tests { use crate::session::Call; }"),
            ("src/auth/token.rs", "// use crate::session::Call;\npub(crate) fn a() { b(\"crate::session\"); }"),
            ("src/protocol/mod.rs", "use crate::audio::packet::OpusPacket;"),
            ("src/http/health.rs", "use crate::pool::PoolSnapshot; use crate::store::{snapshot::Table};"),
            ("src/main.rs", "use crate::anything;"),
            ("src/lib.rs", "pub mod auth; pub use self::auth::Token;"),
        ] {
            assert_eq!(broken(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn only_a_part_of_a_module_may_be_permitted() {
        assert_eq!(broken("src/auth/token.rs", "use crate::protocol::native;").len(), 1);
        assert_eq!(broken("src/auth/token.rs", "use crate::protocol;").len(), 1);
        assert_eq!(broken("src/http/health.rs", "use crate::pool::roster::Roster;").len(), 1);
        assert_eq!(broken("src/audio/ogg.rs", "use crate::*;").len(), 1);
        assert_eq!(broken("src/metrics.rs", "use super::session;").len(), 1);
    }

    #[test]
    fn an_unknown_module_is_to_be_added_to_the_table() {
        let found = broken("src/brain/mod.rs", "");
        assert!(found[0].contains("add it to the table"), "{found:?}");
        assert!(broken("src/auth.rs", "use crate::brain::x;")[0].contains("add it to the table"));
    }

    #[test]
    fn the_table_has_no_cycle() {
        fn visit<'a>(module: &'a str, above: &mut Vec<&'a str>) {
            assert!(!above.contains(&module), "a cycle: {above:?} and {module} again");
            above.push(module);
            for entry in row(module).expect(module) {
                let (Use(path) | See(path)) = entry;
                visit(path.split("::").next().unwrap(), above);
            }
            above.pop();
        }
        TABLE.iter().for_each(|(module, _)| visit(module, &mut Vec::new()));
    }
}
