//! An app's own trace, in which its calls are parts.

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::{
    caller::{Call, house_of, quiet_house, ticket},
    collector::{Collector, hex},
    house::{House, quiet},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "00f067aa0ba902b7";

fn sampled(trace: &str) -> String {
    format!("00-{trace}-{SPAN}-01")
}

async fn end(house: House, collector: &Collector) -> Vec<Span> {
    house.gateway.stop().await;
    collector.spans()
}

#[actix_web::test]
async fn a_call_is_a_part_of_the_trace_that_its_upgrade_names() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let headers = [("traceparent", sampled(TRACE)), ("tracestate", "shop=7f".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut call = Call::dial(&house, "ann", &headers).await;
    call.until("session.ready").await;
    call.hang_up().await;
    let spans = end(house, &collector).await;
    assert_eq!((spans.len(), hex(&spans[0].parent_span_id).as_str()), (5, SPAN));
    for span in spans {
        assert_eq!((hex(&span.trace_id).as_str(), span.trace_state.as_str()), (TRACE, "shop=7f"), "{}", span.name);
    }
}

#[actix_web::test]
async fn a_ticket_brings_the_trace_of_whoever_asked_for_it_and_an_upgrade_its_own() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let asked = format!("traceparent: {}\r\n", sampled(TRACE));
    let own = sampled(OTHER);
    for headers in [vec![], vec![("traceparent", own.as_str())]] {
        let path = ticket(&house, "ann", &asked).await;
        Call::at(&house.url(), &path, &headers).await.hang_up().await;
        house.settle().await;
    }
    let spans = end(house, &collector).await;
    let calls = spans.iter().filter(|span| span.name == "session");
    assert_eq!(calls.map(|call| hex(&call.trace_id)).collect::<Vec<_>>(), [TRACE, OTHER]);
}

#[actix_web::test]
async fn a_trace_that_its_app_does_not_keep_is_not_kept_here() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let dropped = format!("00-{TRACE}-{SPAN}-00");
    for header in [dropped.as_str(), &sampled(OTHER)] {
        Call::dial(&house, "ann", &[("traceparent", header)]).await.hang_up().await;
        house.settle().await;
    }
    let spans = end(house, &collector).await;
    assert!(!spans.is_empty() && spans.iter().all(|span| hex(&span.trace_id) == OTHER), "{spans:#?}");
}

#[actix_web::test]
async fn what_is_malformed_begins_a_trace_of_its_own() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let (good, other) = (sampled(TRACE), sampled(OTHER));
    let upper = good.to_uppercase();
    let malformed = [
        vec![("traceparent", "00-0-0-01")],
        vec![("traceparent", upper.as_str())],
        vec![("traceparent", good.as_str()), ("traceparent", other.as_str())],
        vec![("tracestate", "shop=7f")],
    ];
    for headers in &malformed {
        Call::dial(&house, "ann", headers).await.hang_up().await;
        house.settle().await;
    }
    let spans = end(house, &collector).await;
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "session").collect();
    assert_eq!(calls.len(), malformed.len());
    for call in calls {
        assert!(call.parent_span_id.is_empty() && call.trace_state.is_empty(), "{call:?}");
        assert!(![TRACE, OTHER].contains(&hex(&call.trace_id).as_str()));
    }
}

#[actix_web::test]
async fn the_ratio_counts_where_traces_begin_and_not_in_an_apps_own() {
    let collector = Collector::start();
    let house = house_of(&collector, quiet(), 1, &[("TANDEM__TELEMETRY__SAMPLE_RATIO", "0")]).await;
    let own = sampled(TRACE);
    for headers in [vec![], vec![("traceparent", own.as_str())]] {
        Call::dial(&house, "ann", &headers).await.hang_up().await;
        house.settle().await;
    }
    let spans = end(house, &collector).await;
    assert!(!spans.is_empty() && spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
}
