//! What a cluster says of a workload's replicas, and what that means.

use std::time::Duration;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::core::Selector;

use crate::fleet::provider::PowerState;

/// What the cluster says of a workload's replicas.
pub(super) struct Replicas {
    wanted: i32,
    /// Those that were not told to end.
    there: i32,
    ready: i32,
    /// Those of the newest template.
    updated: i32,
    /// Whether all that are there come to be of the newest template without more ado.
    is_rolling: bool,
    /// Whether these numbers are older than what is wanted.
    is_stale: bool,
    /// Those that were told to end and may still run; none: the cluster does not say.
    pub(super) terminating: Option<i32>,
    /// How long a pod may take to end.
    pub(super) grace: Duration,
    /// Whose pods are its own; none: everybody's.
    pub(super) selector: Option<Selector>,
    conditions: Vec<Condition>,
}

struct Condition {
    kind: String,
    status: String,
    said: String,
}

impl Condition {
    fn new(kind: String, status: String, reason: Option<String>, message: Option<String>) -> Self {
        let said = format!("{}: {}", reason.unwrap_or_default(), message.unwrap_or_default());
        Self { kind, status, said }
    }
}

impl From<Deployment> for Replicas {
    fn from(workload: Deployment) -> Self {
        let (spec, status) = (workload.spec.unwrap_or_default(), workload.status.unwrap_or_default());
        let conditions = status.conditions.unwrap_or_default().into_iter();
        Self {
            // What is not said is 1, by the API's own rules.
            wanted: spec.replicas.unwrap_or(1),
            there: status.replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            is_rolling: spec.paused != Some(true),
            is_stale: is_stale(&workload.metadata, status.observed_generation),
            terminating: status.terminating_replicas,
            grace: grace(&spec.template),
            selector: selector(spec.selector),
            conditions: conditions.map(|it| Condition::new(it.type_, it.status, it.reason, it.message)).collect(),
        }
    }
}

impl From<StatefulSet> for Replicas {
    fn from(workload: StatefulSet) -> Self {
        let (spec, status) = (workload.spec.unwrap_or_default(), workload.status.unwrap_or_default());
        let conditions = status.conditions.unwrap_or_default().into_iter();
        let strategy = spec.update_strategy.unwrap_or_default();
        let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
        Self {
            wanted: spec.replicas.unwrap_or(1),
            there: status.replicas,
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            is_rolling: strategy.type_.as_deref() != Some("OnDelete") && partition <= 0,
            is_stale: is_stale(&workload.metadata, status.observed_generation),
            terminating: None,
            grace: grace(&spec.template),
            selector: selector(spec.selector),
            conditions: conditions.map(|it| Condition::new(it.type_, it.status, it.reason, it.message)).collect(),
        }
    }
}

fn is_stale(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    metadata.generation.is_some_and(|generation| observed.unwrap_or(0) < generation)
}

fn grace(template: &PodTemplateSpec) -> Duration {
    /// By the API's own rules.
    const DEFAULT_SECONDS: u64 = 30;
    /// The longest that is waited for; no pod needs a day.
    const MAX_SECONDS: u64 = 24 * 60 * 60;
    let seconds = template.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = seconds.map_or(DEFAULT_SECONDS, |seconds| u64::try_from(seconds).unwrap_or(0));
    Duration::from_secs(seconds.min(MAX_SECONDS))
}

fn selector(labels: LabelSelector) -> Option<Selector> {
    Selector::try_from(labels).ok().filter(|selector| !selector.selects_all())
}

impl Replicas {
    fn condition(&self, kind: &str, status: &str) -> Option<String> {
        let mut conditions = self.conditions.iter();
        conditions.find(|it| it.kind == kind && it.status == status).map(|it| it.said.clone())
    }

    /// The state, and what there is to say. Where it is off, pods that were told to end are not counted yet.
    pub(super) fn state(&self) -> (PowerState, String) {
        if self.wanted <= 0 {
            let is_down = self.there == 0 && !self.is_stale;
            return (if is_down { PowerState::Stopped } else { PowerState::Stopping }, String::new());
        }
        let how_many = format!("{} of {} ready", self.ready, self.wanted);
        if self.is_stale || (self.is_rolling && self.updated < self.there) {
            // Whoever is ready may be of before a restart.
            return (PowerState::Starting, how_many);
        }
        if self.ready > 0 {
            return (PowerState::Running, how_many);
        }
        match self.condition("ReplicaFailure", "True") {
            Some(reason) if self.there == 0 => (PowerState::Failed, reason),
            Some(reason) => (PowerState::Starting, reason),
            // A node with a GPU may take longer than the cluster finds normal: that alone is no failure.
            None => (PowerState::Starting, self.condition("Progressing", "False").unwrap_or(how_many)),
        }
    }
}
