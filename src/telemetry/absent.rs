//! Stands for the way to a collector in programs that are built without one: there is none.

use std::{sync::Arc, time::SystemTime};

use super::{
    parent::{TraceId, TraceParent},
    span::{SpanCounter, SpanName, TraceError, TraceSettings, Value},
};

pub(super) fn check(_: &TraceSettings) -> Result<(), TraceError> {
    Err(TraceError::NotBuiltIn)
}

#[derive(Clone)]
pub(super) enum Pipeline {}

impl Pipeline {
    pub(super) fn start(settings: &TraceSettings, _: Arc<dyn SpanCounter>) -> Result<Self, TraceError> {
        check(settings).and(Err(TraceError::NotBuiltIn))
    }

    pub(super) fn root(&self, _: SpanName, _: Option<&TraceParent>, _: SystemTime) -> Live {
        match *self {}
    }

    pub(super) async fn finish(&self) {
        match *self {}
    }
}

pub(super) enum Live {}

impl Live {
    pub(super) fn child(&self, _: SpanName) -> Live {
        match *self {}
    }

    pub(super) fn set(&mut self, _: (&'static str, Value<'_>)) {
        match *self {}
    }

    pub(super) fn event(&mut self, _: &'static str) {
        match *self {}
    }

    pub(super) fn fail(&mut self) {
        match *self {}
    }

    pub(super) fn trace(&self) -> TraceId {
        match *self {}
    }

    pub(super) fn is_seen(&self) -> bool {
        match *self {}
    }
}
