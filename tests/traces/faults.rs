//! Collectors that are slow, dead or choosy: no call notices, and what is not delivered is counted.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use tandem::telemetry::span::{SpanName, TraceSettings, Tracer};
use tokio::time::{Instant, timeout};

use crate::{
    caller::Call,
    collector::{Collector, Tally},
    house::{House, PATIENCE, port_for_later, quiet},
};

/// The end of a process waits for spans for two seconds, and not until a request's own time-out.
const BEFORE_THE_REQUEST_ENDS: Duration = Duration::from_secs(4);

/// A port that takes connections and never says a word.
fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn tracer(endpoint: &str, tally: &Tally) -> Tracer {
    let settings = TraceSettings {
        endpoint: format!("{endpoint}/v1/traces"),
        headers: Vec::new(),
        service: "tandem".to_owned(),
        ratio: 1.0,
    };
    Tracer::start(&settings, Arc::new(tally.clone())).unwrap()
}

fn make(tracer: &Tracer, spans: usize) {
    for _ in 0..spans {
        drop(tracer.root(SpanName::Session, None, SystemTime::now()));
    }
}

#[actix_web::test]
async fn a_collector_that_is_not_there_or_says_nothing_holds_up_no_call_and_no_shutdown() {
    let dead = format!("http://127.0.0.1:{}", port_for_later());
    let (_open, mute) = mute();
    for endpoint in [dead, mute] {
        let house = House::set(quiet(), 1, &[("TANDEM__TELEMETRY__OTLP_ENDPOINT", &endpoint)]).await;
        for user in ["ann", "bo", "cy"] {
            let mut call = Call::dial(&house, user, &[]).await;
            call.until("session.ready").await;
            call.hang_up().await;
            house.settle().await;
        }
        let began = Instant::now();
        assert_eq!(timeout(PATIENCE, house.gateway.stop()).await, Ok(0), "no call is cut off");
        assert!(began.elapsed() < BEFORE_THE_REQUEST_ENDS, "{:?}", began.elapsed());
        assert_eq!(house.metric("tandem_spans_total{result=\"exported\"}"), Some(0.0));
    }
}

#[actix_web::test]
async fn spans_that_nobody_takes_are_lost_and_those_that_do_not_fit_in_are_dropped() {
    let (_open, mute) = mute();
    let tally = Tally::default();
    let tracer = tracer(&mute, &tally);
    make(&tracer, 10_000);
    let [exported, dropped, lost] = tally.sums();
    // What waits is bounded, and so is the one batch that is under way.
    assert!((10_000 - 2_048 - 512..=10_000 - 2_048).contains(&dropped), "{dropped}");
    assert_eq!((exported, lost), (0, 0));
    let ended = timeout(BEFORE_THE_REQUEST_ENDS, tracer.finish()).await;
    assert!(ended.is_ok(), "a full queue does not hold the end up either");
    make(&tracer, 1);
    assert_eq!(tally.sums()[0], 0);
}

#[actix_web::test]
async fn a_collector_that_is_busy_is_asked_again() {
    let collector = Collector::answering(|before| (if before < 2 { 503 } else { 200 }, Vec::new()));
    let tally = Tally::default();
    let tracer = tracer(&collector.url(), &tally);
    make(&tracer, 7);
    let taken = collector.requests(3).await;
    assert_eq!(taken[0].body, taken[2].body, "the same spans");
    tracer.finish().await;
    assert_eq!((tally.sums(), collector.taken().len()), ([7, 0, 0], 3));
}

#[actix_web::test]
async fn a_collector_that_refuses_for_good_is_not_asked_again() {
    let collector = Collector::answering(|_| (400, b"no".to_vec()));
    let tally = Tally::default();
    let tracer = tracer(&collector.url(), &tally);
    make(&tracer, 7);
    tracer.finish().await;
    assert_eq!((tally.sums(), collector.taken().len()), ([0, 0, 7], 1));
}

#[actix_web::test]
async fn what_a_collector_takes_in_part_is_counted_in_part() {
    let collector = Collector::answering(|_| {
        let rejected = ExportTracePartialSuccess { rejected_spans: 3, error_message: "full".to_owned() };
        (200, ExportTraceServiceResponse { partial_success: Some(rejected) }.encode_to_vec())
    });
    let tally = Tally::default();
    let tracer = tracer(&collector.url(), &tally);
    make(&tracer, 7);
    tracer.finish().await;
    assert_eq!(tally.sums(), [4, 0, 3]);
    collector.stop().await;
}

#[actix_web::test]
async fn all_spans_come_however_many_batches_they_are() {
    let collector = Collector::start();
    let tally = Tally::default();
    let tracer = tracer(&collector.url(), &tally);
    make(&tracer, 1_500);
    tracer.finish().await;
    assert_eq!((tally.sums(), collector.spans().len()), ([1_500, 0, 0], 1_500));
}
