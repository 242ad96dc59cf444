//! HTTP over a socket of this machine instead of TCP.

use std::{path::Path, rc::Rc};

use actix_http::Uri;
use actix_rt::net::UnixStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use futures_util::future::LocalBoxFuture;

/// Connects to one socket, whatever host a URL names.
#[derive(Clone)]
pub(super) struct SocketDialer(pub(super) Rc<Path>);

impl Service<ConnectInfo<Uri>> for SocketDialer {
    type Response = Connection<Uri, UnixStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, to: ConnectInfo<Uri>) -> Self::Future {
        let path = Rc::clone(&self.0);
        Box::pin(async move {
            let stream = UnixStream::connect(path).await.map_err(ConnectError::Io)?;
            Ok(Connection::new(to.request().clone(), stream))
        })
    }
}
