//! Where a framework may be named: actors, the HTTP edge, outgoing sockets and the simulator each have their files.

use super::source::Source;
use super::violation::Violation;

const RULE: &str = "crates";

/// A crate, and the files or folders below `src/` (prefixes) that may name it.
const PLACES: [(&str, &[&str]); 21] = [
    (
        "actix",
        &[
            "session/actor/",
            "session/switchboard",
            "pool/actor/",
            "fleet/actor/",
            "fleet/control.rs",
            "gateway.rs",
            "gateway/",
            "cli/serve",
        ],
    ),
    ("actix_web", &["http.rs", "http/", "gateway.rs", "gateway/", "cli.rs", "cli/"]),
    ("awc", &["session/leg/upstream", "fleet/provider/exchange", "telemetry/otlp/"]),
    ("bollard", &["fleet/provider/docker/"]),
    ("kube", &["fleet/provider/kubernetes/"]),
    ("k8s_openapi", &["fleet/provider/kubernetes/"]),
    ("tower", &["fleet/provider/kubernetes/"]),
    ("hyper", &["fleet/provider/docker/", "fleet/provider/kubernetes/", "fleet/provider/exchange/courier"]),
    ("hyper_util", &["fleet/provider/exchange/courier"]),
    ("metrics_process", &["metrics/process"]),
    ("mongodb", &["store/mongo"]),
    ("kitoken", &["context/tokens"]),
    ("ratatui", &["cli/top/"]),
    ("crossterm", &["cli/top/"]),
    ("unicode_normalization", &["context/plain/"]),
    ("opentelemetry", &["telemetry/otlp"]),
    ("opentelemetry_proto", &["telemetry/otlp"]),
    ("opentelemetry_sdk", &["telemetry/otlp"]),
    ("prost", &["telemetry/otlp"]),
    ("rusqlite", &["store/"]),
    ("tokio_tungstenite", &["sim.rs", "sim/"]),
];

/// Finds a crate of the table outside of its places. The program only: tests may play any part.
pub fn check(source: &Source) -> Vec<Violation> {
    let Some(path) = source.path_in_src() else { return Vec::new() };
    let tokens = source.program();
    let mut broken = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before].text.as_str());
        let named = before == "use" || tokens.get(at + 1).is_some_and(|next| next.text == "::");
        let Some((name, places)) = PLACES.iter().find(|(name, _)| *name == token.text) else { continue };
        if named && !places.iter().any(|place| path.starts_with(place)) {
            let sentence = format!("`{name}` is not used here; it belongs in {}", places.join(", "));
            broken.push(Violation::new(&source.path, token.line, RULE, sentence));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_outside_of_its_place_is_named() {
        for (path, text) in [
            ("src/session/leg/client.rs", "\nuse actix::Addr;"),
            ("src/session/actor/mod.rs", "\nfn a(x: actix_web::web::Bytes) {}"),
            ("src/session/actor/mod.rs", "\nuse awc;"),
            ("src/session/leg/upstream.rs", "\nuse tokio_tungstenite::connect_async;"),
            ("src/http/voice.rs", "\nuse {actix::prelude::*};"),
            ("src/fleet/provider/factory.rs", "\nuse kube::Client;"),
            ("src/fleet/provider/kubernetes/workload.rs", "\nuse bollard::Docker;"),
            ("src/gateway/machines.rs", "\nfn a(x: hyper::Error) {}"),
            ("src/store/local/users.rs", "\nuse mongodb::Client;"),
            ("src/context/user.rs", "\nuse rusqlite::Connection;"),
            ("src/session/actor/spans.rs", "\nuse opentelemetry::KeyValue;"),
            ("src/http/health.rs", "\nuse metrics_process::collector;"),
            ("src/cli/call.rs", "\nuse ratatui::Frame;"),
        ] {
            let found = check(&Source::read(path, text));
            assert_eq!(found.len(), 1, "{path}");
            assert!(found[0].to_string().starts_with(&format!("{path}:2: [crates]")), "{}", found[0]);
        }
    }

    #[test]
    fn a_crate_in_its_place_passes() {
        for (path, text) in [
            ("src/session/actor/mod.rs", "use actix::prelude::*;"),
            ("src/http/voice.rs", "use actix_web::web; use actix_ws::Session;"),
            ("src/session/leg/upstream_socket.rs", "use awc::Client;"),
            ("src/cli/serve.rs", "use actix::System;"),
            ("src/cli/top/draw.rs", "use ratatui::Frame;"),
            ("src/store/mongo/look.rs", "use mongodb::Database;"),
            ("src/store/local/users.rs", "use rusqlite::Connection;"),
            ("src/fleet/provider/docker/container.rs", "use bollard::Docker; use hyper::Response;"),
            ("src/audio/ogg.rs", "#[cfg(test)] mod tests { use actix::System; } // actix::System"),
            ("tests/call.rs", "use actix::System;"),
        ] {
            assert_eq!(check(&Source::read(path, text)), [], "{path}");
        }
    }
}
