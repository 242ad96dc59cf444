//! Calls as spans: which, in what order, and what they say.

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use secrecy::ExposeSecret;
use tandem::{
    gateway::Rehearsal,
    sim::upstream::{self, Answer, Fault, Faults},
};

use crate::{
    caller::{Call, house_of, quiet_house},
    collector::{Collector, lasts, of, text},
    house::{House, gateway_over, port_for_later, quiet},
};

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// The only one of its name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let [span] = named(spans, name)[..] else { panic!("{name} is not there once: {:#?}", names(spans)) };
    span
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// Ends everything, and gives what the collector has by then.
async fn spans_of(house: House, collector: &Collector) -> Vec<Span> {
    house.gateway.stop().await;
    collector.spans()
}

#[actix_web::test]
async fn a_call_is_one_trace_with_its_phases_in_order() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let mut call = Call::dial(&house, "ann", &[]).await;
    let session = call.until("session.created").await["session_id"].as_str().unwrap().to_owned();
    call.until("session.ready").await;
    call.hang_up().await;
    let spans = spans_of(house, &collector).await;
    assert_eq!(names(&spans), ["session", "queue.wait", "upstream.connect", "upstream.handshake", "session.window"]);
    let (call, phases) = spans.split_first().unwrap();
    assert_eq!((call.parent_span_id.len(), call.kind()), (0, SpanKind::Server), "a trace of its own");
    for phase in phases {
        assert_eq!((&phase.trace_id, &phase.parent_span_id), (&call.trace_id, &call.span_id), "{}", phase.name);
        assert!(phase.end_time_unix_nano <= call.end_time_unix_nano, "{} is within the call", phase.name);
        assert!(!lasts(phase).is_zero(), "{} takes time", phase.name);
    }
    let [connect, handshake, window] = &phases[1..] else { unreachable!() };
    assert!(connect.end_time_unix_nano <= handshake.start_time_unix_nano);
    assert!(handshake.end_time_unix_nano <= window.start_time_unix_nano);
    assert_eq!(of(call, "gen_ai.conversation.id"), session);
    assert_eq!(of(call, "gen_ai.provider.name"), "nvidia.personaplex");
    assert_eq!((of(call, "tandem.protocol"), of(call, "tandem.ending")), ("native".into(), "client_left".into()));
    assert!(call.status.as_ref().is_none_or(|status| status.code() == StatusCode::Unset), "nothing failed");
    assert_eq!(
        (of(&phases[0], "tandem.queue.class"), of(&phases[0], "tandem.outcome")),
        ("new".into(), "granted".into())
    );
    for at_server in [connect, handshake, window] {
        assert_eq!((of(at_server, "tandem.upstream"), of(at_server, "tandem.attempt")), ("1".into(), "1".into()));
    }
    assert_eq!((of(connect, "tandem.prompt"), of(window, "tandem.window.reason")), ("persona".into(), "first".into()));
}

#[actix_web::test]
async fn a_persona_that_knows_its_caller_has_a_span_for_that_before_it_asks_for_a_server() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let bearer = format!("Bearer {}", house.token("developer").expose_secret());
    let mut call = Call::at(&house.url(), "/v1/voice?persona=listener", &[("authorization", &bearer)]).await;
    call.until("session.ready").await;
    call.hang_up().await;
    let spans = spans_of(house, &collector).await;
    let (session, build, wait) = (only(&spans, "session"), only(&spans, "context.build"), only(&spans, "queue.wait"));
    assert_eq!((&build.trace_id, &build.parent_span_id), (&session.trace_id, &session.span_id));
    assert!(!lasts(build).is_zero() && build.end_time_unix_nano <= wait.start_time_unix_nano);
    assert!(build.attributes.is_empty(), "it says nothing of the caller: {:?}", build.attributes);
}

#[actix_web::test]
async fn the_collector_is_told_what_runs_here() {
    let collector = Collector::start();
    let variables =
        [("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=clinic,authorization=Bearer%20k3y"), ("OTEL_SERVICE_NAME", "voices")];
    let house = house_of(&collector, quiet(), 1, &variables).await;
    Call::dial(&house, "ann", &[]).await.hang_up().await;
    house.gateway.stop().await;
    let taken = collector.requests(1).await.remove(0);
    let header = |name: &str| taken.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(header("content-type"), Some("application/x-protobuf"));
    assert_eq!((header("x-tenant"), header("authorization")), (Some("clinic"), Some("Bearer k3y")));
    let resource = &taken.message.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(text(resource, "service.name").as_deref(), Some("voices"));
    assert_eq!(text(resource, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(text(resource, "service.instance.id").unwrap().len(), 36);
}

#[actix_web::test]
async fn a_caller_who_waits_has_its_place_in_the_span() {
    let collector = Collector::start();
    let house = quiet_house(&collector).await;
    let mut first = Call::dial(&house, "ann", &[]).await;
    first.until("session.ready").await;
    let mut second = Call::dial(&house, "bo", &[]).await;
    second.until("session.queued").await;
    first.hang_up().await;
    second.until("session.ready").await;
    second.hang_up().await;
    let spans = spans_of(house, &collector).await;
    let waits = named(&spans, "queue.wait");
    let [without, with] = waits[..] else { panic!("{:?}", names(&spans)) };
    assert_eq!(
        (text(&without.attributes, "tandem.queue.position"), of(with, "tandem.queue.position")),
        (None, "1".into())
    );
    assert_ne!(without.trace_id, with.trace_id, "each call is a trace of its own");
    assert!(lasts(with) > lasts(without));
}

#[actix_web::test]
async fn a_server_that_hangs_up_is_seen_in_the_spans_of_its_attempt() {
    let collector = Collector::start();
    let house = house_of(&collector, quiet(), 1, &[]).await;
    house.servers[0].set_faults(Faults::always(Fault::FailPrompting { steps: 1 }));
    let mut call = Call::dial(&house, "ann", &[]).await;
    let ended = call.until("session.ended").await;
    let spans = spans_of(house, &collector).await;
    let call = only(&spans, "session");
    assert_eq!(of(call, "tandem.ending"), ended["ending"].as_str().unwrap());
    assert_eq!(
        (of(call, "error.type"), call.status.as_ref().unwrap().code()),
        (of(call, "tandem.ending"), StatusCode::Error)
    );
    let attempts = named(&spans, "upstream.handshake");
    assert!(!attempts.is_empty());
    for attempt in attempts {
        assert_eq!(
            (of(attempt, "error.type"), attempt.status.as_ref().unwrap().message.as_str()),
            ("hung_up".into(), "")
        );
    }
    assert!(named(&spans, "session.window").is_empty(), "nobody was heard");
}

#[actix_web::test]
async fn each_server_that_is_heard_has_a_window_and_says_why() {
    let collector = Collector::start();
    let server = upstream::Settings { answer: Answer::Recite, ..upstream::Settings::instant() };
    let house = house_of(&collector, server, 2, &[]).await;
    let mut call = Call::dial(&house, "ann", &[]).await;
    call.until("transcript.delta").await;
    let heard = house.servers.iter().find(|server| server.open_sockets() > 0).unwrap();
    heard.kill();
    call.until("session.recovered").await;
    call.hang_up().await;
    let spans = spans_of(house, &collector).await;
    let windows = named(&spans, "session.window");
    let [first, second] = windows[..] else { panic!("{:?}", names(&spans)) };
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
    assert_ne!(of(first, "tandem.upstream"), of(second, "tandem.upstream"));
    assert_eq!(
        (of(first, "tandem.window.reason"), of(second, "tandem.window.reason")),
        ("first".into(), "failover".into())
    );
    assert!(of(second, "tandem.window.gap_ms").parse::<u64>().is_ok());
    let waits = named(&spans, "queue.wait").into_iter().map(|wait| of(wait, "tandem.queue.class"));
    assert_eq!(waits.collect::<Vec<_>>(), ["new", "failover"]);
    let events = &only(&spans, "session").events;
    assert!(events.iter().any(|event| event.name == "server lost"), "{events:?}");
    assert_eq!(of(only(&spans, "session"), "tandem.ending"), "client_left");
}

/// One server, which is a process that the gateway starts; its state is gone with the test.
struct Sleepy(House, std::path::PathBuf);

impl Sleepy {
    fn new(collector: &Collector) -> Sleepy {
        let state = std::env::temp_dir().join(format!("tandem-traces-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&state).unwrap();
        let program = env!("CARGO_BIN_EXE_tandem");
        // Machines outlive Tandem, and this one not by much.
        let start = format!("timeout 100 '{program}' simulate --port {{port}} --step-ms 1 --voice-steps 1 --poll-ms 0");
        let (dir, url) = (state.display().to_string(), collector.url());
        let variables = [
            ("TANDEM__STATE__DIR", dir.as_str()),
            ("TANDEM__PROVIDERS__COMMAND__START", start.as_str()),
            ("TANDEM__TELEMETRY__OTLP_ENDPOINT", url.as_str()),
        ];
        let server = format!("ws://127.0.0.1:{}#provider=command:sim", port_for_later());
        let gateway = gateway_over(&server, &variables, Rehearsal::default());
        Sleepy(House { gateway, servers: Vec::new() }, state)
    }
}

impl Drop for Sleepy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

#[actix_web::test]
async fn a_call_that_waits_for_a_machine_says_so() {
    let collector = Collector::start();
    let sleepy = Sleepy::new(&collector);
    let mut call = Call::dial(&sleepy.0, "ann", &[]).await;
    call.until("session.ready").await;
    call.hang_up().await;
    sleepy.0.gateway.stop().await;
    let spans = collector.spans();
    let wait = only(&spans, "queue.wait");
    let events: Vec<&str> = wait.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((events, of(wait, "tandem.outcome")), (vec!["wake"], "granted".into()));
}
