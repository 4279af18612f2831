//! A request that waits, with a timer for its deadline: the gate's methods that need a clock.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

use super::core::{Gate, Permit, Seat, Until};
use super::{Reason, Refusal, View};

impl<R> Gate<R> {
    /// Takes a place in the queue, by time of arrival; the permit is there at the first poll if nobody need wait.
    pub fn join(&self, stripe: usize, arrival: Instant) -> Result<Held<R>, Refusal> {
        self.join_at(stripe, arrival, now()).map(Held::new)
    }

    /// Adds a reason. Once this has returned nobody enters; those who come wait.
    pub fn close(&self, reason: Reason) {
        self.close_at(reason, now());
    }

    /// The gate at this moment.
    pub fn view(&self) -> View {
        self.view_at(now())
    }
}

impl<R> Permit<R> {
    /// Gives the permit back and waits again, in its old place by `arrival` (the one given to [`Gate::join`], if any).
    /// Only for a request of which no byte was written. On an open gate it may be granted at once: close it first, or
    /// pause between two attempts.
    pub fn return_to_queue(self, arrival: Instant) -> Held<R> {
        Held::new(self.take_seat(arrival, Until::Turn, now()))
    }

    /// Gives the permit back and keeps the place in the queue, blocking nobody: for a request that has yet to see the
    /// first byte of its body. It is answered by refusals only until [`Held::ready`].
    pub fn park(self, arrival: Instant) -> Held<R> {
        Held::new(self.take_seat(arrival, Until::Ready, now()))
    }
}

/// A request that waits in the queue: a future that is answered when its turn comes or its time is over.
///
/// Dropping it says that the client has left: its place is free at once and it is never dispatched.
#[must_use = "dropping it leaves the queue"]
pub struct Held<R> {
    seat: Seat<R>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<R> Held<R> {
    fn new(seat: Seat<R>) -> Self {
        Self { seat, timer: None }
    }

    /// Ends what [`Permit::park`] began: the request waits for its turn again, in its old place.
    pub fn ready(&mut self) {
        self.seat.ready();
    }

    /// Resolves when `deadline` has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl<R> Future for Held<R> {
    type Output = Result<Permit<R>, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.seat.poll(cx, now()) {
                ControlFlow::Break(answer) => return Poll::Ready(answer),
                ControlFlow::Continue(None) => return Poll::Pending,
                ControlFlow::Continue(Some(deadline)) => {
                    ready!(self.poll_deadline(cx, deadline));
                    self.seat.expire(now().max(deadline));
                }
            }
        }
    }
}

/// The runtime's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
