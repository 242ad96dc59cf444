//! A workload, asked by kube.

use std::{cell::Cell, fmt, time::Duration};

use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use secrecy::SecretString;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Kind, Settings,
    access::{self, failure},
    replicas::Replicas,
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
    /// Since when it is known to be scaled down, with every pod told to end.
    down: Cell<Option<Instant>>,
}

impl Kubernetes {
    /// A workload that nothing was asked of yet. Fails if the CA file cannot be used.
    pub fn new(settings: Settings, timeout: Duration) -> Result<Self, ProviderError> {
        let authorities = settings.ca_file.as_deref().map(access::authorities).transpose()?;
        Ok(Self { settings, authorities, timeout, down: Cell::new(None) })
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
        self.down.set(None);
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
        let of = client.clone();
        let seen: kube::Result<Replicas> = match self.settings.kind {
            Kind::Deployment => Api::<Deployment>::namespaced(of, &namespace).get(&name).await.map(Into::into),
            Kind::StatefulSet => Api::<StatefulSet>::namespaced(of, &namespace).get(&name).await.map(Into::into),
        };
        let replicas = seen.map_err(failure)?;
        let (state, said) = replicas.state();
        let is_off = matches!(state, PowerState::Stopped | PowerState::Failed);
        if !is_off {
            self.down.set(None);
        }
        let lingers = is_off && self.lingers(client, &replicas).await?;
        let state = match state {
            PowerState::Stopped if lingers => PowerState::Stopping,
            PowerState::Failed if lingers => PowerState::Starting,
            other => other,
        };
        Ok(Status::of(state).with_detail(Detail::said(&said, &secrets)))
    }

    /// Whether a pod that was told to end may still run, when no other is left: the workload counts these only in clusters
    /// that are new enough, so else its pods are asked for. Who may not list them waits for as long as they may take.
    async fn lingers(&self, client: Client, replicas: &Replicas) -> Result<bool, ProviderError> {
        /// What killing takes once the time of a pod is over.
        const MARGIN: Duration = Duration::from_secs(5);
        let now = Instant::now();
        let down = self.down.get().unwrap_or(now);
        self.down.set(Some(down));
        if let Some(terminating) = replicas.terminating {
            return Ok(terminating > 0);
        }
        let waits = now < down + replicas.grace.saturating_add(MARGIN);
        // Without a selector these would be everybody's pods.
        let Some(selector) = &replicas.selector else { return Ok(waits) };
        let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed").limit(1);
        let pods = Api::<Pod>::namespaced(client, &self.namespace());
        match pods.list_metadata(&running.labels_from(selector)).await.map_err(failure) {
            Ok(pods) => Ok(!pods.items.is_empty() || pods.metadata.continue_.is_some_and(|rest| !rest.is_empty())),
            Err(ProviderError::Auth) => Ok(waits),
            Err(error) => Err(error),
        }
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
