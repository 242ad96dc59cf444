//! A workload, asked by kube.

use std::{fmt, time::Duration};

use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use secrecy::SecretString;
use serde_json::json;

use super::{
    Kind, Settings,
    access::{self, failure},
};
use crate::fleet::provider::{
    Detail, PowerState, Provider, ProviderError, Started, Status, Stopped,
    exchange::{
        courier::{quietly, unreadable},
        segment,
    },
};

/// A workload.
pub struct Kubernetes {
    settings: Settings,
    authorities: Option<Vec<Vec<u8>>>,
    timeout: Duration,
}

impl Kubernetes {
    /// A workload that nothing was asked of yet. Fails if the CA file cannot be used.
    pub fn new(settings: Settings, timeout: Duration) -> Result<Self, ProviderError> {
        let authorities = settings.ca_file.as_deref().map(access::authorities).transpose()?;
        Ok(Self { settings, authorities, timeout })
    }

    async fn client(&self) -> Result<(Client, Vec<SecretString>), ProviderError> {
        access::client(&self.settings, self.authorities.as_ref(), self.timeout).await
    }

    fn namespace(&self) -> String {
        segment(&self.settings.namespace)
    }

    fn name(&self) -> String {
        segment(&self.settings.name)
    }

    /// The workload whatever its kind: its scale is asked alike.
    fn scaled(&self, client: &Client) -> Api<DynamicObject> {
        let resource = match self.settings.kind {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        };
        Api::namespaced_with(client.clone(), &self.namespace(), &resource)
    }

    async fn wanted(&self, client: &Client) -> Result<i32, ProviderError> {
        let scale = self.scaled(client).get_scale(&self.name()).await.map_err(failure)?;
        // What is not said is none, by the API's own rules; a scale without a specification is none of its own.
        Ok(scale.spec.ok_or_else(unreadable)?.replicas.unwrap_or(0))
    }

    async fn scale(&self, client: &Client, replicas: u32) -> Result<(), ProviderError> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let scaled = self.scaled(client).patch_scale(&self.name(), &PatchParams::default(), &patch).await;
        scaled.map(drop).map_err(failure)
    }

    async fn run(&self, client: &Client) -> Result<Started, ProviderError> {
        if self.wanted(client).await? > 0 {
            return Ok(Started::AlreadyRunning);
        }
        self.scale(client, self.settings.replicas.max(1)).await.map(|()| Started::Accepted)
    }

    async fn halt(&self) -> Result<Stopped, ProviderError> {
        let (client, _) = self.client().await?;
        if self.wanted(&client).await? <= 0 {
            return Ok(Stopped::AlreadyStopped);
        }
        self.scale(&client, 0).await.map(|()| Stopped::Accepted)
    }

    /// Replaces every pod, as `kubectl rollout restart` does.
    async fn begin_anew(&self) -> Result<(), ProviderError> {
        let (client, _) = self.client().await?;
        if self.run(&client).await? == Started::Accepted {
            return Ok(());
        }
        let (namespace, name) = (self.namespace(), self.name());
        let restarted = match self.settings.kind {
            Kind::Deployment => Api::<Deployment>::namespaced(client, &namespace).restart(&name).await.map(drop),
            Kind::StatefulSet => Api::<StatefulSet>::namespaced(client, &namespace).restart(&name).await.map(drop),
        };
        restarted.map_err(failure)
    }

    async fn read(&self) -> Result<Status, ProviderError> {
        let (client, secrets) = self.client().await?;
        let (namespace, name) = (self.namespace(), self.name());
        let seen: kube::Result<Replicas> = match self.settings.kind {
            Kind::Deployment => Api::<Deployment>::namespaced(client, &namespace).get(&name).await.map(Into::into),
            Kind::StatefulSet => Api::<StatefulSet>::namespaced(client, &namespace).get(&name).await.map(Into::into),
        };
        let (state, said) = seen.map_err(failure)?.state();
        Ok(Status::of(state).with_detail(Detail::said(&said, &secrets)))
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings show no secret; the certificates are of no use to anybody.
        f.debug_struct("Kubernetes").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Provider for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Started, ProviderError>> {
        Box::pin(quietly(self.timeout, async { self.run(&self.client().await?.0).await }))
    }

    fn stop(&self) -> LocalBoxFuture<'_, Result<Stopped, ProviderError>> {
        Box::pin(quietly(self.timeout, self.halt()))
    }

    fn restart(&self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(quietly(self.timeout, self.begin_anew()))
    }

    fn status(&self) -> LocalBoxFuture<'_, Result<Status, ProviderError>> {
        Box::pin(quietly(self.timeout, self.read()))
    }
}

/// What the cluster says of a workload's replicas.
struct Replicas {
    wanted: i32,
    there: i32,
    ready: i32,
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
        let status = workload.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter();
        Self {
            // What is not said is 1, by the API's own rules.
            wanted: workload.spec.and_then(|spec| spec.replicas).unwrap_or(1),
            there: status.replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            conditions: conditions.map(|it| Condition::new(it.type_, it.status, it.reason, it.message)).collect(),
        }
    }
}

impl From<StatefulSet> for Replicas {
    fn from(workload: StatefulSet) -> Self {
        let status = workload.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter();
        Self {
            wanted: workload.spec.and_then(|spec| spec.replicas).unwrap_or(1),
            there: status.replicas,
            ready: status.ready_replicas.unwrap_or(0),
            conditions: conditions.map(|it| Condition::new(it.type_, it.status, it.reason, it.message)).collect(),
        }
    }
}

impl Replicas {
    fn condition(&self, kind: &str, status: &str) -> Option<String> {
        let mut conditions = self.conditions.iter();
        conditions.find(|it| it.kind == kind && it.status == status).map(|it| it.said.clone())
    }

    fn state(&self) -> (PowerState, String) {
        if self.wanted <= 0 {
            return (if self.there == 0 { PowerState::Stopped } else { PowerState::Stopping }, String::new());
        }
        let how_many = format!("{} of {} ready", self.ready, self.wanted);
        if self.ready > 0 {
            return (PowerState::Running, how_many);
        }
        match self.condition("ReplicaFailure", "True") {
            Some(reason) => (PowerState::Failed, reason),
            // A node with a GPU may take longer than the cluster finds normal: that alone is no failure.
            None => (PowerState::Starting, self.condition("Progressing", "False").unwrap_or(how_many)),
        }
    }
}
