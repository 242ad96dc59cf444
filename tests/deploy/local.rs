//! The walk of the README with a server on this machine that has TLS and a certificate which nobody signed.

use crate::{
    path,
    program::{Program, tandem},
    text,
};

#[test]
fn a_call_goes_to_a_local_server_with_a_certificate_of_its_own_making() {
    let readme = text("README.md");
    for line in ["tandem simulate --tls", "export PERSONAPLEX_SERVER_URL=wss://localhost:8998"] {
        assert!(readme.lines().any(|told| told.starts_with(line)), "the README does not say: {line}");
    }
    let desk = std::env::temp_dir().join(format!("tandem-local-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&desk).unwrap();
    let quick = ["--step-ms", "0", "--poll-ms", "0", "--round-us", "0"];
    let server = Program::start(tandem(&desk, &[&["simulate", "--tls", "--port", "0"], &quick[..]].concat()));
    let url = server.line("listens at").rsplit(' ').next().unwrap().replace("127.0.0.1", "localhost");
    assert!(url.starts_with("wss://localhost:"), "{url}");
    let mut serve = tandem(&desk, &["serve", "--port", "0"]);
    serve.env("PERSONAPLEX_SERVER_URL", &url);
    let gateway = Program::start(serve);
    gateway.line("\"url\":\"http://");
    let speech = path("tests/audio/speech_made.wav");
    let call = tandem(&desk, &["call", speech.to_str().unwrap(), "--json", "--tail", "1"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&call.stdout).unwrap();
    assert!(call.status.success() && report["received_seconds"].as_f64().unwrap() > 1.0, "{report}");
    drop((gateway, server));
    std::fs::remove_dir_all(&desk).unwrap();
}
