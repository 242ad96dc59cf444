//! Where the spans of this gateway go, and who counts them.

use std::sync::Arc;

use crate::{
    config::Settings,
    metrics::Metrics,
    telemetry::span::{SpanCounter, SpanFate, TraceError, TraceSettings, Tracer},
};

struct Counts(Arc<Metrics>);

impl SpanCounter for Counts {
    fn count(&self, fate: SpanFate, spans: usize) {
        self.0.spans(fate.code(), spans);
    }
}

/// Sends spans if the settings say where to.
pub(super) fn tracer(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Tracer, TraceError> {
    // A rate needs the zero before the first event.
    SpanFate::ALL.iter().for_each(|fate| metrics.spans(fate.code(), 0));
    let Some(settings) = trace_settings(settings) else { return Ok(Tracer::default()) };
    Tracer::start(&settings, Arc::new(Counts(Arc::clone(metrics))))
}

/// Where spans go by these settings; none: nowhere.
pub fn trace_settings(settings: &Settings) -> Option<TraceSettings> {
    let telemetry = settings.telemetry.as_ref()?;
    Some(TraceSettings {
        endpoint: telemetry.endpoint.clone(),
        headers: telemetry.headers.clone(),
        service: telemetry.service_name.clone(),
        ratio: telemetry.sample_ratio,
    })
}
