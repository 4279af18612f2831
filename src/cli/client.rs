//! The client's side of the admin API.

use std::io;
use std::path::PathBuf;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Failed;
use crate::admin::{Complaint, Line};
use crate::config::paths;
use crate::control::{Outcome, Progress};

/// Talks to the proxy of this user.
pub(super) struct Client {
    socket: PathBuf,
}

/// The proxy died, or is stopping.
const LOST: &str = "unexpected EOF";

impl Client {
    pub(super) fn new() -> Self {
        Self { socket: paths::admin_socket_to_dial(&paths::process_env) }
    }

    /// Asks and reads the whole answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        whole(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Commands, and returns the warnings.
    pub(super) async fn command<T: Serialize>(&self, method: Method, path: &str, body: &T) -> Result<Outcome, Failed> {
        let body = serde_json::to_vec(body).map_err(|error| Failed::from(error.to_string()))?;
        whole(self.send(method, path, body.into()).await?).await
    }

    /// Commands, and calls back at each step.
    pub(super) async fn watch<T: Serialize>(
        &self,
        path: &str,
        body: &T,
        mut step: impl FnMut(Progress),
    ) -> Result<Outcome, Failed> {
        let body = serde_json::to_vec(body).map_err(|error| Failed::from(error.to_string()))?;
        let response = self.send(Method::POST, path, body.into()).await?;
        if !response.status().is_success() {
            return whole(response).await;
        }
        let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new() };
        loop {
            match lines.next().await? {
                Line::Progress(progress) => step(progress),
                Line::Outcome(outcome) => return Ok(outcome),
                Line::Failure(complaint) => return Err(complaint.into()),
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failed> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.dial_error(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| LOST)?;
        // Runs beside the answer, and ends with it: the runtime is the command's own.
        drop(tokio::task::spawn_local(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "lockgate")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        sender.send_request(request).await.map_err(|_| LOST.into())
    }

    /// In Go's words (contract 1.6).
    fn dial_error(&self, error: &io::Error) -> Failed {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory".into(),
            io::ErrorKind::ConnectionRefused => "connection refused".into(),
            io::ErrorKind::PermissionDenied => "permission denied".into(),
            io::ErrorKind::InvalidInput => "invalid argument".into(),
            _ => error.to_string(),
        };
        format!("dial unix {}: connect: {why}", self.socket.display()).into()
    }
}

impl From<Complaint> for Failed {
    fn from(complaint: Complaint) -> Self {
        let lines = complaint.hint.lines().map(str::to_owned).collect();
        Self { error: complaint.error, lines, tail: String::new() }
    }
}

async fn whole<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failed> {
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(|_| LOST)?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|error| format!("the proxy's answer: {error}").into());
    }
    match serde_json::from_slice::<Complaint>(&bytes) {
        Ok(complaint) => Err(complaint.into()),
        Err(_) => Err(format!("the proxy answered {status}").into()),
    }
}

struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    async fn next(&mut self) -> Result<Line, Failed> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return serde_json::from_slice(&line).map_err(|error| format!("the proxy's answer: {error}").into());
            }
            let frame = self.body.frame().await.and_then(Result::ok).ok_or(LOST)?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }
}

/// Runs one command's conversation to its end.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::from(error.to_string()))?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
