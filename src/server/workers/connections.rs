//! The connections of one worker, so that they can be told to end and waited for.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::listener::Stream;
use crate::proxy::{self, Downstream};

/// Those of one worker. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct Connections {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    shutting_down: AtomicBool,
    /// The worker's own, taken at a connection's start and end: never waited for.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    wakers: HashMap<u64, Waker>,
    waiting: Option<Waker>,
}

impl Connections {
    /// Serves a connection to its end, on a task of its own.
    pub(super) fn serve(&self, server: &http1::Builder, stream: Stream, client: Downstream) {
        let client = Arc::new(client);
        let service = service_fn(move |request: Request<Incoming>| {
            let client = client.clone();
            async move { proxy::handle(&client, request).await }
        });
        let mut http = Box::pin(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let mut seat = Seat { connections: self.clone(), key: None, told: false };
        tokio::spawn(poll_fn(move |cx| {
            if seat.is_told(cx) {
                http.as_mut().graceful_shutdown();
            }
            // Why a connection ends early is its client's affair.
            http.as_mut().poll(cx).map(drop)
        }));
    }

    /// Has those end that are idle, and the others with their next answer.
    pub(super) fn shut_down(&self) {
        self.inner.shutting_down.store(true, Ordering::Relaxed);
        let wakers: Vec<Waker> = self.lock().wakers.values().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until none is left. Cancel-safe.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            let mut open = self.lock();
            if open.wakers.is_empty() {
                return Poll::Ready(());
            }
            open.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// How many are left.
    pub(super) fn count(&self) -> usize {
        self.lock().wakers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among them.
struct Seat {
    connections: Connections,
    key: Option<u64>,
    told: bool,
}

impl Seat {
    /// True once, when it is time to end.
    fn is_told(&mut self, cx: &Context<'_>) -> bool {
        if self.key.is_none() {
            let mut open = self.connections.lock();
            open.last += 1;
            let key = open.last;
            open.wakers.insert(key, cx.waker().clone());
            self.key = Some(key);
        }
        let is_time = self.connections.inner.shutting_down.load(Ordering::Relaxed);
        is_time && !std::mem::replace(&mut self.told, true)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = self.connections.lock();
        open.wakers.remove(&key);
        if open.wakers.is_empty()
            && let Some(waiting) = open.waiting.take()
        {
            waiting.wake();
        }
    }
}
