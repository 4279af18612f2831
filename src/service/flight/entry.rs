//! What is known of one request in flight, from its permit to the last frame of the app's answer.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use super::answer::Broken;
use crate::gate::Permit;
use crate::service::Revision;
use crate::upstream::{Connection, Ended};

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

pub(super) enum Stage {
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
    pub(super) fn new(launch: Launch) -> Self {
        let revision = launch.permit.revision();
        let mut entry = Self {
            revision: revision.id,
            opening: launch.permit.opening(),
            response_timeout: revision.options.response_timeout,
            permit: Some(launch.permit),
            method: launch.method,
            path: launch.path,
            started: launch.now,
            events: false,
            deadline: None,
            client: None,
            stage: Stage::Waiting,
            waker: None,
        };
        if launch.body_received {
            entry.client_ended(Ended::Whole, launch.now);
        }
        entry
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.stage, Stage::Tunnel)
    }

    pub(super) fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Answering { .. } | Stage::Tunnel)
    }

    pub(super) fn is_cut(&self) -> bool {
        matches!(self.stage, Stage::Cut(_))
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

    /// Whether the last frame of the answer has come.
    pub(super) fn has_ended(&self) -> bool {
        self.incoming().is_some_and(Incoming::is_end_stream)
    }

    /// What the app answers with.
    pub(super) fn incoming(&self) -> Option<&Incoming> {
        match &self.stage {
            Stage::Answering { incoming, .. } => Some(incoming),
            Stage::Waiting | Stage::Tunnel | Stage::Cut(_) => None,
        }
    }

    /// How the client's body ended; none while it has not.
    pub(super) fn client(&self) -> Option<Ended> {
        self.client
    }

    pub(super) fn permit(&self) -> Option<&Permit<Revision>> {
        self.permit.as_ref()
    }

    pub(super) fn take_permit(&mut self) -> Option<Permit<Revision>> {
        self.permit.take()
    }

    /// The client's body has ended: the app's time begins.
    pub(super) fn client_ended(&mut self, ended: Ended, now: Instant) {
        self.client = Some(ended);
        if !self.response_timeout.is_zero() {
            self.deadline = now.checked_add(self.response_timeout);
        }
    }

    /// The app has sent its head. Cut before, it says so and gives back the app's side.
    pub(super) fn answer(
        &mut self,
        incoming: Incoming,
        connection: Connection,
        events: bool,
    ) -> Option<(Cut, Incoming, Connection)> {
        if let Stage::Cut(cut) = self.stage {
            return Some((cut, incoming, connection));
        }
        self.stage = Stage::Answering { incoming, connection };
        self.events = events;
        self.waker = None;
        if events {
            self.end_turn();
        }
        None
    }

    /// From now on it is a tunnel, if nobody has cut it.
    pub(super) fn tunnel(&mut self) {
        if matches!(self.stage, Stage::Waiting) {
            self.stage = Stage::Tunnel;
            self.end_turn();
        }
    }

    fn end_turn(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.end_turn();
        }
    }

    pub(super) fn poll_cut(&mut self, cx: &Context<'_>) -> Poll<Cut> {
        match self.stage {
            Stage::Cut(cut) => Poll::Ready(cut),
            Stage::Waiting | Stage::Answering { .. } | Stage::Tunnel => {
                remember(&mut self.waker, cx);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.stage {
            Stage::Answering { incoming, .. } => {
                let polled = Pin::new(incoming).poll_frame(cx).map_err(Broken::App);
                if polled.is_pending() {
                    remember(&mut self.waker, cx);
                }
                polled
            }
            Stage::Cut(_) => Poll::Ready(Some(Err(Broken::Cut))),
            Stage::Waiting | Stage::Tunnel => Poll::Ready(None),
        }
    }

    /// Has it end. Returns what it had of the app's side: where its task has to end first, that
    /// one still holds the permit.
    pub(super) fn cut(&mut self, cut: Cut) -> (Stage, Option<Permit<Revision>>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Cut(cut));
        let permit = if matches!(stage, Stage::Answering { .. }) { self.permit.take() } else { None };
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        (stage, permit)
    }

    /// The app's side is done: its connection can serve the next one.
    pub(super) fn land(&mut self) -> Option<(Permit<Revision>, Option<Connection>)> {
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

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
