//! How a cluster is asked, and as whom: what is configured, or what kubectl would do.

use std::{fs, path::Path, sync::Arc, time::Duration};

use hyper::{Request, Uri, header::HeaderValue, http::uri::Scheme};
use kube::{
    Client, Config,
    client::{AuthError, Body, ClientBuilder, ConfigExt},
    config::AuthInfo,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretString};
use tower::{service_fn, util::option_layer};

use super::{Settings, Token};
use crate::fleet::provider::{
    ProviderError,
    exchange::courier::{Courier, Tls, no_url, unboxed, unreadable},
};

/// The certificates of a PEM file, and the system's. Fails if the file cannot be used.
pub(super) fn authorities(file: &Path) -> Result<Vec<Vec<u8>>, ProviderError> {
    let unusable = || ProviderError::permanent("the CA file cannot be used: it has to hold PEM certificates");
    let mut known = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|_| unusable())? {
        known.push(certificate.ok().filter(is_usable).ok_or_else(unusable)?);
    }
    if known.is_empty() {
        return Err(unusable());
    }
    let system = rustls_native_certs::load_native_certs().certs.into_iter().filter(is_usable);
    Ok(known.into_iter().chain(system).map(|certificate| certificate.to_vec()).collect())
}

fn is_usable(certificate: &CertificateDer<'_>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// The client for one call, which may take this long, and what no remark is allowed to repeat.
///
/// Everything is read anew: tokens and authorities change while a cluster runs, and calls are rare.
pub(super) async fn client(
    settings: &Settings,
    authorities: Option<&Vec<Vec<u8>>>,
    limit: Duration,
) -> Result<(Client, Vec<SecretString>), ProviderError> {
    let mut config = match &settings.base_url {
        Some(url) => Config::new(url.parse::<Uri>().map_err(|_| no_url())?),
        None => Config::infer().await.map_err(|_| unknown_cluster())?,
    };
    if let Some(authorities) = authorities {
        (config.root_cert, config.root_cert_file) = (Some(authorities.clone()), None);
    }
    if let Some(token) = &settings.token {
        config.auth_info = AuthInfo { token: Some(read(token)?), ..AuthInfo::default() };
    }
    check(&config)?;
    let secrets = config.auth_info.token.iter().cloned().collect();
    // A kubeconfig may name a program that tells the token, which this waits for.
    let built = tokio::task::spawn_blocking(move || build(&config, limit)).await;
    let assemble = built.unwrap_or_else(|_| Err(unusable_credential()))?;
    Ok((assemble(), secrets))
}

fn read(token: &Token) -> Result<SecretString, ProviderError> {
    match token {
        Token::Fixed(token) => Ok(token.clone()),
        Token::File(file) => {
            let unreadable = |_| ProviderError::permanent("the token's file cannot be read");
            Ok(SecretString::from(fs::read_to_string(file).map_err(unreadable)?.trim().to_owned()))
        }
    }
}

/// What kube would panic at, or what would be asked in another way than the kubeconfig says.
fn check(config: &Config) -> Result<(), ProviderError> {
    let token = config.auth_info.token.as_ref().map(ExposeSecret::expose_secret);
    if token.is_some_and(|token| HeaderValue::from_str(token).is_err()) {
        return Err(ProviderError::permanent("the token has characters that HTTP does not allow"));
    }
    if config.proxy_url.is_some() {
        return Err(ProviderError::permanent(
            "the kubeconfig wants a proxy, which is not supported here: set base_url",
        ));
    }
    Ok(())
}

/// Reads certificates and asks for credentials, and leaves what needs the runtime to be done with them.
fn build(config: &Config, limit: Duration) -> Result<impl FnOnce() -> Client + Send + use<>, ProviderError> {
    let silence = tracing::Dispatch::none();
    tracing::dispatcher::with_default(&silence, || {
        let (base, headers) = (config.base_uri_layer(), config.extra_headers_layer().map_err(failure)?);
        let auth = config.auth_layer().map_err(failure)?;
        let name = config.tls_server_name.clone();
        let tls = if config.cluster_url.scheme() == Some(&Scheme::HTTPS) {
            let config = config.rustls_client_config().map_err(failure)?;
            Some(Tls { config: Arc::new(config), name })
        } else {
            None
        };
        let courier = Courier::to_network(tls, limit);
        Ok(move || {
            let service = service_fn(move |request: Request<Body>| {
                let courier = courier.clone();
                async move { courier.carry(request).await.map_err(tower::BoxError::from) }
            });
            let stack = ClientBuilder::new(service, "default").with_layer(&headers).with_layer(&option_layer(auth));
            stack.with_layer(&base).build()
        })
    })
}

fn unknown_cluster() -> ProviderError {
    ProviderError::permanent(
        "no cluster is known: set providers.kubernetes.base_url, or KUBECONFIG to a usable kubeconfig, or run in a pod",
    )
}

fn unusable_credential() -> ProviderError {
    ProviderError::permanent(
        "the cluster's credentials cannot be read: check the kubeconfig, and the files that it names",
    )
}

/// What an error of kube's means. Nothing of its text is repeated: it may hold anything.
pub(super) fn failure(error: kube::Error) -> ProviderError {
    match error {
        kube::Error::Service(inner) if inner.is::<AuthError>() => unusable_credential(),
        kube::Error::Service(inner) => unboxed(inner).unwrap_or_else(unreadable),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::HyperError(_) => unreadable(),
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
            ProviderError::permanent("the request cannot be written: check the namespace and the name")
        }
        kube::Error::Auth(_) | kube::Error::RustlsTls(_) | kube::Error::InferKubeconfig(_) => unusable_credential(),
        _ => unreadable(),
    }
}
