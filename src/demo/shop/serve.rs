//! The shop's HTTP side: three routes over hyper, and an end that finishes what is in flight.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::store::{Order, Store};
use crate::clock;
use crate::demo::stamps::{Event, Plan, Stamps, micros};

/// The largest order that is read.
const LARGEST: usize = 16 * 1024;
/// How long requests in flight may take after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(4);

/// What `POST /orders` is sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The order's key.
    pub key: String,
    /// Which product.
    pub item: u32,
    /// How long the shop shall take over it: half of it before the commit, half after.
    #[serde(default)]
    pub slow_ms: u64,
}

/// What `POST /orders` and `GET /orders` answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Which start of which process answered.
    pub boot: String,
    /// When the request reached it (`CLOCK_BOOTTIME`).
    pub received_us: u64,
    /// The order placed, or the newest ones.
    pub keys: Vec<String>,
}

/// All that a request needs.
pub(super) struct Shop {
    store: Store,
    stamps: Arc<Stamps>,
    plan: Plan,
    ordered: AtomicBool,
    last_answer_us: AtomicU64,
}

impl Shop {
    /// A shop over an open database.
    pub(super) fn new(store: Store, stamps: Arc<Stamps>, plan: Plan) -> Self {
        Self { store, stamps, plan, ordered: AtomicBool::new(false), last_answer_us: AtomicU64::new(0) }
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let received = clock::boottime();
        if request.uri().path() == "/up" {
            return self.up();
        }
        let answer = match (request.method(), request.uri().path()) {
            (&Method::POST, "/orders") => self.order(request.into_body(), received).await,
            (&Method::GET, "/orders") => self.recent(received).await,
            _ => text(StatusCode::NOT_FOUND, "There is nothing here.\n"),
        };
        self.last_answer_us.fetch_max(micros(clock::boottime()), Ordering::Relaxed);
        answer
    }

    fn up(&self) -> Response<Full<Bytes>> {
        match self.plan {
            Plan::NeverHealthy => text(StatusCode::INTERNAL_SERVER_ERROR, "This version is not well.\n"),
            Plan::Good | Plan::ExitsBooting | Plan::SpoilsData => text(StatusCode::OK, "up\n"),
        }
    }

    async fn order(&self, body: Incoming, received: Duration) -> Response<Full<Bytes>> {
        if !self.ordered.swap(true, Ordering::Relaxed) {
            self.stamps.stamp(received, Event::FirstOrder);
        }
        let Ok(body) = Limited::new(body, LARGEST).collect().await else {
            return text(StatusCode::BAD_REQUEST, "The order could not be read.\n");
        };
        let Ok(ask) = serde_json::from_slice::<Ask>(&body.to_bytes()) else {
            return text(StatusCode::BAD_REQUEST, "This is no order.\n");
        };
        let half = Duration::from_millis(ask.slow_ms / 2);
        pause(half).await;
        let placed = self.store.place(Order { key: ask.key.clone(), item: ask.item }).await;
        pause(half).await;
        match placed {
            Ok(()) => self.receipt(StatusCode::CREATED, received, vec![ask.key]),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error),
        }
    }

    async fn recent(&self, received: Duration) -> Response<Full<Bytes>> {
        match self.store.recent().await {
            Ok(keys) => self.receipt(StatusCode::OK, received, keys),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error),
        }
    }

    fn receipt(&self, status: StatusCode, received: Duration, keys: Vec<String>) -> Response<Full<Bytes>> {
        let receipt = Receipt { boot: self.stamps.boot().to_owned(), received_us: micros(received), keys };
        answer(status, "application/json", serde_json::to_vec(&receipt).unwrap_or_default())
    }

    fn stamp_last_answer(&self) {
        let at = self.last_answer_us.load(Ordering::Relaxed);
        if at > 0 {
            self.stamps.stamp(Duration::from_micros(at), Event::LastAnswer);
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

/// Serves until SIGTERM, then finishes what is in flight.
///
/// # Errors
/// Where the address or the signal can't be had.
pub(super) async fn serve(listen: SocketAddr, shop: &Arc<Shop>) -> std::io::Result<()> {
    let mut told_to_stop = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(listen).await?;
    shop.stamps.stamp(clock::boottime(), Event::Listening);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = told_to_stop.recv() => break,
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(converse(stream, Arc::clone(shop), stopping.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    shop.stamps.stamp(clock::boottime(), Event::Sigterm);
    drop(listener);
    let _anyone = stop.send(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, all_ended).await.is_err() {
        eprintln!("shop: requests were still in flight");
        connections.shutdown().await;
    }
    shop.stamp_last_answer();
    Ok(())
}

async fn converse(stream: TcpStream, shop: Arc<Shop>, mut stopping: watch::Receiver<bool>) {
    let _delay_is_no_error = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shop = Arc::clone(&shop);
        async move { Ok::<_, Infallible>(shop.handle(request).await) }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends is its client's affair.
    let _end = tokio::select! {
        end = connection.as_mut() => end,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}
