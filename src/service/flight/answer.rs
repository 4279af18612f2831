//! The app's answer on its way to the client.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::entry::Entry;
use super::handle::Flight;
use super::registry;

/// The app's answer, passed on frame by frame. The permit is given back with its last frame.
pub struct Answer {
    flight: Flight,
    ended: bool,
}

impl Answer {
    pub(super) fn new(flight: Flight) -> Self {
        let mut answer = Self { flight, ended: false };
        answer.land_if_ended();
        answer
    }

    /// The next frame; an error where the app's side broke or the request was cut.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = registry::with(self.flight.key(), |entry| entry.poll_frame(cx));
        let polled = polled.unwrap_or(Poll::Ready(Some(Err(Broken::Cut))));
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
        let left = registry::with(self.flight.key(), |entry| entry.incoming().map(Incoming::size_hint));
        left.flatten().unwrap_or_default()
    }

    fn land_if_ended(&mut self) {
        if registry::with(self.flight.key(), |entry| entry.has_ended()).unwrap_or_default() {
            self.land();
        }
    }

    fn land(&mut self) {
        self.ended = true;
        let Some((permit, connection)) = registry::with(self.flight.key(), Entry::land).flatten() else { return };
        if let Some(connection) = connection {
            connection.keep();
        }
        drop(permit);
        drop(registry::remove(self.flight.key()));
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
