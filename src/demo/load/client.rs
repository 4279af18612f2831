//! The clients: a pool of kept connections, fresh ones beside it, and no second try of anything.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Counts;
use super::log::{Entry, Kind, Log};
use crate::clock;
use crate::demo::shop::{Ask, Receipt};
use crate::demo::stamps::micros;

/// Kept connections; more come while requests are held, and go after it.
const KEPT: usize = 64;
/// A client that hears nothing for so long gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// All clients together.
pub(super) struct Client {
    address: SocketAddr,
    kept: Mutex<Vec<Connection>>,
    log: Mutex<Log>,
    counts: Arc<Counts>,
}

/// A connection and the task that drives it, which ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("connect: {0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("no answer for a minute")]
    Patience(#[from] tokio::time::error::Elapsed),
}

impl Client {
    pub(super) fn new(address: SocketAddr, log: Log, counts: Arc<Counts>) -> Self {
        Self { address, kept: Mutex::default(), log: Mutex::new(log), counts }
    }

    /// Places one order.
    pub(super) async fn order(self: Arc<Self>, ask: Ask, fresh: bool) {
        let body = Bytes::from(serde_json::to_vec(&ask).unwrap_or_default());
        self.send(Kind::Order, ask.key, ask.slow_ms, fresh, body).await;
    }

    /// Reads the newest orders.
    pub(super) async fn reading(self: Arc<Self>, number: u64, fresh: bool) {
        self.send(Kind::Reading, format!("reading-{number}"), 0, fresh, Bytes::new()).await;
    }

    pub(super) fn close_log(&self) -> io::Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).close()
    }

    async fn send(&self, kind: Kind, key: String, slow_ms: u64, fresh: bool, body: Bytes) {
        let mut entry = Entry {
            kind,
            key,
            slow_ms,
            fresh,
            sent_us: micros(clock::boottime()),
            ended_us: 0,
            status: None,
            boot: None,
            received_us: None,
            error: String::new(),
        };
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.exchange(&mut entry, body).await {
            entry.error = error.to_string();
        }
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        entry.ended_us = micros(clock::boottime());
        if !entry.acknowledged() {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write(&entry);
    }

    async fn exchange(&self, entry: &mut Entry, body: Bytes) -> Result<(), ClientError> {
        let mut connection = if entry.fresh { self.connect().await? } else { self.kept_or_new().await? };
        let request = request(entry, body)?;
        let answer = tokio::time::timeout(PATIENCE, connection.sender.send_request(request)).await??;
        let status = answer.status();
        let body = tokio::time::timeout(PATIENCE, answer.into_body().collect()).await??.to_bytes();
        // An answer counts once it is whole.
        entry.status = Some(status.as_u16());
        match serde_json::from_slice::<Receipt>(&body) {
            Ok(receipt) => {
                entry.boot = Some(receipt.boot);
                entry.received_us = Some(receipt.received_us);
            }
            Err(_) => entry.error = String::from_utf8_lossy(&body).chars().take(200).collect(),
        }
        if !entry.fresh {
            self.keep(connection).await;
        }
        Ok(())
    }

    async fn kept_or_new(&self) -> Result<Connection, ClientError> {
        loop {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match kept {
                Some(connection) if connection.sender.is_ready() => return Ok(connection),
                Some(_closed) => {}
                None => return self.connect().await,
            }
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        let mut drivers = JoinSet::new();
        drivers.spawn(async move {
            // How a connection ends, its request's answer says.
            let _end = driver.await;
        });
        Ok(Connection { sender, _driver: drivers })
    }

    async fn keep(&self, mut connection: Connection) {
        if connection.sender.ready().await.is_ok() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT {
                kept.push(connection);
            }
        }
    }
}

fn request(entry: &Entry, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
    let (method, path) = match entry.kind {
        Kind::Order => (Method::POST, "/orders"),
        Kind::Reading => (Method::GET, "/orders"),
    };
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "shop.example");
    if entry.fresh {
        request = request.header(header::CONNECTION, "close");
    }
    if entry.kind == Kind::Order {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(body))
}
