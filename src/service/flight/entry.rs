//! One request in flight: from its permit to the last frame of the app's answer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::slab::Slab;
use crate::gate::Permit;
use crate::service::Revision;
use crate::upstream::{Connection, Ended};

thread_local! {
    static FLYING: RefCell<Slab<Entry>> = const { RefCell::new(Slab::new()) };
    static ASLEEP: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// Why a request in flight ends before the app has ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Somebody has to have it end now: 504 with Retry-After, after the head the connection is cut.
    Drained,
    /// Its client was too slow in sending its body: 408, after the head the connection is cut.
    SlowClient,
    /// The app has not begun its answer in time: 504.
    TimedOut,
}

/// What is known of a request when it takes off.
pub struct Launch {
    /// Its admission; kept until the app's side is done.
    pub permit: Permit<Revision>,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: Option<PathAndQuery>,
    /// When it takes off.
    pub now: Instant,
    /// Whether all of its body was received, or it has none.
    pub body_received: bool,
}

pub(super) struct Entry {
    permit: Option<Permit<Revision>>,
    pub(super) revision: u64,
    pub(super) opening: u64,
    pub(super) method: Method,
    pub(super) path: Option<PathAndQuery>,
    pub(super) started: Instant,
    /// Whether the app answers with an event stream.
    pub(super) events: bool,
    response_timeout: Duration,
    deadline: Option<Instant>,
    client: Option<Ended>,
    stage: Stage,
    waker: Option<Waker>,
}

enum Stage {
    /// The app has yet to answer.
    Waiting,
    /// The app answers.
    Answering { incoming: Incoming, connection: Connection },
    /// Bytes go both ways.
    Tunnel,
    /// Told to end.
    Cut(Cut),
}

impl Entry {
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.stage, Stage::Tunnel)
    }

    pub(super) fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Answering { .. } | Stage::Tunnel)
    }

    /// Whether its permit is still out: the app's side is not done.
    pub(super) fn is_aloft(&self) -> bool {
        self.permit.is_some()
    }

    pub(super) fn body_received(&self) -> bool {
        self.client == Some(Ended::Whole)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Waiting) && self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn client_ended(&mut self, ended: Ended) {
        self.client = Some(ended);
        if !self.response_timeout.is_zero() {
            self.deadline = Instant::now().checked_add(self.response_timeout);
        }
    }

    /// Returns what it had of the app's side. Where its task has to end first, that one still holds the permit.
    fn cut(&mut self, cut: Cut) -> (Stage, Option<Permit<Revision>>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Cut(cut));
        let permit = if matches!(stage, Stage::Answering { .. }) { self.permit.take() } else { None };
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        (stage, permit)
    }

    /// The app's side is done: its connection can serve the next one.
    fn land(&mut self) -> Option<(Permit<Revision>, Option<Connection>)> {
        let permit = self.permit.take()?;
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            // A connection on which the request is still being sent serves no other.
            Stage::Answering { connection, .. } if self.client == Some(Ended::Whole) => {
                Some((permit, Some(connection)))
            }
            Stage::Answering { .. } | Stage::Waiting | Stage::Tunnel | Stage::Cut(_) => Some((permit, None)),
        }
    }
}

/// Looks at every entry of this worker.
pub(super) fn each(mut see: impl FnMut(&Entry)) {
    FLYING.with_borrow_mut(|flying| flying.iter_mut().for_each(|entry| see(entry)));
}

/// Cuts those entries of this worker that `judge` gives a reason for; says how many.
pub(super) fn cut_where(judge: impl Fn(&Entry) -> Option<Cut>) -> usize {
    let dropped: Vec<_> = FLYING.with_borrow_mut(|flying| {
        let going = flying.iter_mut().filter(|entry| !matches!(entry.stage, Stage::Cut(_)));
        going.filter_map(|entry| judge(entry).map(|cut| entry.cut(cut))).collect()
    });
    dropped.len()
}

/// Waits until this worker has something in flight.
pub(super) async fn takeoff() {
    poll_fn(|cx| {
        if !FLYING.with_borrow(Slab::is_empty) {
            return Poll::Ready(());
        }
        ASLEEP.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// A request in flight on this worker. Dropped, it has landed: its permit is given back.
#[must_use = "dropping it gives the permit back"]
pub struct Flight {
    key: u64,
}

impl Flight {
    /// Registers a request that is about to be dispatched.
    pub fn launch(launch: Launch) -> Self {
        let revision = launch.permit.revision();
        let response_timeout = revision.options.response_timeout;
        let mut entry = Entry {
            revision: revision.id,
            opening: launch.permit.opening(),
            permit: None,
            method: launch.method,
            path: launch.path,
            started: launch.now,
            events: false,
            response_timeout,
            deadline: None,
            client: None,
            stage: Stage::Waiting,
            waker: None,
        };
        entry.permit = Some(launch.permit);
        if launch.body_received {
            entry.client = Some(Ended::Whole);
            entry.deadline = (!response_timeout.is_zero()).then(|| launch.now.checked_add(response_timeout)).flatten();
        }
        if let Some(waker) = ASLEEP.take() {
            waker.wake();
        }
        Self { key: FLYING.with_borrow_mut(|flying| flying.insert(entry)) }
    }

    /// For [`Flight::client_ended`].
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// To be called when the client's body has ended, with the key; a late key is ignored.
    pub fn client_ended(key: u64, ended: Ended) {
        FLYING.with_borrow_mut(|flying| {
            if let Some(entry) = flying.get_mut(key) {
                entry.client_ended(ended);
            }
        });
    }

    /// How the client's body ended; none while it has not.
    #[must_use]
    pub fn client(&self) -> Option<Ended> {
        FLYING.with_borrow_mut(|flying| flying.get_mut(self.key).and_then(|entry| entry.client))
    }

    /// Waits to be told to end. Cancel-safe.
    pub async fn cut(&self) -> Cut {
        poll_fn(|cx| self.poll_cut(cx)).await
    }

    /// The revision it was admitted to.
    #[must_use]
    pub fn revision(&self) -> Option<Arc<Revision>> {
        FLYING.with_borrow_mut(|flying| flying.get_mut(self.key)?.permit.as_ref().map(|p| p.revision().clone()))
    }

    /// Looks at the revision without counting as one of its owners.
    pub fn with_revision(&self, look: impl FnOnce(&Revision)) {
        FLYING.with_borrow_mut(|flying| {
            if let Some(permit) = flying.get_mut(self.key).and_then(|entry| entry.permit.as_ref()) {
                look(permit.revision());
            }
        });
    }

    /// Gives the permit back early, to be used for waiting again: nothing of the request was written.
    #[must_use]
    pub fn abandon(self) -> Option<Permit<Revision>> {
        FLYING.with_borrow_mut(|flying| flying.get_mut(self.key)?.permit.take())
    }

    /// The app has sent its head, over the connection; `events`: it is an event stream, which
    /// lets the next of the queue go. A cut that came first is the error.
    ///
    /// # Errors
    /// The cut.
    pub fn answer(self, incoming: Incoming, connection: Connection, events: bool) -> Result<Answer, Cut> {
        let refused = FLYING.with_borrow_mut(|flying| {
            let Some(entry) = flying.get_mut(self.key) else { return Some((Cut::Drained, incoming, connection)) };
            if let Stage::Cut(cut) = entry.stage {
                return Some((cut, incoming, connection));
            }
            entry.stage = Stage::Answering { incoming, connection };
            entry.events = events;
            if events {
                entry.permit.as_mut().map(Permit::end_turn);
            }
            entry.waker = None;
            None
        });
        match refused {
            Some((cut, ..)) => Err(cut),
            None => {
                let mut answer = Answer { flight: self, ended: false };
                answer.land_if_ended();
                Ok(answer)
            }
        }
    }

    /// From now on it is a tunnel: it lets the next of the queue go.
    pub fn tunnel(&self) {
        FLYING.with_borrow_mut(|flying| {
            if let Some(entry) = flying.get_mut(self.key)
                && matches!(entry.stage, Stage::Waiting)
            {
                entry.stage = Stage::Tunnel;
                entry.permit.as_mut().map(Permit::end_turn);
            }
        });
    }

    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        FLYING.with_borrow_mut(|flying| match flying.get_mut(self.key) {
            None => Poll::Pending,
            Some(entry) => match entry.stage {
                Stage::Cut(cut) => Poll::Ready(cut),
                Stage::Waiting | Stage::Answering { .. } | Stage::Tunnel => {
                    remember(&mut entry.waker, cx);
                    Poll::Pending
                }
            },
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let landed = FLYING.with_borrow_mut(|flying| flying.remove(self.key));
        drop(landed);
    }
}

/// The app's answer, passed on frame by frame. The permit is given back with its last frame.
pub struct Answer {
    flight: Flight,
    ended: bool,
}

impl Answer {
    /// The next frame; an error where the app's side broke or the request was cut.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = FLYING.with_borrow_mut(|flying| {
            let Some(entry) = flying.get_mut(self.flight.key) else { return Poll::Ready(Some(Err(Broken::Cut))) };
            match &mut entry.stage {
                Stage::Answering { incoming, .. } => {
                    let polled = Pin::new(incoming).poll_frame(cx).map_err(Broken::App);
                    if polled.is_pending() {
                        remember(&mut entry.waker, cx);
                    }
                    polled
                }
                Stage::Cut(_) => Poll::Ready(Some(Err(Broken::Cut))),
                Stage::Waiting | Stage::Tunnel => Poll::Ready(None),
            }
        });
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.land_if_ended(),
            Poll::Ready(None) => self.land(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    /// Whether the last frame was taken.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        self.ended
    }

    /// What is left of it.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        FLYING.with_borrow_mut(|flying| match flying.get_mut(self.flight.key).map(|entry| &entry.stage) {
            Some(Stage::Answering { incoming, .. }) => incoming.size_hint(),
            Some(Stage::Waiting | Stage::Tunnel | Stage::Cut(_)) | None => SizeHint::default(),
        })
    }

    fn land_if_ended(&mut self) {
        let ended = FLYING.with_borrow_mut(|flying| match flying.get_mut(self.flight.key).map(|entry| &entry.stage) {
            Some(Stage::Answering { incoming, .. }) => incoming.is_end_stream(),
            Some(Stage::Waiting | Stage::Tunnel | Stage::Cut(_)) | None => false,
        });
        if ended {
            self.land();
        }
    }

    fn land(&mut self) {
        self.ended = true;
        let landed = FLYING.with_borrow_mut(|flying| flying.get_mut(self.flight.key).and_then(Entry::land));
        let Some((permit, connection)) = landed else { return };
        if let Some(connection) = connection {
            connection.keep();
        }
        drop(permit);
        drop(FLYING.with_borrow_mut(|flying| flying.remove(self.flight.key)));
    }
}

/// Why an answer ends early.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The app's side broke.
    #[error("{0}")]
    App(hyper::Error),
    /// It was told to end.
    #[error("cut")]
    Cut,
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
