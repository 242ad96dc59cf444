//! Which certificates of model servers are good enough for a call, and what the others are counted as.

use std::{net::Ipv6Addr, path::PathBuf};

use tandem::{
    cli::make_server_certificate,
    gateway::Rehearsal,
    pool::roster::SlotState,
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, Wire},
        upstream::{self, Simulator},
    },
};

use crate::house::{House, PATIENCE, gateway_over, quiet};

/// A directory that is gone with the test.
struct Keys(PathBuf);

impl Keys {
    /// One with a key, a certificate and the pin of both.
    fn make() -> (Keys, String) {
        let directory = std::env::temp_dir().join(format!("tandem-keys-{}", uuid::Uuid::new_v4()));
        let pin = make_server_certificate(&directory, &[]).unwrap();
        (Keys(directory), pin.to_string())
    }

    /// A server that uses them.
    async fn server(&self) -> Simulator {
        Simulator::start(upstream::Settings { ssl: Some(self.0.clone()), ..quiet() }).await.unwrap()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// One call to a server at `url`, and what its attempt was counted as.
async fn call(url: &str, server: Simulator) -> (Option<Ending>, House, String) {
    let house = House { gateway: gateway_over(url, &[], Rehearsal::default()), servers: vec![server] };
    let calling = caller::call(house.caller("ann", Wire::Native(Audio::Opus)));
    let report = tokio::time::timeout(PATIENCE, calling).await.unwrap();
    house.slots_until(|slots| slots[0].state == SlotState::Free).await;
    let text = house.gateway.doors.metrics.render();
    let counted = text.lines().filter_map(|line| line.strip_prefix("tandem_upstream_attempts_total{"));
    let counted = counted.filter(|line| !line.ends_with(" 0"));
    let results: Vec<&str> = counted.filter_map(|line| line.split_once("result=\"")?.1.split('"').next()).collect();
    let results = results.join(" ");
    (report.ending, house, results)
}

#[actix_web::test]
async fn a_pinned_server_takes_calls_and_one_with_another_key_gets_no_word() {
    let (keys, pin) = Keys::make();
    let (other, other_pin) = Keys::make();
    assert_ne!(pin, other_pin);
    let server = keys.server().await;
    let url = format!("{}#pin={pin}", server.url());
    let (ending, _, results) = call(&url, server).await;
    assert_eq!((ending, results.as_str()), (Some(Ending::ClientLeft), "ready"));
    let server = other.server().await;
    let url = format!("{}#pin={pin}", server.url());
    let (ending, house, results) = call(&url, server).await;
    assert_eq!((ending, results.as_str()), (Some(Ending::UpstreamLost), "untrusted_certificate"));
    assert!(house.log().is_empty(), "no prompt reached it");
}

#[actix_web::test]
async fn a_ca_file_that_is_asked_for_counts_on_this_machine_too() {
    let (keys, _) = Keys::make();
    let (other, _) = Keys::make();
    for (signer, expected) in [(&keys, "ready"), (&other, "untrusted_certificate")] {
        let server = keys.server().await;
        let url = format!("{}#ca={}", server.url(), signer.0.join("cert.pem").display());
        assert_eq!(call(&url, server).await.2, expected);
    }
}

#[actix_web::test]
async fn a_server_at_an_ipv6_address_has_tls_as_every_other() {
    let (keys, pin) = Keys::make();
    for said in [format!("pin={pin}"), format!("ca={}", keys.0.join("cert.pem").display())] {
        let address = (Ipv6Addr::LOCALHOST, 0).into();
        let settings = upstream::Settings { address, ssl: Some(keys.0.clone()), ..quiet() };
        let server = Simulator::start(settings).await.unwrap();
        let url = format!("{}#{said}", server.url());
        assert!(url.starts_with("wss://[::1]:"), "{url}");
        assert_eq!(call(&url, server).await.2, "ready", "{said}");
    }
}

#[actix_web::test]
async fn tls_answered_in_plain_http_is_counted_as_just_that() {
    let server = Simulator::start(quiet()).await.unwrap();
    let url = server.url().replace("ws://", "wss://");
    let (ending, house, results) = call(&url, server).await;
    assert_eq!((ending, results.as_str()), (Some(Ending::UpstreamLost), "plain_http"));
    assert!(house.log().is_empty());
}
