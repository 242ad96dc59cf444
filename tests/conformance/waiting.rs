//! One model, one lock: who waits, who is noticed when, and when the lock is free again.

use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tandem::sim::upstream::{CallEnd, Phase, Settings};

use crate::client::{Client, Event, GOOD, Stream, end_of, quick, seen, start};

#[tokio::test]
async fn a_waiter_is_ponged_only_when_it_has_the_lock() {
    let sim = start(quick()).await;
    let mut first = Client::talk(&sim, GOOD).await;
    let mut waiter = Client::call(&sim, GOOD).await;
    waiter.ping(b"are you there").await;
    first.ping(b"and you").await;
    assert_eq!(first.next().await, Event::Pong(b"and you".to_vec()));
    assert!(waiter.heard_nothing());
    first.close(1000).await;
    assert_eq!(waiter.next().await, Event::Pong(b"are you there".to_vec()));
    assert_eq!(waiter.next().await, Event::Handshake);
}

#[tokio::test]
async fn waiters_are_served_in_order_and_those_who_left_cost_no_step() {
    let sim = start(quick()).await;
    let mut first = Client::talk(&sim, GOOD).await;
    let mut leaver = Client::call(&sim, GOOD).await;
    let aborter = Client::call(&sim, GOOD).await;
    let mut last = Client::call(&sim, GOOD).await;
    seen(&sim, |calls| calls.len() == 4).await;
    leaver.close(1000).await;
    drop(aborter);
    first.ping(b"1").await;
    assert_eq!(first.next().await, Event::Pong(b"1".to_vec()));
    assert!(leaver.heard_nothing(), "the close of a waiter has no reply before the lock comes");
    assert_eq!(sim.open_sockets(), 4);

    first.close(1000).await;
    assert_eq!(leaver.rest().await, [Event::Close(1000)]);
    assert_eq!(last.next().await, Event::Handshake);
    let calls = sim.log();
    assert_eq!((calls[1].end, calls[1].steps), (Some(CallEnd::ClientClosed(1000)), 0));
    assert_eq!((calls[2].end, calls[2].steps), (Some(CallEnd::ClientGone), 0));
    assert_eq!((sim.open_sockets(), sim.peak_open_sockets()), (1, 4));
}

#[tokio::test]
async fn what_a_waiter_sends_is_kept_and_then_swallowed() {
    let sim = start(quick()).await;
    let mut first = Client::talk(&sim, GOOD).await;
    let mut waiter = Client::call(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    waiter.send_audio(&stream.head()).await;
    for _ in 0..30 {
        waiter.send_audio(&stream.silence()).await;
    }
    first.close(1000).await;
    assert_eq!(waiter.next().await, Event::Handshake);
    waiter.pages(2).await;
    assert_eq!(sim.log()[1].swallowed, 31);
    waiter.send_audio(&stream.silence()).await;
    assert_eq!(waiter.rest().await, [Event::Close(1000)]);
}

#[tokio::test]
async fn every_end_of_a_client_frees_the_lock() {
    let sim = start(quick()).await;
    let mut closing = Client::talk(&sim, GOOD).await;
    closing.close(1000).await;
    assert_eq!(closing.rest().await, [Event::Close(1000)]);

    let aborting = Client::talk(&sim, GOOD).await.into_tcp();
    SockRef::from(&aborting).set_linger(Some(Duration::ZERO)).unwrap();
    drop(aborting);

    let half_closing = Client::talk(&sim, GOOD).await.into_tcp();
    SockRef::from(&half_closing).shutdown(Shutdown::Write).unwrap();

    let _next = Client::talk(&sim, GOOD).await;
    let ends: Vec<_> = sim.log().iter().map(|call| call.end).collect();
    assert_eq!(ends, [Some(CallEnd::ClientClosed(1000)), Some(CallEnd::ClientGone), Some(CallEnd::ClientGone), None]);
    assert_eq!(sim.open_sockets(), 1);
}

#[tokio::test]
async fn a_client_that_neither_closes_nor_sends_holds_the_lock() {
    let sim = start(quick()).await;
    let vanished = Client::talk(&sim, GOOD).await;
    let mut waiter = Client::call(&sim, GOOD).await;
    for probe in 0..50 {
        let mut talk = Client::call(&sim, "voice_prompt=NOBODY.pt&text_prompt=x").await;
        assert_eq!(talk.next().await, Event::Fin, "{probe}");
        assert!(waiter.heard_nothing());
    }
    assert_eq!(sim.log()[1].phase, Phase::Waiting);
    drop(vanished);
    assert_eq!(waiter.next().await, Event::Handshake);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_prompted_is_noticed_at_the_next_step() {
    let sim = start(Settings { voice_steps: 1_000_000, step: Duration::from_millis(1), ..quick() }).await;
    let mut client = Client::call(&sim, GOOD).await;
    seen(&sim, |calls| calls[0].steps > 3).await;
    client.close(1000).await;
    assert_eq!(client.rest().await, [Event::Close(1000)]);
    let call = &sim.log()[0];
    assert!(!call.handshake && call.end == Some(CallEnd::ClientClosed(1000)) && call.steps < 1000, "{call:?}");

    let aborted = Client::call(&sim, GOOD).await;
    seen(&sim, |calls| calls[1].steps > 3).await;
    drop(aborted);
    assert_eq!(end_of(&sim, 2).await, CallEnd::ClientGone);
}
