//! The way to a collector: the SDK makes spans, a bounded queue takes them, and a thread of its own sends them.

mod export;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId as OtelTraceId, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    resource::EnvResourceDetector,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};
use tokio::time::timeout;

use self::export::{Exporter, Spool};
use super::{
    parent::{TraceId, TraceParent},
    span::{SpanCounter, SpanName, TraceError, TraceSettings, Value},
};

/// How long the end of the process waits for spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(2);

pub(super) fn check(settings: &TraceSettings) -> Result<(), TraceError> {
    export::check(settings)
}

/// From spans to the collector.
#[derive(Clone)]
pub(super) struct Pipeline {
    tracer: SdkTracer,
    exporter: Arc<Exporter>,
}

impl Pipeline {
    pub(super) fn start(settings: &TraceSettings, counter: Arc<dyn SpanCounter>) -> Result<Self, TraceError> {
        let resource = Resource::builder_empty()
            .with_detector(Box::new(EnvResourceDetector::new()))
            .with_service_name(settings.service.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
            ])
            .build();
        let (spool, exporter) = Exporter::start(settings, &resource, counter)?;
        Ok(Self { tracer: tracer(spool, settings.ratio), exporter: Arc::new(exporter) })
    }

    pub(super) fn root(&self, name: SpanName, parent: Option<&TraceParent>, since: SystemTime) -> Live {
        let above = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(context(parent)));
        let kind = if name == SpanName::Session { SpanKind::Server } else { SpanKind::Internal };
        let builder = SpanBuilder::from_name(name.code()).with_kind(kind).with_start_time(since);
        Live { span: self.tracer.build_with_context(builder, &above), tracer: self.tracer.clone() }
    }

    pub(super) async fn finish(&self) {
        if timeout(LAST_SPANS, self.exporter.finish()).await.is_err() {
            tracing::warn!("the collector took too long at the end: the last spans are lost");
        }
    }
}

fn tracer(spool: Spool, ratio: f64) -> SdkTracer {
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(spool).build();
    provider.tracer("tandem")
}

fn context(parent: &TraceParent) -> SpanContext {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    // A state that is malformed is left out, and the ids hold all the same (W3C Trace Context, 3.3).
    let state: TraceState = parent.state.parse().unwrap_or_default();
    SpanContext::new(OtelTraceId::from_bytes(parent.trace.0), SpanId::from_bytes(parent.span), flags, true, state)
}

/// A span that has not ended.
pub(super) struct Live {
    span: SdkSpan,
    tracer: SdkTracer,
}

impl Live {
    pub(super) fn child(&self, name: SpanName) -> Live {
        let above = Context::new().with_remote_span_context(self.span.span_context().clone());
        let kind = match name {
            SpanName::UpstreamConnect | SpanName::UpstreamHandshake => SpanKind::Client,
            _ => SpanKind::Internal,
        };
        let builder = SpanBuilder::from_name(name.code()).with_kind(kind);
        Live { span: self.tracer.build_with_context(builder, &above), tracer: self.tracer.clone() }
    }

    pub(super) fn set(&mut self, (name, value): (&'static str, Value<'_>)) {
        if self.is_seen() {
            self.span.set_attribute(match value {
                Value::Fixed(text) => KeyValue::new(name, text),
                Value::Text(text) => KeyValue::new(name, text.to_owned()),
                Value::Number(number) => KeyValue::new(name, number),
            });
        }
    }

    pub(super) fn event(&mut self, name: &'static str) {
        self.span.add_event(name, Vec::new());
    }

    pub(super) fn fail(&mut self) {
        // Without words: the attribute error.type has the one that counts.
        self.span.set_status(Status::error(""));
    }

    pub(super) fn trace(&self) -> TraceId {
        TraceId(self.span.span_context().trace_id().to_bytes())
    }

    pub(super) fn is_seen(&self) -> bool {
        self.span.is_recording()
    }
}
