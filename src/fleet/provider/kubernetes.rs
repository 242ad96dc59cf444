//! Deployments and stateful sets of a Kubernetes cluster: they run when they have replicas.
//!
//! By kube, and the `scale` of the workload. A service account needs `get` on `deployments` or `statefulsets` of the group
//! `apps`, `get` and `patch` on their `scale`, and for restarts `patch` on themselves. An autoscaler that owns the same
//! replicas would undo what is asked for here: it has to be paused. With the feature `kubernetes` only.

#[cfg(feature = "kubernetes")]
mod access;
#[cfg(feature = "kubernetes")]
mod workload;

use std::path::PathBuf;

use secrecy::SecretString;

#[cfg(feature = "kubernetes")]
pub use self::workload::Kubernetes;

/// Which workload, and how its cluster is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API is, without a `/` at the end; none: where the kubeconfig says, or inside of a cluster its own.
    pub base_url: Option<String>,
    /// The cluster's own authorities; with a `base_url` next to the system's, else in place of the kubeconfig's.
    pub ca_file: Option<PathBuf>,
    /// Who asks; none: who the kubeconfig says, or inside of a cluster the pod's service account.
    pub token: Option<Token>,
    /// The namespace.
    pub namespace: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How many replicas it has when it runs, at least 1.
    pub replicas: u32,
}

impl Settings {
    /// The API's address inside of a cluster.
    pub const IN_POD_URL: &'static str = "https://kubernetes.default.svc";
    /// Where a pod has its cluster's authorities.
    pub const IN_POD_CA_FILE: &'static str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    /// Where a pod has its token.
    pub const IN_POD_TOKEN_FILE: &'static str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
}

/// A bearer token.
#[derive(Clone, Debug)]
pub enum Token {
    /// In a file that is read for every call: a pod's token is replaced within the hour.
    File(PathBuf),
    /// As it is.
    Fixed(SecretString),
}

/// What has the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A deployment. A restart needs room for a second pod, unless its strategy is `Recreate`.
    Deployment,
    /// A stateful set.
    StatefulSet,
}
