//! A request's way: one straight function, each early end one line.

mod body;
mod dispatch;
mod failure;
mod head;
mod hint;
mod hold;
mod page;
mod presence;
mod record;
mod tunnel;
mod upload;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};

use crate::config::Settings;
use crate::listener::Talk;
use crate::observe::Channel;
use crate::router::{Local, Route, Router};
use crate::service::Service;
use crate::service::flight::Flights;

use body::Source;
use failure::Failure;
use record::Record;
use upload::Upload;

pub use body::Body;

/// What all workers share.
pub struct Shared {
    /// Which service a request is for.
    pub router: Arc<Router<Service>>,
    /// The requests in flight.
    pub flights: Flights,
    /// The HTTP port as configured, for the log.
    pub http_port: u16,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// How long a client's connection may lie idle.
    pub idle_timeout: Duration,
    /// Bytes read ahead of one held request's body.
    pub held_body_each: usize,
    /// Bytes read ahead of all held requests' bodies.
    pub held_body_all: usize,
    held_body_now: Arc<AtomicUsize>,
    /// Bytes that a client's system may still have to send when it has left.
    client_unsent: usize,
    /// Room, in bytes, for bodies that are read on at their turn.
    read_on: Arc<Semaphore>,
    read_on_all: usize,
}

impl Shared {
    /// By the settings. `client_unsent`: the bytes that a client's system may still have to send when it has left.
    #[must_use]
    pub fn new(router: Arc<Router<Service>>, flights: Flights, settings: &Settings, client_unsent: usize) -> Self {
        let read_on_all = settings.held_body_all.max(upload::most_read_on(client_unsent)).min(Semaphore::MAX_PERMITS);
        Self {
            router,
            flights,
            http_port: settings.http_port,
            head_timeout: settings.head_timeout,
            idle_timeout: settings.idle_timeout,
            held_body_each: settings.held_body_each,
            held_body_all: settings.held_body_all,
            held_body_now: Arc::default(),
            client_unsent,
            read_on: Arc::new(Semaphore::new(read_on_all)),
            read_on_all,
        }
    }
}

/// What one worker's connections share.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its number: its stripe of each gate.
    pub stripe: usize,
    /// Where its requests are logged; none: nowhere.
    pub access: Option<Channel>,
    /// Becomes true when the proxy stops.
    pub stopping: watch::Receiver<bool>,
}

/// A client's connection.
pub struct Downstream {
    worker: Arc<Worker>,
    peer: SocketAddr,
    peer_ip: HeaderValue,
    socket: RawFd,
    talk: Talk,
}

impl Downstream {
    /// A connection from `peer` over `socket`, which stays open for as long as its requests are handled.
    #[must_use]
    pub fn new(worker: Arc<Worker>, peer: SocketAddr, socket: RawFd, talk: Talk) -> Self {
        let peer_ip = HeaderValue::from_str(&peer.ip().to_string()).unwrap_or(HeaderValue::from_static(""));
        Self { worker, peer, peer_ip, socket, talk }
    }
}

/// The client has left, or must go: its connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub struct Gone;

/// A request on its way.
struct Passage<'a> {
    client: &'a Downstream,
    arrival: Instant,
    record: Record,
    /// It waited at the gate.
    was_held: bool,
    /// Not all of its body was received: after the answer the connection cannot serve another request.
    unread: bool,
}

/// Answers one request. Dropping the future is the client's leaving: a held request is never dispatched, one in flight is
/// cut at the app.
///
/// # Errors
/// [`Gone`]: there is nobody to answer.
pub async fn handle(client: &Downstream, request: Request<Incoming>) -> Result<Response<Body>, Gone> {
    let arrival = Instant::now();
    let served = client.talk.serve();
    let (mut head, body) = request.into_parts();
    head::stamp(&mut head.headers);
    let upload = Upload::new(body, &head.headers);
    let record = Record::begin(client, &head, &upload, arrival);
    let mut passage = Passage { client, arrival, record, was_held: false, unread: !upload.is_received() };
    let answer = serve(&mut passage, head, upload).await;
    let response = match answer {
        Ok(response) => response,
        Err(Failure::ClientLeft) => return Err(Gone),
        Err(failure) => failure::answer(&failure, &mut passage.record),
    };
    Ok(body::finish(response, passage.record, passage.unread, served))
}

async fn serve(passage: &mut Passage<'_>, mut head: Parts, mut upload: Upload) -> Result<Response<Source>, Failure> {
    head::check(&mut head)?;
    if head.method == Method::OPTIONS && head.uri.path() == "*" {
        passage.record.discard();
        return Ok(page::empty(StatusCode::OK));
    }
    let route = find(&passage.client.worker.shared.router, &head).ok_or(Failure::NoService)?;
    let service = &route.service;
    passage.record.routed(&route, &mut head.headers);
    if let Some(location) = head::redirect(&head, &service.options.load()) {
        return Ok(page::redirect(&head.method, &location));
    }
    if head.method == Method::CONNECT {
        return Err(Failure::Connect);
    }
    let permit = match service.gate.enter(passage.client.worker.stripe) {
        Some(permit) => permit,
        None if hold::is_own_health_answer(&route, &head) => return Ok(page::empty(StatusCode::OK)),
        None => hold::wait(passage, service, &mut upload).await?,
    };
    dispatch::dispatch(passage, &route, head, upload, permit).await
}

/// By this worker's own copy of the routes.
fn find(router: &Router<Service>, head: &Parts) -> Option<Arc<Route<Service>>> {
    thread_local! {
        static ROUTES: RefCell<Option<Local<Service>>> = const { RefCell::new(None) };
    }
    let host = head::host(&head.headers);
    ROUTES.with_borrow_mut(|routes| routes.get_or_insert_with(|| Local::of(router)).find(router, host, head.uri.path()))
}
