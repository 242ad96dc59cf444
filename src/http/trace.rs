//! The trace that a request is a part of.

use actix_web::HttpRequest;

use crate::telemetry::parent::{TRACEPARENT, TRACESTATE, TraceParent};

/// What the request's headers say (W3C Trace Context); none where they say nothing, or what cannot be read.
pub fn parent(request: &HttpRequest) -> Option<TraceParent> {
    let mut parents = request.headers().get_all(TRACEPARENT);
    let parent = TraceParent::parse(parents.next()?.to_str().ok()?)?;
    // Two are none: nobody knows which one is meant.
    if parents.next().is_some() {
        return None;
    }
    let states: Option<Vec<&str>> = request.headers().get_all(TRACESTATE).map(|state| state.to_str().ok()).collect();
    Some(parent.with_state(&states.unwrap_or_default().join(",")))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_request_is_a_part_of_one_trace_or_of_none() {
        let request = |headers: &[(&'static str, &str)]| {
            let request = TestRequest::default();
            headers.iter().fold(request, |request, pair| request.append_header(*pair)).to_http_request()
        };
        let expected = TraceParent::parse(PARENT).unwrap();
        assert_eq!(parent(&request(&[("traceparent", PARENT)])), Some(expected.clone()));
        let states = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
        assert_eq!(parent(&request(&states)), Some(expected.with_state("a=1,b=2")));
        for none in [&[][..], &[("traceparent", "00-nothing")], &[("traceparent", PARENT), ("traceparent", PARENT)]] {
            assert_eq!(parent(&request(none)), None, "{none:?}");
        }
    }
}
