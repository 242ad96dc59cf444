//! Spans: what a call did, and for how long, for those who look at whole requests through all services.
//!
//! They are held by handle, not found in some context: a span has the attributes of one closed list and none that
//! happened to be near. Where nothing is exported a span is nothing and costs nothing.

use std::{fmt, sync::Arc, time::SystemTime};

use secrecy::SecretString;

use super::parent::{TraceId, TraceParent};

#[cfg(not(feature = "otlp"))]
use super::absent as backend;
#[cfg(feature = "otlp")]
use super::otlp as backend;

/// Where spans go.
#[derive(Clone)]
pub struct TraceSettings {
    /// The full URL that takes them.
    pub endpoint: String,
    /// Headers that go with them: names in lower case, and values.
    pub headers: Vec<(String, SecretString)>,
    /// What this service is called there.
    pub service: String,
    /// The share of traces that are kept, 0 to 1, among those that begin here.
    pub ratio: f64,
}

impl TraceSettings {
    /// Whether spans can be sent so, as far as that is known before one is.
    pub fn check(&self) -> Result<(), TraceError> {
        backend::check(self)
    }
}

impl fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceSettings").field("ratio", &self.ratio).finish_non_exhaustive()
    }
}

/// Why no spans are sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The program cannot.
    #[error(
        "telemetry.otlp_endpoint (OTEL_EXPORTER_OTLP_ENDPOINT or TANDEM__TELEMETRY__OTLP_ENDPOINT) is set, and this \
         program was built without it: build it with --features otlp, or set TANDEM__TELEMETRY__OTLP_ENDPOINT to off"
    )]
    NotBuiltIn,
    /// The address or a header.
    #[error(
        "telemetry.otlp_endpoint or telemetry.otlp_headers has characters that HTTP does not allow; write them as \
         http://collector:4318 and name=value"
    )]
    NotSendable,
}

/// What became of spans that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanFate {
    /// The collector has them.
    Exported,
    /// Too many waited.
    Dropped,
    /// The collector did not take them.
    Lost,
}

impl SpanFate {
    /// Every fate, for tables.
    pub const ALL: [Self; 3] = [Self::Exported, Self::Dropped, Self::Lost];

    /// The metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
        }
    }
}

/// Who counts spans. Must not block.
pub trait SpanCounter: Send + Sync {
    /// So many spans came to this.
    fn count(&self, fate: SpanFate, spans: usize);
}

/// Every kind of span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanName {
    /// A whole call.
    Session,
    /// What is known of the caller is loaded and put into the prompt.
    ContextBuild,
    /// The call asks for a slot, and waits for it.
    QueueWait,
    /// A socket to a model server is opened.
    UpstreamConnect,
    /// A model server reads its prompts.
    UpstreamHandshake,
    /// One model server is heard.
    SessionWindow,
}

impl SpanName {
    /// Every name, for tables.
    pub const ALL: [Self; 6] = [
        Self::Session,
        Self::ContextBuild,
        Self::QueueWait,
        Self::UpstreamConnect,
        Self::UpstreamHandshake,
        Self::SessionWindow,
    ];

    /// The exported name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::ContextBuild => "context.build",
            Self::QueueWait => "queue.wait",
            Self::UpstreamConnect => "upstream.connect",
            Self::UpstreamHandshake => "upstream.handshake",
            Self::SessionWindow => "session.window",
        }
    }
}

/// Every attribute that a span can have. A text is either of a closed set, or a session's random id, or the name that the
/// configuration gave to a server: never what a caller said, wrote or is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute<'a> {
    /// The session's id.
    Session(&'a str),
    /// Which kind of model server.
    Provider(&'static str),
    /// The caller's wire.
    Protocol(&'static str),
    /// The model server's name.
    Upstream(&'a str),
    /// How the call ended.
    Ending(&'static str),
    /// What failed.
    ErrorType(&'static str),
    /// What a slot is wanted for.
    Class(&'static str),
    /// The first place in the queue, from 1.
    Position(usize),
    /// What came of the wait.
    Outcome(&'static str),
    /// Which try this is, from 1.
    Attempt(u32),
    /// What the prompts say.
    Prompt(&'static str),
    /// Why this server is heard.
    Reason(&'static str),
    /// For how long nothing was heard before, in milliseconds.
    GapMs(u64),
}

/// An attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nothing is exported"))]
pub(super) enum Value<'a> {
    Fixed(&'static str),
    Text(&'a str),
    Number(i64),
}

impl<'a> Attribute<'a> {
    /// Its exported name and its value. `gen_ai` and `error` are OpenTelemetry's own names.
    pub(super) fn row(self) -> (&'static str, Value<'a>) {
        match self {
            Self::Session(id) => ("gen_ai.conversation.id", Value::Text(id)),
            Self::Provider(name) => ("gen_ai.provider.name", Value::Fixed(name)),
            Self::Protocol(code) => ("tandem.protocol", Value::Fixed(code)),
            Self::Upstream(name) => ("tandem.upstream", Value::Text(name)),
            Self::Ending(code) => ("tandem.ending", Value::Fixed(code)),
            Self::ErrorType(code) => ("error.type", Value::Fixed(code)),
            Self::Class(code) => ("tandem.queue.class", Value::Fixed(code)),
            Self::Position(place) => ("tandem.queue.position", number(place)),
            Self::Outcome(code) => ("tandem.outcome", Value::Fixed(code)),
            Self::Attempt(attempt) => ("tandem.attempt", number(attempt)),
            Self::Prompt(code) => ("tandem.prompt", Value::Fixed(code)),
            Self::Reason(code) => ("tandem.window.reason", Value::Fixed(code)),
            Self::GapMs(gap) => ("tandem.window.gap_ms", number(gap)),
        }
    }
}

fn number<'a>(number: impl TryInto<i64>) -> Value<'a> {
    Value::Number(number.try_into().unwrap_or(i64::MAX))
}

/// Starts spans. Clones share one way out.
#[derive(Clone, Default)]
pub struct Tracer(Option<backend::Pipeline>);

impl Tracer {
    /// Sends spans to a collector from now on, on a thread of its own that never holds a call up.
    ///
    /// To be called on an actix system.
    pub fn start(settings: &TraceSettings, counter: Arc<dyn SpanCounter>) -> Result<Self, TraceError> {
        backend::Pipeline::start(settings, counter).map(|pipeline| Self(Some(pipeline)))
    }

    /// Begins a trace, or a part of somebody's.
    pub fn root(&self, name: SpanName, parent: Option<&TraceParent>, since: SystemTime) -> Span {
        Span(self.0.as_ref().map(|pipeline| pipeline.root(name, parent, since)))
    }

    /// Sends what waits, within two seconds. What ends later is not sent any more.
    pub async fn finish(&self) {
        if let Some(pipeline) = &self.0 {
            pipeline.finish().await;
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.is_some()).finish()
    }
}

/// Something that takes time. It ends with its drop.
#[derive(Default)]
pub struct Span(Option<backend::Live>);

impl Span {
    /// A part of this one, which begins now.
    pub fn child(&self, name: SpanName) -> Span {
        Span(self.0.as_ref().map(|live| live.child(name)))
    }

    /// Says more of it.
    pub fn set(&mut self, attribute: Attribute<'_>) {
        if let Some(live) = &mut self.0 {
            live.set(attribute.row());
        }
    }

    /// Something happened just now.
    pub fn event(&mut self, name: &'static str) {
        if let Some(live) = &mut self.0 {
            live.event(name);
        }
    }

    /// It failed, and this is how.
    pub fn fail(&mut self, error: &'static str) {
        if let Some(live) = &mut self.0 {
            live.set(Attribute::ErrorType(error).row());
            live.fail();
        }
    }

    /// Its trace, kept or not; none where nothing is exported.
    pub fn trace(&self) -> Option<TraceId> {
        self.0.as_ref().map(backend::Live::trace)
    }

    /// Whether somebody will see it.
    pub fn is_seen(&self) -> bool {
        self.0.as_ref().is_some_and(backend::Live::is_seen)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.trace()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_a_span_is_nothing() {
        let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut span = Tracer::default().root(SpanName::Session, parent.as_ref(), SystemTime::UNIX_EPOCH);
        span.set(Attribute::Position(usize::MAX));
        span.fail("upstream_lost");
        assert_eq!((span.trace(), span.is_seen(), span.child(SpanName::QueueWait).is_seen()), (None, false, false));
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_program_without_it_says_how_to_get_it() {
        struct Nobody;
        impl SpanCounter for Nobody {
            fn count(&self, _: SpanFate, _: usize) {}
        }
        let settings =
            TraceSettings { endpoint: String::new(), headers: Vec::new(), service: String::new(), ratio: 1.0 };
        let error = Tracer::start(&settings, Arc::new(Nobody)).unwrap_err().to_string();
        assert!(error.contains("telemetry.otlp_endpoint") && error.contains("--features otlp"), "{error}");
    }

    /// The first column of the table that begins with this head.
    fn first_column(head: &str) -> Vec<&'static str> {
        let page = include_str!("../../docs/traces.md");
        let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
        rows.map_while(|row| row.strip_prefix("| `")?.split('`').next()).collect()
    }

    #[test]
    fn the_page_has_every_span_and_every_attribute_and_no_other() {
        assert_eq!(first_column("| span |"), SpanName::ALL.map(SpanName::code));
        let attributes = [
            Attribute::Session(""),
            Attribute::Provider(""),
            Attribute::Protocol(""),
            Attribute::Ending(""),
            Attribute::ErrorType(""),
            Attribute::Class(""),
            Attribute::Position(1),
            Attribute::Outcome(""),
            Attribute::Upstream(""),
            Attribute::Attempt(1),
            Attribute::Prompt(""),
            Attribute::Reason(""),
            Attribute::GapMs(1),
        ];
        assert_eq!(first_column("| attribute |"), attributes.map(|attribute| attribute.row().0));
    }

    #[test]
    fn where_spans_go_is_not_shown() {
        let settings = TraceSettings {
            endpoint: "http://collector".to_owned(),
            headers: vec![("authorization".to_owned(), "k3y".into())],
            service: "tandem".to_owned(),
            ratio: 1.0,
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("k3y") && !shown.contains("collector"), "{shown}");
    }
}
