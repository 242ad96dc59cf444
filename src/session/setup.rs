//! What a call starts with.

use std::sync::Arc;

use tracing::Span as LogSpan;

use super::{
    leg::upstream::connect::UpstreamConnector,
    machine::{Limits, Terms},
    preparation::Preparation,
    registrar::Entry,
    script::Script,
    switchboard::{ResumeOffer, Seat},
};
use crate::{metrics::Metrics, telemetry::span::Span};

/// Everything that one call needs from outside.
pub struct Setup {
    /// What the call was promised.
    pub terms: Terms,
    /// Its limits.
    pub limits: Limits,
    /// Its place on the switchboard.
    pub seat: Seat,
    /// Its place among the records.
    pub entry: Entry,
    /// Voice and prompts.
    pub script: Script,
    /// What makes other prompts of the caller's context, if the persona is told of it.
    pub preparation: Option<Preparation>,
    /// Opens upstream sockets.
    pub connector: UpstreamConnector,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The wire's name in metrics and logs.
    pub protocol: &'static str,
    /// How the caller may come back when its connection breaks, if its wire allows it.
    pub resumable: Option<ResumeOffer>,
    /// The session's span in the log.
    pub span: LogSpan,
    /// The call's span in its trace.
    pub trace: Span,
}
