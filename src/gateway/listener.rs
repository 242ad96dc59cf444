//! Where callers come in: the port, and the server behind it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, http::KeepAlive, web};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use super::canary;
use crate::{
    http::{self, doors::Doors},
    metrics::Thread,
};

/// What a caller's socket may hold unread in the kernel, in bytes: more would be stale sound that nobody can take back.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// Unacknowledged data after which the kernel gives a caller's connection up, readers of nothing included.
const CLIENT_KERNEL_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections that one worker thread holds; calls have a limit of their own.
const CONNECTIONS_PER_WORKER: usize = 4096;
/// After our close frame: the time in which a caller's last words are read, so that no reset overtakes ours. Callers wait
/// for it, because a WebSocket's server hangs up first (RFC 6455, 7.1.1).
const LINGER: Duration = Duration::from_millis(500);

/// Takes the port, before anything that would have to be taken down again.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Runs the HTTP server. No access log: request lines hold tickets.
pub(super) fn serve(listener: TcpListener, doors: &web::Data<Doors>, workers: usize) -> io::Result<ServerHandle> {
    let doors = doors.clone();
    let app = move || {
        // Made once on every worker thread.
        canary::watch(&doors.metrics, Thread::Worker);
        App::new().app_data(doors.clone()).configure(http::routes)
    };
    let mut server = HttpServer::new(app)
        .disable_signals()
        // A second request on a connection has no deadline for its head; so there is none.
        .keep_alive(KeepAlive::Disabled)
        .max_connections(CONNECTIONS_PER_WORKER)
        .client_request_timeout(Duration::from_secs(5))
        .client_disconnect_timeout(LINGER)
        .shutdown_timeout(1)
        .on_connect(|connection, _| {
            if let Some(stream) = connection.downcast_ref::<TcpStream>() {
                tune(stream);
            }
        });
    if workers > 0 {
        server = server.workers(workers);
    }
    let server = server.listen(listener)?.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

/// Sound must leave at once, and what a caller does not read must be noticed while it is still fresh.
fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Each is an improvement, none is a condition: a socket without them still carries the call.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    let _ = socket.set_tcp_user_timeout(Some(CLIENT_KERNEL_TIMEOUT));
}
