//! A client's body before its request is dispatched.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Shared;
use super::failure::Failure;
use crate::service::flight::Flight;
use crate::upstream::{Ended, Outgoing, Streamed};

/// The body, and what was read ahead of it.
pub(super) struct Upload {
    rest: Incoming,
    ahead: VecDeque<Frame<Bytes>>,
    share: Share,
    awaited: bool,
    ended: bool,
}

/// Its part of what all may read ahead; given back when it is dropped.
#[derive(Default)]
struct Share {
    len: usize,
    all: Option<Arc<AtomicUsize>>,
}

impl Share {
    fn add(&mut self, all: &Arc<AtomicUsize>, len: usize) {
        self.len += len;
        self.all.get_or_insert_with(|| all.clone()).fetch_add(len, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.fetch_sub(self.len, Ordering::Relaxed);
        }
    }
}

impl Upload {
    pub(super) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        let awaited = !body.is_end_stream() && headers.contains_key(EXPECT);
        Self { rest: body, ahead: VecDeque::new(), share: Share::default(), awaited, ended: false }
    }

    /// Whether there is a body at all.
    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.rest.is_end_stream()
    }

    /// Whether all of it was received. (hyper knows a chunked body's end only once it was read.)
    pub(super) fn is_received(&self) -> bool {
        self.ended || self.rest.is_end_stream()
    }

    /// Its length as announced; none where it is chunked.
    pub(super) fn length(&self) -> Option<u64> {
        self.rest.size_hint().exact()
    }

    /// Whether the client waits for `100 Continue`, which the first read sends.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Reads on while the bounds allow it, then waits for ever. Cancel-safe: what was read is kept.
    pub(super) async fn read_ahead(&mut self, shared: &Shared) -> Failure {
        while !self.is_received() && self.has_room(shared) {
            if let Err(failure) = self.read(shared).await {
                return failure;
            }
        }
        std::future::pending().await
    }

    /// Reads the first piece, whatever the bounds: it sends `100 Continue` and waits for what the client sends then.
    pub(super) async fn read_first(&mut self, shared: &Shared) -> Result<(), Failure> {
        self.awaited = false;
        self.read(shared).await
    }

    /// The body as it goes to the app on behalf of a flight.
    pub(super) fn into_outgoing(self, flight: &Flight) -> Outgoing {
        if self.is_empty() {
            return Outgoing::Empty;
        }
        if self.is_received() {
            Flight::client_ended(flight.key(), Ended::Whole);
        }
        Outgoing::Streamed(Streamed {
            ahead: self.ahead,
            rest: self.rest,
            on_end: Flight::client_ended,
            key: flight.key(),
        })
    }

    fn has_room(&self, shared: &Shared) -> bool {
        let all = shared.held_body_now.load(Ordering::Relaxed);
        self.share.len < shared.held_body_each && all < shared.held_body_all
    }

    async fn read(&mut self, shared: &Shared) -> Result<(), Failure> {
        match self.rest.frame().await {
            None => {
                self.ended = true;
                Ok(())
            }
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                self.share.add(&shared.held_body_now, len);
                self.ahead.push_back(frame);
                Ok(())
            }
            Some(Err(error)) => Err(match Ended::by(&error) {
                Ended::Malformed => Failure::MalformedBody,
                Ended::Whole | Ended::Broken => Failure::ClientLeft,
            }),
        }
    }
}
