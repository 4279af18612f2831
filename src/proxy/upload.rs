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
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::failure::Failure;
use super::presence::Presence;
use crate::gate::Refusal;
use crate::service::flight::Flight;
use crate::upstream::{Ended, Outgoing, Streamed};

/// What hyper may have taken from a socket that has not been read yet: a piece, and what it found behind it.
const IN_HYPER: usize = 1 << 20;

/// The most that is read on of one body, about: what lies in the socket comes on top.
pub(super) const fn most_read_on(client_unsent: usize) -> usize {
    client_unsent + IN_HYPER
}

/// The body, and what was read ahead of it.
pub(super) struct Upload {
    rest: Incoming,
    ahead: VecDeque<Frame<Bytes>>,
    share: Share,
    room: Option<OwnedSemaphorePermit>,
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
        Self { rest: body, ahead: VecDeque::new(), share: Share::default(), room: None, awaited, ended: false }
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
            match self.read().await {
                Ok(len) => self.share.add(&shared.held_body_now, len),
                Err(failure) => return failure,
            }
        }
        std::future::pending().await
    }

    /// Reads the first piece, whatever the bounds: it sends `100 Continue` and waits for what the client sends then.
    pub(super) async fn read_first(&mut self, shared: &Shared) -> Result<(), Failure> {
        self.awaited = false;
        let len = self.read().await?;
        self.share.add(&shared.held_body_now, len);
        Ok(())
    }

    /// Reads on until the client is known to be there ([`Presence`]), once there is room for it. `unread`: the bytes that
    /// lie in its socket. Cancel-safe as [`Upload::read_ahead`].
    pub(super) async fn read_on(&mut self, shared: &Shared, unread: impl Fn() -> usize) -> Result<(), Failure> {
        let hidden = || most_read_on(shared.client_unsent) + unread();
        self.reserve(shared, hidden()).await?;
        let mut presence = Presence::doubt(hidden(), Instant::now().into_std());
        while !self.is_received() {
            let Ok(read) = timeout_at(presence.known_at().into(), self.read()).await else { break };
            if presence.came(read?, Instant::now().into_std()) {
                break;
            }
        }
        Ok(())
    }

    /// Waits for room, behind those who came before. One that has some already waits for nobody: it would keep others.
    async fn reserve(&mut self, shared: &Shared, hidden: usize) -> Result<(), Failure> {
        let rest = self.length().and_then(|rest| usize::try_from(rest).ok()).unwrap_or(usize::MAX);
        let needed = u32::try_from(hidden.min(rest).min(shared.read_on_all)).unwrap_or(u32::MAX);
        let room = shared.read_on.clone();
        match &mut self.room {
            Some(own) => own.merge(room.try_acquire_many_owned(needed).map_err(|_| Refusal::Full)?),
            None => self.room = room.acquire_many_owned(needed).await.ok(),
        }
        Ok(())
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
            room: self.room,
            rest: self.rest,
            on_end: Flight::client_ended,
            key: flight.key(),
        })
    }

    fn has_room(&self, shared: &Shared) -> bool {
        let all = shared.held_body_now.load(Ordering::Relaxed);
        self.share.len < shared.held_body_each && all < shared.held_body_all
    }

    /// Reads a piece; its length.
    async fn read(&mut self) -> Result<usize, Failure> {
        match self.rest.frame().await {
            None => {
                self.ended = true;
                Ok(0)
            }
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                self.ahead.push_back(frame);
                Ok(len)
            }
            Some(Err(error)) => Err(match Ended::by(&error) {
                Ended::Malformed => Failure::MalformedBody,
                Ended::Whole | Ended::Broken => Failure::ClientLeft,
            }),
        }
    }
}
