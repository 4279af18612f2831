//! The admin API: HTTP and JSON under `/v1` on a unix socket, for root and the user that the proxy runs as.
//!
//! The command line is a client of it. docs/admin-api.md describes it with lines to try.

mod answer;
mod deployment;
pub mod request;
mod routes;
mod socket;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::config::Settings;
use crate::control::Control;
use routes::Api;

pub use answer::{Complaint, Line};
pub use request::{DeployRequest, PauseRequest, ResumeRequest, StopRequest};
pub use socket::Socket;

/// A client has this long to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the socket until `stop` is dropped; then closes it, and returns when the last command has had its answer.
/// Dropping the future closes all at once. Commands that run go on either way: see [`Control`].
pub async fn serve(socket: Socket, control: Arc<Control>, settings: Arc<Settings>, mut stop: oneshot::Receiver<()>) {
    let api = Arc::new(Api { control, settings });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok(stream) => {
                    connections.spawn(connection(stream, Arc::clone(&api)));
                }
                Err(error) => {
                    tracing::error!(%error, "Error accepting admin connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = &mut stop => break,
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: UnixStream, api: Arc<Api>) {
    let peer = socket::Peer::of(&stream);
    let stack = routes::stack(api, peer);
    let service = service_fn(move |request| stack.clone().oneshot(request));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// Binds the socket. What a proxy that died has left there is replaced; one that answers keeps it.
///
/// # Errors
/// Another process serves it, or the directory is missing or not writable.
pub fn bind(path: &Path) -> io::Result<Socket> {
    Socket::bind(path)
}
