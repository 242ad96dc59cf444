//! The faults that a test can ask for, and the ends of the server itself.

use std::time::Duration;

use tandem::sim::upstream::{CallEnd, Fault, FaultRule, Faults, Settings, Simulator, When};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Client, DEADLINE, Event, GOOD, Stream, end_of, quick, seen, start};

async fn with(fault: Fault) -> Simulator {
    start(Settings { faults: Faults::always(fault), ..quick() }).await
}

#[tokio::test]
async fn a_refused_connection_is_reset_at_once() {
    let sim = with(Fault::Refuse).await;
    let mut tcp = TcpStream::connect(sim.addr()).await.unwrap();
    let read = timeout(DEADLINE, tcp.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(sim.log().is_empty());
    sim.set_faults(Faults::default());
    Client::talk(&sim, GOOD).await;
}

#[tokio::test]
async fn calls_are_cut_off_with_rst_or_fin() {
    let after = Duration::from_millis(20);
    for (fault, event) in [(Fault::Reset { after }, Event::Reset), (Fault::Finish { after }, Event::Fin)] {
        let sim = with(fault).await;
        let begun = Instant::now();
        let mut client = Client::talk(&sim, GOOD).await;
        assert_eq!(client.next().await, event);
        assert!(begun.elapsed() >= after);
        assert_eq!(end_of(&sim, 1).await, CallEnd::Injected(fault));
    }
}

#[tokio::test]
async fn a_hung_model_says_nothing_but_its_server_still_answers() {
    let sim = with(Fault::Hang { after: Duration::ZERO }).await;
    let mut client = Client::call(&sim, GOOD).await;
    assert_eq!(client.next().await, Event::Handshake);
    let mut stream = Stream::new(1);
    client.send_audio(&[stream.head(), stream.silence()].concat()).await;
    client.ping(b"1").await;
    assert_eq!(client.next().await, Event::Pong(b"1".to_vec()));
    client.close(1000).await;
    assert_eq!(client.rest().await, [Event::Close(1000)]);
}

#[tokio::test]
async fn a_vanished_host_answers_nothing_and_its_lock_is_never_free() {
    let sim = with(Fault::Vanish { after: Duration::ZERO }).await;
    let mut client = Client::call(&sim, GOOD).await;
    assert_eq!(client.next().await, Event::Handshake);
    client.ping(b"1").await;
    client.close(1000).await;
    let mut waiter = Client::call(&sim, GOOD).await;
    let mut other = Client::call(&sim, "").await;
    assert_eq!(other.next().await, Event::Fin, "the simulator itself still runs");
    assert!(client.heard_nothing() && waiter.heard_nothing());
    drop(client);
    assert_eq!(Client::call(&sim, "").await.next().await, Event::Fin);
    assert!(waiter.heard_nothing());
    assert_eq!(sim.open_sockets(), 2);
}

#[tokio::test]
async fn prompting_can_last_for_ever_or_die() {
    let sim = with(Fault::NeverHandshake).await;
    let mut client = Client::call(&sim, GOOD).await;
    seen(&sim, |calls| calls[0].steps == 70).await;
    client.ping(b"1").await;
    assert_eq!(client.next().await, Event::Pong(b"1".to_vec()));
    client.close(1000).await;
    assert_eq!(client.rest().await, [Event::Close(1000)]);

    let fault = Fault::FailPrompting { steps: 10 };
    sim.set_faults(Faults::always(fault));
    assert_eq!(Client::call(&sim, GOOD).await.next().await, Event::Fin);
    assert_eq!(end_of(&sim, 2).await, CallEnd::Injected(fault));
    assert_eq!((sim.log()[1].steps, sim.log()[1].handshake), (10, false));
}

#[tokio::test]
async fn faults_hit_the_calls_they_are_meant_for() {
    let fault = Fault::FailPrompting { steps: 0 };
    let faults = Faults { rules: vec![FaultRule { fault, when: When::Every(3) }], seed: 0 };
    let sim = start(Settings { faults, ..quick() }).await;
    for call in 1..=7 {
        let mut client = Client::call(&sim, GOOD).await;
        let expected = if call % 3 == 0 { Event::Fin } else { Event::Handshake };
        assert_eq!(client.next().await, expected, "call {call}");
    }
}

#[tokio::test]
async fn told_to_terminate_it_takes_nobody_in_and_lets_calls_go_on_for_its_grace() {
    let grace = Duration::from_millis(200);
    let sim = start(Settings { termination_grace: grace, ..quick() }).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut waiter = Client::call(&sim, GOOD).await;
    let begun = Instant::now();
    sim.terminate();
    sim.port_closed().await;
    assert!(TcpStream::connect(sim.addr()).await.is_err());
    let mut stream = Stream::new(1);
    client.send_audio(&[stream.head(), stream.silence()].concat()).await;
    client.pages(1).await;
    assert_eq!(client.next().await, Event::Fin);
    assert_eq!(waiter.next().await, Event::Fin);
    assert!(begun.elapsed() >= grace);
    assert!(sim.log().iter().all(|call| call.end == Some(CallEnd::Stopped)));
}

#[tokio::test]
async fn stopped_it_is_gone() {
    let sim = start(quick()).await;
    let mut client = Client::talk(&sim, GOOD).await;
    sim.stop();
    assert!(matches!(client.next().await, Event::Fin | Event::Reset));
    sim.port_closed().await;
    assert!(TcpStream::connect(sim.addr()).await.is_err());
    assert_eq!(sim.open_sockets(), 0);
}
