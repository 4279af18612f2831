//! Each worker's own idle connections, by target, last in, first out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::body::Outgoing;
use super::connect::{ConnectError, connect};
use super::heard::{Heard, Listened};
use super::{Closings, Target};

/// How long a connection may lie idle: shorter than any app server's own limit (Puma, Node: 5 s), so that it is we who
/// close it and not the app while a request is on its way.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections per target and worker; more are closed.
const MAX_IDLE: usize = 128;

thread_local! {
    static IDLE_CONNECTIONS: RefCell<ByTarget> = RefCell::default();
}

type ByTarget = HashMap<u64, Vec<Idle>, BuildHasherDefault<IdHasher>>;

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection to a target, for one request at a time. Dropped, it is closed.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Outgoing>,
    target: u64,
    header: HeaderValue,
    heard: Heard,
    reused: bool,
    closings: Closings,
    /// As counted when it was opened.
    opened_after: u64,
}

impl Connection {
    /// Opens a connection to a target. Cancel-safe.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent.
    pub async fn open(target: &Target) -> Result<Self, ConnectError> {
        let (closings, opened_after) = (target.closings.clone(), target.closings.count());
        let stream = connect(target.address(), None).await?;
        let dial =
            |error| ConnectError::Dial { address: target.address().to_string(), source: io::Error::other(error) };
        let heard = Heard::default();
        let stream = TokioIo::new(Listened::new(stream, heard.clone()));
        let (sender, connection) = Builder::new().handshake(stream).await.map_err(dial)?;
        tokio::spawn(async move {
            // Its errors reach whoever waits for the response.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, target: target.id(), header: target.header(), heard, reused: false, closings, opened_after })
    }

    /// The target's address as a header's value; its count of users belongs to this worker alone.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The id of its target.
    #[must_use]
    pub fn target(&self) -> u64 {
        self.target
    }

    /// Whether it has served a request before: then the target may have closed it meanwhile.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of its response. Dropping the future closes the connection.
    ///
    /// # Errors
    /// Carries the request where nothing of it was written.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        self.heard.forget();
        self.sender.try_send_request(request).await
    }

    /// Whether a byte has come back since the last [`Connection::send`] began.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.heard.anything()
    }

    /// Keeps the connection for the next request, unless its target's are kept no longer. To be called once its response
    /// has ended.
    pub fn keep(mut self) {
        if self.sender.is_closed() || self.closings.count() != self.opened_after {
            return;
        }
        self.reused = true;
        IDLE_CONNECTIONS.with_borrow_mut(|idle| {
            let kept = idle.entry(self.target).or_default();
            if kept.len() < MAX_IDLE {
                kept.push(Idle { connection: self, since: Instant::now() });
            }
        });
    }
}

/// This worker's most recently used idle connection to a target, if it has one that still lives.
pub async fn take(target: u64) -> Option<Connection> {
    loop {
        let idle = IDLE_CONNECTIONS.with_borrow_mut(|idle| idle.get_mut(&target)?.pop())?;
        let mut connection = idle.connection;
        if connection.sender.ready().await.is_ok() {
            return Some(connection);
        }
    }
}

/// Closes this worker's idle connections to a target.
pub fn close_idle(target: u64) {
    let closed = IDLE_CONNECTIONS.with_borrow_mut(|idle| idle.remove(&target));
    drop(closed);
}

/// Closes this worker's connections that have lain idle for [`IDLE`]; says whether any is left.
pub fn sweep(now: Instant) -> bool {
    IDLE_CONNECTIONS.with_borrow_mut(|idle| {
        idle.retain(|_, kept| {
            kept.retain(|idle| now.saturating_duration_since(idle.since) < IDLE && !idle.connection.sender.is_closed());
            !kept.is_empty()
        });
        !idle.is_empty()
    })
}

/// Ids are small numbers that differ: they are their own hash.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}
